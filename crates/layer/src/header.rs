//! The 512 bytes before every entry (POSIX.1-2017, `pax`, "ustar Interchange Format"; GNU tar, "Basic Tar Format").

use std::ops::Range;

/// Everything in an archive comes in blocks of this size.
pub(crate) const BLOCK: usize = 512;

pub(crate) const NAME: Range<usize> = 0..100;
pub(crate) const MODE: Range<usize> = 100..108;
pub(crate) const UID: Range<usize> = 108..116;
pub(crate) const GID: Range<usize> = 116..124;
pub(crate) const SIZE: Range<usize> = 124..136;
pub(crate) const MTIME: Range<usize> = 136..148;
pub(crate) const CHECKSUM: Range<usize> = 148..156;
pub(crate) const KIND: usize = 156;
pub(crate) const LINK: Range<usize> = 157..257;
pub(crate) const MAGIC: Range<usize> = 257..265;
pub(crate) const MAJOR: Range<usize> = 329..337;
pub(crate) const MINOR: Range<usize> = 337..345;
pub(crate) const PREFIX: Range<usize> = 345..500;

/// Magic and version of POSIX, and of GNU tar.
pub(crate) const POSIX: &[u8; 8] = b"ustar\x0000";
pub(crate) const GNU: &[u8; 8] = b"ustar  \0";

/// A header.
pub(crate) struct Block(pub(crate) [u8; BLOCK]);

impl Block {
    pub(crate) fn new() -> Self {
        Self([0; BLOCK])
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|&b| b == 0)
    }

    /// A text that ends with a zero byte or its field.
    pub(crate) fn text(&self, field: Range<usize>) -> &[u8] {
        let bytes = &self.0[field];
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
        &bytes[..end]
    }

    /// Writes a text; what does not fit is cut off.
    pub(crate) fn set_text(&mut self, field: Range<usize>, text: &[u8]) {
        let length = text.len().min(field.len());
        self.0[field.start..field.start + length].copy_from_slice(&text[..length]);
    }

    /// A number: octal digits, or base 256 if the highest bit is set. `None` if it is neither or does not fit.
    pub(crate) fn number(&self, field: Range<usize>) -> Option<i64> {
        let bytes = &self.0[field];
        if bytes[0] & 0x80 != 0 {
            let negative = bytes[0] & 0x40 != 0;
            let mut value: i128 = if negative { -1 } else { 0 };
            for (index, &byte) in bytes.iter().enumerate() {
                // The highest bit marks the form. It is no digit, and in a negative number the sign is there already.
                let byte = if index == 0 && !negative { byte & 0x7f } else { byte };
                value = (value << 8) | i128::from(byte);
                if i64::try_from(value).is_err() {
                    return None;
                }
            }
            return i64::try_from(value).ok();
        }
        let text = bytes.trim_ascii_start();
        let end = text.iter().position(|&b| b == 0 || b == b' ').unwrap_or(text.len());
        if text[end..].iter().any(|&b| b != 0 && b != b' ') {
            return None;
        }
        text[..end].iter().try_fold(0_i64, |value, &b| match b {
            b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(b - b'0')),
            _ => None,
        })
    }

    /// Writes octal digits with zeros in front and a zero byte behind. False if there is no room.
    pub(crate) fn set_number(&mut self, field: Range<usize>, value: u64) -> bool {
        let digits = format!("{value:0width$o}", width = field.len() - 1);
        if digits.len() >= field.len() {
            return false;
        }
        self.0[field.start..field.start + digits.len()].copy_from_slice(digits.as_bytes());
        true
    }

    /// Whether the checksum is right: over bytes without sign, as it should be, or with, as some wrote it.
    pub(crate) fn is_sound(&self) -> bool {
        let Some(stated) = self.number(CHECKSUM) else { return false };
        let (mut plain, mut signed) = (0_i64, 0_i64);
        for (index, &byte) in self.0.iter().enumerate() {
            let byte = if CHECKSUM.contains(&index) { b' ' } else { byte };
            plain += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        stated == plain || stated == signed
    }

    /// Writes the checksum, in the form that everybody writes: six digits, a zero byte, a blank.
    pub(crate) fn seal(&mut self) {
        self.0[CHECKSUM].fill(b' ');
        let sum: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        let digits = format!("{sum:06o}\0 ");
        self.0[CHECKSUM].copy_from_slice(digits.as_bytes());
    }
}

/// How many bytes fill up the last block of a content of `size` bytes.
pub(crate) fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(field: &[u8]) -> Option<i64> {
        let mut block = Block::new();
        block.0[SIZE][..field.len()].copy_from_slice(field);
        block.number(SIZE)
    }

    #[test]
    fn numbers_in_all_their_spellings() {
        for (field, want) in [
            (&b"00000000017\0"[..], Some(15)),
            (b"         17 ", Some(15)),
            (b"17\0", Some(15)),
            (b"", Some(0)),
            (b"77777777777\0", Some(0o77_777_777_777)),
            (b"777777777777", Some(0o777_777_777_777)),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"8", None),
            (b"-1", None),
            (b"1 2", None),
        ] {
            assert_eq!(number(field), want, "{field:?}");
        }
    }

    #[test]
    fn the_checksum_tells_damage() {
        let mut block = Block::new();
        block.set_text(NAME, "caf\u{e9}".as_bytes());
        block.seal();
        assert!(block.is_sound());
        block.0[0] ^= 1;
        assert!(!block.is_sound());
        assert!(!Block::new().is_sound());
    }

    #[test]
    fn contents_fill_whole_blocks() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
