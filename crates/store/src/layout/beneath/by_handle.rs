//! Steps from open directories.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{is_link, regular};
use crate::layout::error::LayoutError;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// `NONBLOCK`: to open a pipe for reading would wait for a writer.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// As any new file: less what the umask takes. A staged file would else be for its owner alone.
pub(crate) fn permissions(builder: &mut tempfile::Builder<'_, '_>) {
    builder.permissions(Permissions::from_mode(0o666));
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens the first one, which may be a link. `None`: it is not there.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, LayoutError> {
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { handle, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(refused(path, error, "directory")),
        }
    }

    /// Opens a directory in it, made if `create`. `None`: it is not there.
    pub(crate) fn enter(&self, name: &str, create: bool) -> Result<Option<Self>, LayoutError> {
        let path = self.path.join(name);
        if create {
            match rustix::fs::mkdirat(&self.handle, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => self.sync()?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(LayoutError::io(path)(error.into())),
            }
        }
        match rustix::fs::openat(&self.handle, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { handle, path })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(refused(&path, error, "directory")),
        }
    }

    /// Opens a file in it for reading; with its size. `None`: it is not there.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<(File, u64)>, LayoutError> {
        let path = self.path.join(name);
        match rustix::fs::openat(&self.handle, name, FILE, Mode::empty()) {
            Ok(file) => regular(file.into(), path).map(Some),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(refused(&path, error, "file")),
        }
    }

    /// The size of a file in it. `None`: it is not there.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>, LayoutError> {
        let path = self.path.join(name);
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Ok(Some(u64::try_from(stat.st_size).unwrap_or_default())),
                FileType::Symlink => Err(LayoutError::Link(path)),
                _ => Err(LayoutError::NotA { path, expected: "file" }),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(LayoutError::io(path)(error.into())),
        }
    }

    /// Gives a file from elsewhere a name in it, in the place of what had it.
    pub(crate) fn take_in(&self, file: &Path, name: &str) -> Result<(), LayoutError> {
        let moved = rustix::fs::renameat(CWD, file, &self.handle, name);
        moved.map_err(|error| LayoutError::io(self.path.join(name))(error.into()))
    }

    /// Removes a file from it. It is no error if it is not there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), LayoutError> {
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(LayoutError::io(self.path.join(name))(error.into())),
        }
    }

    /// Makes the names in it durable.
    pub(crate) fn sync(&self) -> Result<(), LayoutError> {
        rustix::fs::fsync(&self.handle).map_err(|error| LayoutError::io(&self.path)(error.into()))
    }
}

/// Opens a file for writing without following a link, made if it is not there.
pub(crate) fn open_or_create(path: &Path) -> Result<File, LayoutError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::from_raw_mode(0o666)) {
        Ok(file) => regular(file.into(), path.to_owned()).map(|(file, _)| file),
        Err(error) => Err(refused(path, error, "file")),
    }
}

/// What an open that does not follow links says of a link differs between systems.
fn refused(path: &Path, error: Errno, expected: &'static str) -> LayoutError {
    match error {
        _ if is_link(path) => LayoutError::Link(path.to_owned()),
        Errno::NOTDIR | Errno::ISDIR => LayoutError::NotA { path: path.to_owned(), expected },
        other => LayoutError::io(path)(other.into()),
    }
}
