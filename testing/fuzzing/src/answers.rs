//! What registries answer to the client.

use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use registry_client::fuzzing;

use crate::{assert_plain, line};

/// Challenges, errors, links. The first line is a `Link`, the second one the number of challenges that follow.
pub(crate) fn answers(bytes: &[u8]) {
    let (link, rest) = line(bytes);
    if let Some(next) = fuzzing::next_page(link) {
        assert!(link.contains(&format!("<{next}>")), "{link:?}");
    }
    let (count, mut rest) = line(rest);
    let mut headers = HeaderMap::new();
    for _ in 0..count.parse::<u8>().unwrap_or(0) {
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        if let Ok(value) = HeaderValue::from_bytes(&rest[..end]) {
            headers.append(WWW_AUTHENTICATE, value);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    assert!(!fuzzing::challenge(&headers) || !headers.is_empty());
    let codes = fuzzing::codes(rest);
    assert!(codes.len() <= 100, "{} errors", codes.len());
    for code in &codes {
        assert_plain(code);
    }
}
