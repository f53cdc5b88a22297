//! Writes are refused for a while, reads go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;
use http::header::{self, HeaderValue};

use crate::refusal::Refusal;

/// A switch that all its clones share. While it is on, what would write is refused, and nothing is collected.
#[derive(Clone, Debug, Default)]
pub struct ReadOnly(Arc<AtomicBool>);

impl ReadOnly {
    /// A switch that is on or off.
    pub fn new(on: bool) -> Self {
        Self(Arc::new(AtomicBool::new(on)))
    }

    /// Turns it on or off. Requests that are under way end as they began.
    pub fn set(&self, on: bool) {
        self.0.store(on, Ordering::Relaxed);
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Refuses a write while it is on. 405 with `UNSUPPORTED` is what Docker shows with its message and does not try
    /// again; of a 5xx it shows the number only, and comes back four times.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        if !self.is_on() {
            return Ok(());
        }
        let message = "the registry is read-only for now: what is there can be pulled, but nothing pushed or deleted";
        Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message)
            .header(header::ALLOW, HeaderValue::from_static("GET, HEAD")))
    }
}
