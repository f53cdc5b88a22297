//! Mixed load with pauses, over many connections, and a look at the server's memory.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::crew::{Crew, Outcome};
use crate::error::LoadError;
use crate::options::Soak;
use crate::process::{own_time, sample};
use crate::report::{Measured, Memory, SoakReport};
use crate::run::Progress;
use crate::scenario::Scenario;
use crate::shared::Pushed;

/// Files of this process beside its connections.
pub(crate) const OTHER_FILES: u64 = 64;
/// How often whoever watches is told.
const TELL: Duration = Duration::from_secs(10);

impl Crew {
    pub(crate) async fn soak(
        &self,
        soak: Soak,
        pid: Option<u32>,
        watch: &mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Result<(SoakReport, Pushed), LoadError> {
        let look = || pid.and_then(|pid| sample(pid).ok());
        let (before, own) = (look(), own_time());
        let begun = Instant::now();
        // Each client has its turn once in this time.
        let turn = Duration::from_secs_f64(soak.connections as f64 / soak.rate.max(1) as f64);
        let shared = Arc::clone(&self.shared);
        let stop = shared.stop.clone();
        let work = async move |client: &mut crate::client::Client| {
            let begun = tokio::time::Instant::now();
            let mut next = begun + turn.mul_f64(client.random.below(1000) as f64 / 1000.0);
            loop {
                // In short sleeps, so that nobody who wants to stop waits for a long one.
                while next > tokio::time::Instant::now() && !stop.is_asked() {
                    sleep_until(next.min(tokio::time::Instant::now() + Duration::from_millis(500))).await;
                }
                if stop.is_asked() || begun.elapsed() >= soak.duration {
                    return;
                }
                let kind = client.next(Scenario::Mixed);
                client.operate(kind).await;
                // A turn that was missed is not made up for: that would be a flood after each pause of the server.
                next = (next + turn).max(tokio::time::Instant::now());
            }
        };
        let mut samples = Vec::new();
        let mut told = Instant::now();
        let every = (soak.duration / 120).clamp(Duration::from_millis(900), Duration::from_secs(10));
        let mut looked: Option<Instant> = None;
        let mut tick = || {
            if looked.is_none_or(|at| at.elapsed() >= every) {
                looked = Some(Instant::now());
                samples.extend(look().map(|sample| (begun.elapsed().as_secs_f64(), sample.resident)));
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                watch(Progress::Soaking {
                    elapsed: begun.elapsed(),
                    operations: shared.live.operations.load(Ordering::Relaxed),
                    errors: shared.live.errors.load(Ordering::Relaxed),
                    highest: Duration::from_nanos(shared.live.highest.load(Ordering::Relaxed)),
                    resident: samples.last().map(|&(_, resident)| resident),
                });
            }
        };
        let Outcome { tally, pushed } = self.work(soak.connections, false, work, &mut tick).await?;
        let server = before.zip(look());
        let load = Measured::new("soak", soak.connections, tally, own_time().saturating_sub(own), server);
        Ok((SoakReport { rate: soak.rate, load, memory: Memory::new(samples) }, pushed))
    }
}
