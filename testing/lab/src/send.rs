//! Bodies on their way out: in pieces, ended as a fault wants it, and noted in the log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::Sleep;

use crate::answer::Payload;
use crate::log::{Log, Ticket};

/// How many bytes are handed to the connection at once.
const PIECE: u64 = 64 << 10;

/// How long a body that is to break waits: hyper forgets what it has not written when a body fails.
const GRACE: Duration = Duration::from_millis(5);

/// What comes after the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Proper,
    Broken,
    Silence,
    OnceMore,
}

/// The body that hyper sends. It states no size: `Content-Length` is a header of the answer, so that it can lie.
#[derive(Debug)]
pub(crate) struct Sending {
    payload: Payload,
    at: u64,
    until: u64,
    ending: Ending,
    grace: Option<Pin<Box<Sleep>>>,
    log: Arc<Log>,
    ticket: Option<Ticket>,
}

impl Sending {
    pub(crate) fn new(payload: Payload, until: u64, ending: Ending, log: Arc<Log>, ticket: Option<Ticket>) -> Self {
        let sending = Self { at: 0, until: until.min(payload.len()), payload, ending, grace: None, log, ticket };
        if sending.is_end_stream() {
            sending.finished();
        }
        sending
    }

    /// Noted before the last piece reaches the network, so that no later request can seem to have been in parallel.
    fn finished(&self) {
        if let Some(ticket) = self.ticket {
            self.log.update(ticket, |request| request.finished = Some(Instant::now()));
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.at == self.until {
            match self.ending {
                Ending::Proper => return Poll::Ready(None),
                Ending::Broken => {
                    let grace = self.grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(GRACE)));
                    ready!(grace.as_mut().poll(cx));
                    return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
                }
                Ending::Silence => return Poll::Pending,
                Ending::OnceMore => self.at = 0,
            }
        }
        let start = self.payload.range.start;
        let end = self.until.min(self.at + PIECE);
        let piece = self.payload.blob.slice(start + self.at..start + end);
        self.at = end;
        if let Some(ticket) = self.ticket {
            self.log.update(ticket, |request| request.sent += piece.len() as u64);
        }
        if self.is_end_stream() {
            self.finished();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.until && self.ending == Ending::Proper
    }
}
