//! Archives, byte for byte the same for the same entries.

use std::io::{self, Read, Write};

use crate::entry::{Device, Entry, EntryKind};
use crate::header::{
    BLOCK, Block, GID, KIND, LINK, MAGIC, MAJOR, MINOR, MODE, MTIME, NAME, POSIX, PREFIX, SIZE, UID, padding,
};
use crate::path::{PathError, Shown, components};

/// Why an entry was not written. The archive is of no use then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// What takes the archive failed.
    #[error("writing the archive failed: {0}")]
    Sink(#[source] io::Error),
    /// What gives the content failed.
    #[error("reading the content of `{}` failed: {source}", Shown(path))]
    Content {
        /// Which entry.
        path: Vec<u8>,
        /// Why.
        source: io::Error,
    },
    /// The content has another length than the entry says.
    #[error("the content of `{}` is {} than the {size} bytes it should have", Shown(path), if *longer { "longer" } else { "shorter" })]
    Length {
        /// Which entry.
        path: Vec<u8>,
        /// What the entry says, in bytes.
        size: u64,
        /// Which way it is wrong.
        longer: bool,
    },
    /// The path is none that belongs in an archive.
    #[error("`{}` is no path for an archive: {why}", Shown(path))]
    Path {
        /// The path.
        path: Vec<u8>,
        /// What is wrong with it.
        why: PathError,
    },
    /// The entries are to come in order, and this one does not.
    #[error("`{}` comes after `{}`: the entries are not in order", Shown(path), Shown(last))]
    Order {
        /// Which entry.
        path: Vec<u8>,
        /// The one before it.
        last: Vec<u8>,
    },
    /// Something that no archive can hold.
    #[error("`{}` cannot be written to an archive: {what}", Shown(path))]
    Unfit {
        /// Which entry.
        path: Vec<u8>,
        /// Why not.
        what: &'static str,
    },
}

/// Writes a tar archive: ustar, with an extended header in front of those entries that need one.
///
/// The bytes follow from the entries alone. Names of users and of the machine are never written.
#[derive(Debug)]
pub struct TarWriter<W> {
    sink: W,
    last: Option<Vec<u8>>,
    in_order: bool,
}

impl<W: Write> TarWriter<W> {
    /// An archive with nothing in it yet.
    pub fn new(sink: W) -> Self {
        Self { sink, last: None, in_order: false }
    }

    /// An archive whose entries must come in the order of the bytes of their paths, each path once: then it does not
    /// matter in which order they were found.
    pub fn in_order(sink: W) -> Self {
        Self { sink, last: None, in_order: true }
    }

    /// Adds an entry. `content` must have exactly the entry's size; it is not asked for more than one byte beyond.
    pub fn append(&mut self, entry: &Entry, content: impl Read) -> Result<(), WriteError> {
        self.check(entry)?;
        let header = Headers::of(entry)?;
        self.sink.write_all(&header.0).map_err(WriteError::Sink)?;
        self.copy(entry, content)?;
        self.sink.write_all(&[0; BLOCK][..padding(entry.size)]).map_err(WriteError::Sink)?;
        self.last = Some(entry.path.clone());
        Ok(())
    }

    /// Adds a file whose content is in memory; its size is set by it.
    pub fn append_bytes(&mut self, entry: Entry, content: &[u8]) -> Result<(), WriteError> {
        self.append(&Entry { size: content.len() as u64, ..entry }, content)
    }

    /// Ends the archive with two empty blocks and gives back what took it.
    pub fn finish(mut self) -> Result<W, WriteError> {
        self.sink.write_all(&[0; 2 * BLOCK]).map_err(WriteError::Sink)?;
        Ok(self.sink)
    }

