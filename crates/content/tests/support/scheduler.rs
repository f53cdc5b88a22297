//! Runs operations in steps, in an order that a seed decides.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Numbers that look like chance, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }
}

struct Ready {
    ready: AtomicBool,
    thread: Thread,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.ready.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

pub(crate) type Task<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// What came of running tasks to their ends.
pub(crate) struct Ran {
    /// How often one of several tasks was chosen.
    pub(crate) steps: u64,
    /// The order, in a number.
    pub(crate) order: u64,
    /// The first failure.
    pub(crate) result: Result<(), String>,
}

/// Runs tasks to their ends. A step is what a task does from one wait for another thread (a transaction, the disk) to
/// the next. Before each, all tasks have done their waiting, so nothing but `random` decides which goes on.
pub(crate) fn run(tasks: Vec<Task<'_>>, random: &mut Random) -> Ran {
    let mut running: Vec<_> = tasks
        .into_iter()
        .enumerate()
        .map(|(number, task)| {
            let ready = Arc::new(Ready { ready: AtomicBool::new(true), thread: std::thread::current() });
            (number, task, Waker::from(ready.clone()), ready)
        })
        .collect();
    let mut order = DefaultHasher::new();
    let mut ran = Ran { steps: 0, order: 0, result: Ok(()) };
    while !running.is_empty() {
        if running.iter().any(|(_, _, _, ready)| !ready.ready.load(Ordering::SeqCst)) {
            std::thread::park();
            continue;
        }
        let chosen = random.below(running.len());
        ran.steps += 1;
        let (number, task, waker, ready) = &mut running[chosen];
        number.hash(&mut order);
        ready.ready.store(false, Ordering::SeqCst);
        if let Poll::Ready(result) = task.as_mut().poll(&mut Context::from_waker(waker)) {
            ran.result = ran.result.and(result);
            drop(running.swap_remove(chosen));
        }
    }
    ran.order = order.finish();
    ran
}
