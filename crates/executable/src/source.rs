//! Bounded reading: a header may point anywhere, and a hostile one does.

use std::io::{Read, Seek, SeekFrom};

use crate::ExecutableError;

/// Most bytes that are read of one executable, whatever its headers say.
const BUDGET: u64 = 16 << 20;
/// Longest text that is taken for a path or a library's name.
const TEXT: u64 = 4096;

/// A file of which pieces are read by their offset.
pub(crate) struct Source<R> {
    inner: R,
    length: u64,
    budget: u64,
}

/// Byte order of a file's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl<R: Read + Seek> Source<R> {
    pub(crate) fn new(mut inner: R) -> Result<Self, ExecutableError> {
        let length = inner.seek(SeekFrom::End(0)).map_err(ExecutableError::Read)?;
        Ok(Self { inner, length, budget: BUDGET })
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Exactly `length` bytes from `offset`. `what` says in an error what they would have been.
    pub(crate) fn bytes(&mut self, offset: u64, length: u64, what: &'static str) -> Result<Vec<u8>, ExecutableError> {
        let end = offset.checked_add(length).filter(|&end| end <= self.length);
        if end.is_none() {
            return Err(ExecutableError::Truncated { what, offset, length: self.length });
        }
        self.budget = self.budget.checked_sub(length).ok_or(ExecutableError::TooMuch { what })?;
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| ExecutableError::TooMuch { what })?];
        self.inner.seek(SeekFrom::Start(offset)).map_err(ExecutableError::Read)?;
        self.inner.read_exact(&mut bytes).map_err(ExecutableError::Read)?;
        Ok(bytes)
    }

    /// At most `length` bytes from `offset`; fewer at the end of the file.
    pub(crate) fn some(&mut self, offset: u64, length: u64, what: &'static str) -> Result<Vec<u8>, ExecutableError> {
        let length = length.min(self.length.saturating_sub(offset));
        self.bytes(offset.min(self.length), length, what)
    }

    /// A text that ends with a zero byte, at most `limit` bytes long.
    pub(crate) fn text(&mut self, offset: u64, limit: u64, what: &'static str) -> Result<String, ExecutableError> {
        let bytes = self.some(offset, limit.min(TEXT), what)?;
        Ok(text(&bytes))
    }
}

/// The text up to the first zero byte; what is not UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Order {
    /// The number at `at`; zero where the bytes have ended, which no caller lets happen for a field that matters.
    pub(crate) fn u16(self, bytes: &[u8], at: usize) -> u16 {
        let array = field(bytes, at);
        if self == Self::Little { u16::from_le_bytes(array) } else { u16::from_be_bytes(array) }
    }

    pub(crate) fn u32(self, bytes: &[u8], at: usize) -> u32 {
        let array = field(bytes, at);
        if self == Self::Little { u32::from_le_bytes(array) } else { u32::from_be_bytes(array) }
    }

    pub(crate) fn u64(self, bytes: &[u8], at: usize) -> u64 {
        let array = field(bytes, at);
        if self == Self::Little { u64::from_le_bytes(array) } else { u64::from_be_bytes(array) }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn nothing_is_read_beyond_the_end_or_the_budget() {
        let mut source = Source::new(Cursor::new(vec![1; 100])).unwrap();
        assert_eq!(source.bytes(90, 10, "x").unwrap().len(), 10);
        assert!(matches!(source.bytes(90, 11, "x"), Err(ExecutableError::Truncated { .. })));
        assert!(matches!(source.bytes(u64::MAX, 2, "x"), Err(ExecutableError::Truncated { .. })));
        assert_eq!(source.some(95, 10, "x").unwrap().len(), 5);
        assert_eq!(source.some(u64::MAX, 10, "x").unwrap().len(), 0);
        source.budget = 10;
        assert!(matches!(source.bytes(0, 11, "x"), Err(ExecutableError::TooMuch { .. })));
    }

    #[test]
    fn both_byte_orders() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((Order::Little.u16(&bytes, 0), Order::Big.u16(&bytes, 0)), (0x0201, 0x0102));
        assert_eq!((Order::Little.u32(&bytes, 1), Order::Big.u32(&bytes, 1)), (0x0504_0302, 0x0203_0405));
        assert_eq!(Order::Big.u64(&bytes, 0), 0x0102_0304_0506_0708);
        assert_eq!(Order::Big.u64(&bytes, 1), 0);
    }
}
