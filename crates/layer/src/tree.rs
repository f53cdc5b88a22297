//! Walking and clearing a directory by open handles alone.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::path::components;
use crate::unpack::{Links, UnpackError};

/// Most symbolic links on the way to one place.
const LINKS: usize = 40;
/// Deepest directory that is cleared.
const DEPTH: usize = 512;

/// A directory that is the whole world.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    links: Links,
}

/// A directory in it, and how it is reached without links.
#[derive(Debug)]
pub(crate) struct Place {
    directory: OwnedFd,
    path: Vec<Vec<u8>>,
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Place {
    /// The path of something in it, from the root of the tree.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.join(&b'/');
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// One step into a directory, which must not be a link.
    pub(crate) fn step(&self, name: &[u8], path: &[u8]) -> Result<Self, UnpackError> {
        let opened = rustix::fs::openat(self, name, passing(), Mode::empty());
        let directory = opened.map_err(failed(path, "opening a directory"))?;
        Ok(Self { directory, path: self.path.iter().cloned().chain([name.to_owned()]).collect() })
    }

    /// What is there under a name; a link is a link.
    pub(crate) fn kind(&self, name: &[u8], path: &[u8]) -> Result<Option<FileType>, UnpackError> {
        match rustix::fs::statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed(path, "looking at what is there")(errno)),
        }
    }

    fn read_link(&self, name: &[u8], path: &[u8]) -> Result<Vec<u8>, UnpackError> {
        let target = rustix::fs::readlinkat(self, name, Vec::new()).map_err(failed(path, "reading a link"))?;
        Ok(target.into_bytes())
    }

    /// Removes what is there under a name, with everything in it. Nothing there is fine.
    pub(crate) fn remove(&self, name: &[u8], path: &[u8]) -> Result<(), UnpackError> {
        debug_assert!(components(name).is_ok_and(|names| names.len() == 1), "one name, and none that leads elsewhere");
        remove_in(self.as_fd(), name, path, DEPTH)
    }

    /// Removes everything in it that is not among `keep`, and in directories that are.
    pub(crate) fn clear(&self, path: &[u8], keep: &HashSet<Vec<u8>>) -> Result<(), UnpackError> {
        for name in names_in(self.as_fd(), path)? {
            if !keep.contains(&self.path_of(&name)) {
                self.remove(&name, path)?;
            } else if self.kind(&name, path)? == Some(FileType::Directory) {
                self.step(&name, path)?.clear(path, keep)?;
            }
        }
        Ok(())
    }
}

/// Flags for a directory that is passed through: no right to read it is needed.
fn passing() -> OFlags {
    OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn reading() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn failed(path: &[u8], what: &'static str) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| UnpackError::Io { path: path.to_owned(), what, source: errno.into() }
}

impl Tree {
    /// Opens the directory. That may itself be reached through links: the caller named it.
    pub(crate) fn open(directory: &Path, links: Links) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(directory, flags, Mode::empty())?, links })
    }

    fn root(&self, path: &[u8]) -> Result<Place, UnpackError> {
        let directory =
            rustix::io::fcntl_dupfd_cloexec(&self.root, 0).map_err(failed(path, "opening the directory"))?;
        Ok(Place { directory, path: Vec::new() })
    }

    /// Goes to the directory with these names. `None` if it is not there and is not to be made. `path` is for messages.
    pub(crate) fn enter(&self, names: &[&[u8]], path: &[u8], make: bool) -> Result<Option<Place>, UnpackError> {
        // The way from the root to here, to go back by, and the names that are still to be taken, the next one last.
        let mut way = vec![self.root(path)?];
        let mut ahead: Vec<Vec<u8>> = names.iter().rev().map(|&name| name.to_owned()).collect();
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            if name == b".." {
                // Only links lead upwards, and above the root there is the root.
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let Some(here) = way.last() else { return Ok(None) };
            match rustix::fs::openat(here, name.as_slice(), passing(), Mode::empty()) {
                Ok(directory) => {
                    let path = here.path.iter().cloned().chain([name]).collect();
                    way.push(Place { directory, path });
                }
                Err(Errno::NOENT) if make => {
                    let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
                    rustix::fs::mkdirat(here, name.as_slice(), mode).map_err(failed(path, "making the directory"))?;
                    ahead.push(name);
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let what = match here.kind(&name, path)? {
                        Some(FileType::Symlink) if self.links == Links::WithinRoot && links < LINKS => {
                            links += 1;
                            let target = here.read_link(&name, path)?;
                            if target.starts_with(b"/") {
                                way.truncate(1);
                            }
                            let steps = target.split(|&b| b == b'/').filter(|step| !step.is_empty() && *step != b".");
                            ahead.extend(steps.rev().map(<[u8]>::to_vec));
                            continue;
                        }
                        Some(FileType::Symlink) if links >= LINKS => "one link too many",
                        Some(FileType::Symlink) => "a symbolic link",
                        _ if !make => return Ok(None),
                        _ => "no directory",
                    };
                    return Err(UnpackError::Way { path: path.to_owned(), through: name, what });
                }
                Err(errno) => return Err(failed(path, "opening a directory on the way")(errno)),
            }
        }
        Ok(way.pop())
    }

    /// Opens a directory by names that go through no links, so that its mode can be set. `None` if it is none any more.
    pub(crate) fn reopen(&self, names: &[&[u8]], path: &[u8]) -> Result<Option<OwnedFd>, UnpackError> {
        let mut here = self.root(path)?.directory;
        for (index, name) in names.iter().enumerate() {
            let flags = if index + 1 == names.len() { reading() } else { passing() };
            here = match rustix::fs::openat(&here, *name, flags, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(errno) => return Err(failed(path, "opening the directory")(errno)),
            };
        }
        Ok(Some(here))
    }
}

fn remove_in(directory: BorrowedFd<'_>, name: &[u8], path: &[u8], depth: usize) -> Result<(), UnpackError> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(failed(path, "removing what was there")(errno)),
    }
    if depth == 0 {
        return Err(failed(path, "removing what was there, which is too deep")(Errno::NAMETOOLONG));
    }
    let inner = rustix::fs::openat(directory, name, passing(), Mode::empty())
        .map_err(failed(path, "removing what was there"))?;
    for name in names_in(inner.as_fd(), path)? {
        remove_in(inner.as_fd(), &name, path, depth - 1)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR).map_err(failed(path, "removing what was there"))
}

/// The names in a directory, all before any is removed.
fn names_in(directory: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<Vec<u8>>, UnpackError> {
    let read = || {
        let opened = rustix::fs::openat(directory, ".", reading(), Mode::empty())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(opened)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                names.push(name);
            }
        }
        Ok(names)
    };
    read().map_err(failed(path, "reading a directory"))
}
