//! What a body has to be.

use image::{Digest, Hasher};

use crate::body::Body;
use crate::fault::Fault;

/// What is asked of an answer's body.
#[derive(Debug)]
pub(crate) enum Expected<'a> {
    /// Nothing.
    Anything,
    /// That there are so many bytes.
    Length(u64),
    /// These bytes.
    Bytes(Body<'a>),
    /// So many bytes of this digest.
    Digest(&'a Digest, u64),
    /// To be kept, up to a bound.
    Kept(&'a mut Vec<u8>),
}

/// Most bytes that are kept.
const KEPT: usize = 1 << 20;

/// Looks at a body as it comes.
#[derive(Debug)]
pub(crate) struct Check<'a> {
    expected: Expected<'a>,
    length: u64,
    hasher: Option<Hasher>,
    same: bool,
}

impl<'a> Check<'a> {
    pub(crate) fn new(expected: Expected<'a>) -> Self {
        let hasher = match &expected {
            Expected::Digest(digest, _) => Some(Hasher::new(digest.algorithm())),
            _ => None,
        };
        Self { expected, length: 0, hasher, same: true }
    }

    /// Whether nothing has come.
    pub(crate) fn is_untouched(&self) -> bool {
        self.length == 0
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        match &mut self.expected {
            Expected::Anything | Expected::Length(_) => {}
            Expected::Bytes(body) => {
                let mut left = bytes;
                let mut at = self.length;
                while self.same && !left.is_empty() {
                    let piece = body.piece(at);
                    let length = piece.len().min(left.len());
                    self.same = length > 0 && piece[..length] == left[..length];
                    left = &left[length..];
                    at += length as u64;
                }
            }
            Expected::Digest(..) => {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(bytes);
                }
            }
            Expected::Kept(kept) => {
                let room = KEPT.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(&bytes[..room]);
            }
        }
        self.length += bytes.len() as u64;
    }

    /// How many bytes came, if they are what was expected.
    pub(crate) fn finish(self) -> Result<u64, Fault> {
        let right = match &self.expected {
            Expected::Anything | Expected::Kept(_) => true,
            Expected::Length(length) => self.length == *length,
            Expected::Bytes(body) => self.same && self.length == body.len(),
            Expected::Digest(digest, length) => {
                self.length == *length && self.hasher.map(Hasher::finish).as_ref() == Some(*digest)
            }
        };
        if right { Ok(self.length) } else { Err(Fault::WrongBody) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expected: Expected<'_>, pieces: &[&[u8]]) -> Result<u64, Fault> {
        let mut check = Check::new(expected);
        for piece in pieces {
            check.take(piece);
        }
        check.finish()
    }

    #[test]
    fn what_is_not_as_expected_is_found() {
        let whole = Body::bytes(b"abcdef");
        assert_eq!(check(Expected::Bytes(whole), &[b"abc", b"def"]), Ok(6));
        for pieces in [&[&b"abc"[..]][..], &[b"abcdefg"], &[b"abcxef"], &[b"abc", b"def", b"g"]] {
            assert_eq!(check(Expected::Bytes(whole), pieces), Err(Fault::WrongBody), "{pieces:?}");
        }
        let digest = Digest::sha256(b"abcdef");
        assert_eq!(check(Expected::Digest(&digest, 6), &[b"abcd", b"ef"]), Ok(6));
        assert!(check(Expected::Digest(&digest, 6), &[b"abcdxf"]).is_err());
        assert!(check(Expected::Length(2), &[b"abc"]).is_err());
        assert_eq!(check(Expected::Anything, &[b"abc"]), Ok(3));
        let mut kept = Vec::new();
        assert_eq!(check(Expected::Kept(&mut kept), &[b"ab", b"c"]), Ok(3));
        assert_eq!(kept, b"abc");
    }
}
