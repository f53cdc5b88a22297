//! URLs as they may be shown: redaction is a matter of type, not of care.

use std::fmt;

use url::Url;

/// Query parameters whose values are part of the protocol and no secret. The value of every other one is dropped:
/// pre-signed URLs and upload sessions carry their right to be used in the query.
const SHOWN: [&str; 12] = [
    "n",
    "last",
    "mount",
    "from",
    "digest",
    "digest-algorithm",
    "artifactType",
    "scope",
    "service",
    "tag",
    "ns",
    "client_id",
];

/// A URL without user, password, fragment and the values of query parameters that could be secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RedactedUrl(String);

impl RedactedUrl {
    /// The text that may be shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A text that could not be parsed as a URL and has nothing secret in it.
    pub(crate) fn unparsed(text: &str) -> Self {
        Self(crate::escape::line(text))
    }
}

impl From<&Url> for RedactedUrl {
    fn from(url: &Url) -> Self {
        let mut text = format!("{}://", url.scheme());
        if let Some(host) = url.host_str() {
            text.push_str(host);
        }
        if let Some(port) = url.port() {
            text.push(':');
            text.push_str(&port.to_string());
        }
        text.push_str(url.path());
        for (count, pair) in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).enumerate() {
            text.push(if count == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                Some((key, _)) if SHOWN.contains(&key) => text.push_str(pair),
                Some((key, _)) => {
                    text.push_str(key);
                    text.push_str("=…");
                }
                None => text.push('…'),
            }
        }
        // `Url` percent-encodes control characters, but the direction of writing can still be turned by a host name.
        Self(crate::escape::line(&text))
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        RedactedUrl::from(&Url::parse(text).unwrap()).to_string()
    }

    #[test]
    fn secrets_of_urls_are_not_shown() {
        assert_eq!(shown("https://me:pass@r.io:5000/v2/a/tags/list?n=10#f"), "https://r.io:5000/v2/a/tags/list?n=10");
        assert_eq!(
            shown("https://s3.example/blob?X-Amz-Signature=abc&X-Amz-Credential=x%2Fy&digest=sha256:00"),
            "https://s3.example/blob?X-Amz-Signature=…&X-Amz-Credential=…&digest=sha256:00"
        );
        assert_eq!(
            shown("https://r.io/v2/a/blobs/uploads/u?_state=secret"),
            "https://r.io/v2/a/blobs/uploads/u?_state=…"
        );
    }

    #[test]
    fn a_parameter_without_key_may_be_the_secret_itself() {
        assert_eq!(shown("https://r.io/?c2VjcmV0"), "https://r.io/?…");
    }
}
