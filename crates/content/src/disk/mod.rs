//! [`BlobStore`] on files.
//!
//! ```text
//!   uploads/<stage>  ──bytes──▶ fdatasync ──▶ rename ──▶ blobs/sha256/ab/ab12…
//!     ▲ name durable: many at once, ahead of need          │ name durable some time later
//!     └────────────── the row remembers the stage ◀────────┘ until then
//! ```
//!
//! A directory's fsync per blob is what this saves. Stages are made in advance, many with one fsync of `uploads`, so a
//! stage's name is durable before its bytes are. After the rename the bytes are found under their digest; should a
//! power cut undo the rename, the stage's name is back, and the row remembers it.
//!
//! Removal takes a name away that another process may be giving at the same moment, so both take a lock of
//! `locks/<2 hex>` first ([`Claim`]).

mod file_system;
mod layout;
mod pipe;
mod reading;
mod stages;
mod upkeep;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use image::{Algorithm, Digest, Hasher};

pub use self::file_system::{Disk, DiskEntry, DiskFile, RealDisk};
pub(crate) use self::layout::Layout;
pub use self::reading::BlobFile;
use self::stages::Stages;
use self::writer::DiskWriter;
use crate::blob_store::{BlobBytes, BlobStore, BlobWriter, Claim, Placed, Placement, Resumed, Space};
use crate::metadata_store::{BlobContent, BlobRecord};
use crate::{ContentError, StageId};

/// Bytes per read of a large blob: large enough that the hop to another thread does not count.
const READ_SIZE: usize = 256 << 10;
/// A stage younger than this may be one that its maker has not locked yet.
const NEWBORN: Duration = Duration::from_secs(60);
/// Hashes of sessions between two requests that are remembered; a session beyond is hashed again from its bytes.
const HASHES_KEPT: usize = 256;

/// Blobs as files in a data directory.
#[derive(Clone, Debug)]
pub struct DiskBlobStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    disk: Arc<dyn Disk>,
    stages: Stages,
    /// What was hashed of stages that were released: a saving, not a truth. The offset tells whether it still holds.
    hashes: Mutex<HashMap<StageId, (Algorithm, Hasher)>>,
}

/// Runs work that waits for the disk, off the reactor.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ContentError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ContentError::io("wait for the disk", io::Error::other(error)))
}

fn shown(path: &Path) -> String {
    format!("`{}`", path.display())
}

impl DiskBlobStore {
    /// Blobs in `directory`, over the file system of this machine.
    pub fn open(directory: &Path) -> Result<Self, ContentError> {
        Self::over(directory, Arc::new(RealDisk::default()))
    }

    /// Blobs in `directory`, over a file system of one's own.
    pub fn over(directory: &Path, disk: Arc<dyn Disk>) -> Result<Self, ContentError> {
        let layout = Layout::new(directory);
        let mut new = false;
        for path in
            [layout.locks(), layout.uploads(), layout.algorithm(Algorithm::Sha256), layout.algorithm(Algorithm::Sha512)]
        {
            new |= disk
                .create_directory(&path)
                .map_err(|error| ContentError::io(format!("make the directory {}", shown(&path)), error))?;
        }
        if new {
            // What a stage's durable name stands in must be durable too.
            disk.sync_directory(directory)
                .map_err(|error| ContentError::io(format!("make names in {} durable", shown(directory)), error))?;
        }
        let stages = Stages::new(layout.clone(), disk.clone());
        Ok(Self { inner: Arc::new(Inner { layout, disk, stages, hashes: Mutex::default() }) })
    }
}

