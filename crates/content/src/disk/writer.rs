//! Bytes on their way to the disk: hashed and written at the same time, on two threads that are not the reactor's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use image::{Algorithm, Digest, Hasher};
use tokio::task::JoinHandle;

use super::{DiskFile, Inner, blocking, shown};
use crate::blob_store::{BlobWriter, Placed};
use crate::{ContentError, StageId};

/// Bytes that are handed to the two threads at once. A thread is only held while it has work, so that slow clients
/// hold none; more per hop would only cost memory.
const BATCH: usize = 256 << 10;
/// How long to leave a removal of the same shard alone; it takes about as long.
const CLAIM_PAUSE: Duration = Duration::from_micros(200);

pub(super) struct DiskWriter {
    inner: Arc<Inner>,
    stage: StageId,
    file: Arc<dyn DiskFile>,
    algorithm: Algorithm,
    /// Bytes handed on so far.
    length: u64,
    waiting: Vec<Bytes>,
    waiting_length: usize,
    hash: Hash,
    /// The batch before, still being written.
    write: Option<JoinHandle<io::Result<()>>>,
}

enum Hash {
    Idle(Hasher),
    Busy(JoinHandle<Hasher>),
    Lost,
}

impl DiskWriter {
    pub(super) fn new(
        inner: Arc<Inner>,
        stage: StageId,
        file: Box<dyn DiskFile>,
        algorithm: Algorithm,
        hasher: Hasher,
    ) -> Self {
        Self {
            inner,
            stage,
            file: file.into(),
            algorithm,
            length: hasher.length(),
            waiting: Vec::new(),
            waiting_length: 0,
            hash: Hash::Idle(hasher),
            write: None,
        }
    }

    fn failed(&self, error: io::Error) -> ContentError {
        ContentError::io(format!("write {}", shown(&self.inner.layout.stage(&self.stage))), error)
    }

    /// Waits for the batch before.
    async fn settle(&mut self) -> Result<(), ContentError> {
        if let Some(task) = self.write.take() {
            let written = task.await.map_err(io::Error::other).and_then(|written| written);
            if let Err(error) = written {
                // What is in the file is not what was hashed: nothing can come of it any more.
                self.hash = Hash::Lost;
                return Err(self.failed(error));
            }
        }
        match std::mem::replace(&mut self.hash, Hash::Lost) {
            Hash::Idle(hasher) => self.hash = Hash::Idle(hasher),
            Hash::Busy(task) => {
                self.hash = Hash::Idle(task.await.map_err(|error| self.failed(io::Error::other(error)))?);
            }
            Hash::Lost => return Err(self.failed(io::Error::other("an earlier write failed"))),
        }
        Ok(())
    }

    /// Waits for the batch before and hands on this one.
    async fn hand_on(&mut self) -> Result<(), ContentError> {
        self.settle().await?;
        let batch = Arc::new(std::mem::take(&mut self.waiting));
        let (file, offset, length) = (self.file.clone(), self.length, self.waiting_length);
        self.waiting_length = 0;
        self.length += length as u64;
        let to_write = batch.clone();
        self.write = Some(tokio::task::spawn_blocking(move || {
            let mut at = offset;
            for bytes in to_write.iter() {
                file.write_at(at, bytes)?;
                at += bytes.len() as u64;
            }
            Ok(())
        }));
        self.hash = match std::mem::replace(&mut self.hash, Hash::Lost) {
            Hash::Idle(mut hasher) => Hash::Busy(tokio::task::spawn_blocking(move || {
                for bytes in batch.iter() {
                    hasher.update(bytes);
                }
                hasher
            })),
            other => other,
        };
        Ok(())
    }

    /// Waits until all is written and hashed, and takes the hash.
    async fn finish(&mut self) -> Result<Hasher, ContentError> {
        self.flush().await?;
        match std::mem::replace(&mut self.hash, Hash::Lost) {
            Hash::Idle(hasher) => Ok(hasher),
            _ => Err(self.failed(io::Error::other("an earlier write failed"))),
        }
    }

    /// What the bytes are by the algorithm of `expected`.
    async fn digest(&mut self, expected: &Digest) -> Result<Digest, ContentError> {
        let hasher = self.finish().await?;
        if self.algorithm == expected.algorithm() {
            return Ok(hasher.finish());
        }
        // The session was begun without a word on the algorithm: hash once more, from the file.
        let (inner, stage) = (self.inner.clone(), self.stage.clone());
        let (algorithm, length) = (expected.algorithm(), self.length);
        blocking(move || {
            let path = inner.layout.stage(&stage);
            let hashed = inner.disk.open_to_read(&path).and_then(|mut file| Inner::hash(&mut *file, length, algorithm));
            hashed.map(Hasher::finish).map_err(|error| ContentError::io(format!("read {}", shown(&path)), error))
        })
        .await?
    }
}

#[async_trait]
impl BlobWriter for DiskWriter {
    fn stage(&self) -> &StageId {
        &self.stage
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), ContentError> {
        self.waiting_length += bytes.len();
        self.waiting.push(bytes);
        if self.waiting_length < BATCH { Ok(()) } else { self.hand_on().await }
    }

    async fn flush(&mut self) -> Result<u64, ContentError> {
        if self.waiting_length > 0 {
            self.hand_on().await?;
        }
        self.settle().await?;
        Ok(self.length)
    }

    async fn release(mut self: Box<Self>) {
        // Without the hash the next request reads the bytes again; it is not an error.
        if let Ok(hasher) = self.finish().await {
            self.inner.keep_hash(self.stage.clone(), self.algorithm, hasher);
        }
    }

    async fn commit(mut self: Box<Self>, expected: &Digest) -> Result<Placed, ContentError> {
        let actual = match self.digest(expected).await {
            Ok(actual) => actual,
            Err(error) => {
                self.abort().await;
                return Err(error);
            }
        };
        if actual != *expected {
            self.abort().await;
            return Err(ContentError::DigestMismatch { expected: expected.clone(), actual });
        }
        let Self { inner, stage, file, length, .. } = *self;
        let (syncing, synced) = (inner.clone(), stage.clone());
        let synced = blocking(move || {
            file.sync().map_err(|error| {
                ContentError::io(format!("make {} durable", shown(&syncing.layout.stage(&synced))), error)
            })?;
            // The file stays open, and locked, until it has its name.
            syncing.place(&synced, &actual, length).map(|placed| (file, actual, placed))
        });
        let (file, actual, mut placed) = synced.await??;
        loop {
            if let Some(placed) = placed {
                drop(file);
                return Ok(placed);
            }
            let (inner, stage, actual) = (inner.clone(), stage.clone(), actual.clone());
            placed = blocking(move || {
                // The thread is given back in between: the removal may need one.
                std::thread::sleep(CLAIM_PAUSE);
                inner.place(&stage, &actual, length)
            })
            .await??;
        }
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(task) = self.write.take() {
            let _ = task.await;
        }
        let (inner, stage) = (self.inner.clone(), self.stage.clone());
        // A stage that stays is cleared away when the directory is opened next.
        let _ = blocking(move || inner.disk.remove(&inner.layout.stage(&stage))).await;
    }
}
