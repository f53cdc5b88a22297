//! Clients at work: shared out to threads that each have a small runtime of their own, so that a request wakes nobody on
//! another processor.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use registry_client::Repository;
use tokio::sync::{Barrier, oneshot};
use tokio::task::LocalSet;

use crate::client::{Client, Lane};
use crate::connection::SCRATCH;
use crate::error::LoadError;
use crate::shared::{Pushed, Shared};
use crate::tally::Tally;

/// Everybody who works in a run.
pub(crate) struct Crew {
    pub(crate) shared: Arc<Shared>,
    pub(crate) repository: Repository,
    pub(crate) threads: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) pushed: Pushed,
}

/// How often tokens are looked after, and whoever watches is told.
const TICK: Duration = Duration::from_secs(1);

/// Tells all clients to end when nobody waits for them any more.
struct EndWithUs<'a>(&'a Shared, bool);

impl Drop for EndWithUs<'_> {
    fn drop(&mut self) {
        if !self.1 {
            self.0.stop.ask();
        }
    }
}

impl Crew {
    /// Lets `clients` do `work` at once, each of them once. With `gather` none begins before all are connected.
    pub(crate) async fn work<W>(
        &self,
        clients: usize,
        gather: bool,
        work: W,
        tick: &mut (dyn FnMut() + Send),
    ) -> Result<Outcome, LoadError>
    where
        W: AsyncFn(&mut Client) + Send + Sync + 'static,
    {
        let mut guard = EndWithUs(&self.shared, false);
        let work = Arc::new(work);
        let barrier = Arc::new(Barrier::new(clients));
        let threads = self.threads.clamp(1, clients.max(1));
        let mut working = Vec::new();
        for thread in 0..threads {
            let (done, waiting) = oneshot::channel();
            let numbers: Vec<usize> = (thread..clients).step_by(threads).collect();
            let (shared, work, barrier) = (self.shared.clone(), work.clone(), barrier.clone());
            std::thread::Builder::new()
                .name("polyarch-load".to_owned())
                .spawn(move || {
                    // Nobody waits for it only if the whole run was given up.
                    let _ = done.send(on_this_thread(shared, &numbers, gather.then_some(&barrier), &work));
                })
                .map_err(LoadError::Threads)?;
            working.push(waiting);
        }
        let mut outcome = Outcome::default();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for mut waiting in working {
            let (tally, pushed) = loop {
                tokio::select! {
                    done = &mut waiting => {
                        let ended = || LoadError::Threads(io::Error::other("a thread ended early"));
                        break done.map_err(|_| ended())?.map_err(LoadError::Threads)?;
                    }
                    _ = ticks.tick() => {
                        // If there is no new token the old one may still do; and if not, requests say so.
                        if let Ok(doorway) = self.repository.doorway().await {
                            self.shared.authorize(doorway.authorization.as_ref());
                        }
                        tick();
                    }
                }
            };
            outcome.tally.merge(&tally);
            outcome.pushed.merge(pushed);
        }
        guard.1 = true;
        Ok(outcome)
    }
}

fn on_this_thread<W>(
    shared: Arc<Shared>,
    numbers: &[usize],
    barrier: Option<&Arc<Barrier>>,
    work: &Arc<W>,
) -> io::Result<(Tally, Pushed)>
where
    W: AsyncFn(&mut Client) + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lane = Rc::new(Lane { shared, tally: RefCell::new(Tally::default()), scratch: RefCell::new(vec![0; SCRATCH]) });
    let local = LocalSet::new();
    let pushed = local.block_on(&runtime, async {
        let tasks: Vec<_> = numbers
            .iter()
            .map(|&number| {
                let (lane, barrier, work) = (lane.clone(), barrier.cloned(), work.clone());
                tokio::task::spawn_local(async move {
                    let mut client = Client::new(lane.clone(), number);
                    if let Some(barrier) = barrier {
                        // Who cannot connect tries again with the first request, where it counts as an error.
                        let _ = client.connect().await;
                        barrier.wait().await;
                    }
                    lane.tally.borrow_mut().began(std::time::Instant::now());
                    work(&mut client).await;
                    client.pushed
                })
            })
            .collect();
        let mut pushed = Pushed::default();
        for task in tasks {
            pushed.merge(task.await.map_err(io::Error::other)?);
        }
        Ok::<_, io::Error>(pushed)
    })?;
    let tally = lane.tally.take();
    Ok((tally, pushed))
}
