//! Archives that somebody else wrote: every number in them is checked before it is believed.
//!
//! Where parsers of this format are known to disagree, which is how files are smuggled past one of them, the archive is
//! refused.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::entry::{Device, Entry, EntryKind};
use crate::header::{
    BLOCK, Block, GID, GNU, KIND, LINK, MAGIC, MAJOR, MINOR, MODE, MTIME, NAME, POSIX, PREFIX, SIZE, UID, padding,
};
use crate::path::Shown;

/// Bounds for one archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TarLimits {
    /// Most entries.
    pub entries: u64,
    /// Most bytes of all contents together.
    pub content: u64,
    /// Most bytes of the extended headers of one entry.
    pub extended: u64,
}

impl Default for TarLimits {
    /// A million entries, 64 GiB of content, 1 MiB of extended headers.
    fn default() -> Self {
        Self { entries: 1 << 20, content: 64 << 30, extended: 1 << 20 }
    }
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// What gives the archive failed.
    #[error("reading the archive failed: {0}")]
    Read(#[source] io::Error),
    /// It ends within an entry.
    #[error("the archive is cut off at byte {offset}")]
    Truncated {
        /// Where it ends.
        offset: u64,
    },
    /// A header that makes no sense.
    #[error("the archive is broken at byte {offset}: {what}")]
    Malformed {
        /// Where the header starts.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A kind of entry that no layer has.
    #[error("the archive has an entry of a kind that is not supported: `{}` is {what}", Shown(path))]
    Unsupported {
        /// Which entry.
        path: Vec<u8>,
        /// What it is.
        what: String,
    },
    /// More than the limits allow.
    #[error("the archive has more than {limit} {what}")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// Reads a tar archive: ustar, POSIX extended headers, GNU long names. It is forward only and buffers no content.
///
/// ```
/// # use polyarch_layer as layer;
/// use std::io::Read;
/// use layer::{Entry, TarReader, TarWriter};
///
/// let mut tar = TarWriter::new(Vec::new());
/// tar.append_bytes(Entry::file("bin/app", 0).with_mode(0o755), b"hi")?;
/// let bytes = tar.finish()?;
///
/// let mut tar = TarReader::new(bytes.as_slice());
/// let entry = tar.next_entry()?.ok_or("no entry")?;
/// assert_eq!((entry.path.as_slice(), entry.mode), (&b"bin/app"[..], 0o755));
/// let mut content = String::new();
/// tar.content().read_to_string(&mut content)?;
/// assert_eq!(content, "hi");
/// assert!(tar.next_entry()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TarReader<R> {
    source: R,
    limits: TarLimits,
    offset: u64,
    entries: u64,
    content: u64,
    /// Bytes of the current content that were not read yet, and what fills its last block.
    left: u64,
    padding: usize,
    ended: bool,
}

/// The content of the entry that was read last. What is not read of it is skipped.
#[derive(Debug)]
pub struct Content<'a, R>(&'a mut TarReader<R>);

/// What extended headers say about the entry behind them.
#[derive(Default)]
struct Extended {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    bytes: u64,
}

impl<R: Read> TarReader<R> {
    /// Reads from `source` within the usual limits.
    pub fn new(source: R) -> Self {
        Self::with_limits(source, TarLimits::default())
    }

    /// Reads from `source` within limits of one's own.
    pub fn with_limits(source: R, limits: TarLimits) -> Self {
        Self { source, limits, offset: 0, entries: 0, content: 0, left: 0, padding: 0, ended: false }
    }

    /// The next entry; `None` behind the last one.
    ///
    /// Its path is as the archive states it, but for the slash at the end of a directory: it may well be absolute or
    /// lead upwards.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_content()?;
        let mut extended = Extended::default();
        let mut announced = false;
        loop {
            let start = self.offset;
            let Some(block) = self.block()? else {
                return if announced { Err(TarError::Truncated { offset: start }) } else { Ok(None) };
            };
            let malformed = |what| TarError::Malformed { offset: start, what };
            if !block.is_sound() {
                return Err(malformed("the checksum of a header is wrong"));
            }
            self.entries += 1;
            if self.entries > self.limits.entries {
                return Err(TarError::TooMuch { what: "entries", limit: self.limits.entries });
            }
            let size = block.number(SIZE).and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or(malformed("the size is no number"))?;
            match block.0[KIND] {
                b'x' | b'X' => {
                    let content = self.extended_content(size, &mut extended.bytes)?;
                    // Parsers differ in whether a second one adds to the first.
                    if !extended.records.is_empty() {
                        return Err(malformed("two extended headers for one entry"));
                    }
                    extended.records =
                        records(&content).ok_or(malformed("an extended header is no list of records"))?;
                }
                b'g' => {
                    let content = self.extended_content(size, &mut extended.bytes)?;
                    let records = records(&content).ok_or(malformed("a global header is no list of records"))?;
                    // Some parsers apply it to all that follows, some do not.
                    if [&b"path"[..], b"linkpath", b"size"].iter().any(|&name| records.contains_key(name)) {
                        return Err(malformed("a global header sets path or size"));
                    }
                    continue;
                }
                b'L' => extended.long_name = Some(until_zero(self.extended_content(size, &mut extended.bytes)?)),
                b'K' => extended.long_link = Some(until_zero(self.extended_content(size, &mut extended.bytes)?)),
                _ => return self.entry(&block, size, extended, start).map(Some),
            }
            announced = true;
        }
    }

