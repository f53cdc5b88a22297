//! Why a request is refused: status, code, message, detail (distribution-spec, "Error Codes").

use content::{ContentError, ReferenceReason};
use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, header};
use image::{DocumentError, StrictError};
use serde_json::{Value, json};

use crate::body::BodyError;
use crate::disk_space;

/// An answer that is not what the client hoped for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) errors: Vec<ErrorEntry>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The failure is on this side: what to write to the log.
    pub(crate) internal: Option<String>,
}

/// One entry of `errors`.
#[derive(Debug)]
pub(crate) struct ErrorEntry {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) detail: Value,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let errors = vec![ErrorEntry { code, message: message.into(), detail: Value::Null }];
        Self { status, errors, headers: Vec::new(), internal: None }
    }

    /// Adds a detail to the first entry.
    pub(crate) fn detail(mut self, detail: Value) -> Self {
        if let Some(first) = self.errors.first_mut() {
            first.detail = detail;
        }
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn bad_request(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn bad_digest(error: &image::DigestError) -> Self {
        Self::bad_request("DIGEST_INVALID", error.to_string())
    }

    pub(crate) fn too_large(what: &str, limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "SIZE_INVALID",
            format!("the {what} is larger than the {limit} bytes that are taken"),
        )
        .detail(json!({ "limit": limit }))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// A path that means nothing here.
    pub(crate) fn no_endpoint() -> Self {
        Self::not_found("UNSUPPORTED", "there is no such endpoint")
    }

    /// A path that is known, with a method that is not.
    pub(crate) fn method(allowed: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", format!("only {allowed} can be done here"))
            .header(header::ALLOW, HeaderValue::from_static(allowed))
    }

    /// The JSON that tells the client.
    pub(crate) fn body(&self) -> Vec<u8> {
        let errors: Vec<Value> = self
            .errors
            .iter()
            .map(|entry| {
                let mut error = json!({ "code": entry.code, "message": entry.message });
                if !entry.detail.is_null() {
                    error["detail"] = entry.detail.clone();
                }
                error
            })
            .collect();
        json!({ "errors": errors }).to_string().into_bytes()
    }
}

impl From<DocumentError> for Refusal {
    fn from(error: DocumentError) -> Self {
        match &error {
            DocumentError::Strict(StrictError::TooLong { limit, .. }) => Self::too_large("manifest", *limit as u64),
            _ => Self::bad_request("MANIFEST_INVALID", error.to_string()),
        }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { what, limit } => Self::too_large(what, limit),
            BodyError::NoRoom => disk_space::full(),
            BodyError::Stalled | BodyError::TooSlow => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", error.to_string())
                    .header(header::CONNECTION, HeaderValue::from_static("close"))
            }
            BodyError::Length { .. } => Self::bad_request("SIZE_INVALID", error.to_string()),
            BodyError::Broken(_) => Self::bad_request("BLOB_UPLOAD_INVALID", error.to_string()),
        }
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        let message = error.to_string();
        match error {
            ContentError::Source(source) => match source.downcast::<BodyError>() {
                Ok(body) => (*body).into(),
                Err(_) => Self::bad_request("BLOB_UPLOAD_INVALID", message),
            },
            ContentError::DigestMismatch { expected, actual } => {
                Self::bad_request("DIGEST_INVALID", message).detail(json!({ "expected": expected, "actual": actual }))
            }
            ContentError::SizeMismatch { expected, actual } => {
                Self::bad_request("SIZE_INVALID", message).detail(json!({ "expected": expected, "actual": actual }))
            }
            ContentError::UploadUnknown(id) => {
                Self::not_found("BLOB_UPLOAD_UNKNOWN", message).detail(json!({ "upload": id.as_str() }))
            }
            ContentError::UploadBusy(id) => {
                Self::new(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", message).detail(json!({ "upload": id.as_str() }))
            }
            ContentError::WrongOffset { current, offered } => {
                Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
                    .detail(json!({ "current": current, "offered": offered }))
            }
            ContentError::References(problems) => {
                let errors = problems.iter().map(|problem| {
                    let (code, detail) = match problem.reason {
                        ReferenceReason::WrongSize { stated, actual } => {
                            ("SIZE_INVALID", json!({ "digest": problem.digest, "stated": stated, "actual": actual }))
                        }
                        _ => ("MANIFEST_BLOB_UNKNOWN", json!({ "digest": problem.digest })),
                    };
                    ErrorEntry { code, message: problem.to_string(), detail }
                });
                Self { errors: errors.collect(), ..Self::bad_request("MANIFEST_BLOB_UNKNOWN", "") }
            }
            ContentError::TagMoved { tag, current } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION_FAILED", message)
                    .detail(json!({ "tag": tag, "digest": current }))
            }
            ContentError::StillReferenced { parents, .. } => Self::new(
                StatusCode::CONFLICT,
                "DENIED",
                format!("{message}; delete that first, or ask with `?force=true`"),
            )
            .detail(json!({ "neededBy": parents })),
            ContentError::NoSpace { .. } => Self { internal: Some(message), ..disk_space::full() },
            _ => Self {
                internal: Some(message),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "UNKNOWN",
                    "the registry failed to do this; its log says why",
                )
            },
        }
    }
}
