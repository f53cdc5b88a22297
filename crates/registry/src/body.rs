//! The bytes of a request: bounded in number, and not waited for forever.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use content::{ByteSource, SourceError};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyStream;
use hyper::body::Incoming;

use crate::disk_space::Watch;

/// Bytes of a refused request that are still taken, so that the client sees the answer before its connection breaks.
const DRAINED: u64 = 64 << 20;
/// The same for one that was refused while it was read.
const DRAINED_LATER: u64 = 32 << 20;

/// What can be wrong with a request's bytes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// More than is taken.
    #[error("the {what} is larger than the {limit} bytes that are taken")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// The client announced another number.
    #[error("{came} bytes came, but `Content-Range` announces {announced}")]
    Length {
        /// What was announced.
        announced: u64,
        /// What came; or one more than was announced, as there is no end in sight.
        came: u64,
    },
    /// The disk is full.
    #[error("there is no room for more bytes")]
    NoRoom,
    /// Nothing came for too long.
    #[error("no bytes came for too long")]
    Stalled,
    /// The connection broke.
    #[error("the request ended early: {0}")]
    Broken(String),
}

/// What comes behind the head of a request.
#[derive(Debug)]
pub(crate) struct Coming(Option<Incoming>);

impl Coming {
    /// The request has no body.
    pub(crate) fn nothing() -> Self {
        Self(None)
    }
}

impl From<Incoming> for Coming {
    fn from(incoming: Incoming) -> Self {
        Self(Some(incoming))
    }
}

impl Body for Coming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.0 {
            Some(incoming) => Pin::new(incoming).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// The body of a request that was not read yet.
#[derive(Debug)]
pub(crate) struct RequestBody {
    incoming: Coming,
    /// The client sends nothing before it is told to go on, which reading does (`Expect: 100-continue`).
    waits: bool,
    meter: Meter,
}

/// Counts the bytes of a request.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// What came of this one.
    received: Arc<AtomicU64>,
    disk: Arc<Watch>,
}

impl Meter {
    pub(crate) fn new(received: Arc<AtomicU64>, disk: Arc<Watch>) -> Self {
        Self { received, disk }
    }

    /// Bytes came, and are kept if this says so.
    fn took(&self, bytes: &Bytes) -> Result<(), BodyError> {
        let length = bytes.len() as u64;
        self.received.fetch_add(length, Ordering::Relaxed);
        if self.disk.took(length) { Ok(()) } else { Err(BodyError::NoRoom) }
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Coming, headers: &HeaderMap, meter: Meter) -> Self {
        Self { incoming, waits: headers.contains_key(header::EXPECT), meter }
    }

    /// The length that the client announces.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.incoming.size_hint().exact()
    }
}

/// Reads all of a body that is to be kept in memory.
pub(crate) async fn whole(
    body: RequestBody,
    what: &'static str,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, BodyError> {
    let limit_bytes = limit as u64;
    let too_large = || BodyError::TooLarge { what, limit: limit_bytes };
    if body.announced().is_some_and(|length| length > limit_bytes) {
        drain(body);
        return Err(too_large());
    }
    let mut source = source(body, patience, None);
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = source.next().await {
        let chunk = chunk.map_err(|error| match error.downcast::<BodyError>() {
            Ok(error) => *error,
            Err(error) => BodyError::Broken(error.to_string()),
        })?;
        if first.len() + joined.len() + chunk.len() > limit {
            return Err(too_large());
        }
        if first.is_empty() && joined.is_empty() {
            first = chunk;
        } else {
            if joined.is_empty() {
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&chunk);
            first = Bytes::new();
        }
    }
    Ok(if joined.is_empty() { first } else { joined.freeze() })
}

/// Takes the bytes of a request that was refused before it was read, and forgets them.
pub(crate) fn drain(body: RequestBody) {
    if !body.incoming.is_end_stream() {
        drop(Arriving::new(body));
    }
}

/// The bytes of a request as they come. What is left of them when nobody wants more is taken and forgotten: a client
/// sees its answer only if its connection does not break before.
struct Arriving {
    /// `None`: nothing comes any more.
    frames: Option<BodyStream<Coming>>,
    /// Nothing comes before it is asked for.
    waits: bool,
    /// Some of it was read.
    begun: bool,
    meter: Meter,
}

impl Arriving {
    fn new(body: RequestBody) -> Self {
        let RequestBody { incoming, waits, meter } = body;
        Self { frames: Some(BodyStream::new(incoming)), waits, begun: false, meter }
    }

    /// The next bytes. `None`: there are no more.
    async fn next(&mut self, patience: Duration) -> Option<Result<Bytes, BodyError>> {
        (self.waits, self.begun) = (false, true);
        loop {
            let frame = tokio::time::timeout(patience, self.frames.as_mut()?.next()).await;
            let end = match frame {
                Err(_) => Some(Err(BodyError::Stalled)),
                Ok(Some(Err(error))) => Some(Err(BodyError::Broken(error.to_string()))),
                Ok(None) => None,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(bytes) => return Some(Ok(bytes)),
                    Err(_) => continue,
                },
            };
            self.frames = None;
            return end;
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let Some(mut frames) = self.frames.take().filter(|_| !self.waits) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (meter, begun) = (self.meter.clone(), self.begun);
        runtime.spawn(async move {
            let mut left = if begun { DRAINED_LATER } else { DRAINED };
            let reading = async {
                while let Some(Ok(frame)) = frames.next().await {
                    let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                    meter.received.fetch_add(length, Ordering::Relaxed);
                    left = left.saturating_sub(length);
                    if left == 0 {
                        break;
                    }
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(3), reading).await;
        });
    }
}

/// The body as the content store takes it. With `expected`, exactly so many bytes.
pub(crate) fn source(body: RequestBody, patience: Duration, expected: Option<u64>) -> ByteSource {
    let state = (Arriving::new(body), 0u64, false);
    Box::pin(stream::unfold(state, move |(mut arriving, mut came, over)| async move {
        if over {
            return None;
        }
        let error = match arriving.next(patience).await {
            Some(Err(error)) => error,
            None => match expected {
                Some(announced) if announced != came => BodyError::Length { announced, came },
                _ => return None,
            },
            Some(Ok(bytes)) => {
                came += bytes.len() as u64;
                match (expected, arriving.meter.took(&bytes)) {
                    (Some(announced), _) if came > announced => BodyError::Length { announced, came },
                    (_, Ok(())) => return Some((Ok(bytes), (arriving, came, false))),
                    (_, Err(error)) => error,
                }
            }
        };
        Some((Err(Box::new(error) as SourceError), (arriving, came, true)))
    }))
}
