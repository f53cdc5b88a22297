//! Layers onto a disk. Whatever an archive says, nothing outside of the directory is touched.
//!
//! Every step of every path is taken from an open directory, never following a link by the kernel's hand. So it does
//! not matter what the layer, a layer below or somebody else puts in the way meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::entry::{Device, Entry, EntryKind};
use crate::path::{PathError, Shown, components};
use crate::reader::{TarError, TarLimits, TarReader};
use crate::tree::{Place, Tree};

/// What to do with entries for which a user needs privileges, or which are a danger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SpecialFiles {
    /// The layer is refused.
    #[default]
    Refuse,
    /// They are left out, and counted.
    Skip,
    /// They are made.
    Create,
}

/// What to do where a path leads through a symbolic link, which a layer below may have put there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Links {
    /// The layer is refused.
    #[default]
    Refuse,
    /// The link is followed as if the directory were the root of a machine: it cannot lead out of it. Engines do so.
    WithinRoot,
}

/// How a layer is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// Bounds for the archive.
    pub limits: TarLimits,
    /// Devices and named pipes.
    pub special_files: SpecialFiles,
    /// Symbolic links on the way.
    pub links: Links,
    /// Sets owners as stated, which takes privileges. Without it everything belongs to whoever unpacks, nothing is
    /// set-user-ID, and its owner may enter and write every directory.
    pub owners: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpacked {
    /// Entries that were unpacked.
    pub entries: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Entries that took away something of the layers below.
    pub whiteouts: u64,
    /// Special files that were left out.
    pub skipped: u64,
}

