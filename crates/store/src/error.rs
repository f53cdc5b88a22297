//! What can go wrong in any store, in one shape.

use std::fmt;

/// What class of failure it was; fronts choose words, exit codes and retries by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The document, blob or repository is not there.
    NotFound,
    /// The other side wants other credentials.
    Unauthorized,
    /// The credentials are known but do not allow it.
    Denied,
    /// Too many requests, even after waiting.
    RateLimited,
    /// What came is not what was asked for: wrong digest, wrong length, malformed document.
    Invalid,
    /// The store cannot do this at all.
    Unsupported,
    /// No connection, TLS failure, time-out.
    Network,
    /// A disk or database failure on this side.
    Io,
    /// Anything else that the other side said.
    Other,
}

/// A failed operation on a store: what was being done, to what, what came back, what to try.
#[derive(Debug)]
pub struct StoreError {
    /// Class of the failure.
    pub kind: StoreErrorKind,
    /// What was being done and to what, as a fragment that reads well after "failed to".
    pub action: String,
    /// What a person can try, if there is something.
    pub hint: Option<String>,
    /// What came back. For registries this is a `registry_client::ClientError`, found by downcast.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// A failure with nothing but its class and what was being done.
    pub fn new(kind: StoreErrorKind, action: impl Into<String>) -> Self {
        Self { kind, action: action.into(), hint: None, source: None }
    }

    /// Adds what came back.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds what to try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.action)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
