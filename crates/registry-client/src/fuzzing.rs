//! Ways in for the fuzz targets, to what reads the answers of registries. No part of the API.

use http::HeaderMap;

use crate::RegistryCode;

/// Whether a challenge can be answered.
pub fn challenge(headers: &HeaderMap) -> bool {
    crate::challenge::choose(headers).is_some()
}

/// The errors of an answer's body.
pub fn codes(body: &[u8]) -> Vec<RegistryCode> {
    crate::codes::parse(body)
}

/// Where the next page of a list is, as `Link` says it.
pub fn next_page(header: &str) -> Option<&str> {
    crate::listing::next_reference(header)
}
