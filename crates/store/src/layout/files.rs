//! Files of a layout: found without following links, written so that a crash leaves the old or the new.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::{Algorithm, Digest};

use super::beneath::{self, Directory};
use super::error::LayoutError;

/// Held while `index.json` is changed. It stays: to remove it would race with whoever opens it next.
const LOCK: &str = ".polyarch.lock";
/// What has not got its name yet.
const STAGED: &str = ".polyarch-";
/// So old must a staged file be to be swept away as left behind by a crash.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

/// The directory of a layout. It may be a link, its user named it; nothing below it may.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

/// A file that has not got its name yet. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Staged(tempfile::NamedTempFile);

/// The right to change `index.json`. It ends when this is dropped, and with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Files {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of an algorithm's blobs, made if `create`.
    fn blobs(&self, algorithm: Algorithm, create: bool) -> Result<Option<Directory>, LayoutError> {
        let Some(root) = Directory::open(&self.root)? else { return Ok(None) };
        let Some(blobs) = root.enter("blobs", create)? else { return Ok(None) };
        blobs.enter(algorithm.as_str(), create)
    }

    /// Opens a blob; with its size. `None`: it is not there.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, LayoutError> {
        let Some(directory) = self.blobs(digest.algorithm(), false)? else { return Ok(None) };
        directory.open_file(digest.hex())
    }

    /// The size of a blob. `None`: it is not there.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, LayoutError> {
        let Some(directory) = self.blobs(digest.algorithm(), false)? else { return Ok(None) };
        directory.size(digest.hex())
    }

    /// Removes a blob. It is no error if it is not there.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<(), LayoutError> {
        let Some(directory) = self.blobs(digest.algorithm(), false)? else { return Ok(()) };
        directory.remove(digest.hex())
    }

    /// A new file in the layout's directory, which is on the same file system as where it will go.
    pub(crate) fn stage(&self) -> Result<Staged, LayoutError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(STAGED);
        beneath::permissions(&mut builder);
        builder.tempfile_in(&self.root).map(Staged).map_err(LayoutError::io(&self.root))
    }

    /// Makes a staged file durable and gives it the name of a blob.
    pub(crate) fn place_blob(&self, staged: Staged, digest: &Digest) -> Result<(), LayoutError> {
        staged.0.as_file().sync_all().map_err(LayoutError::io(staged.0.path()))?;
        let directory = self.blobs(digest.algorithm(), true)?;
        let directory = directory.ok_or_else(|| LayoutError::NoLayout(self.root.clone()))?;
        let path = staged.0.into_temp_path();
        directory.take_in(&path, digest.hex())?;
        // It has another name now: there is nothing left to remove.
        let _ = path.keep();
        Ok(())
    }

    /// Makes the names of all blobs durable.
    pub(crate) fn sync_names(&self) -> Result<(), LayoutError> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if let Some(directory) = self.blobs(algorithm, false)? {
                directory.sync()?;
            }
        }
        Ok(())
    }

    /// Reads `oci-layout` or `index.json`. `None`: it is not there.
    pub(crate) fn read(&self, name: &'static str, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let Some(root) = Directory::open(&self.root)? else { return Ok(None) };
        let Some((file, size)) = root.open_file(name)? else { return Ok(None) };
        if size > limit {
            return Err(LayoutError::Damaged { file: name, reason: format!("it has {size} bytes, more than {limit}") });
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(LayoutError::io(self.root.join(name)))?;
        Ok(Some(bytes))
    }

    /// Replaces `oci-layout` or `index.json`: durable when it returns.
    pub(crate) fn replace(&self, name: &'static str, bytes: &[u8]) -> Result<(), LayoutError> {
        let path = self.root.join(name);
        let mut staged = self.stage()?;
        staged.write(bytes).map_err(LayoutError::io(&path))?;
        staged.0.as_file().sync_all().map_err(LayoutError::io(&path))?;
        staged.0.persist(&path).map_err(|error| LayoutError::io(&path)(error.error))?;
        match Directory::open(&self.root)? {
            Some(root) => root.sync(),
            None => Err(LayoutError::NoLayout(self.root.clone())),
        }
    }

    /// Makes the directory, if it is not there.
    pub(crate) fn create(&self) -> Result<(), LayoutError> {
        fs::create_dir_all(&self.root).map_err(LayoutError::io(&self.root))
    }

    /// Whether the directory has nothing but what this module puts there.
    pub(crate) fn is_empty(&self) -> Result<bool, LayoutError> {
        let ours = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(".polyarch");
        Ok(self.entries()?.iter().all(ours))
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, LayoutError> {
        let listed = fs::read_dir(&self.root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        listed.map_err(LayoutError::io(&self.root))
    }

    /// Waits for the lock, and sweeps away what crashes left behind.
    pub(crate) fn lock(&self) -> Result<Lock, LayoutError> {
        let path = self.root.join(LOCK);
        let file = beneath::open_or_create(&path)?;
        file.lock().map_err(LayoutError::io(&path))?;
        self.sweep()?;
        Ok(Lock { _file: file })
    }

    fn sweep(&self) -> Result<(), LayoutError> {
        let Some(before) = SystemTime::now().checked_sub(LEFT_BEHIND) else { return Ok(()) };
        for entry in self.entries()? {
            let staged = entry.file_name().to_string_lossy().starts_with(STAGED);
            let old = || entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|time| time < before);
            if staged && old() {
                // Another process may sweep, too.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

impl Staged {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.as_file_mut().write_all(bytes)
    }
}
