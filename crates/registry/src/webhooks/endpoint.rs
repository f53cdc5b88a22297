//! Where events are posted to, and which.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use image::Digest;
use url::{Host, Url};

use crate::access::Glob;
use crate::events::Event;

/// An endpoint. Its URL and its secret are not shown: the path of one is often the password to a chat room.
#[derive(Clone)]
pub struct Endpoint {
    pub(super) url: Url,
    pub(super) key: Option<hmac::Key>,
    events: Vec<&'static str>,
    repositories: Vec<Glob>,
}

/// Why something is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no URL that can be posted to.
    #[error("the URL of a webhook {0}")]
    Url(&'static str),
    /// Its host may not be posted to, unless that is allowed.
    #[error("the webhook to `{endpoint}` is refused: {reason}; `webhook-allow` can list it")]
    Refused {
        /// Scheme and host.
        endpoint: String,
        /// Why.
        reason: &'static str,
    },
    /// There is no such event.
    #[error("there is no event `{name}`; there are {}", EVENTS.map(|event| format!("`{event}`")).join(", "))]
    Event {
        /// The name.
        name: String,
    },
    /// No repository could match.
    #[error(
        "`{0}` matches no repository: names have lower-case letters, digits, `.`, `_`, `-` and `/`, patterns also `*` and `**`"
    )]
    Repositories(String),
    /// The file of its secret cannot be read.
    #[error("read the secret of a webhook `{}`: {reason}", path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What came back.
        reason: String,
    },
    /// The secret is too short to be one, or too long.
    #[error("the secret of a webhook has {length} bytes, and must have from {SHORTEST} to {LONGEST}")]
    SecretLength {
        /// How many it has.
        length: usize,
    },
}

/// Events that endpoints may ask for.
pub(super) const EVENTS: [&str; 4] = ["manifest-pushed", "tag-moved", "tag-deleted", "manifest-deleted"];
const SHORTEST: usize = 16;
const LONGEST: usize = 4096;