    /// The content of the entry that was read last.
    pub fn content(&mut self) -> Content<'_, R> {
        Content(self)
    }

    /// Gives back what the archive was read from. What stands behind the last entry was not read.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// A header; `None` at the end of the archive, which is two empty blocks or the end of the file.
    fn block(&mut self) -> Result<Option<Block>, TarError> {
        if self.ended {
            return Ok(None);
        }
        let Some(block) = self.raw_block()? else {
            self.ended = true;
            return Ok(None);
        };
        if !block.is_zero() {
            return Ok(Some(block));
        }
        let start = self.offset;
        match self.raw_block()? {
            Some(second) if !second.is_zero() => {
                Err(TarError::Malformed { offset: start, what: "something stands behind an empty block" })
            }
            _ => {
                self.ended = true;
                Ok(None)
            }
        }
    }

    fn raw_block(&mut self) -> Result<Option<Block>, TarError> {
        let mut block = Block::new();
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block.0[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Truncated { offset: self.offset + filled as u64 }),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        self.offset += BLOCK as u64;
        Ok(Some(block))
    }

    fn extended_content(&mut self, size: u64, sum: &mut u64) -> Result<Vec<u8>, TarError> {
        *sum = sum.saturating_add(size);
        if *sum > self.limits.extended {
            return Err(TarError::TooMuch { what: "bytes of extended headers", limit: self.limits.extended });
        }
        let mut content = vec![0; usize::try_from(size).unwrap_or_default() + padding(size)];
        self.source.read_exact(&mut content).map_err(|error| self.read_error(error))?;
        self.offset += content.len() as u64;
        content.truncate(usize::try_from(size).unwrap_or_default());
        Ok(content)
    }

    fn read_error(&self, error: io::Error) -> TarError {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            TarError::Truncated { offset: self.offset }
        } else {
            TarError::Read(error)
        }
    }

    fn skip_content(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 16 * BLOCK];
        while self.left > 0 {
            let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
            match self.source.read(&mut buffer[..want]) {
                Ok(0) => return Err(TarError::Truncated { offset: self.offset }),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        let padding = std::mem::take(&mut self.padding);
        self.source.read_exact(&mut buffer[..padding]).map_err(|error| self.read_error(error))?;
        self.offset += padding as u64;
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.left -= count as u64;
        self.offset += count as u64;
    }

    /// Puts together what the header and the extended ones say.
    fn entry(&mut self, block: &Block, size: u64, extended: Extended, start: u64) -> Result<Entry, TarError> {
        let malformed = |what| TarError::Malformed { offset: start, what };
        let Extended { mut records, long_name, long_link, .. } = extended;
        let path = records.remove(&b"path"[..]).or(long_name).unwrap_or_else(|| stated_path(block));
        let link = records.remove(&b"linkpath"[..]).or(long_link).unwrap_or_else(|| block.text(LINK).to_vec());
        if path.contains(&0) || link.contains(&0) {
            return Err(malformed("a path has a zero byte"));
        }
        let unsupported = |what: String| TarError::Unsupported { path: path.clone(), what };
        if records.keys().any(|name| name.starts_with(b"GNU.sparse.")) {
            return Err(unsupported("a sparse file".to_owned()));
        }
        let number = |field, name: &[u8], what| match records.get(name) {
            Some(text) => std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(malformed(what)),
            None => block.number(field).and_then(|value| u64::try_from(value).ok()).ok_or(malformed(what)),
        };
        let uid = number(UID, b"uid", "the number of the user is no number")?;
        let gid = number(GID, b"gid", "the number of the group is no number")?;
        let size = match records.get(&b"size"[..]) {
            Some(_) => number(SIZE, b"size", "the size is no number")?,
            None => size,
        };
        let (mtime, mtime_nanos) = match records.get(&b"mtime"[..]) {
            Some(text) => time(text).ok_or(malformed("the time is no number"))?,
            None => (block.number(MTIME).ok_or(malformed("the time is no number"))?, 0),
        };
        let mode = block.number(MODE).ok_or(malformed("the mode is no number"))?;
        let device = |field| {
            let number = block.number(field).and_then(|number| u32::try_from(number).ok());
            number.ok_or(malformed("the number of a device is no number"))
        };
        let kind = match block.0[KIND] {
            // In the oldest archives a directory is a file whose name ends with a slash.
            b'0' | 0 if path.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File,
            b'1' => EntryKind::Hardlink { target: link },
            b'2' => EntryKind::Symlink { target: link },
            b'3' => EntryKind::CharacterDevice(Device { major: device(MAJOR)?, minor: device(MINOR)? }),
            b'4' => EntryKind::BlockDevice(Device { major: device(MAJOR)?, minor: device(MINOR)? }),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            b'S' => return Err(unsupported("a sparse file".to_owned())),
            other => return Err(unsupported(format!("of type `{}`", char::from(other).escape_debug()))),
        };
        // Some parsers skip as many bytes as are stated here, some none.
        if size > 0 && kind != EntryKind::File {
            return Err(malformed("something that is no file has a size"));
        }
        self.content = self.content.saturating_add(size);
        if self.content > self.limits.content {
            return Err(TarError::TooMuch { what: "bytes of content", limit: self.limits.content });
        }
        (self.left, self.padding) = (size, padding(size));
        let xattrs = records
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())))
            .collect();
        let mode = u32::try_from(mode & 0o7777).unwrap_or_default();
        let path = if kind == EntryKind::Directory { without_slashes(path) } else { path };
        Ok(Entry { path, kind, size, mode, uid, gid, mtime, mtime_nanos, xattrs })
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.0.source.read(&mut buffer[..want])?;
        if count == 0 {
            let error = TarError::Truncated { offset: self.0.offset };
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, error));
        }
        self.0.advance(count);
        Ok(count)
    }
}