    fn check(&self, entry: &Entry) -> Result<(), WriteError> {
        let refuse = |path: &[u8], why| WriteError::Path { path: path.to_owned(), why };
        let names = components(&entry.path).map_err(|why| refuse(&entry.path, why))?;
        if names.is_empty() {
            return Err(refuse(&entry.path, PathError::Empty));
        }
        match &entry.kind {
            EntryKind::Hardlink { target } => drop(components(target).map_err(|why| refuse(target, why))?),
            EntryKind::Symlink { target } if target.is_empty() => return Err(refuse(target, PathError::Empty)),
            EntryKind::Symlink { target } if target.contains(&0) => return Err(refuse(target, PathError::Zero)),
            _ => {}
        }
        let unfit = |what| WriteError::Unfit { path: entry.path.clone(), what };
        if entry.size > 0 && entry.kind != EntryKind::File {
            return Err(unfit("only a file has content"));
        }
        if entry.path.ends_with(b"/") {
            return Err(unfit("its path ends with a slash"));
        }
        if entry.xattrs.keys().any(|name| name.is_empty() || name.contains(&b'=') || name.contains(&0)) {
            return Err(unfit("the name of an extended attribute is empty or has a `=` or a zero byte"));
        }
        match &self.last {
            Some(last) if self.in_order && *last >= entry.path => {
                Err(WriteError::Order { path: entry.path.clone(), last: last.clone() })
            }
            _ => Ok(()),
        }
    }

    fn copy(&mut self, entry: &Entry, mut content: impl Read) -> Result<(), WriteError> {
        let failed = |source| WriteError::Content { path: entry.path.clone(), source };
        let mut buffer = vec![0; entry.size.clamp(1, 128 << 10) as usize];
        let mut left = entry.size;
        loop {
            // At the end one byte is asked for, to tell a content that goes on.
            let want = usize::try_from(left).unwrap_or(usize::MAX).clamp(1, buffer.len());
            let got = match content.read(&mut buffer[..want]) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            if (got == 0) == (left == 0) {
                if left == 0 {
                    return Ok(());
                }
                self.sink.write_all(&buffer[..got]).map_err(WriteError::Sink)?;
                left -= got as u64;
            } else {
                return Err(WriteError::Length { path: entry.path.clone(), size: entry.size, longer: left == 0 });
            }
        }
    }
}

/// The header of an entry, and the extended one before it where that is needed.
struct Headers(Vec<u8>);

impl Headers {
    fn of(entry: &Entry) -> Result<Self, WriteError> {
        let mut records = Vec::new();
        let mut block = Block::new();
        let mut path = entry.path.clone();
        if entry.kind == EntryKind::Directory {
            path.push(b'/');
        }
        if let Some((prefix, name)) = split(&path) {
            block.set_text(PREFIX, prefix);
            block.set_text(NAME, name);
        } else {
            block.set_text(NAME, &ascii(&path));
            records.push((b"path".to_vec(), path));
        }
        let (kind, link) = match &entry.kind {
            EntryKind::File => (b'0', None),
            EntryKind::Hardlink { target } => (b'1', Some(target)),
            EntryKind::Symlink { target } => (b'2', Some(target)),
            EntryKind::CharacterDevice(_) => (b'3', None),
            EntryKind::BlockDevice(_) => (b'4', None),
            EntryKind::Directory => (b'5', None),
            EntryKind::Fifo => (b'6', None),
        };
        block.0[KIND] = kind;
        if let Some(link) = link {
            if link.len() <= LINK.len() && link.is_ascii() {
                block.set_text(LINK, link);
            } else {
                block.set_text(LINK, &ascii(link));
                records.push((b"linkpath".to_vec(), link.clone()));
            }
        }
        let device = match entry.kind {
            EntryKind::CharacterDevice(device) | EntryKind::BlockDevice(device) => device,
            _ => Device { major: 0, minor: 0 },
        };
        if !(block.set_number(MAJOR, device.major.into()) && block.set_number(MINOR, device.minor.into())) {
            return Err(WriteError::Unfit { path: entry.path.clone(), what: "the number of its device is too big" });
        }
        block.set_number(MODE, u64::from(entry.mode & 0o7777));
        for (field, name, value) in [(SIZE, "size", entry.size), (UID, "uid", entry.uid), (GID, "gid", entry.gid)] {
            if !block.set_number(field.clone(), value) {
                block.set_number(field, 0);
                records.push((name.into(), value.to_string().into()));
            }
        }
        let whole = u64::try_from(entry.mtime).ok().filter(|_| entry.mtime_nanos == 0);
        if !whole.is_some_and(|mtime| block.set_number(MTIME, mtime)) {
            block.set_number(MTIME, 0);
            records.push((b"mtime".to_vec(), decimal(entry.mtime, entry.mtime_nanos).into()));
        }
        for (name, value) in &entry.xattrs {
            records.push(([b"SCHILY.xattr.", name.as_slice()].concat(), value.clone()));
        }
        block.0[MAGIC].copy_from_slice(POSIX);
        block.seal();

        let mut out = Vec::new();
        if !records.is_empty() {
            extended(&entry.path, records, &mut out);
        }
        out.extend_from_slice(&block.0);
        Ok(Self(out))
    }
}

