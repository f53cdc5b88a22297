//! One request and its answer, as they are written down.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use image::RepositoryName;

use crate::answer::Answer;
use crate::events::Origin;
use crate::route::Endpoint;

/// The header that names a request, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that is taken from a client.
const LONGEST_ID: usize = 64;

/// The name of a request: the client's, if it gave one that can stand in any log, or one of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).and_then(Self::given);
        given.unwrap_or_else(Self::new)
    }

    /// A name from outside.
    pub(crate) fn given(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > LONGEST_ID || !text.bytes().all(fits) {
            return None;
        }
        HeaderValue::from_str(text).ok().map(Self)
    }

    fn new() -> Self {
        static PROCESS: OnceLock<u32> = OnceLock::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let process = PROCESS.get_or_init(|| {
            let mut random = [0; 4];
            match getrandom::fill(&mut random) {
                Ok(()) => u32::from_be_bytes(random),
                Err(_) => std::process::id(),
            }
        });
        let mut text = String::with_capacity(16);
        let _ = write!(text, "{process:08x}{:08x}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self(HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// What is known of a request, more with each step that it takes.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) id: RequestId,
    pub(crate) peer: SocketAddr,
    pub(crate) begun: Instant,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// What its path means, in one word of a few. `none`: nothing.
    pub(crate) route: &'static str,
    /// The repository that it is about.
    pub(crate) repository: Option<RepositoryName>,
    /// Whose it is, once that is known.
    pub(crate) actor: Option<Arc<str>>,
    /// Bytes of its body that came so far.
    pub(crate) received: Arc<AtomicU64>,
}

impl Exchange {
    pub(crate) fn begin<B>(peer: SocketAddr, request: &Request<B>) -> Self {
        Self {
            id: RequestId::of(request.headers()),
            peer,
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: "none",
            repository: None,
            actor: None,
            received: Arc::default(),
        }
    }

    /// Its path was understood.
    pub(crate) fn is_for(&mut self, endpoint: &Endpoint) {
        self.route = endpoint.kind();
        self.repository = endpoint.repository().map(|repository| repository.name.clone());
    }

    /// Where what it writes comes from.
    pub(crate) fn origin(&self) -> Origin {
        Origin { request: self.id.clone(), actor: self.actor.clone(), peer: self.peer.ip() }
    }

    /// Puts the name on the answer, and writes a line about both.
    pub(crate) fn end(self, mut answer: Answer) -> Answer {
        answer.headers_mut().insert(REQUEST_ID, self.id.0.clone());
        tracing::info!(
            target: "access",
            peer = %self.peer,
            method = %self.method,
            // Shown with its control characters escaped.
            path = ?self.uri.path(),
            query = ?self.uri.query().unwrap_or_default(),
            status = answer.status().as_u16(),
            microseconds = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX),
        );
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_from_outside_is_taken_if_it_can_stand_in_any_log() {
        let id = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_static(text));
            RequestId::of(&headers)
        };
        assert_eq!(id("Trace-1.a_b").as_str(), "Trace-1.a_b");
        for bad in
            ["", "a b", "a\"b", "a\tb", "a/b", "01234567890123456789012345678901234567890123456789012345678901234"]
        {
            let made = id(bad);
            assert_ne!(made.as_str(), bad);
            assert_eq!(made.as_str().len(), 16, "{made:?}");
        }
        assert_ne!(RequestId::new(), RequestId::new());
    }
}
