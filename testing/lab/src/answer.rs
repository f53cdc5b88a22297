//! Answers before they are sent, and error bodies as distribution writes them.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::content::Blob;

/// What the body of an answer is.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) blob: Blob,
    pub(crate) range: Range<u64>,
}

impl Payload {
    pub(crate) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// All of it at once.
    pub(crate) fn bytes(&self) -> Bytes {
        self.blob.slice(self.range.clone())
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { range: 0..bytes.len() as u64, blob: Blob::Bytes(bytes) }
    }
}

pub(crate) type Answer = Response<Payload>;

/// One entry of an error body.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    code: String,
    message: String,
    detail: Value,
}

impl Failure {
    pub(crate) fn new(code: &str, message: &str, detail: Value) -> Self {
        Self { code: code.to_owned(), message: message.to_owned(), detail }
    }
}

/// An answer with a body.
pub(crate) fn with_body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Payload::from(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if !content_type.is_empty() {
        set(&mut answer, header::CONTENT_TYPE, content_type);
    }
    answer
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Answer {
    with_body(status, "", Bytes::new())
}

/// A JSON answer.
pub(crate) fn with_json(status: u16, value: &Value) -> Answer {
    with_body(status, "application/json; charset=utf-8", format!("{value}\n"))
}

/// `{"errors":[…]}`; `detail` is left out where it is null, as distribution does.
pub(crate) fn failures(status: u16, failures: &[Failure]) -> Answer {
    let errors: Vec<Value> = failures
        .iter()
        .map(|failure| {
            let mut entry = json!({ "code": failure.code, "message": failure.message });
            if !failure.detail.is_null() {
                entry["detail"] = failure.detail.clone();
            }
            entry
        })
        .collect();
    with_json(status, &json!({ "errors": errors }))
}

/// One error.
pub(crate) fn failure(status: u16, code: &str, message: &str, detail: Value) -> Answer {
    failures(status, &[Failure::new(code, message, detail)])
}

/// Sets a header; a value that HTTP does not allow is left out.
pub(crate) fn set(answer: &mut Answer, name: impl TryInto<HeaderName>, value: &str) {
    if let (Ok(name), Ok(value)) = (name.try_into(), HeaderValue::from_bytes(value.as_bytes())) {
        answer.headers_mut().insert(name, value);
    }
}

/// [`set`], in a chain.
pub(crate) fn header(mut answer: Answer, name: &'static str, value: &str) -> Answer {
    set(&mut answer, name, value);
    answer
}