/// Why a layer was not unpacked. What came before the entry in question is there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The archive is refused.
    #[error("{0}")]
    Archive(#[from] TarError),
    /// The path of an entry would lead out of the directory, or is none.
    #[error("the path `{}` is refused: {why}", Shown(path))]
    Path {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        why: PathError,
    },
    /// Something that is no directory stands in the way.
    #[error("the path `{}` is refused: it leads through `{}`, which is {what}", Shown(path), Shown(through))]
    Way {
        /// The path.
        path: Vec<u8>,
        /// The name in it.
        through: Vec<u8>,
        /// What that is.
        what: &'static str,
    },
    /// A kind of entry that was not to be unpacked.
    #[error("`{}` is {what}, which is not unpacked here", Shown(path))]
    Special {
        /// Which entry.
        path: Vec<u8>,
        /// What it is.
        what: &'static str,
    },
    /// A whiteout that names nothing.
    #[error("`{}` is a whiteout of nothing that could be taken away", Shown(path))]
    Whiteout {
        /// Which entry.
        path: Vec<u8>,
    },
    /// The system refused.
    #[error("unpacking `{}`: {what}: {source}", Shown(path))]
    Io {
        /// Which entry.
        path: Vec<u8>,
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Marks a name of which layers below are to show nothing (image-spec, `layer.md`, "Whiteouts").
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory of which layers below are to show nothing.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Unpacks the archive of a layer over what is in `directory`: the layers below it, or nothing.
///
/// Whiteouts are applied to what was there before. Directories on the way that are missing are made.
pub fn unpack(archive: impl Read, directory: &Path, options: &UnpackOptions) -> Result<Unpacked, UnpackError> {
    let tree = Tree::open(directory, options.links).map_err(|source| UnpackError::Io {
        path: directory.as_os_str().as_encoded_bytes().to_vec(),
        what: "opening the directory",
        source,
    })?;
    let mut tar = TarReader::with_limits(archive, options.limits);
    let mut job =
        Job { tree, options, touched: HashSet::new(), directories: BTreeMap::new(), done: Unpacked::default() };
    while let Some(entry) = tar.next_entry()? {
        job.entry(&entry, &mut tar)?;
    }
    job.finish()?;
    Ok(job.done)
}

struct Job<'a> {
    tree: Tree,
    options: &'a UnpackOptions,
    /// Everything that this layer put there or passed through: whiteouts leave it alone.
    touched: HashSet<Vec<u8>>,
    /// Modes and times of directories are set in the end, when nothing more is put into them.
    directories: BTreeMap<Vec<u8>, Entry>,
    done: Unpacked,
}

fn failed(path: &[u8], what: &'static str) -> impl FnOnce(Errno) -> UnpackError {
    move |errno| UnpackError::Io { path: path.to_owned(), what, source: errno.into() }
}

impl Job<'_> {
    fn entry(&mut self, entry: &Entry, tar: &mut TarReader<impl Read>) -> Result<(), UnpackError> {
        let refused = |why| UnpackError::Path { path: entry.path.clone(), why };
        let names = components(&entry.path).map_err(refused)?;
        let Some((&name, above)) = names.split_last() else {
            // The root of the archive is the directory, which belongs to the caller.
            return if entry.kind == EntryKind::Directory { Ok(()) } else { Err(refused(PathError::Empty)) };
        };
        if name == OPAQUE {
            self.done.whiteouts += 1;
            return self.clear(&entry.path, above);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            // Marks of a file system that is no more: they say nothing about files.
            if hidden.starts_with(WHITEOUT) {
                return Ok(());
            }
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(UnpackError::Whiteout { path: entry.path.clone() });
            }
            self.done.whiteouts += 1;
            return self.hide(&entry.path, above, hidden);
        }
        let place = self.tree.enter(above, &entry.path, true)?;
        let place = place.ok_or_else(|| UnpackError::Path { path: entry.path.clone(), why: PathError::Empty })?;
        if self.put(entry, &place, name, tar)? {
            self.touch(&place, name);
            self.done.entries += 1;
        } else {
            self.done.skipped += 1;
        }
        Ok(())
    }

    /// Puts the entry there. False if it was left out.
    fn put(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &[u8],
        tar: &mut TarReader<impl Read>,
    ) -> Result<bool, UnpackError> {
        let path = entry.path.as_slice();
        let fail = |what| failed(path, what);
        match &entry.kind {
            EntryKind::Directory => {
                if place.kind(name, path)? != Some(FileType::Directory) {
                    place.remove(name, path)?;
                    rustix::fs::mkdirat(place, name, Mode::RWXU).map_err(fail("making the directory"))?;
                }
                let at = place.path_of(name);
                self.directories.insert(at, entry.clone());
            }
            EntryKind::File => {
                place.remove(name, path)?;
                self.write_file(entry, place, name, tar)?;
            }
            EntryKind::Symlink { target } => {
                if target.is_empty() || target.contains(&0) {
                    let why = if target.is_empty() { PathError::Empty } else { PathError::Zero };
                    return Err(UnpackError::Path { path: target.clone(), why });
                }
                place.remove(name, path)?;
                rustix::fs::symlinkat(target.as_slice(), place, name).map_err(fail("making the link"))?;
                self.set_owner(entry, place, name)?;
                set_time(entry, place, name)?;
            }
            EntryKind::Hardlink { target } => self.link(entry, place, name, target)?,
            EntryKind::CharacterDevice(device) => {
                return self.special(entry, place, name, "a character device", FileType::CharacterDevice, *device);
            }
            EntryKind::BlockDevice(device) => {
                return self.special(entry, place, name, "a block device", FileType::BlockDevice, *device);
            }
            EntryKind::Fifo => {
                let device = Device { major: 0, minor: 0 };
                return self.special(entry, place, name, "a named pipe", FileType::Fifo, device);
            }
        }
        Ok(true)
    }

    fn write_file(
        &mut self,
        entry: &Entry,
        place: &Place,
        name: &[u8],
        tar: &mut TarReader<impl Read>,
    ) -> Result<(), UnpackError> {
        let fail = |what| failed(&entry.path, what);
        // It was just removed. If something is there all the same, it is not ours to write to.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(place, name, flags, Mode::RUSR | Mode::WUSR).map_err(fail("making the file"))?;
        let mut file = std::fs::File::from(file);
        self.done.bytes += copy(&mut tar.content(), &mut file, &entry.path)?;
        if self.options.owners {
            let (uid, gid) = owner(entry)?;
            rustix::fs::fchown(&file, uid, gid).map_err(fail("setting the owner"))?;
        }
        rustix::fs::fchmod(&file, self.mode(entry)).map_err(fail("setting the mode"))?;
        rustix::fs::futimens(&file, &times(entry)).map_err(fail("setting the time"))
    }

    fn link(&mut self, entry: &Entry, place: &Place, name: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        let refused = |why| UnpackError::Path { path: target.to_owned(), why };
        let names = components(target).map_err(refused)?;
        let (&last, above) = names.split_last().ok_or_else(|| refused(PathError::Empty))?;
        let missing = || failed(&entry.path, "linking to a file that is not there")(Errno::NOENT);
        let from = self.tree.enter(above, target, false)?.ok_or_else(missing)?;
        match from.kind(last, target)? {
            None => return Err(missing()),
            Some(FileType::Directory) => {
                return Err(UnpackError::Way {
                    path: entry.path.clone(),
                    through: last.to_owned(),
                    what: "a directory",
                });
            }
            Some(_) => {}
        }
        if from.path_of(last) == place.path_of(name) {
            return Ok(());
        }
        place.remove(name, &entry.path)?;
        rustix::fs::linkat(&from, last, place, name, AtFlags::empty()).map_err(failed(&entry.path, "linking"))
    }

    fn special(
        &self,
        entry: &Entry,
        place: &Place,
        name: &[u8],
        what: &'static str,
        kind: FileType,
        device: Device,
    ) -> Result<bool, UnpackError> {
        match self.options.special_files {
            SpecialFiles::Refuse => return Err(UnpackError::Special { path: entry.path.clone(), what }),
            SpecialFiles::Skip => return Ok(false),
            SpecialFiles::Create => {}
        }
        place.remove(name, &entry.path)?;
        let device = rustix::fs::makedev(device.major, device.minor);
        let mode = self.mode(entry);
        rustix::fs::mknodat(place, name, kind, mode, device).map_err(failed(&entry.path, "making the special file"))?;
        self.set_owner(entry, place, name)?;
        self.give_mode(entry, place, name)?;
        set_time(entry, place, name)?;
        Ok(true)
    }

    fn set_owner(&self, entry: &Entry, place: &Place, name: &[u8]) -> Result<(), UnpackError> {
        if !self.options.owners {
            return Ok(());
        }
        let (uid, gid) = owner(entry)?;
        rustix::fs::chownat(place, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed(&entry.path, "setting the owner"))
    }

    /// Sets the mode of a special file where making it left out what the umask has.
    fn give_mode(&self, entry: &Entry, place: &Place, name: &[u8]) -> Result<(), UnpackError> {
        let fail = |error| failed(&entry.path, "setting the mode")(error);
        // Nobody opens a device, nor waits for the other end of a pipe, in order to say so; and no link is followed.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(place, name, flags, Mode::empty()).map_err(fail)?;
        let mode = self.mode(entry);
        if Mode::from_raw_mode(rustix::fs::fstat(&made).map_err(fail)?.st_mode) == mode {
            return Ok(());
        }
        // The system changes modes through a file that was opened to be read, or through its name.
        rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode).map_err(fail)
    }

    fn mode(&self, entry: &Entry) -> Mode {
        Mode::from_raw_mode(entry.mode & if self.options.owners { 0o7777 } else { 0o1777 })
    }

    /// Remembers a path and everything above it as this layer's.
    fn touch(&mut self, place: &Place, name: &[u8]) {
        let mut path = place.path_of(name);
        while self.touched.insert(path.clone()) {
            match path.iter().rposition(|&b| b == b'/') {
                Some(slash) => path.truncate(slash),
                None => break,
            }
        }
    }

    /// Takes away what the layers below have under a name.
    fn hide(&mut self, path: &[u8], above: &[&[u8]], name: &[u8]) -> Result<(), UnpackError> {
        let Some(place) = self.tree.enter(above, path, false)? else { return Ok(()) };
        if !self.touched.contains(&place.path_of(name)) {
            return place.remove(name, path);
        }
        if place.kind(name, path)? == Some(FileType::Directory) {
            return place.step(name, path)?.clear(path, &self.touched);
        }
        Ok(())
    }

    /// Takes away what the layers below have in a directory.
    fn clear(&mut self, path: &[u8], above: &[&[u8]]) -> Result<(), UnpackError> {
        match self.tree.enter(above, path, false)? {
            Some(place) => place.clear(path, &self.touched),
            None => Ok(()),
        }
    }

    /// Sets modes and times of directories, those inside before those around them.
    fn finish(&mut self) -> Result<(), UnpackError> {
        for (path, entry) in std::mem::take(&mut self.directories).into_iter().rev() {
            let names: Vec<&[u8]> = path.split(|&b| b == b'/').collect();
            // A later entry may have put something else in its place.
            let Some(directory) = self.tree.reopen(&names, &path)? else { continue };
            let fail = |what| failed(&path, what);
            if self.options.owners {
                let (uid, gid) = owner(&entry)?;
                rustix::fs::fchown(&directory, uid, gid).map_err(fail("setting the owner"))?;
            }
            let open = if self.options.owners { Mode::empty() } else { Mode::RWXU };
            rustix::fs::fchmod(&directory, self.mode(&entry) | open).map_err(fail("setting the mode"))?;
            rustix::fs::futimens(&directory, &times(&entry)).map_err(fail("setting the time"))?;
        }
        Ok(())
    }
}

