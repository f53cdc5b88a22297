//! What the head of a request says.

use content::TagCondition;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use image::Digest;
use registry::fuzzing;

use crate::line;

/// `Range`, `Content-Range`, `If-Match` and its kin. The first eight bytes are a size.
pub(crate) fn ranges(bytes: &[u8]) {
    let Some((size, rest)) = bytes.split_first_chunk::<8>() else { return };
    let size = u64::from_le_bytes(*size);
    let (header, rest) = line(rest);
    if let Some(part) = fuzzing::range(header, size)
        && part != (0..0)
    {
        assert!(part.start < part.end && part.end <= size, "{header:?} of {size}: {part:?}");
        let again = format!("bytes={}-{}", part.start, part.end - 1);
        assert_eq!(fuzzing::range(&again, size), Some(part), "{header:?}");
    }
    if let Some(part) = fuzzing::chunk(header) {
        assert!(part.start < part.end, "{header:?}");
        assert_eq!(fuzzing::chunk(&format!("{}-{}", part.start, part.end - 1)), Some(part), "{header:?}");
    }
    let digest = Digest::sha256(b"");
    let mut headers = HeaderMap::new();
    for text in rest.split(|byte| *byte == b'\n') {
        let (name, value) = text.split_first().unwrap_or((&0, &[]));
        let name: HeaderName = [IF_MATCH, IF_NONE_MATCH, IF_RANGE][usize::from(*name) % 3].clone();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let (_, _, condition) = fuzzing::conditions(&headers, &digest);
    // A condition is never lost: who asks for one may not overwrite what has moved.
    assert!(!headers.contains_key(IF_MATCH) || matches!(condition, TagCondition::Present | TagCondition::OneOf(_)));
}

/// Paths and queries.
pub(crate) fn requests(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if let Some(parts) = fuzzing::path(path) {
        if let Some(digest) = &parts.digest {
            assert_eq!(Digest::parse(digest.as_str()).as_ref(), Ok(digest));
        }
        if let Some(session) = &parts.session {
            assert!(session.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{session:?}");
        }
        if let (Some(name), Some(digest)) = (&parts.repository, &parts.digest) {
            // The same thing in its plain form.
            let plain = [format!("/v2/{name}/blobs/{digest}"), format!("/v2/{name}/referrers/{digest}")];
            assert!(plain.iter().all(|plain| fuzzing::path(plain).as_ref() == Some(&parts)), "{path:?}");
        }
    }
    for name in ["n", "last", "digest", "from", "artifactType"] {
        let (values, size) = fuzzing::query(query, name);
        assert!(size.is_none_or(|size| size <= 10_000), "{query:?}");
        for value in values {
            let encoded = fuzzing::encode(&value);
            assert!(encoded.is_ascii() && !encoded.contains(['&', '=', '"', '<', '>', '\r', '\n', ' ']), "{encoded:?}");
            let (again, _) = fuzzing::query(&format!("{name}={encoded}"), name);
            assert_eq!(again, [value], "{query:?}");
        }
    }
}