/// Writes an extended header with these records, in the order of their names.
fn extended(path: &[u8], mut records: Vec<(Vec<u8>, Vec<u8>)>, out: &mut Vec<u8>) {
    records.sort();
    let mut content = Vec::new();
    for (name, value) in &records {
        // The length counts itself.
        let rest = name.len() + value.len() + 3;
        let mut length = rest;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        content.extend_from_slice(length.to_string().as_bytes());
        content.push(b' ');
        content.extend_from_slice(name);
        content.push(b'=');
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    let mut block = Block::new();
    let base = path.rsplit(|&b| b == b'/').next().unwrap_or_default();
    block.set_text(NAME, &[b"PaxHeaders.0/", ascii(base).as_slice()].concat());
    block.0[KIND] = b'x';
    block.set_number(MODE, 0o644);
    for field in [UID, GID, MTIME, MAJOR, MINOR] {
        block.set_number(field, 0);
    }
    // A header of 8 GiB and more is made of nothing that was accepted.
    block.set_number(SIZE, content.len() as u64);
    block.0[MAGIC].copy_from_slice(POSIX);
    block.seal();
    out.extend_from_slice(&block.0);
    out.extend_from_slice(&content);
    out.resize(out.len() + padding(content.len() as u64), 0);
}

/// Prefix and name of a path that the old header can hold; a path that is not ASCII it cannot.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME.len() {
        return Some((b"", path));
    }
    // The slash at the end of a directory is no place to part it.
    let slash = |&at: &usize| path[at] == b'/' && at + 1 < path.len() && path.len() - at - 1 <= NAME.len();
    let at = (1..=PREFIX.len().min(path.len() - 1)).rev().find(slash)?;
    Some((&path[..at], &path[at + 1..]))
}

fn ascii(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(u8::is_ascii).take(NAME.len()).collect()
}

