//! What is sent: bytes that nobody else has, without hashing them again for each request.

use std::io::IoSlice;

use image::{Algorithm, Digest, Hasher};

/// Length of the filler that all bodies are cut from. It stays in the processor's cache while 100 MiB of it are sent.
const FILLER: usize = 256 << 10;
/// How much of a body makes it differ from every other.
pub(crate) const TAIL: usize = 64;
/// How many pieces are handed to the system at once.
pub(crate) const PIECES: usize = 64;

/// Random bytes, repeated as often as needed.
#[derive(Debug)]
pub(crate) struct Filler(Vec<u8>);

impl Filler {
    /// Bytes that no compression makes smaller, other ones for each `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let words = std::iter::repeat_with(|| random.next().to_le_bytes()).take(FILLER / 8);
        Self(words.flatten().collect())
    }
}

/// Blobs of one size: each is filler and a tail of its own. The filler is hashed once for all of them.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    size: u64,
    hasher: Hasher,
}

impl Family {
    /// Blobs of `size` bytes, which are at least the tail.
    pub(crate) fn new(filler: &Filler, size: u64) -> Self {
        let size = size.max(TAIL as u64);
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut left = size - TAIL as u64;
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(FILLER);
            hasher.update(&filler.0[..length]);
            left -= length as u64;
        }
        Self { size, hasher }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The digest of the one with this tail.
    pub(crate) fn digest(&self, tail: &[u8; TAIL]) -> Digest {
        let mut hasher = self.hasher.clone();
        hasher.update(tail);
        hasher.finish()
    }
}

/// A body: filler, then bytes of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body<'a> {
    filler: &'a [u8],
    filled: u64,
    tail: &'a [u8],
}

impl<'a> Body<'a> {
    /// No body.
    pub(crate) const EMPTY: Body<'static> = Body { filler: &[], filled: 0, tail: &[] };

    /// Nothing but these bytes.
    pub(crate) fn bytes(tail: &'a [u8]) -> Self {
        Self { filler: &[], filled: 0, tail }
    }

    /// One of a family.
    pub(crate) fn of(filler: &'a Filler, size: u64, tail: &'a [u8; TAIL]) -> Self {
        Self { filler: &filler.0, filled: size - TAIL as u64, tail }
    }

    pub(crate) fn len(&self) -> u64 {
        self.filled + self.tail.len() as u64
    }

    /// What comes at `at` in one piece; empty at the end.
    pub(crate) fn piece(&self, at: u64) -> &'a [u8] {
        if at < self.filled {
            let from = (at % FILLER as u64) as usize;
            let length = usize::try_from(self.filled - at).unwrap_or(usize::MAX).min(FILLER - from);
            return &self.filler[from..from + length];
        }
        usize::try_from(at - self.filled).ok().and_then(|from| self.tail.get(from..)).unwrap_or_default()
    }

    /// Pieces from `at` on. How many there are.
    pub(crate) fn pieces(&self, mut at: u64, slices: &mut [IoSlice<'a>]) -> usize {
        for (count, slice) in slices.iter_mut().enumerate() {
            let piece = self.piece(at);
            if piece.is_empty() {
                return count;
            }
            *slice = IoSlice::new(piece);
            at += piece.len() as u64;
        }
        slices.len()
    }
}

/// Numbers that look random (xorshift). Nothing secret is made of them.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // Zero stays zero forever.
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One of `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_digest_that_its_family_says() {
        let filler = Filler::new(7);
        for size in [64, 65, 1024, FILLER as u64, 3 * FILLER as u64 + 100] {
            let family = Family::new(&filler, size);
            let tail = [b'x'; TAIL];
            let body = Body::of(&filler, family.size(), &tail);
            let (mut bytes, mut at) = (Vec::new(), 0);
            while !body.piece(at).is_empty() {
                let mut slices = [IoSlice::new(&[]); 2];
                let count = body.pieces(at, &mut slices);
                for slice in &slices[..count] {
                    // The system may take less than it is offered.
                    let taken = slice.len().div_ceil(2);
                    bytes.extend_from_slice(&slice[..taken]);
                    at += taken as u64;
                    if taken < slice.len() {
                        break;
                    }
                }
            }
            assert_eq!((bytes.len() as u64, body.len()), (size, size));
            assert_eq!(Digest::sha256(&bytes), family.digest(&tail));
        }
        assert_ne!(Family::new(&filler, 100).digest(&[0; TAIL]), Family::new(&filler, 100).digest(&[1; TAIL]));
    }

    #[test]
    fn filler_differs_by_seed() {
        assert_ne!(Filler::new(1).0, Filler::new(2).0);
        assert!(Random::new(0).next() != 0);
    }
}
