//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110, section 13). The tag of a thing is its digest in quotes.

use content::TagCondition;
use http::HeaderMap;
use http::header::{self, HeaderName};
use image::Digest;

/// The `ETag` of a digest.
pub(crate) fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Entity tags of a header, without quotes; `*` stands for itself.
fn tags(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(|tag| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
    })
}

/// Whether the client has it already, so that 304 is enough.
pub(crate) fn has_it(headers: &HeaderMap, digest: &Digest) -> bool {
    headers.contains_key(header::IF_NONE_MATCH)
        && tags(headers, header::IF_NONE_MATCH).any(|tag| tag == "*" || tag == digest.as_str())
}

/// Whether a range that the client asks for is one of what it knows (`If-Range`).
pub(crate) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    !headers.contains_key(header::IF_RANGE) || tags(headers, header::IF_RANGE).any(|tag| tag == digest.as_str())
}

/// Where a tag must be before it is moved.
pub(crate) fn tag_condition(headers: &HeaderMap) -> TagCondition {
    if headers.contains_key(header::IF_MATCH) {
        if tags(headers, header::IF_MATCH).any(|tag| tag == "*") {
            return TagCondition::Present;
        }
        // What is no digest is where no tag can be.
        return TagCondition::OneOf(
            tags(headers, header::IF_MATCH).filter_map(|tag| Digest::parse(tag).ok()).collect(),
        );
    }
    if tags(headers, header::IF_NONE_MATCH).any(|tag| tag == "*") { TagCondition::Absent } else { TagCondition::Any }
}
