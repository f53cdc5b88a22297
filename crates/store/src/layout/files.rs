//! Files of a layout: found without following links, written so that a crash leaves the old or the new.
//!
//! Below the layout's directory every step is taken from an open directory and links are refused, so that no layout,
//! however it was unpacked, leads out of itself. The directory itself may be a link: its user named it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::{Algorithm, Digest};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::LayoutError;

/// Held while `index.json` is changed. It stays: to remove it would race with whoever opens it next.
const LOCK: &str = ".polyarch.lock";
/// What has not got its name yet.
const STAGED: &str = ".polyarch-";
/// So old must a staged file be to be swept away as left behind by a crash.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK`: to open a pipe for reading would wait for a writer.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// The directory of a layout.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

/// A file that has not got its name yet. Dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Staged(tempfile::NamedTempFile);

/// The right to change `index.json`.
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

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    /// The open directory of an algorithm's blobs, made if `create`.
    fn blobs(&self, algorithm: Algorithm, create: bool) -> Result<Option<OwnedFd>, LayoutError> {
        let root = match rustix::fs::open(&self.root, DIRECTORY, Mode::empty()) {
            Ok(root) => root,
            Err(Errno::NOENT) if !create => return Ok(None),
            Err(error) => return Err(LayoutError::io(&self.root)(error.into())),
        };
        let mut at = root;
        let mut path = self.root.clone();
        for name in ["blobs", algorithm.as_str()] {
            path.push(name);
            if create {
                match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                    Ok(()) => rustix::fs::fsync(&at).map_err(|error| LayoutError::io(&path)(error.into()))?,
                    Err(Errno::EXIST) => {}
                    Err(error) => return Err(LayoutError::io(&path)(error.into())),
                }
            }
            at = match rustix::fs::openat(&at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(directory) => directory,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(refused(&path, error, "directory")),
            };
        }
        Ok(Some(at))
    }

    /// Opens a blob; with its size. `None`: it is not there.
    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<Option<(File, u64)>, LayoutError> {
        let Some(directory) = self.blobs(digest.algorithm(), false)? else { return Ok(None) };
        let path = self.blob_path(digest);
        match rustix::fs::openat(&directory, digest.hex(), FILE, Mode::empty()) {
            Ok(file) => regular(file.into(), path).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(refused(&path, error, "file")),
        }
    }

    /// The size of a blob. `None`: it is not there.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, LayoutError> {
        let Some(directory) = self.blobs(digest.algorithm(), false)? else { return Ok(None) };
        let path = self.blob_path(digest);
        match rustix::fs::statat(&directory, digest.hex(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Ok(Some(u64::try_from(stat.st_size).unwrap_or_default())),
                FileType::Symlink => Err(LayoutError::Link(path)),
                _ => Err(LayoutError::NotA { path, expected: "file" }),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(LayoutError::io(path)(error.into())),
        }
    }

    /// Removes a blob. It is no error if it is not there.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<(), LayoutError> {
        let Some(directory) = self.blobs(digest.algorithm(), false)? else { return Ok(()) };
        match rustix::fs::unlinkat(&directory, digest.hex(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(LayoutError::io(self.blob_path(digest))(error.into())),
        }
    }

    /// A new file in the layout's directory, which is on the same file system as where it will go.
    pub(crate) fn stage(&self) -> Result<Staged, LayoutError> {
        use std::os::unix::fs::PermissionsExt;
        let staged = tempfile::Builder::new()
            .prefix(STAGED)
            // As any new file: less what the umask takes.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(&self.root);
        staged.map(Staged).map_err(LayoutError::io(&self.root))
    }

    /// Makes a staged file durable and gives it the name of a blob.
    pub(crate) fn place_blob(&self, staged: Staged, digest: &Digest) -> Result<(), LayoutError> {
        let path = self.blob_path(digest);
        staged.0.as_file().sync_all().map_err(LayoutError::io(&path))?;
        let directory =
            self.blobs(digest.algorithm(), true)?.ok_or_else(|| LayoutError::NoLayout(self.root.clone()))?;
        let renamed = rustix::fs::renameat(CWD, staged.0.path(), &directory, digest.hex());
        renamed.map_err(|error| LayoutError::io(&path)(error.into()))?;
        // It has another name now: nothing is left to remove.
        let _ = staged.0.into_temp_path().keep();
        Ok(())
    }

    /// Makes the names of all blobs durable.
    pub(crate) fn sync_names(&self) -> Result<(), LayoutError> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let Some(directory) = self.blobs(algorithm, false)? else { continue };
            rustix::fs::fsync(&directory).map_err(|error| LayoutError::io(self.root.join("blobs"))(error.into()))?;
        }
        Ok(())
    }

    /// Reads `oci-layout` or `index.json`. `None`: it is not there.
    pub(crate) fn read(&self, name: &'static str, limit: u64) -> Result<Option<Vec<u8>>, LayoutError> {
        let path = self.root.join(name);
        let file = match rustix::fs::open(&path, FILE, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(refused(&path, error, "file")),
        };
        let (file, size) = regular(file, path.clone())?;
        if size > limit {
            return Err(LayoutError::Damaged { file: name, reason: format!("it has {size} bytes, more than {limit}") });
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(LayoutError::io(path))?;
        Ok(Some(bytes))
    }

    /// Replaces `oci-layout` or `index.json`: durable when it returns.
    pub(crate) fn replace(&self, name: &'static str, bytes: &[u8]) -> Result<(), LayoutError> {
        let path = self.root.join(name);
        let mut staged = self.stage()?;
        staged.write(bytes).map_err(LayoutError::io(&path))?;
        staged.0.as_file().sync_all().map_err(LayoutError::io(&path))?;
        staged.0.persist(&path).map_err(|error| LayoutError::io(&path)(error.error))?;
        self.sync_root()
    }

    fn sync_root(&self) -> Result<(), LayoutError> {
        let synced = rustix::fs::open(&self.root, DIRECTORY, Mode::empty()).and_then(rustix::fs::fsync);
        synced.map_err(|error| LayoutError::io(&self.root)(error.into()))
    }

    /// Makes the directory, if it is not there.
    pub(crate) fn create(&self) -> Result<(), LayoutError> {
        fs::create_dir_all(&self.root).map_err(LayoutError::io(&self.root))
    }

    /// Whether the directory has nothing but what this module puts there.
    pub(crate) fn is_empty(&self) -> Result<bool, LayoutError> {
        for entry in self.entries()? {
            let name = entry.file_name();
            if !name.to_string_lossy().starts_with(".polyarch") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entries(&self) -> Result<Vec<fs::DirEntry>, LayoutError> {
        let listed = fs::read_dir(&self.root).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        listed.map_err(LayoutError::io(&self.root))
    }

    /// Waits for the lock, and sweeps away what crashes left behind.
    pub(crate) fn lock(&self) -> Result<Lock, LayoutError> {
        let path = self.root.join(LOCK);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: File = match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => file.into(),
            Err(error) => return Err(refused(&path, error, "file")),
        };
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

fn regular(file: File, path: PathBuf) -> Result<(File, u64), LayoutError> {
    let metadata = file.metadata().map_err(LayoutError::io(&path))?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(LayoutError::NotA { path, expected: "file" }) }
}

/// What an open that does not follow links says of a link differs between systems.
fn refused(path: &Path, error: Errno, expected: &'static str) -> LayoutError {
    let is_link = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match error {
        _ if is_link => LayoutError::Link(path.to_owned()),
        Errno::NOTDIR | Errno::ISDIR => LayoutError::NotA { path: path.to_owned(), expected },
        other => LayoutError::io(path)(other.into()),
    }
}
