//! `Range` of a blob, and `Content-Range` of a chunk.

use std::ops::Range;

/// What a client wants of a blob.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// A part of it.
    Part(Range<u64>),
    /// A part that it does not have.
    Outside,
}

/// Reads a `Range` header for a blob of `size` bytes.
///
/// One range of bytes is honoured. What is not understood, and several ranges at once, are answered with the whole, as
/// RFC 9110, section 14.2, allows.
pub(crate) fn wanted(header: &str, size: u64) -> Wanted {
    let Some(range) = header.trim().strip_prefix("bytes=") else { return Wanted::Whole };
    let Some((first, last)) = range.split_once('-') else { return Wanted::Whole };
    let (first, last) = (first.trim(), last.trim());
    if range.contains(',') || !is_number(first) || !is_number(last) || (first.is_empty() && last.is_empty()) {
        return Wanted::Whole;
    }
    let (start, end) = if first.is_empty() {
        (size.saturating_sub(number(last)), size)
    } else {
        let end = if last.is_empty() { size } else { number(last).saturating_add(1).min(size) };
        (number(first), end)
    };
    if start < end { Wanted::Part(start..end) } else { Wanted::Outside }
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number too large to read is larger than any blob.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

/// Reads a `Content-Range` of the distribution specification: first and last byte, no unit, no total.
pub(crate) fn chunk(header: &str) -> Option<Range<u64>> {
    let (first, last) = header.split_once('-')?;
    if first.is_empty() || last.is_empty() || !is_number(first) || !is_number(last) {
        return None;
    }
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end).then_some(first..end)
}

/// How far an upload has come, as `Range` says it. Nothing and one byte look the same; Docker made it so.
pub(crate) fn received(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_blob() {
        for (header, want) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=500-1499", Wanted::Part(500..1000)),
            ("bytes=500-", Wanted::Part(500..1000)),
            ("bytes=-500", Wanted::Part(500..1000)),
            ("bytes=-5000", Wanted::Part(0..1000)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..1000)),
            ("bytes=500-0", Wanted::Outside),
            ("bytes=1000-", Wanted::Outside),
            ("bytes=5000-10000", Wanted::Outside),
            ("bytes=-0", Wanted::Outside),
            ("bytes=0-1,4-5", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(wanted(header, 1000), want, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Outside);
        assert_eq!(wanted("bytes=-5", 0), Wanted::Outside);
    }

    #[test]
    fn ranges_of_a_chunk() {
        assert_eq!(chunk("0-9"), Some(0..10));
        assert_eq!(chunk("10-10"), Some(10..11));
        for bad in ["", "-", "0-", "-9", "9-0", "bytes 0-9/10", "0-9/10", "0 - 9", "+0-9", "0-18446744073709551615"] {
            assert_eq!(chunk(bad), None, "{bad}");
        }
        assert_eq!(received(0), "0-0");
        assert_eq!(received(10), "0-9");
    }
}
