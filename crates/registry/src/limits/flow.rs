//! Answers over HTTP/2, whose client says for each how much of it may be sent.
//!
//! That the socket takes bytes shows nothing there: signs of life go through it while answers wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What the answers of one connection wait for.
#[derive(Clone, Debug)]
pub(crate) struct Flow(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    /// How many answers handed something over that the client has not taken yet.
    answers: usize,
    /// When something of one was taken last, or when they began to wait.
    since: Instant,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Waiting { answers: 0, since: Instant::now() })))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when answers wait, and nothing of any of them was taken for so long.
    pub(crate) async fn stalls(&self, patience: Duration) {
        loop {
            let now = Instant::now();
            let since = match &*self.lock() {
                Waiting { answers: 0, .. } => now,
                Waiting { since, .. } if now.duration_since(*since) >= patience => return,
                Waiting { since, .. } => *since,
            };
            match since.checked_add(patience.max(Duration::from_millis(1))) {
                Some(then) => tokio::time::sleep_until(then).await,
                None => std::future::pending().await,
            }
        }
    }
}

/// What of one answer is on its way.
#[derive(Debug)]
pub(crate) struct Outflow {
    flow: Flow,
    /// Something was handed over.
    waits: bool,
}

impl Outflow {
    pub(crate) fn new(flow: Flow) -> Self {
        Self { flow, waits: false }
    }

    /// A piece was handed over. More is asked for when the client has taken it.
    pub(crate) fn handed(&mut self) {
        let mut waiting = self.flow.lock();
        if waiting.answers == 0 {
            waiting.since = Instant::now();
        }
        waiting.answers += usize::from(!self.waits);
        self.waits = true;
    }

    /// What was handed over is taken, if anything was.
    pub(crate) fn taken(&mut self) {
        if std::mem::take(&mut self.waits) {
            let mut waiting = self.flow.lock();
            waiting.answers -= 1;
            waiting.since = Instant::now();
        }
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.taken();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_stalls_when_nothing_of_any_answer_is_taken() {
        let second = Duration::from_secs(1);
        let flow = Flow::new();
        let begun = Instant::now();
        let work = async {
            let (mut one, mut two) = (Outflow::new(flow.clone()), Outflow::new(flow.clone()));
            // Nothing is to be taken.
            tokio::time::sleep(30 * second).await;
            two.handed();
            for _ in 0..10 {
                one.handed();
                tokio::time::sleep(4 * second).await;
                one.taken();
            }
            drop(one);
            // What the server waits for is nobody's fault.
            two.taken();
            tokio::time::sleep(30 * second).await;
            two.handed();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => {}
            () = flow.stalls(5 * second) => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 30 + 40 + 30 + 5);
    }
}
