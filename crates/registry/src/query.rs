//! The query of a request, decoded.

use std::borrow::Cow;

use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::refusal::Refusal;

/// What may stand in a query as it is.
const VALUE: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Most entries of one page.
pub(crate) const PAGE: usize = 10_000;

/// Names and values, decoded.
pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(crate) fn parse(text: Option<&'a str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of `name`.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Whether something was asked for with `name=true` or `name=1`.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), Some("true" | "1"))
    }

    /// The size of the page that is asked for.
    pub(crate) fn page_size(&self) -> Result<usize, Refusal> {
        let Some(text) = self.get("n") else { return Ok(PAGE) };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "PAGINATION_NUMBER_INVALID",
                "`n` must be a number of entries, 0 or more",
            )
            .detail(serde_json::json!({ "n": text })));
        }
        // A number too large to read is larger than any page.
        Ok(text.parse().unwrap_or(PAGE).min(PAGE))
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    if text.contains(['+', '%']) {
        let spaces = text.replace('+', " ");
        Cow::Owned(percent_decode_str(&spaces).decode_utf8_lossy().into_owned())
    } else {
        Cow::Borrowed(text)
    }
}

/// A value as it stands in a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, &VALUE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_encoded() {
        let query = Query::parse(Some("digest=sha256%3Aab&tag=a&tag=b+c&force=true&x"));
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c"]);
        assert!(query.is_set("force") && !query.is_set("x"));
        assert_eq!(encode("text/x+y &"), "text/x%2By%20%26");
    }

    #[test]
    fn page_sizes() {
        let size = |text| Query::parse(Some(text)).page_size().ok();
        assert_eq!(size("n=0"), Some(0));
        assert_eq!(size("n=7"), Some(7));
        assert_eq!(size(""), Some(PAGE));
        assert_eq!(size("n=999999999999999999999999"), Some(PAGE));
        for bad in ["n=-1", "n=", "n=x", "n=1.5", "n=%2B1"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