fn copy(content: &mut impl Read, file: &mut impl io::Write, path: &[u8]) -> Result<u64, UnpackError> {
    let mut buffer = vec![0; 128 << 10];
    let mut sum = 0;
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(count) => {
                let written = file.write_all(&buffer[..count]);
                written.map_err(|source| UnpackError::Io {
                    path: path.to_owned(),
                    what: "writing the file",
                    source,
                })?;
                sum += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(UnpackError::Archive(match error.downcast::<TarError>() {
                    Ok(error) => error,
                    Err(error) => TarError::Read(error),
                }));
            }
        }
    }
}

fn set_time(entry: &Entry, place: &Place, name: &[u8]) -> Result<(), UnpackError> {
    rustix::fs::utimensat(place, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed(&entry.path, "setting the time"))
}

fn owner(entry: &Entry) -> Result<(Option<Uid>, Option<Gid>), UnpackError> {
    // The highest number means "leave it as it is" to the system.
    let number = |id| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    match (number(entry.uid), number(entry.gid)) {
        (Some(uid), Some(gid)) => Ok((Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))),
        _ => Err(failed(&entry.path, "setting the owner, which has a number beyond all")(Errno::INVAL)),
    }
}

fn times(entry: &Entry) -> rustix::fs::Timestamps {
    let time = rustix::fs::Timespec { tv_sec: entry.mtime, tv_nsec: i64::from(entry.mtime_nanos) };
    rustix::fs::Timestamps { last_access: time, last_modification: time }
}
