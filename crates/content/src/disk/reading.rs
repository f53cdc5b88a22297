//! A blob's file on its way out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use image::Digest;

use super::file_system::DiskFile;
use super::{READ_SIZE, blocking};
use crate::ContentError;
use crate::blob_store::ByteStream;

/// Buffers that wait to be filled again: one is on its way out while the next is read.
const SPARE: usize = 2;

/// A part of a file that is being read: as a stream, or by whoever can have the kernel send it.
#[derive(Debug)]
pub struct BlobFile {
    file: Box<dyn DiskFile>,
    digest: Digest,
    range: Range<u64>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl BlobFile {
    pub(super) fn new(file: Box<dyn DiskFile>, digest: Digest, range: Range<u64>) -> Self {
        Self { file, digest, range, spare: Arc::default() }
    }

    /// The file itself, if the system has one for it.
    pub fn file(&self) -> Option<&File> {
        self.file.as_file()
    }

    /// What is still to be read.
    pub fn range(&self) -> &Range<u64> {
        &self.range
    }

    /// So many bytes were read, from [`BlobFile::file`]. With none, the file has ended too early.
    ///
    /// # Errors
    /// [`ContentError::BlobLost`].
    pub fn advance(&mut self, length: u64) -> Result<(), ContentError> {
        if length == 0 {
            return Err(self.ended());
        }
        self.range.start = self.range.end.min(self.range.start + length);
        Ok(())
    }

    fn ended(&self) -> ContentError {
        let reason = format!("the file ends before byte {}", self.range.end);
        ContentError::BlobLost { digest: self.digest.clone(), reason }
    }

    /// Reads up to `length` bytes and stays where it is: they are in memory afterwards, and are soon sent. Off the
    /// reactor, as it waits for the disk.
    pub async fn prefetch(self, length: u64) -> Result<Self, ContentError> {
        blocking(move || {
            let mut buffer = Vec::new();
            let end = self.range.end.min(self.range.start + length);
            let mut at = self.range.start;
            while at < end {
                let want = (end - at).min(READ_SIZE as u64);
                self.file.read_at(at, want as usize, &mut buffer).map_err(|error| self.failed(error))?;
                at += want;
            }
            Ok(self)
        })
        .await?
    }

    fn failed(&self, error: io::Error) -> ContentError {
        ContentError::io(format!("read blob `{}`", self.digest), error)
    }

    /// The next bytes. Waits for the disk.
    pub(super) fn next(mut self) -> Result<(Bytes, Self), ContentError> {
        let want = (self.range.end - self.range.start).min(READ_SIZE as u64) as usize;
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = spare.unwrap_or_default();
        self.file.read_at(self.range.start, want, &mut buffer).map_err(|error| self.failed(error))?;
        if buffer.len() < want {
            return Err(self.ended());
        }
        self.range.start += want as u64;
        let lent = Lent { buffer, home: self.spare.clone() };
        Ok((Bytes::from_owner(lent), self))
    }

    /// The bytes as they come. The next ones are read while those before are on their way.
    pub fn into_stream(self) -> ByteStream {
        let first = Step::Waiting(self);
        Box::pin(stream::unfold(first, |step| async move {
            let read = match step {
                Step::Waiting(file) if file.range.is_empty() => return None,
                Step::Waiting(file) => blocking(move || file.next()).await,
                Step::Reading(task) => {
                    task.await.map_err(|error| ContentError::io("wait for the disk", io::Error::other(error)))
                }
                Step::End => return None,
            };
            match read.and_then(|read| read) {
                Ok((bytes, file)) if file.range.is_empty() => Some((Ok(bytes), Step::End)),
                Ok((bytes, file)) => Some((Ok(bytes), Step::Reading(tokio::task::spawn_blocking(move || file.next())))),
                Err(error) => Some((Err(error), Step::End)),
            }
        }))
    }
}

/// Where a stream of a file's bytes stands.
enum Step {
    Waiting(BlobFile),
    Reading(tokio::task::JoinHandle<Result<(Bytes, BlobFile), ContentError>>),
    End,
}

/// A buffer that goes back when it was sent. New ones would cost more than reading into them: the kernel clears each.
struct Lent {
    buffer: Vec<u8>,
    home: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut spare = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}
