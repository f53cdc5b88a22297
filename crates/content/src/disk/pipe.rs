//! Batches of bytes that go through a worker one after the other, on a thread that is held only while there are some.
//!
//! The next batches wait in line, so that the worker goes on without a pause when it is done with one: a hash that waits
//! for its thread to be woken for each batch is a tenth slower.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Batches that may wait in line.
const WAITING: usize = 2;

/// Some bytes that follow each other.
pub(super) type Batch = Arc<Vec<Bytes>>;

/// What a pipe leads to.
pub(super) trait Worker: Send + 'static {
    /// Deals with the next bytes. Waits for the disk, or takes its time.
    fn take(&mut self, batch: &[Bytes]) -> io::Result<()>;
}

pub(super) struct Pipe<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    line: Mutex<Line<W>>,
    /// Something left the line, or the worker came back.
    moved: Notify,
}

struct Line<W> {
    waiting: VecDeque<Batch>,
    worker: Place<W>,
}

enum Place<W> {
    /// It has nothing to do.
    Here(W),
    /// It is at work on a thread.
    Away,
    /// It failed, and takes nothing any more; or it was taken out.
    Gone(Option<io::Error>),
}

impl<W> Shared<W> {
    fn line(&self) -> MutexGuard<'_, Line<W>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, error: Option<io::Error>) {
        let mut line = self.line();
        line.waiting.clear();
        line.worker = Place::Gone(error);
        drop(line);
        self.moved.notify_one();
    }
}

impl<W: Worker> Pipe<W> {
    pub(super) fn new(worker: W) -> Self {
        let line = Line { waiting: VecDeque::new(), worker: Place::Here(worker) };
        Self { shared: Arc::new(Shared { line: Mutex::new(line), moved: Notify::new() }) }
    }

    /// Hands a batch on, once there is room in the line.
    ///
    /// # Errors
    /// What went wrong with one before. The pipe takes nothing any more then.
    pub(super) async fn push(&self, batch: Batch) -> io::Result<()> {
        loop {
            {
                let mut line = self.shared.line();
                match std::mem::replace(&mut line.worker, Place::Away) {
                    Place::Here(worker) => {
                        line.waiting.push_back(batch);
                        drop(line);
                        let shared = self.shared.clone();
                        tokio::task::spawn_blocking(move || work(&shared, worker));
                        return Ok(());
                    }
                    Place::Away if line.waiting.len() < WAITING => {
                        line.waiting.push_back(batch);
                        return Ok(());
                    }
                    Place::Away => {}
                    Place::Gone(error) => {
                        line.worker = Place::Gone(None);
                        return Err(error.unwrap_or_else(failed_before));
                    }
                }
            }
            self.shared.moved.notified().await;
        }
    }

    /// Waits until all is dealt with. As [`Pipe::push`] it says what went wrong.
    pub(super) async fn settle(&self) -> io::Result<()> {
        loop {
            {
                let mut line = self.shared.line();
                match &mut line.worker {
                    Place::Here(_) => return Ok(()),
                    Place::Away => {}
                    Place::Gone(error) => return Err(error.take().unwrap_or_else(failed_before)),
                }
            }
            self.shared.moved.notified().await;
        }
    }

    /// Takes the worker out, once all is dealt with.
    pub(super) async fn finish(&self) -> io::Result<W> {
        self.settle().await?;
        let mut line = self.shared.line();
        match std::mem::replace(&mut line.worker, Place::Gone(None)) {
            Place::Here(worker) => Ok(worker),
            _ => Err(failed_before()),
        }
    }

    /// Takes nothing any more, and waits until what is at work has ended.
    pub(super) async fn stop(&self) {
        self.shared.line().waiting.clear();
        let _ = self.settle().await;
    }
}

impl<W> Drop for Pipe<W> {
    fn drop(&mut self) {
        let mut line = self.shared.line();
        // Nobody wants what still waits.
        line.waiting.clear();
        // The thread that had the worker last may hold on to the line for a moment. What the worker has, a file that is
        // locked, must not stay with it.
        if matches!(line.worker, Place::Here(_)) {
            let worker = std::mem::replace(&mut line.worker, Place::Gone(None));
            drop(line);
            drop(worker);
        }
    }
}

fn failed_before() -> io::Error {
    io::Error::other("an earlier write failed")
}

/// Lets those who wait know, should the worker panic.
struct Watch<'a, W>(Option<&'a Shared<W>>);

impl<W> Drop for Watch<'_, W> {
    fn drop(&mut self) {
        if let Some(shared) = self.0 {
            shared.end(None);
        }
    }
}

fn work<W: Worker>(shared: &Shared<W>, mut worker: W) {
    let mut watch = Watch(Some(shared));
    loop {
        let batch = {
            let mut line = shared.line();
            let Some(batch) = line.waiting.pop_front() else {
                line.worker = Place::Here(worker);
                watch.0 = None;
                drop(line);
                shared.moved.notify_one();
                return;
            };
            batch
        };
        shared.moved.notify_one();
        if let Err(error) = worker.take(&batch) {
            watch.0 = None;
            shared.end(Some(error));
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sum {
        bytes: Vec<u8>,
        fails_at: Option<usize>,
    }

    impl Worker for Sum {
        fn take(&mut self, batch: &[Bytes]) -> io::Result<()> {
            std::thread::sleep(std::time::Duration::from_millis(1));
            for bytes in batch {
                if self.fails_at.is_some_and(|length| self.bytes.len() >= length) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.bytes.extend_from_slice(bytes);
            }
            Ok(())
        }
    }

    fn batch(byte: u8) -> Batch {
        Arc::new(vec![Bytes::from(vec![byte]), Bytes::new()])
    }

    #[tokio::test]
    async fn batches_come_out_in_order() {
        let pipe = Pipe::new(Sum::default());
        for byte in 0..50 {
            pipe.push(batch(byte)).await.unwrap();
            if byte % 7 == 0 {
                pipe.settle().await.unwrap();
            }
        }
        assert_eq!(pipe.finish().await.unwrap().bytes, (0..50).collect::<Vec<u8>>());
        assert!(pipe.push(batch(0)).await.is_err());
    }

    /// Keeps something, as a file keeps its lock.
    struct Keeper(#[allow(dead_code)] Arc<()>);

    impl Worker for Keeper {
        fn take(&mut self, _batch: &[Bytes]) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_its_worker_keeps_is_let_go_with_the_pipe() {
        let kept = Arc::new(());
        for byte in 0..255 {
            let pipe = Pipe::new(Keeper(kept.clone()));
            for _ in 0..20 {
                pipe.push(batch(byte)).await.unwrap();
                pipe.settle().await.unwrap();
            }
            drop(pipe);
            assert_eq!(Arc::strong_count(&kept), 1);
        }
    }

    #[tokio::test]
    async fn a_failure_is_told_to_whoever_comes_next() {
        let pipe = Pipe::new(Sum { fails_at: Some(3), ..Sum::default() });
        let mut told = None;
        for byte in 0..50 {
            if let Err(error) = pipe.push(batch(byte)).await {
                told = Some(error);
                break;
            }
        }
        assert_eq!(told.unwrap().kind(), io::ErrorKind::StorageFull);
        assert!(pipe.settle().await.is_err());
        pipe.stop().await;
        assert!(pipe.finish().await.is_err());
    }
}
