//! Names, references, digests.

use std::path::PathBuf;

use image::{Algorithm, Digest, Hasher, Platform, PlatformMatcher, Reference, RepositoryName, Tag};
use store::Location;

use crate::assert_plain;

/// The grammar of a repository name, written down once more.
fn is_name(text: &str) -> bool {
    let part = |part: &str| {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let mut rest = part.as_bytes();
        loop {
            let Some(end) = rest.iter().position(|byte| !word(*byte)) else { return !rest.is_empty() };
            let between = &rest[end..];
            let length = between.iter().position(|byte| word(*byte)).unwrap_or(between.len());
            let separator = &between[..length];
            let fits =
                separator == b"." || separator == b"_" || separator == b"__" || separator.iter().all(|b| *b == b'-');
            if end == 0 || !fits {
                return false;
            }
            rest = &between[length..];
        }
    };
    text.len() <= 255 && text.split('/').all(part)
}

/// The grammar of a tag, written down once more.
fn is_tag(text: &str) -> bool {
    let first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    text.len() <= 128
        && text.bytes().next().as_ref().is_some_and(first)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Repository names, tags, references, locations, platforms.
pub(crate) fn names(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let name = RepositoryName::parse(text);
    assert_eq!(name.is_ok(), is_name(text), "{text:?}");
    assert_eq!(Tag::parse(text).is_ok(), is_tag(text), "{text:?}");
    if !text.contains('%') {
        let path = registry::fuzzing::path(&format!("/v2/{text}/tags/list"));
        assert_eq!(path.and_then(|parts| parts.repository).as_ref(), name.as_ref().ok(), "{text:?}");
    }
    match Reference::parse(text) {
        Ok(reference) => {
            assert!(is_name(reference.repository().as_str()), "{text:?}");
            let again = Reference::parse(&reference.to_string());
            assert_eq!(again.as_ref(), Ok(&reference), "{text:?}");
            assert_eq!(Reference::parse(&reference.familiar()).as_ref(), Ok(&reference), "{text:?}");
        }
        Err(error) => assert_plain(&error),
    }
    match Location::parse(text) {
        Ok(Location::Layout { directory, .. }) => assert_ne!(directory, PathBuf::new(), "{text:?}"),
        Ok(location) => assert_eq!(Location::parse(&location.to_string()).as_ref(), Ok(&location), "{text:?}"),
        Err(error) => assert_plain(&error),
    }
    match Platform::parse(text) {
        Ok(platform) => {
            let normal = platform.normalized();
            assert_eq!(normal.normalized(), normal, "{text:?}");
            assert!(PlatformMatcher::exact(&normal).matches(&normal), "{text:?}");
        }
        Err(error) => assert_plain(&error),
    }
}

/// Digests, and hashing in parts.
pub(crate) fn digests(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        match Digest::parse(text) {
            Ok(digest) => {
                assert_eq!(digest.as_str(), text);
                assert_eq!(digest.hex().len(), digest.algorithm().hex_len());
                assert!(digest.hex().bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
                assert_eq!(format!("{}:{}", digest.algorithm().as_str(), digest.hex()), text);
            }
            Err(error) => assert_plain(&error),
        }
    }
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte)).min(bytes.len());
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&bytes[..cut]);
        hasher.update(&bytes[cut..]);
        assert_eq!(hasher.length(), bytes.len() as u64);
        let digest = hasher.finish();
        assert_eq!(digest, Digest::of(algorithm, bytes));
        assert_eq!(Digest::parse(digest.as_str()).as_ref(), Ok(&digest));
    }
}