impl Inner {
    /// Opens a blob under its final name, or under the stage's if a power cut undid the rename.
    fn open_blob(&self, blob: &BlobRecord) -> Result<Box<dyn DiskFile>, ContentError> {
        let path = self.layout.blob(&blob.digest);
        let failed = |error| ContentError::io(format!("open {}", shown(&path)), error);
        match self.disk.open_to_read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(failed),
        }
        if let Some(stage) = staged(blob) {
            match self.disk.open_to_read(&self.layout.stage(&stage)) {
                Ok(file) => {
                    tracing::info!(digest = %blob.digest, "gave a blob its name again that a power cut had undone");
                    self.name(&stage, &blob.digest)?;
                    return Ok(file);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
            // Another process may have given it its name between the two looks.
            match self.disk.open_to_read(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map_err(failed),
            }
        }
        Err(ContentError::BlobLost { digest: blob.digest.clone(), reason: format!("no file {}", shown(&path)) })
    }

    /// Gives the bytes of a stage their final name.
    fn name(&self, stage: &StageId, digest: &Digest) -> Result<(), ContentError> {
        let (from, to) = (self.layout.stage(stage), self.layout.blob(digest));
        let renamed = self.disk.rename(&from, &to).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            // The first blob of its shard.
            self.disk.create_directory(&self.layout.shard(digest))?;
            self.disk.rename(&from, &to)
        });
        renamed.map_err(|error| ContentError::io(format!("rename {} to {}", shown(&from), shown(&to)), error))
    }

    /// Gives the bytes of a stage their final name, unless a removal is at work there.
    fn place(&self, stage: &StageId, digest: &Digest, size: u64) -> Result<Option<Placed>, ContentError> {
        let Some(claim) = self.claim(digest, false)? else { return Ok(None) };
        self.name(stage, digest)?;
        Ok(Some(Placed { size, placement: Placement(Some(stage.as_str().into())), claim }))
    }

    /// Takes the claim on a digest: alone in order to remove, shared in order to place.
    fn claim(&self, digest: &Digest, alone: bool) -> Result<Option<Claim>, ContentError> {
        let path = self.layout.lock(digest);
        let held =
            self.disk.lock(&path, alone).map_err(|error| ContentError::io(format!("lock {}", shown(&path)), error))?;
        Ok(held.map(Claim::holding))
    }

    fn remove(&self, path: &Path) -> Result<(), ContentError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ContentError::io(format!("remove {}", shown(path)), error))
            }
            _ => Ok(()),
        }
    }

    fn settle(&self, blobs: &[BlobRecord]) -> Result<(), ContentError> {
        let mut directories: BTreeSet<PathBuf> = BTreeSet::new();
        for blob in blobs {
            // Opening it also undoes what a power cut did.
            match self.open_blob(blob) {
                Ok(_) => {}
                Err(ContentError::BlobLost { digest, reason }) => {
                    tracing::error!(%digest, reason, "a blob is lost");
                    continue;
                }
                Err(error) => return Err(error),
            }
            directories.insert(self.layout.shard(&blob.digest));
            directories.insert(self.layout.algorithm(blob.digest.algorithm()));
        }
        if !blobs.is_empty() {
            directories.insert(self.layout.blobs());
        }
        for directory in directories {
            self.disk
                .sync_directory(&directory)
                .map_err(|error| ContentError::io(format!("make names in {} durable", shown(&directory)), error))?;
        }
        Ok(())
    }

    fn idle_stages(&self, age: Duration) -> Result<Vec<StageId>, ContentError> {
        let uploads = self.layout.uploads();
        let entries =
            self.disk.list(&uploads).map_err(|error| ContentError::io(format!("list {}", shown(&uploads)), error))?;
        let now = SystemTime::now();
        let mut idle = Vec::new();
        for entry in entries {
            // An empty one was made ahead of need; whoever needs it has it locked soon after.
            let age = if entry.length == 0 { age.min(NEWBORN) } else { age };
            let old = now.duration_since(entry.modified).is_ok_and(|passed| passed > age);
            if !old || !layout::is_stage_name(&entry.name) {
                continue;
            }
            let stage = StageId::new(entry.name);
            match self.disk.open_to_write(&self.layout.stage(&stage)) {
                Ok(file) => {
                    if file.try_lock().unwrap_or(false) {
                        idle.push(stage);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(ContentError::io(format!("open {}", shown(&uploads)), error)),
            }
        }
        Ok(idle)
    }

    fn kept_hash(&self, stage: &StageId, offset: u64, algorithm: Algorithm) -> Option<Hasher> {
        let (hashed_as, hasher) = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).remove(stage)?;
        (hasher.length() == offset && hashed_as == algorithm).then_some(hasher)
    }

    fn keep_hash(&self, stage: StageId, algorithm: Algorithm, hasher: Hasher) {
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.len() >= HASHES_KEPT {
            // Any will do: it is only a saving.
            if let Some(victim) = hashes.keys().next().cloned() {
                hashes.remove(&victim);
            }
        }
        hashes.insert(stage, (algorithm, hasher));
    }

    /// Hashes the first `length` bytes of a file.
    fn hash(file: &dyn DiskFile, length: u64, algorithm: Algorithm) -> io::Result<Hasher> {
        let mut hasher = Hasher::new(algorithm);
        let mut bytes = Vec::new();
        while hasher.length() < length {
            let want = (length - hasher.length()).min(READ_SIZE as u64) as usize;
            file.read_at(hasher.length(), want, &mut bytes)?;
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(&bytes);
        }
        Ok(hasher)
    }
}

/// The stage that a blob's row remembers.
fn staged(blob: &BlobRecord) -> Option<StageId> {
    match &blob.content {
        BlobContent::Stored(placement) => {
            placement.0.as_deref().filter(|name| layout::is_stage_name(name)).map(StageId::new)
        }
        BlobContent::Inline(_) => None,
    }
}

