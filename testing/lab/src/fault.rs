//! Faults: what goes wrong, at which request, how often.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// This status instead of an answer, with an error body of `code` and `message`.
    Status {
        /// The status.
        status: u16,
        /// Code in the error body.
        code: String,
        /// Message in the error body.
        message: String,
    },
    /// This status with these bytes as body.
    Body {
        /// The status.
        status: u16,
        /// `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
    /// 429 with `Retry-After` (seconds, or none).
    RetryAfter(Option<u64>),
    /// The connection is closed, the request had no effect.
    Drop,
    /// The connection is closed after the request took effect: the answer is lost.
    DropAnswer,
    /// The connection is closed when this many bytes of the request body were read.
    DropUpload(u64),
    /// The answer's body ends early, after this many bytes, against its `Content-Length`.
    Truncate(u64),
    /// `Docker-Content-Digest` is that of other content.
    WrongDigest,
    /// One bit of the body is flipped; length and headers stay.
    WrongBytes,
    /// The body is this many bytes longer, and `Content-Length` says so.
    Longer(u64),
    /// The body is this many bytes shorter, and `Content-Length` says so.
    Shorter(u64),
    /// This `Content-Length` whatever the body is.
    ContentLength(u64),
    /// The head of the answer comes only after this time.
    Stall(Duration),
    /// This many bytes of the body come, then nothing more, and the connection stays open.
    StallBody(u64),
    /// The body never ends.
    Endless,
    /// The body is compressed, with `Content-Encoding: gzip`, whatever was asked for.
    Gzip,
    /// 307 to this URL.
    Redirect(String),
    /// 307 to the same path, for ever.
    RedirectLoop,
    /// A header is set on the answer, replacing what was there.
    Header(String, String),
    /// A header is left out of the answer.
    WithoutHeader(String),
    /// Terminal control characters in code and message of an error body.
    ControlCharacters,
    /// These bytes are written to the connection instead of an answer, and it is closed. HTTP/1.1 only.
    Raw(Vec<u8>),
}

/// A fault and the requests that it hits.
#[derive(Clone, Debug)]
pub struct Fault {
    method: Option<Method>,
    path_part: String,
    nth: usize,
    times: usize,
    seen: usize,
    kind: FaultKind,
}

impl Fault {
    /// Hits every request whose path and query contain `path_part`, of any method if `method` is empty.
    ///
    /// # Panics
    /// If `method` is not an HTTP method.
    pub fn on(method: &str, path_part: &str, kind: FaultKind) -> Self {
        let method = (!method.is_empty()).then(|| method.parse().expect("an HTTP method"));
        Self { method, path_part: path_part.to_owned(), nth: 1, times: usize::MAX, seen: 0, kind }
    }

    /// Hits the `n`-th request after it was set, whichever that is, counted from 1.
    pub fn at(n: usize, kind: FaultKind) -> Self {
        Self::on("", "", kind).nth(n).times(1)
    }

    /// Begins with the `n`-th request that matches, counted from 1.
    #[must_use]
    pub fn nth(mut self, n: usize) -> Self {
        self.nth = n;
        self
    }

    /// Hits this many requests in a row.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Hits one request.
    #[must_use]
    pub fn once(self) -> Self {
        self.times(1)
    }

    fn hits(&mut self, method: &Method, path_and_query: &str) -> bool {
        if self.method.as_ref().is_some_and(|wanted| wanted != method) || !path_and_query.contains(&self.path_part) {
            return false;
        }
        self.seen += 1;
        self.seen >= self.nth && self.seen - self.nth < self.times
    }
}

impl FaultKind {
    /// A status with an error body of a matching code.
    pub fn status(status: u16) -> Self {
        let (code, message) = match status {
            401 => ("UNAUTHORIZED", "authentication required"),
            403 => ("DENIED", "requested access to the resource is denied"),
            404 => ("MANIFEST_UNKNOWN", "manifest unknown"),
            405 => ("UNSUPPORTED", "the operation is unsupported"),
            429 => ("TOOMANYREQUESTS", "too many requests"),
            503 => ("UNAVAILABLE", "service unavailable"),
            _ => ("UNKNOWN", "unknown error"),
        };
        Self::Status { status, code: code.to_owned(), message: message.to_owned() }
    }
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    pub(crate) fn add(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The faults that hit this request. Every fault counts every request, also where another one hits first.
    pub(crate) fn pick(&self, method: &Method, path_and_query: &str) -> Vec<FaultKind> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        faults.iter_mut().filter_map(|fault| fault.hits(method, path_and_query).then(|| fault.kind.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_matching_request_is_hit_so_many_times() {
        let faults = Faults::default();
        faults.add(Fault::on("GET", "/blobs/", FaultKind::Drop).nth(2).times(2));
        let hit = |method: Method, path: &str| !faults.pick(&method, path).is_empty();
        assert!(!hit(Method::GET, "/v2/a/blobs/1"));
        assert!(!hit(Method::HEAD, "/v2/a/blobs/1"));
        assert!(!hit(Method::GET, "/v2/a/manifests/1"));
        assert!(hit(Method::GET, "/v2/a/blobs/1"));
        assert!(hit(Method::GET, "/v2/a/blobs/1"));
        assert!(!hit(Method::GET, "/v2/a/blobs/1"));
    }
}
