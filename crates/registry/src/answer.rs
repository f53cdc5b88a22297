//! Answers: the body that hyper sends, and the headers that all have.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use content::{BlobBytes, BlobFile, ByteStream};
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};

use crate::refusal::Refusal;

pub(crate) type Answer = Response<AnswerBody>;

/// What clients of Docker's look for.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// The body of an answer; its length is always known.
pub(crate) enum AnswerBody {
    /// In memory, or empty.
    Whole(Option<Bytes>),
    /// A file: read, or sent by the kernel.
    File(BlobFile),
    /// From the content store.
    Stream {
        /// What comes.
        stream: ByteStream,
        /// How many bytes are still to come.
        left: u64,
    },
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Self::File(_) = &*self
            && let Self::File(file) = std::mem::replace(&mut *self, Self::Whole(None))
        {
            let left = file.range().end - file.range().start;
            *self = Self::Stream { stream: file.into_stream(), left };
        }
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            // It has just become a stream.
            Self::File(_) => Poll::Ready(None),
            Self::Stream { stream, left } => match stream.as_mut().poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => {
                    *left = left.saturating_sub(bytes.len() as u64);
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
                Poll::Ready(Some(Err(error))) => {
                    // The head is long gone: all that is left is to cut the connection, and to say why here.
                    tracing::error!(%error, "could not read a blob to its end");
                    Poll::Ready(Some(Err(io::Error::other(error))))
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::File(file) => file.range().is_empty(),
            Self::Stream { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::File(file) => file.range().end - file.range().start,
            Self::Stream { left, .. } => *left,
        })
    }
}

/// An answer that is being put together.
pub(crate) struct Building(Answer);

/// Begins an answer without a body.
pub(crate) fn answer(status: StatusCode) -> Building {
    let mut response = Response::new(AnswerBody::Whole(None));
    *response.status_mut() = status;
    response.headers_mut().insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    Building(response)
}

impl Building {
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    /// Adds a header whose value was made of checked text. One that still does not fit is left out.
    pub(crate) fn text(self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.header(name, value),
            Err(_) => self,
        }
    }

    pub(crate) fn body(mut self, bytes: impl Into<Bytes>) -> Answer {
        let bytes = bytes.into();
        *self.0.body_mut() = AnswerBody::Whole(if bytes.is_empty() { None } else { Some(bytes) });
        self.0
    }

    pub(crate) fn json(self, value: &serde_json::Value) -> Answer {
        self.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")).body(value.to_string())
    }

    /// With `length` bytes of a blob.
    pub(crate) fn blob(mut self, bytes: BlobBytes, length: u64) -> Answer {
        *self.0.body_mut() = match bytes {
            BlobBytes::Memory(bytes) if bytes.is_empty() => AnswerBody::Whole(None),
            BlobBytes::Memory(bytes) => AnswerBody::Whole(Some(bytes)),
            BlobBytes::File(file) => AnswerBody::File(file),
            BlobBytes::Stream(stream) => AnswerBody::Stream { stream, left: length },
        };
        self.0
    }

    pub(crate) fn empty(self) -> Answer {
        self.0
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let mut building = answer(refusal.status);
        for (name, value) in &refusal.headers {
            building = building.header(name.clone(), value.clone());
        }
        building.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json")).body(refusal.body())
    }
}

/// What a handler gives back.
pub(crate) type Handled = Result<Answer, Refusal>;

/// A service never fails: it refuses.
pub(crate) type Never = Infallible;