#[async_trait]
impl BlobStore for DiskBlobStore {
    async fn stage(&self, algorithm: Algorithm) -> Result<Box<dyn BlobWriter>, ContentError> {
        let inner = self.inner.clone();
        let (stage, file) = blocking(move || inner.stages.take()).await??;
        Ok(Box::new(DiskWriter::new(self.inner.clone(), stage, file, algorithm, Hasher::new(algorithm))))
    }

    async fn resume(&self, stage: &StageId, offset: u64, algorithm: Algorithm) -> Result<Resumed, ContentError> {
        let (inner, stage) = (self.inner.clone(), stage.clone());
        blocking(move || {
            let path = inner.layout.stage(&stage);
            let failed = |error| ContentError::io(format!("go on with the upload in {}", shown(&path)), error);
            let file = match inner.disk.open_to_write(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Resumed::Gone),
                other => other.map_err(failed)?,
            };
            if !file.try_lock().map_err(failed)? {
                return Ok(Resumed::Busy);
            }
            // What is past the offset stays for now: whoever asks may be behind the times.
            if file.length().map_err(failed)? < offset {
                return Ok(Resumed::Gone);
            }
            let hasher = match inner.kept_hash(&stage, offset, algorithm) {
                Some(hasher) => hasher,
                None => Inner::hash(&*file, offset, algorithm).map_err(failed)?,
            };
            Ok(Resumed::Open(Box::new(DiskWriter::new(inner, stage, file, algorithm, hasher))))
        })
        .await?
    }

    async fn discard(&self, stage: &StageId) -> Result<(), ContentError> {
        let (inner, stage) = (self.inner.clone(), stage.clone());
        blocking(move || {
            inner.hashes.lock().unwrap_or_else(PoisonError::into_inner).remove(&stage);
            inner.remove(&inner.layout.stage(&stage))
        })
        .await?
    }

    fn abandon(&self, stage: &StageId) {
        // One that stays is cleared away when the directory is opened next.
        let _ = self.inner.disk.remove(&self.inner.layout.stage(stage));
    }

    async fn read(&self, blob: &BlobRecord, range: Range<u64>) -> Result<BlobBytes, ContentError> {
        let (inner, blob) = (self.inner.clone(), blob.clone());
        blocking(move || {
            let small = range.end - range.start <= READ_SIZE as u64;
            let file = BlobFile::new(inner.open_blob(&blob)?, blob.digest, range);
            // Few bytes come with the opening: they cost one hop.
            Ok(if small { BlobBytes::Memory(file.next()?.0) } else { BlobBytes::File(file) })
        })
        .await?
    }

    async fn claim(&self, digest: &Digest) -> Result<Option<Claim>, ContentError> {
        let (inner, digest) = (self.inner.clone(), digest.clone());
        blocking(move || inner.claim(&digest, true)).await?
    }

    async fn remove(&self, blob: &BlobRecord, claim: Claim) -> Result<(), ContentError> {
        let (inner, blob) = (self.inner.clone(), blob.clone());
        blocking(move || {
            let removed = inner.remove(&inner.layout.blob(&blob.digest)).and_then(|()| match staged(&blob) {
                Some(stage) => inner.remove(&inner.layout.stage(&stage)),
                None => Ok(()),
            });
            drop(claim);
            removed
        })
        .await?
    }

    async fn digest(&self, blob: &BlobRecord) -> Result<(Digest, u64), ContentError> {
        let (inner, blob) = (self.inner.clone(), blob.clone());
        blocking(move || {
            let file = inner.open_blob(&blob)?;
            let failed = |error| ContentError::io(format!("read blob `{}`", blob.digest), error);
            let length = file.length().map_err(failed)?;
            let hasher = Inner::hash(&*file, length, blob.digest.algorithm()).map_err(failed)?;
            Ok((hasher.finish(), length))
        })
        .await?
    }

    async fn settle(&self, blobs: &[BlobRecord]) -> Result<(), ContentError> {
        let (inner, blobs) = (self.inner.clone(), blobs.to_vec());
        blocking(move || inner.settle(&blobs)).await?
    }

    async fn space(&self) -> Result<Option<Space>, ContentError> {
        let inner = self.inner.clone();
        blocking(move || {
            let path = inner.layout.uploads();
            inner
                .disk
                .space(&path)
                .map_err(|error| ContentError::io(format!("ask how much room {} has", shown(&path)), error))
        })
        .await?
    }

    async fn idle_stages(&self, age: Duration) -> Result<Vec<StageId>, ContentError> {
        let inner = self.inner.clone();
        blocking(move || inner.idle_stages(age)).await?
    }
}
