//! How long a scenario goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::options::{Amount, Stop};

/// Shared by all clients of a scenario.
#[derive(Debug)]
pub(crate) enum Budget {
    For(Duration),
    Count(AtomicU64),
}

impl Budget {
    pub(crate) fn new(amount: Amount) -> Self {
        match amount {
            Amount::For(duration) => Self::For(duration),
            Amount::Operations(count) => Self::Count(AtomicU64::new(count)),
        }
    }

    /// Whether a client that began at `begun` may do one more.
    pub(crate) fn take(&self, begun: Instant, stop: &Stop) -> bool {
        if stop.is_asked() {
            return false;
        }
        match self {
            Self::For(duration) => begun.elapsed() < *duration,
            Self::Count(left) => {
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            }
        }
    }
}
