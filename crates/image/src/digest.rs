//! Digests: an algorithm and the hex of its output (image-spec, `descriptor.md`, "Digests").

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::shown;

/// A hash algorithm that polyarch can compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256: 64 lower-case hexadecimal characters.
    Sha256,
    /// SHA-512: 128 lower-case hexadecimal characters.
    Sha512,
}

impl Algorithm {
    /// The algorithm's name as it stands before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Length of the encoded part, in characters.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            other => Err(DigestError::UnsupportedAlgorithm(shown(other))),
        }
    }
}

/// A digest that is valid by construction: a known algorithm and exactly its number of lower-case hex characters.
///
/// Because of that it is the only thing a path on disk is ever made from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    algorithm: Algorithm,
    text: Box<str>,
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No `algorithm:encoded` form.
    #[error("`{0}` is not a digest: expected `algorithm:hex`")]
    Malformed(String),
    /// The algorithm is not one that polyarch can verify.
    #[error("digest algorithm `{0}` is not supported: only sha256 and sha512 are")]
    UnsupportedAlgorithm(String),
    /// The encoded part has a wrong length or characters outside `[a-f0-9]`.
    #[error("`{0}` is not a digest: expected {1} lower-case hexadecimal characters")]
    BadHex(String, usize),
}

impl Digest {
    /// Parses `sha256:<64 hex>` or `sha512:<128 hex>`.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| DigestError::Malformed(shown(text)))?;
        let algorithm_ok = !algorithm.is_empty()
            && algorithm.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+._-".contains(&b));
        if !algorithm_ok || hex.is_empty() {
            return Err(DigestError::Malformed(shown(text)));
        }
        let algorithm: Algorithm = algorithm.parse()?;
        let hex_ok =
            hex.len() == algorithm.hex_len() && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex_ok {
            return Err(DigestError::BadHex(shown(text), algorithm.hex_len()));
        }
        Ok(Self { algorithm, text: text.into() })
    }

    /// SHA-256 of `bytes`.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, bytes)
    }

    /// Hash of `bytes`.
    pub fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The part after the colon.
    pub fn hex(&self) -> &str {
        &self.text[self.algorithm.as_str().len() + 1..]
    }

    /// `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.text)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// An incremental hash. It can be cloned to look at the digest so far.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: aws_lc_rs::digest::Context,
    length: u64,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Hasher {
    /// A hash of nothing so far.
    pub fn new(algorithm: Algorithm) -> Self {
        let implementation = match algorithm {
            Algorithm::Sha256 => &aws_lc_rs::digest::SHA256,
            Algorithm::Sha512 => &aws_lc_rs::digest::SHA512,
        };
        Self { algorithm, context: aws_lc_rs::digest::Context::new(implementation), length: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
        self.length += bytes.len() as u64;
    }

    /// How many bytes were added.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        let output = self.context.finish();
        let mut text = String::with_capacity(self.algorithm.as_str().len() + 1 + self.algorithm.hex_len());
        text.push_str(self.algorithm.as_str());
        text.push(':');
        for byte in output.as_ref() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            text.push(char::from(HEX[usize::from(byte >> 4)]));
            text.push(char::from(HEX[usize::from(byte & 15)]));
        }
        Digest { algorithm: self.algorithm, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_vectors() {
        assert_eq!(
            Digest::sha256(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::of(Algorithm::Sha512, b"abc").hex().len(), 128);
        assert!(Digest::of(Algorithm::Sha512, b"abc").as_str().starts_with("sha512:ddaf35a193617aba"));
    }

    #[test]
    fn only_exact_hex_is_a_digest() {
        let good = Digest::sha256(b"x").to_string();
        assert_eq!(Digest::parse(&good).unwrap().to_string(), good);
        for bad in ["", "sha256", "sha256:", "sha256:abc", ":abc", "sha256:../../../../etc/passwd", "SHA256:00"] {
            assert!(Digest::parse(bad).is_err(), "{bad}");
        }
        assert!(Digest::parse(&good.to_uppercase()).is_err());
        assert!(Digest::parse(&format!("{good}0")).is_err());
        assert!(matches!(Digest::parse(&format!("md5:{}", "0".repeat(32))), Err(DigestError::UnsupportedAlgorithm(_))));
    }
}
