//! Bytes on their way to the disk: hashed and written at the same time, on two threads that are not the reactor's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use image::{Algorithm, Digest, Hasher};

use super::pipe::{Pipe, Worker};
use super::{DiskFile, Inner, blocking, shown};
use crate::blob_store::{BlobWriter, Placed};
use crate::{ContentError, StageId};

/// Bytes that are handed to the two threads at once. A thread is only held while it has work, so that slow clients
/// hold none; more at once would only cost memory.
const BATCH: usize = 128 << 10;
/// Bytes that the disk begins to write while more of them come: what is left is what the end waits for. Fewer at once
/// would cost more than they save.
const AHEAD: u64 = 8 << 20;
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
    writing: Pipe<Writing>,
    hashing: Pipe<Hashing>,
}

struct Writing {
    file: Arc<dyn DiskFile>,
    at: u64,
    /// Where what the disk was not told of yet begins.
    begun: u64,
}

impl Worker for Writing {
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for bytes in batch {
            self.file.write_at(self.at, bytes)?;
            self.at += bytes.len() as u64;
        }
        if self.at - self.begun >= AHEAD {
            self.file.begin_sync(self.begun, self.at - self.begun);
            self.begun = self.at;
        }
        Ok(())
    }
}

struct Hashing(Hasher);

impl Worker for Hashing {
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
        for bytes in batch {
            self.0.update(bytes);
        }
        Ok(())
    }
}

impl DiskWriter {
    pub(super) fn new(
        inner: Arc<Inner>,
        stage: StageId,
        file: Box<dyn DiskFile>,
        algorithm: Algorithm,
        hasher: Hasher,
    ) -> Self {
        let file: Arc<dyn DiskFile> = file.into();
        let length = hasher.length();
        Self {
            inner,
            stage,
            file: file.clone(),
            algorithm,
            length,
            waiting: Vec::new(),
            waiting_length: 0,
            writing: Pipe::new(Writing { file, at: length, begun: length }),
            hashing: Pipe::new(Hashing(hasher)),
        }
    }

    fn failed(&self, error: io::Error) -> ContentError {
        ContentError::io(format!("write {}", shown(&self.inner.layout.stage(&self.stage))), error)
    }

    async fn hand_on(&mut self) -> Result<(), ContentError> {
        let batch = Arc::new(std::mem::take(&mut self.waiting));
        self.length += self.waiting_length as u64;
        self.waiting_length = 0;
        self.writing.push(batch.clone()).await.map_err(|error| self.failed(error))?;
        self.hashing.push(batch).await.map_err(|error| self.failed(error))
    }

    /// Waits until all is written and hashed, and takes the hash.
    async fn finish(&mut self) -> Result<Hasher, ContentError> {
        self.flush().await?;
        let hashing = self.hashing.finish().await.map_err(|error| self.failed(error))?;
        Ok(hashing.0)
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
            let hashed = inner.disk.open_to_read(&path).and_then(|file| Inner::hash(&*file, length, algorithm));
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
        // What is in the file is not what was hashed if a write failed: nothing can come of it any more.
        self.writing.settle().await.map_err(|error| self.failed(error))?;
        self.hashing.settle().await.map_err(|error| self.failed(error))?;
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
            let path = syncing.layout.stage(&synced);
            // What a request wrote and did not live to write down is not part of the blob.
            let cut = file.length().and_then(|there| if there > length { file.set_length(length) } else { Ok(()) });
            cut.map_err(|error| ContentError::io(format!("cut {}", shown(&path)), error))?;
            if let Err(error) = file.sync() {
                // The system forgets what it could not write: a second time it would say that all is well.
                let _ = syncing.disk.remove(&path);
                return Err(ContentError::io(format!("make {} durable", shown(&path)), error));
            }
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

    async fn cut(self: Box<Self>, length: u64) {
        self.writing.stop().await;
        let file = self.file.clone();
        // Bytes that stay do not count; they are cut off when the blob is committed.
        let _ = blocking(move || file.set_length(length)).await;
    }

    async fn abort(self: Box<Self>) {
        self.writing.stop().await;
        let (inner, stage) = (self.inner.clone(), self.stage.clone());
        // A stage that stays is cleared away when the directory is opened next.
        let _ = blocking(move || inner.disk.remove(&inner.layout.stage(&stage))).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what the disk was told to begin with.
    #[derive(Debug, Default)]
    struct Listening {
        begun: Mutex<Vec<(u64, u64)>>,
    }

    impl DiskFile for Listening {
        fn try_lock(&self) -> io::Result<bool> {
            Ok(true)
        }
        fn write_at(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
            Ok(())
        }
        fn read_at(&self, _offset: u64, _length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
            buffer.clear();
            Ok(())
        }
        fn set_length(&self, _length: u64) -> io::Result<()> {
            Ok(())
        }
        fn length(&self) -> io::Result<u64> {
            Ok(0)
        }
        fn begin_sync(&self, offset: u64, length: u64) {
            self.begun.lock().unwrap().push((offset, length));
        }
        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_disk_begins_to_write_while_more_bytes_come() {
        let file = Arc::new(Listening::default());
        // A session that goes on where it was.
        let mut writing = Writing { file: file.clone(), at: 7, begun: 7 };
        for _ in 0..5 {
            writing.take(&[Bytes::from(vec![0; 3 << 20]), Bytes::from(vec![0; 1 << 20])]).unwrap();
        }
        assert_eq!(*file.begun.lock().unwrap(), [(7, AHEAD), (7 + AHEAD, AHEAD)]);
    }
}
