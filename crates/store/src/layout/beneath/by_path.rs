//! Steps by path, with a look before each.

use std::fs::{self, File, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{is_link, regular};
use crate::layout::error::LayoutError;

/// Nothing: a staged file inherits what the directory says.
pub(crate) fn permissions(_: &mut tempfile::Builder<'_, '_>) {}

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
}

/// What is at a path, if it is no link. `None`: nothing.
fn look(path: &Path) -> Result<Option<Metadata>, LayoutError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => Err(LayoutError::Link(path.to_owned())),
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(LayoutError::io(path)(error)),
    }
}

impl Directory {
    /// The first one, which may be a link. `None`: it is not there.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>, LayoutError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Self { path: path.to_owned() })),
            Ok(_) => Err(LayoutError::NotA { path: path.to_owned(), expected: "directory" }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LayoutError::io(path)(error)),
        }
    }

    /// A directory in it, made if `create`. `None`: it is not there.
    pub(crate) fn enter(&self, name: &str, create: bool) -> Result<Option<Self>, LayoutError> {
        let path = self.path.join(name);
        match look(&path)? {
            Some(metadata) if metadata.is_dir() => Ok(Some(Self { path })),
            Some(_) => Err(LayoutError::NotA { path, expected: "directory" }),
            None if create => match fs::create_dir(&path) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(LayoutError::io(path)(error)),
                _ => self.enter(name, false),
            },
            None => Ok(None),
        }
    }

    /// Opens a file in it for reading; with its size. `None`: it is not there.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<(File, u64)>, LayoutError> {
        let path = self.path.join(name);
        match self.size(name)? {
            Some(_) => regular(File::open(&path).map_err(LayoutError::io(&path))?, path).map(Some),
            None => Ok(None),
        }
    }

    /// The size of a file in it. `None`: it is not there.
    pub(crate) fn size(&self, name: &str) -> Result<Option<u64>, LayoutError> {
        let path = self.path.join(name);
        match look(&path)? {
            Some(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Some(_) => Err(LayoutError::NotA { path, expected: "file" }),
            None => Ok(None),
        }
    }

    /// Gives a file from elsewhere a name in it, in the place of what had it.
    pub(crate) fn take_in(&self, file: &Path, name: &str) -> Result<(), LayoutError> {
        let path = self.path.join(name);
        fs::rename(file, &path).map_err(LayoutError::io(path))
    }

    /// Removes a file from it. It is no error if it is not there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), LayoutError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(LayoutError::io(path)(error)),
            _ => Ok(()),
        }
    }

    /// Directories cannot be synchronised everywhere; where they cannot, the file system orders names itself.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as where it can")]
    pub(crate) fn sync(&self) -> Result<(), LayoutError> {
        Ok(())
    }
}

/// Opens a file for writing, made if it is not there.
pub(crate) fn open_or_create(path: &Path) -> Result<File, LayoutError> {
    if is_link(path) {
        return Err(LayoutError::Link(path.to_owned()));
    }
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    opened.map_err(LayoutError::io(path))
}
