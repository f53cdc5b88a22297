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
use tokio::time::Instant;

use crate::Options;
use crate::disk_space::Watch;
use crate::limits::{Pace, Pacer};

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
    /// Too little came in too long a time.
    #[error("the bytes came too slowly")]
    TooSlow,
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

/// How long the bytes of a request are waited for, and how many they may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    patience: Duration,
    pace: Option<Pace>,
    exactly: Option<u64>,
    most: Option<Most>,
}

#[derive(Clone, Copy, Debug)]
struct Most {
    what: &'static str,
    /// How many may come.
    left: u64,
    /// How many that are with those that came before.
    limit: u64,
}

impl Terms {
    /// As the server's options say, of any length.
    pub(crate) fn of(options: &Options) -> Self {
        Self { patience: options.body_timeout, pace: options.limits.body_pace, exactly: None, most: None }
    }

    /// So many bytes, if that is known.
    pub(crate) fn exactly(self, length: Option<u64>) -> Self {
        Self { exactly: length, ..self }
    }

    /// No more bytes of something than `limit`, of which it has `before` already.
    pub(crate) fn at_most(self, what: &'static str, before: u64, limit: u64) -> Self {
        Self { most: Some(Most { what, left: limit.saturating_sub(before), limit }), ..self }
    }

    /// Whether so many bytes may have come.
    fn judge(&self, came: u64) -> Result<(), BodyError> {
        match (self.exactly, self.most) {
            (Some(announced), _) if came > announced => Err(BodyError::Length { announced, came }),
            (_, Some(Most { what, left, limit })) if came > left => Err(BodyError::TooLarge { what, limit }),
            _ => Ok(()),
        }
    }

    /// Whether a number of bytes that is announced is one too many.
    pub(crate) fn refuse(&self, announced: Option<u64>) -> Option<BodyError> {
        let Most { what, left, limit } = self.most?;
        announced.filter(|length| *length > left).map(|_| BodyError::TooLarge { what, limit })
    }
}

/// Reads all of a body that is to be kept in memory.
pub(crate) async fn whole(
    body: RequestBody,
    what: &'static str,
    limit: usize,
    terms: Terms,
) -> Result<Bytes, BodyError> {
    let limit_bytes = limit as u64;
    let too_large = || BodyError::TooLarge { what, limit: limit_bytes };
    if body.announced().is_some_and(|length| length > limit_bytes) {
        drain(body);
        return Err(too_large());
    }
    let mut source = source(body, terms);
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
        drop(Arriving::new(body, None));
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
    pacer: Option<Pacer>,
}

impl Arriving {
    fn new(body: RequestBody, pace: Option<Pace>) -> Self {
        let RequestBody { incoming, waits, meter } = body;
        Self { frames: Some(BodyStream::new(incoming)), waits, begun: false, meter, pacer: pace.map(Pacer::new) }
    }

    /// The next bytes, if they come in time. `None`: there are no more.
    async fn next(&mut self, mut patience: Duration) -> Option<Result<Bytes, BodyError>> {
        (self.waits, self.begun) = (false, true);
        let end = loop {
            let step = self.pacer.as_ref().map_or(patience, |pacer| pacer.patience().min(patience));
            let begun = Instant::now();
            let frame = tokio::time::timeout(step, self.frames.as_mut()?.next()).await;
            let waited = begun.elapsed();
            // Frames of something else than bytes are no better than none.
            let bytes = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(Some(Err(error))) => break Some(Err(BodyError::Broken(error.to_string()))),
                Ok(None) => break None,
                Err(_) => Bytes::new(),
            };
            if self.pacer.as_mut().is_some_and(|pacer| !pacer.count(waited, bytes.len() as u64)) {
                break Some(Err(BodyError::TooSlow));
            }
            if !bytes.is_empty() {
                return Some(Ok(bytes));
            }
            patience = patience.saturating_sub(waited);
            if patience.is_zero() {
                break Some(Err(BodyError::Stalled));
            }
        };
        self.frames = None;
        end
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

/// The body as the content store takes it.
pub(crate) fn source(body: RequestBody, terms: Terms) -> ByteSource {
    let state = (Arriving::new(body, terms.pace), 0u64, false);
    Box::pin(stream::unfold(state, move |(mut arriving, mut came, over)| async move {
        if over {
            return None;
        }
        let error = match arriving.next(terms.patience).await {
            Some(Err(error)) => error,
            None => match terms.exactly {
                Some(announced) if announced != came => BodyError::Length { announced, came },
                _ => return None,
            },
            Some(Ok(bytes)) => {
                came += bytes.len() as u64;
                match terms.judge(came).and_then(|()| arriving.meter.took(&bytes)) {
                    Ok(()) => return Some((Ok(bytes), (arriving, came, false))),
                    Err(error) => error,
                }
            }
        };
        Some((Err(Box::new(error) as SourceError), (arriving, came, true)))
    }))
}