/// Seconds and nanoseconds as one decimal number; `-1` and 500 000 000 are `-0.5`.
fn decimal(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        return seconds.to_string();
    }
    let (sign, seconds, nanos) = if seconds < 0 {
        ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanos)
    } else {
        ("", seconds.unsigned_abs(), nanos)
    };
    let digits = format!("{nanos:09}");
    format!("{sign}{seconds}.{}", digits.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (entry, content) in entries {
            tar.append_bytes(entry.clone(), content).unwrap();
        }
        tar.finish().unwrap()
    }

    /// Every byte of the simplest archive, as it was worked out by hand from the standard.
    #[test]
    fn one_small_file() {
        let tar = archive(&[(Entry::file("bin/app", 0).with_mode(0o755).with_mtime(1), b"hi")]);
        let mut want = vec![0_u8; 4 * BLOCK];
        for (at, text) in [
            (0, &b"bin/app"[..]),
            (100, b"0000755\x000000000\x000000000\x0000000000002\x0000000000001\0"),
            (148, b"010454\0 0"),
            (257, b"ustar\x0000"),
            (329, b"0000000\x000000000\0"),
            (512, b"hi"),
        ] {
            want[at..at + text.len()].copy_from_slice(text);
        }
        assert!(tar == want);
    }

    #[test]
    fn an_extended_header_stands_only_where_it_is_needed() {
        let headers = |entry: Entry| Headers::of(&entry).unwrap().0.len() / BLOCK;
        let long = |a: usize, b: usize| format!("{}/{}", "a".repeat(a), "b".repeat(b));
        for (entry, blocks) in [
            (Entry::file("a".repeat(100), 0), 1),
            (Entry::file("a".repeat(101), 0), 3),
            (Entry::directory("a".repeat(99)), 1),
            (Entry::directory("a".repeat(100)), 3),
            (Entry::file(long(155, 100), 0), 1),
            (Entry::file(long(156, 10), 0), 3),
            (Entry::file(long(10, 101), 0), 3),
            (Entry::file("caf\u{e9}", 0), 3),
            (Entry::symlink("a", "b".repeat(100)), 1),
            (Entry::symlink("a", "b".repeat(101)), 3),
            (Entry::file("a", 0o77_777_777_777), 1),
            (Entry::file("a", 0o100_000_000_000), 3),
            (Entry::file("a", 0).with_owner(0o7_777_777, 0), 1),
            (Entry::file("a", 0).with_owner(0, 0o10_000_000), 3),
            (Entry::file("a", 0).with_mtime(-1), 3),
            (Entry { mtime_nanos: 5, ..Entry::file("a", 0) }, 3),
            (Entry { xattrs: [(b"user.x".to_vec(), b"\0\n".to_vec())].into(), ..Entry::file("a", 0) }, 3),
        ] {
            assert_eq!(headers(entry.clone()), blocks, "{entry:?}");
        }
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for (value, want) in [(1, "9 name=v\n"), (90, "99 name="), (91, "101 name=")] {
            let mut out = Vec::new();
            extended(b"p", vec![(b"name".to_vec(), vec![b'v'; value])], &mut out);
            let content = &out[BLOCK..];
            assert!(content.starts_with(want.as_bytes()), "{}", String::from_utf8_lossy(content));
            let length: usize = want.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(content[length - 1], b'\n');
        }
    }

    #[test]
    fn times_before_1970_are_decimal_numbers_too() {
        assert_eq!(decimal(-1, 500_000_000), "-0.5");
        assert_eq!(decimal(-2, 0), "-2");
        assert_eq!(decimal(3, 1), "3.000000001");
    }

    #[test]
    fn what_belongs_in_no_archive_is_refused() {
        let refused = |entry: Entry| TarWriter::new(Vec::new()).append(&entry, io::empty()).unwrap_err().to_string();
        for (entry, want) in [
            (Entry::file("/etc/passwd", 0), "`/etc/passwd` is no path for an archive: it is absolute"),
            (Entry::file("a/../b", 0), "`a/../b` is no path for an archive: it has a `..`"),
            (Entry::directory("./"), "`./` is no path for an archive: it is empty"),
            (Entry::directory("a/"), "`a/` cannot be written to an archive: its path ends with a slash"),
            (Entry::hardlink("a", "../b"), "`../b` is no path for an archive: it has a `..`"),
            (Entry::symlink("a", ""), "`` is no path for an archive: it is empty"),
            (
                Entry { size: 1, ..Entry::directory("a") },
                "`a` cannot be written to an archive: only a file has content",
            ),
            (Entry::file("a", 1), "the content of `a` is shorter than the 1 bytes it should have"),
        ] {
            assert_eq!(refused(entry), want);
        }
        let longer = TarWriter::new(Vec::new()).append(&Entry::file("a", 1), &b"xy"[..]).unwrap_err();
        assert_eq!(longer.to_string(), "the content of `a` is longer than the 1 bytes it should have");
    }

    #[test]
    fn order_is_kept_where_it_is_asked_for() {
        let mut tar = TarWriter::in_order(Vec::new());
        for path in ["a", "a/b", "b"] {
            tar.append(&Entry::directory(path), io::empty()).unwrap();
        }
        for path in ["a", "b"] {
            let error = tar.append(&Entry::directory(path), io::empty()).unwrap_err().to_string();
            assert_eq!(error, format!("`{path}` comes after `b`: the entries are not in order"));
        }
    }
}
