//! What the server does by itself: garbage collection on a schedule.

use std::sync::Arc;
use std::time::{Duration, Instant};

use content::{ContentError, GcOptions, GcReport};

use crate::service::State;

/// A collection that failed is tried again after so long, then twice as long, up to the interval.
const RETRY: Duration = Duration::from_secs(60);

/// Garbage collection on a schedule.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Collection {
    /// From the end of one collection to the beginning of the next, give or take a tenth: servers that were started
    /// together do not collect together. The first one begins within one interval after the start.
    pub interval: Duration,
    /// What it keeps.
    pub options: GcOptions,
}

impl Collection {
    /// A collection every `interval`, at least a tenth of a second, that keeps what `options` say.
    pub fn every(interval: Duration, options: GcOptions) -> Self {
        Self { interval: interval.max(Duration::from_millis(100)), options }
    }
}

/// A number from 0 to 1. Without randomness one in the middle.
fn chance() -> f64 {
    let mut random = [0; 4];
    if getrandom::fill(&mut random).is_err() {
        return 0.5;
    }
    f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX)
}

/// Collects again and again, until it is dropped: one collection that ends in the middle leaves nothing behind that the
/// next does not finish. There is one such loop in a server, so that none overlaps another; collections of other
/// processes on the same store may, and agree with this one in the store.
pub(crate) async fn collect_on_schedule(state: Arc<State>, collection: Collection) {
    let mut wait = collection.interval.mul_f64(0.1 + 0.9 * chance());
    let mut failures: u32 = 0;
    loop {
        tokio::time::sleep(wait).await;
        if state.options.read_only.is_on() {
            wait = collection.interval;
            continue;
        }
        let begun = Instant::now();
        let outcome = collect(&state, &collection.options).await;
        let took = begun.elapsed();
        wait = match outcome {
            Ok(report) => {
                failures = 0;
                state.metrics.collected(&report, took);
                tell(&report, took);
                collection.interval.mul_f64(0.9 + 0.2 * chance())
            }
            Err(error) => {
                state.metrics.collection_failed();
                tracing::error!(%error, "a garbage collection failed; it will be tried again");
                let wait = RETRY.saturating_mul(2u32.saturating_pow(failures));
                failures = failures.saturating_add(1);
                wait.min(collection.interval)
            }
        };
    }
}

async fn collect(state: &State, options: &GcOptions) -> Result<GcReport, ContentError> {
    // A server that runs for months must forget upload sessions too that nobody came back to.
    if let Err(error) = state.content.recover().await {
        tracing::warn!(%error, "could not clear away what was left behind; it will be tried again");
    }
    state.content.collect_garbage(options).await
}

fn tell(report: &GcReport, took: Duration) {
    tracing::info!(
        epoch = report.epoch,
        condemned_documents = report.condemned_documents,
        condemned_blobs = report.condemned_blobs,
        swept_documents = report.swept_documents,
        swept_blobs = report.swept_blobs,
        removed_bytes = report.removed_bytes,
        seconds = took.as_secs_f64(),
        "collected garbage"
    );
}
