//! When to send a request again.

use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::options::RetryPolicy;

/// The pause before attempt `next` (2 is the first repetition): twice as long each time, with jitter, so that clients
/// that failed together do not come back together.
pub(crate) fn before(next: u32, policy: &RetryPolicy) -> Duration {
    let doublings = next.saturating_sub(2).min(20);
    let full = policy.pause.saturating_mul(1 << doublings).min(policy.longest_pause);
    full.mul_f64(0.5 + random() / 2.0)
}

/// A number in `[0, 1)`. The standard library's hash keys are random, which is all that jitter needs.
fn random() -> f64 {
    let bits = std::hash::RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(SystemTime::from(at).duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_within_bounds() {
        let policy = RetryPolicy::default();
        for (next, full) in [(2, 200), (3, 400), (4, 800), (9, 10_000), (4_000_000_000, 10_000)] {
            let pause = before(next, &policy);
            let full = Duration::from_millis(full);
            assert!(pause >= full / 2 && pause <= full, "{next}: {pause:?}");
        }
    }

    #[test]
    fn jitter_jitters() {
        let policy = RetryPolicy::default();
        let pauses: std::collections::HashSet<_> = (0..20).map(|_| before(5, &policy)).collect();
        assert!(pauses.len() > 1);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("3"), Some(Duration::from_secs(3)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let far = of("Fri, 31 Dec 2100 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_secs(86_400 * 365));
        assert_eq!(of("soon"), None);
        assert_eq!(of("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
