//! What is posted: the event as JSON, the same bytes at each attempt.

use std::sync::Arc;

use aws_lc_rs::hmac;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::events::Event;

/// The form of the payload. Fields are added to it; what is there stays as it is.
const VERSION: u32 = 1;

/// One event for one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: Arc<str>,
    /// What kind of event it is.
    pub(super) event: Arc<str>,
    pub(super) time: Timestamp,
    pub(super) body: Bytes,
}

/// What of a payload is looked at when it is read from the journal.
#[derive(Deserialize)]
struct Head {
    id: Arc<str>,
    event: Arc<str>,
    time: String,
}

impl Message {
    pub(super) fn of(event: &Event) -> Self {
        let mut payload = json!({ "version": VERSION });
        if let (Value::Object(payload), Value::Object(event)) = (&mut payload, event.to_json()) {
            // Where somebody's machine stands is the business of the audit log, not of others.
            payload.extend(event.into_iter().filter(|(name, _)| name != "peer"));
        }
        Self {
            id: event.id.clone(),
            event: event.what.name().into(),
            time: event.time,
            body: payload.to_string().into(),
        }
    }

    /// A message as it was once written. `None`: it was not written by us.
    pub(super) fn read(body: Bytes) -> Option<Self> {
        let Head { id, event, time } = serde_json::from_slice(&body).ok()?;
        Some(Self { id, event, time: time.parse().ok()?, body })
    }
}

/// The header that shows who posts: the time, and a code over time and body that only who knows the secret can make.
pub(super) fn signature(key: &hmac::Key, time: Timestamp, body: &[u8]) -> String {
    let seconds = time.as_second().to_string();
    let mut context = hmac::Context::with_key(key);
    context.update(seconds.as_bytes());
    context.update(b".");
    context.update(body);
    let code = context.sign();
    let mut text = format!("t={seconds},v1=");
    for byte in code.as_ref() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_hmac_sha256_of_time_and_body() {
        // Computed with `openssl dgst -sha256 -hmac`.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a long and random secret");
        let time = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(
            signature(&key, time, b"{}"),
            "t=1700000000,v1=3ade93eeba2e0ef5e44a384ff287cbe87e38d83b457f57397247d9d3645722a0"
        );
    }

    #[test]
    fn what_is_not_a_payload_is_not_read() {
        for text in ["", "{}", "[]", r#"{"id":1}"#, r#"{"id":"a","event":"b","time":"now"}"#] {
            assert!(Message::read(text.into()).is_none(), "{text}");
        }
        let text = r#"{"version":1,"id":"a","event":"tag-moved","time":"2026-03-01T09:30:00.5Z","more":[1]}"#;
        let message = Message::read(text.into()).unwrap();
        assert_eq!((&*message.id, &*message.event, &message.body[..]), ("a", "tag-moved", text.as_bytes()));
    }
}
