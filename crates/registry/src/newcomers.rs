//! Connections that have not asked for anything yet.
//!
//! A server that is to stop ends connections that are idle. One that was accepted a moment before is not idle: its client
//! has been let in, is in the middle of TLS perhaps, and would take its end for a failure. So the server waits for what
//! such a client has to say, for a moment: who says nothing from the beginning is idle, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How long a server that is to stop waits for first requests.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many there are.
pub(crate) struct Newcomers(Arc<watch::Sender<usize>>);

/// A connection, which is one of them until something was heard of it.
pub(crate) struct Newcomer {
    all: Arc<watch::Sender<usize>>,
    heard: AtomicBool,
}

impl Newcomers {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// A connection that was accepted.
    pub(crate) fn one(&self) -> Newcomer {
        self.0.send_modify(|count| *count += 1);
        Newcomer { all: self.0.clone(), heard: AtomicBool::new(false) }
    }

    /// Resolves when something was heard of each, or enough time has passed.
    pub(crate) async fn settled(&self) {
        let mut count = self.0.subscribe();
        let _ = tokio::time::timeout(PATIENCE, count.wait_for(|count| *count == 0)).await;
    }
}

impl Newcomer {
    /// Its first request is there, whole. What follows changes nothing.
    pub(crate) fn heard(&self) {
        if !self.heard.load(Ordering::Relaxed) && !self.heard.swap(true, Ordering::Relaxed) {
            self.all.send_modify(|count| *count -= 1);
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.heard();
    }
}
