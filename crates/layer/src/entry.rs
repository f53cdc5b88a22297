//! One entry of a tar archive.

use std::collections::BTreeMap;

/// A file, directory or link as it stands in an archive. Names are bytes, as on Linux.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path in the archive, relative to its root: `usr/bin/app`. No slash at the end, not even of a directory.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Length of the content in bytes; zero for everything but files.
    pub size: u64,
    /// Permission bits with set-user-ID, set-group-ID and sticky: `0o7777` at most.
    pub mode: u32,
    /// Number of the user it belongs to.
    pub uid: u64,
    /// Number of the group it belongs to.
    pub gid: u64,
    /// Time of the last change of the content, in seconds since 1970.
    pub mtime: i64,
    /// Nanoseconds beyond `mtime`.
    pub mtime_nanos: u32,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// What it says, as it says it.
        target: Vec<u8>,
    },
    /// A further name of a file in the same archive or a layer below.
    Hardlink {
        /// Path of that file in the archive.
        target: Vec<u8>,
    },
    /// A character device.
    CharacterDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// Numbers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Major number: the driver.
    pub major: u32,
    /// Minor number: which of its devices.
    pub minor: u32,
}

impl Entry {
    /// An entry that belongs to root and was last changed in 1970: nothing of this machine is in it.
    pub fn new(path: impl Into<Vec<u8>>, kind: EntryKind) -> Self {
        let mode = match kind {
            EntryKind::Directory => 0o755,
            EntryKind::Symlink { .. } => 0o777,
            _ => 0o644,
        };
        Self {
            path: path.into(),
            kind,
            size: 0,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            mtime_nanos: 0,
            xattrs: BTreeMap::new(),
        }
    }

    /// A file of `size` bytes.
    pub fn file(path: impl Into<Vec<u8>>, size: u64) -> Self {
        Self { size, ..Self::new(path, EntryKind::File) }
    }

    /// A directory.
    pub fn directory(path: impl Into<Vec<u8>>) -> Self {
        Self::new(path, EntryKind::Directory)
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, EntryKind::Symlink { target: target.into() })
    }

    /// A further name for the file at `target`.
    pub fn hardlink(path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        Self::new(path, EntryKind::Hardlink { target: target.into() })
    }

    /// The same with these permission bits.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// The same with this time of last change, in seconds since 1970.
    #[must_use]
    pub fn with_mtime(self, mtime: i64) -> Self {
        Self { mtime, mtime_nanos: 0, ..self }
    }

    /// The same with this owner.
    #[must_use]
    pub fn with_owner(self, uid: u64, gid: u64) -> Self {
        Self { uid, gid, ..self }
    }
}
