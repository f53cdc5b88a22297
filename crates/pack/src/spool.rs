//! Blobs that are in no store yet: configs in memory, layers in files without a name.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use image::{Descriptor, Digest, Document, RepositoryName, Tag, Target};
use store::{BlobOrigin, BlobPlacement, BlobReader, ImageStore, Medium, PutReport, StoreError, StoreErrorKind};

/// Bytes that are read at a time.
const CHUNK: u64 = 256 << 10;

/// A store that only gives: what was packed, on its way to a real one.
pub(crate) struct Spool {
    blobs: Mutex<HashMap<Digest, Content>>,
}

#[derive(Clone)]
enum Content {
    Memory(Bytes),
    /// An unlinked file: it goes when the last handle goes, even if the process is killed.
    File(Arc<File>),
}

impl Spool {
    pub(crate) fn new() -> Self {
        Self { blobs: Mutex::new(HashMap::new()) }
    }

    pub(crate) fn add_bytes(&self, digest: Digest, bytes: Bytes) {
        self.add(digest, Content::Memory(bytes));
    }

    pub(crate) fn add_file(&self, digest: Digest, file: File) {
        self.add(digest, Content::File(Arc::new(file)));
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }

    fn add(&self, digest: Digest, content: Content) {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, content);
    }

    fn refuse(what: &str) -> StoreError {
        StoreError::new(StoreErrorKind::Unsupported, format!("{what}: what is being packed can only be read"))
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Spool")
    }
}

#[async_trait]
impl ImageStore for Spool {
    /// No directory has an empty path, so nothing is ever mounted from here.
    fn medium(&self) -> Medium {
        Medium::Layout(std::path::PathBuf::new())
    }

    fn repository(&self) -> Option<&RepositoryName> {
        None
    }

    fn spell(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("(packed):{tag}"),
            Target::Digest(digest) => format!("(packed)@{digest}"),
        }
    }

    async fn resolve(&self, _: &Target) -> Result<Option<Descriptor>, StoreError> {
        Ok(None)
    }

    async fn document(&self, target: &Target) -> Result<Document, StoreError> {
        Err(StoreError::new(StoreErrorKind::NotFound, format!("read {}", self.spell(target))))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError> {
        let content = self.blobs.lock().unwrap_or_else(PoisonError::into_inner).get(&descriptor.digest).cloned();
        let action = format!("read packed blob {}", descriptor.digest);
        match content {
            None => Err(StoreError::new(StoreErrorKind::NotFound, action)),
            Some(Content::Memory(bytes)) => Ok(Box::pin(stream::iter([Ok(bytes)]))),
            Some(Content::File(file)) => Ok(read_file(file, descriptor.size, action)),
        }
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        Ok(self.has(&descriptor.digest))
    }

    async fn place_blob(&self, _: &Descriptor, _: &dyn BlobOrigin) -> Result<BlobPlacement, StoreError> {
        Err(Self::refuse("write a blob"))
    }

    async fn put_document(&self, _: &Document, _: Option<&Tag>) -> Result<PutReport, StoreError> {
        Err(Self::refuse("write a document"))
    }
}

/// Reads by position, so that one handle serves many readers.
fn read_file(file: Arc<File>, size: u64, action: String) -> BlobReader {
    Box::pin(stream::try_unfold(0, move |at| {
        let (file, action) = (Arc::clone(&file), action.clone());
        async move {
            if at == size {
                return Ok(None);
            }
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; CHUNK.min(size - at) as usize];
                read_exact_at(&file, &mut chunk, at).map(|()| chunk)
            });
            let chunk = match read.await {
                Ok(read) => read,
                Err(stopped) => Err(io::Error::other(stopped)),
            };
            let chunk = chunk.map_err(|error| StoreError::new(StoreErrorKind::Io, action).because(error))?;
            let next = at + chunk.len() as u64;
            Ok(Some((Bytes::from(chunk), next)))
        }
    }))
}

#[cfg(unix)]
fn read_exact_at(file: &File, chunk: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, chunk, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut chunk: &mut [u8], mut at: u64) -> io::Result<()> {
    while !chunk.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, chunk, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                chunk = &mut chunk[read..];
                at += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn one_file_serves_many_readers_in_chunks() {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(3 * CHUNK as usize + 17).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let spool = Spool::new();
        let descriptor = Descriptor::new("x", Digest::sha256(&bytes), bytes.len() as u64);
        spool.add_file(descriptor.digest.clone(), file);
        for _ in 0..2 {
            let mut reader = spool.blob(&descriptor).await.unwrap();
            let mut read = Vec::new();
            while let Some(chunk) = reader.next().await {
                let chunk = chunk.unwrap();
                assert!(chunk.len() as u64 <= CHUNK);
                read.extend_from_slice(&chunk);
            }
            assert_eq!(read, bytes);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_an_error() {
        let spool = Spool::new();
        let descriptor = Descriptor::new("x", Digest::sha256(b"abc"), 3);
        spool.add_file(descriptor.digest.clone(), tempfile::tempfile().unwrap());
        let error = spool.blob(&descriptor).await.unwrap().next().await.unwrap().unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Io);
    }
}