impl Endpoint {
    /// An endpoint for all of its events of all repositories, without a signature.
    ///
    /// # Errors
    /// [`EndpointError::Url`], which does not repeat the URL.
    pub fn new(url: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(url).map_err(|_| EndpointError::Url("cannot be read"))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(EndpointError::Url("has to begin with `https://` or `http://`"));
        }
        if url.host().is_none() || url.port_or_known_default().is_none_or(|port| port == 0) {
            return Err(EndpointError::Url("has no host and port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Url("has a user name or password in it; use a secret, or a path that is one"));
        }
        Ok(Self { url, key: None, events: EVENTS.to_vec(), repositories: Vec::new() })
    }

    /// Signs what is posted with this secret.
    ///
    /// # Errors
    /// [`EndpointError::SecretLength`].
    pub fn with_secret(mut self, secret: &[u8]) -> Result<Self, EndpointError> {
        if !(SHORTEST..=LONGEST).contains(&secret.len()) {
            return Err(EndpointError::SecretLength { length: secret.len() });
        }
        self.key = Some(hmac::Key::new(hmac::HMAC_SHA256, secret));
        Ok(self)
    }

    /// Signs what is posted with the secret in a file, whose last line feed does not count.
    ///
    /// # Errors
    /// [`EndpointError::SecretFile`], [`EndpointError::SecretLength`].
    pub fn with_secret_file(self, path: &Path) -> Result<Self, EndpointError> {
        let bytes = std::fs::read(path)
            .map_err(|error| EndpointError::SecretFile { path: path.to_owned(), reason: error.to_string() })?;
        let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        self.with_secret(text.strip_suffix(b"\r").unwrap_or(text))
    }

    /// Posts only these events: of `manifest-pushed`, `tag-moved`, `tag-deleted`, `manifest-deleted`.
    ///
    /// # Errors
    /// [`EndpointError::Event`].
    pub fn with_events(mut self, names: &[impl AsRef<str>]) -> Result<Self, EndpointError> {
        let known = |name: &str| EVENTS.into_iter().find(|event| *event == name);
        let known = |name: &str| {
            known(name).ok_or_else(|| EndpointError::Event {
                name: name.chars().take(100).flat_map(char::escape_debug).collect(),
            })
        };
        self.events = names.iter().map(|name| known(name.as_ref())).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Posts only events of repositories that match one of these patterns: `*` stays between slashes, `**` does not.
    ///
    /// # Errors
    /// [`EndpointError::Repositories`].
    pub fn with_repositories(mut self, patterns: &[impl AsRef<str>]) -> Result<Self, EndpointError> {
        let parse = |text: &str| {
            Glob::parse(text).ok_or_else(|| {
                EndpointError::Repositories(text.chars().take(100).flat_map(char::escape_debug).collect())
            })
        };
        self.repositories = patterns.iter().map(|text| parse(text.as_ref())).collect::<Result<_, _>>()?;
        Ok(self)
    }

    pub(super) fn wants(&self, event: &Event) -> bool {
        self.events.contains(&event.what.name())
            && (self.repositories.is_empty() || self.repositories.iter().any(|glob| glob.matches(&event.repository)))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) fn host(&self) -> Host<&str> {
        // Whether there is one was asked when it was made.
        self.url.host().unwrap_or(Host::Domain(""))
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// What its files are called: the same for the same URL, and telling nothing of it.
    pub(super) fn file_stem(&self) -> String {
        let digest = Digest::sha256(self.url.as_str().as_bytes());
        digest.hex().chars().take(24).collect()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.url.scheme(), self.host())?;
        self.url.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_the_path_nor_the_secret_is_shown() {
        let endpoint = Endpoint::new("https://hooks.example:8443/services/T0PSECRET?key=K3Y").unwrap();
        let endpoint = endpoint.with_secret(b"0123456789abcdef").unwrap();
        assert_eq!(endpoint.to_string(), "https://hooks.example:8443");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(https://hooks.example:8443)");
        assert_eq!(Endpoint::new("http://[::1]/x").unwrap().to_string(), "http://[::1]");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_repeating_it() {
        for url in [
            "",
            "hooks.example/x",
            "ftp://h/",
            "https://",
            "https://u:p4ss@h/",
            "https://u@h/",
            "http://h:0/",
            "data:x",
        ] {
            let error = Endpoint::new(url).unwrap_err();
            assert!(!error.to_string().contains("p4ss"), "{error}");
        }
        let endpoint = Endpoint::new("https://h/").unwrap();
        let error = endpoint.clone().with_events(&["push"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no event `push`; there are `manifest-pushed`, `tag-moved`, `tag-deleted`, `manifest-deleted`"
        );
        assert!(endpoint.clone().with_repositories(&["Team/*"]).is_err());
        assert!(endpoint.clone().with_secret(b"short").is_err());
        let error = endpoint.with_secret_file(Path::new("/none/at/all")).unwrap_err();
        assert!(error.to_string().starts_with("read the secret of a webhook `/none/at/all`: "), "{error}");
    }

    #[test]
    fn a_secret_file_may_end_with_a_line_feed() {
        let directory = tempfile::tempdir().unwrap();
        let sign = |text: &str| {
            let path = directory.path().join("secret");
            std::fs::write(&path, text).unwrap();
            let endpoint = Endpoint::new("https://h/").unwrap().with_secret_file(&path).unwrap();
            hmac::sign(endpoint.key.as_ref().unwrap(), b"x").as_ref().to_vec()
        };
        assert_eq!(sign("0123456789abcdef"), sign("0123456789abcdef\n"));
        assert_eq!(sign("0123456789abcdef"), sign("0123456789abcdef\r\n"));
        assert_ne!(sign("0123456789abcdef"), sign("0123456789abcdef\n\n"));
    }
}