/// The path in the header itself.
fn stated_path(block: &Block) -> Vec<u8> {
    let name = block.text(NAME);
    let prefix = if block.0[MAGIC] == *POSIX { block.text(PREFIX) } else { b"" };
    // GNU tar has other things where POSIX has the prefix.
    debug_assert!(block.0[MAGIC] != *GNU || prefix.is_empty());
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

fn without_slashes(mut path: Vec<u8>) -> Vec<u8> {
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    path
}

fn until_zero(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|&b| b == 0) {
        text.truncate(end);
    }
    text
}

/// The records of an extended header: `length name=value\n`. Of two with one name the later counts, and an empty value
/// takes back what was said.
fn records(mut content: &[u8]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut all = BTreeMap::new();
    while !content.is_empty() {
        let blank = content.iter().take(20).position(|&b| b == b' ')?;
        if !content[..blank].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: usize = std::str::from_utf8(&content[..blank]).ok()?.parse().ok()?;
        let (record, rest) = content.split_at_checked(length)?;
        let record = record.get(blank + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|&b| b == b'=').filter(|&at| at > 0)?;
        let (name, value) = (record[..equals].to_vec(), record[equals + 1..].to_vec());
        if value.is_empty() && !name.starts_with(b"SCHILY.xattr.") {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
        content = rest;
    }
    Some(all)
}

/// Seconds and nanoseconds of a decimal number; digits beyond nanoseconds do not count.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if whole.starts_with('+') || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanos > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos));
    }
    Some((seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let read = |text: &[u8]| records(text).map(|all| all.into_iter().collect::<Vec<_>>());
        assert_eq!(read(b"9 name=v\n").unwrap(), [(b"name".to_vec(), b"v".to_vec())]);
        assert_eq!(read(b"9 name=v\n12 name=w=\n\n").unwrap(), [(b"name".to_vec(), b"w=\n".to_vec())]);
        assert!(read(b"9 name=v\n8 name=\n").unwrap().is_empty());
        for bad in [
            &b"9 name=v"[..],
            b"8 name=v\n",
            b"x name=v\n",
            b"6 =abc\n",
            b"5 abc\n",
            b"+9 name=v\n",
            b"99999 a=b\n",
            b"0 \n",
            b"9name=vv\n",
        ] {
            assert!(read(bad).is_none(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_are_decimal_numbers() {
        for (text, want) in [
            ("12", Some((12, 0))),
            ("12.5", Some((12, 500_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("-2", Some((-2, 0))),
            ("1.0000000019", Some((1, 1))),
            ("", None),
            ("1.x", None),
            ("+1", None),
            ("1e9", None),
        ] {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }
}
