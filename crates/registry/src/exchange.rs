//! One request and its answer, as they are written down.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use image::RepositoryName;
use jiff::{SignedDuration, Timestamp};

use crate::access_log::{Entry, Text};
use crate::answer::{Answer, AnswerBody};
use crate::events::Origin;
use crate::limits::{Flow, Outflow};
use crate::metrics::{One, Over};
use crate::route::Endpoint;
use crate::service::State;

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

/// What is known of a request, more with each step that it takes. When it is over, that is written down.
#[derive(Debug)]
pub(crate) struct Exchange {
    state: Arc<State>,
    pub(crate) id: RequestId,
    pub(crate) peer: SocketAddr,
    begun: Instant,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    user_agent: Option<HeaderValue>,
    /// Whether credentials came with it.
    showed: bool,
    /// What its path means, in one word of a few. `none`: nothing.
    route: &'static str,
    /// The repository that it is about, for the log.
    repository: Option<RepositoryName>,
    /// Whose it is, once that is known.
    pub(crate) actor: Option<Arc<str>>,
    /// Bytes of its body that came so far.
    pub(crate) received: Arc<AtomicU64>,
    /// How it was answered.
    status: Option<StatusCode>,
    /// Bytes of the answer's body.
    pub(crate) sent: u64,
    /// Where it is told that the client takes the answer, if the client says how much of it may be sent.
    flow: Option<Flow>,
    _in_flight: One,
}

impl Exchange {
    pub(crate) fn begin<B>(state: &Arc<State>, peer: SocketAddr, request: &Request<B>) -> Self {
        let headers = request.headers();
        let logged = state.options.access_log.is_some();
        Self {
            state: state.clone(),
            id: RequestId::of(headers),
            // `::ffff:10.0.0.1` is 10.0.0.1, to whoever reads logs and to limits.
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            user_agent: headers.get(header::USER_AGENT).filter(|_| logged).cloned(),
            showed: headers.contains_key(header::AUTHORIZATION),
            route: "none",
            repository: None,
            actor: None,
            received: Arc::default(),
            status: None,
            sent: 0,
            flow: request.extensions().get().filter(|_| request.version() == Version::HTTP_2).cloned(),
            _in_flight: state.metrics.in_flight.one(),
        }
    }

    /// Its path was understood.
    pub(crate) fn is_for(&mut self, endpoint: &Endpoint) {
        self.route = endpoint.kind();
        if self.state.options.access_log.is_some() {
            self.repository = endpoint.repository().map(|repository| repository.name.clone());
        }
    }

    /// Where what it writes comes from.
    pub(crate) fn origin(&self) -> Origin {
        Origin { request: self.id.clone(), actor: self.actor.clone(), peer: self.peer.ip() }
    }

    /// Puts the name on the answer. The exchange is over when its last byte was handed on.
    pub(crate) fn end(mut self, mut answer: Answer) -> Response<Sent> {
        answer.headers_mut().insert(REQUEST_ID, self.id.0.clone());
        self.status = Some(answer.status());
        let outflow = self.flow.take().map(Outflow::new);
        answer.map(|body| Sent { body, rest: Bytes::new(), outflow, exchange: self })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let options = &self.state.options;
        if !options.metrics && options.access_log.is_none() {
            return;
        }
        let took = self.begun.elapsed();
        let received = self.received.load(Ordering::Relaxed);
        if options.metrics {
            let Self { method, route, status, showed, sent, .. } = &*self;
            let (route, status, showed, sent) = (*route, *status, *showed, *sent);
            self.state.metrics.count(&Over { method, route, status, showed, took, received, sent });
        }
        if let Some(log) = &options.access_log {
            let now = Timestamp::now();
            let user_agent = self.user_agent.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()));
            log.write(&Entry {
                time: SignedDuration::try_from(took).ok().and_then(|took| now.checked_sub(took).ok()).unwrap_or(now),
                id: self.id.as_str(),
                peer: self.peer,
                identity: self.actor.as_deref(),
                method: Text(self.method.as_str()),
                route: self.route,
                repository: self.repository.as_ref().map(RepositoryName::as_str),
                path: Text(self.uri.path()),
                query: self.uri.query().map(Text),
                status: self.status.map(|status| status.as_u16()),
                received,
                sent: self.sent,
                microseconds: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                user_agent: user_agent.as_deref().map(Text),
            });
        }
    }
}

/// What is handed over at once where the client says how much may be sent: whoever takes less in the time that it has is
/// left.
const PIECE: usize = 64 << 10;
/// What is handed over last there, and of which nobody says whether it is taken.
const TAIL: usize = 4 << 10;

/// The body of an answer on its way out, and what is to be written down about it.
pub(crate) struct Sent {
    body: AnswerBody,
    /// What came of it, and was not handed over yet.
    rest: Bytes,
    outflow: Option<Outflow>,
    exchange: Exchange,
}

impl Sent {
    /// For whoever sends it without hyper, and counts itself.
    pub(crate) fn into_parts(self) -> (AnswerBody, Exchange) {
        (self.body, self.exchange)
    }

    /// The next piece of what came.
    fn piece(&mut self, outflow: &mut Outflow) -> Bytes {
        let left = self.rest.len();
        let piece = match left {
            _ if left > PIECE => PIECE,
            _ if left > TAIL && self.body.is_end_stream() => left - TAIL,
            _ => left,
        };
        outflow.handed();
        self.exchange.sent += piece as u64;
        self.rest.split_to(piece)
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(mut outflow) = self.outflow.take() else {
            let frame = Pin::new(&mut self.body).poll_frame(context);
            if let Poll::Ready(Some(Ok(frame))) = &frame {
                self.exchange.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return frame;
        };
        // Whoever asks for more has handed on what there was.
        outflow.taken();
        let mut frame = Poll::Ready(None);
        if self.rest.is_empty() {
            frame = Pin::new(&mut self.body).poll_frame(context);
            if let Poll::Ready(Some(Ok(data))) = &mut frame
                && let Some(data) = data.data_mut()
            {
                self.rest = std::mem::take(data);
            }
        }
        if !self.rest.is_empty() {
            frame = Poll::Ready(Some(Ok(Frame::data(self.piece(&mut outflow)))));
        }
        self.outflow = Some(outflow);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        left.exact().map_or(left, |length| SizeHint::with_exact(length + self.rest.len() as u64))
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
