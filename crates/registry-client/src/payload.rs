//! Bodies of requests.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;

use crate::options::Timeouts;
use crate::repository::{BlobSource, SourceError, SourceStream};

/// The body of a request.
pub(crate) enum Payload<'a> {
    /// None.
    Empty,
    /// In memory.
    Bytes(Bytes),
    /// Read while it is sent, anew for every attempt.
    Source { source: &'a dyn BlobSource, length: u64 },
    /// The next part of a stream that was opened before. It cannot be sent twice.
    Part(Arc<Parts>, u64),
}

impl Payload<'_> {
    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Source { length, .. } | Self::Part(_, length) => *length,
        }
    }

    /// Whether it can be sent once more.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Self::Part(..))
    }
}

/// How a body is getting on: read by whoever decides that it has stalled, and why it ended early.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    last: Instant,
    sending: bool,
    failure: Option<SourceError>,
}

impl Progress {
    pub(crate) fn new(sending: bool) -> Self {
        Self(Arc::new(Mutex::new(State { last: Instant::now(), sending, failure: None })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self) {
        self.state().last = Instant::now();
    }

    fn ended(&self, failure: Option<SourceError>) {
        let mut state = self.state();
        state.last = Instant::now();
        state.sending = false;
        state.failure = failure;
    }

    /// When it has taken too long, unless something moves until then, and which limit that is.
    pub(crate) fn deadline(&self, timeouts: &Timeouts) -> (Instant, Duration) {
        let state = self.state();
        let limit = if state.sending { timeouts.stall } else { timeouts.head };
        (state.last + limit, limit)
    }

    /// Why the source failed, if it did.
    pub(crate) fn take_failure(&self) -> Option<SourceError> {
        self.state().failure.take()
    }
}

/// A source that has not as many bytes as it should.
#[derive(Debug, thiserror::Error)]
#[error("the content has {} than the {expected} bytes that were announced", if *.longer { "more" } else { "fewer" })]
struct WrongLength {
    expected: u64,
    longer: bool,
}

/// The stream that is sent: exactly `left` bytes of `stream`.
pub(crate) struct Sending {
    stream: SourceStream,
    length: u64,
    left: u64,
    progress: Progress,
    done: bool,
}

impl Sending {
    pub(crate) fn new(stream: SourceStream, length: u64, progress: Progress) -> Self {
        Self { stream, length, left: length, progress, done: false }
    }

    fn end(&mut self, failure: Option<SourceError>) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        self.done = true;
        let failed = failure.is_some();
        self.progress.ended(failure);
        // The connection is given up by this; the reason itself is taken from the progress.
        Poll::Ready(failed.then(|| Err(std::io::Error::other("the content cannot be read"))))
    }
}

impl Stream for Sending {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.done {
                return Poll::Ready(None);
            }
            let next = match self.stream.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(next) => next,
            };
            let wrong = |longer| Some(WrongLength { expected: self.length, longer }.into());
            match next {
                Some(Err(error)) => return self.end(Some(error)),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) if bytes.len() as u64 > self.left => {
                    let failure = wrong(true);
                    return self.end(failure);
                }
                Some(Ok(bytes)) => {
                    self.left -= bytes.len() as u64;
                    self.progress.moved();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                None if self.left == 0 => return self.end(None),
                None => {
                    let failure = wrong(false);
                    return self.end(failure);
                }
            }
        }
    }
}

/// A stream that is sent in parts.
pub(crate) struct Parts(Mutex<Inner>);

struct Inner {
    stream: SourceStream,
    rest: Bytes,
}

impl Parts {
    pub(crate) fn new(stream: SourceStream) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { stream, rest: Bytes::new() })))
    }

    /// The next `length` bytes as a stream. Only one part may be read at a time.
    pub(crate) fn part(self: Arc<Self>, length: u64) -> SourceStream {
        Box::pin(Part { parts: self, left: length })
    }
}

struct Part {
    parts: Arc<Parts>,
    left: u64,
}

impl Stream for Part {
    type Item = Result<Bytes, SourceError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let parts = self.parts.clone();
        let mut inner = parts.0.lock().unwrap_or_else(PoisonError::into_inner);
        while inner.rest.is_empty() {
            match inner.stream.as_mut().poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(bytes))) => inner.rest = bytes,
                Poll::Ready(other) => return Poll::Ready(other),
            }
        }
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(inner.rest.len());
        self.left -= length as u64;
        Poll::Ready(Some(Ok(inner.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, TryStreamExt as _, stream};

    use super::*;

    fn source(chunks: &[&'static str]) -> SourceStream {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        Box::pin(stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_source_of_another_length_is_not_sent_to_its_end() {
        for (length, reason) in [(5, "more than the 5"), (7, "fewer than the 7")] {
            let progress = Progress::new(true);
            let sent: Vec<_> = Sending::new(source(&["abc", "def"]), length, progress.clone()).collect().await;
            assert!(sent.last().unwrap().is_err());
            assert!(progress.take_failure().unwrap().to_string().contains(reason));
        }
        let progress = Progress::new(true);
        let sent: Vec<_> = Sending::new(source(&["abc", "", "def"]), 6, progress.clone()).try_collect().await.unwrap();
        assert_eq!(sent.concat(), b"abcdef");
        assert!(progress.take_failure().is_none());
    }

    #[tokio::test]
    async fn a_stream_is_cut_into_parts_wherever_its_chunks_end() {
        let parts = Parts::new(source(&["abcd", "ef", "ghij"]));
        let mut seen = Vec::new();
        for length in [3, 3, 4] {
            let part: Vec<_> = parts.clone().part(length).try_collect().await.unwrap();
            seen.push(String::from_utf8(part.concat()).unwrap());
        }
        assert_eq!(seen, ["abc", "def", "ghij"]);
    }
}
