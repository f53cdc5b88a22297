//! What waits for one endpoint, in the order in which it was told of.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::WebhookError;
use super::endpoint::Endpoint;
use super::journal::Journal;
use super::message::Message;

/// Most bytes that wait for one endpoint.
const MOST_BYTES: usize = 64 << 20;
/// How often the log says that something is wrong that goes on being wrong.
const AGAIN: Duration = Duration::from_secs(60);

/// What became of the events for one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueCounts {
    /// They were taken.
    pub delivered: u64,
    /// Attempts that were not.
    pub failed: u64,
    /// They were given up: refused too often, or too old.
    pub given_up: u64,
    /// They came when too many waited.
    pub dropped: u64,
    /// They wait.
    pub waiting: usize,
}

impl QueueCounts {
    pub(super) fn add(&mut self, more: Self) {
        self.delivered += more.delivered;
        self.failed += more.failed;
        self.given_up += more.given_up;
        self.dropped += more.dropped;
        self.waiting += more.waiting;
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    endpoint: String,
    most: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Message>,
    bytes: usize,
    journal: Option<Journal>,
    counts: QueueCounts,
    said: Option<Instant>,
}

impl Queue {
    /// A queue, with what a former process left in its journal.
    pub(super) fn open(endpoint: &Endpoint, directory: Option<&Path>, most: usize) -> Result<Self, WebhookError> {
        let (journal, mut waiting) = match directory {
            Some(directory) => {
                let (journal, waiting) = Journal::open(directory, &endpoint.file_stem())?;
                (Some(journal), waiting)
            }
            None => (None, VecDeque::new()),
        };
        let mut counts = QueueCounts::default();
        // There may have been several, or more may have been allowed.
        if waiting.len() > most {
            counts.dropped = (waiting.len() - most) as u64;
            tracing::warn!(%endpoint, events = counts.dropped, "events were dropped: too many wait");
            waiting.truncate(most);
        }
        let bytes = waiting.iter().map(|message| message.body.len()).sum();
        let state = State { waiting, bytes, journal, counts, said: None };
        Ok(Self { endpoint: endpoint.to_string(), most, state: Mutex::new(state), changed: Notify::new() })
    }

    /// One more waits. A short write to a file that is not synchronised: nothing that somebody else would be waited for.
    pub(super) fn push(&self, message: Message) {
        let mut state = self.state();
        if state.waiting.len() >= self.most || state.bytes + message.body.len() > MOST_BYTES {
            state.counts.dropped += 1;
            if state.may_say() {
                let (endpoint, dropped) = (&self.endpoint, state.counts.dropped);
                tracing::warn!(endpoint, dropped, "events are dropped: too many wait");
            }
            return;
        }
        if let Some(journal) = &mut state.journal {
            let added = journal.add(&message);
            self.journalled(&mut state, added);
        }
        state.bytes += message.body.len();
        state.waiting.push_back(message);
        drop(state);
        self.changed.notify_one();
    }

    /// The one that is to be delivered next.
    pub(super) fn first(&self) -> Option<Message> {
        self.state().waiting.front().cloned()
    }

    /// Waits until there may be something to deliver.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The first one was taken.
    pub(super) fn delivered(&self) {
        self.done(|counts| counts.delivered += 1);
    }

    /// The first one is given up.
    pub(super) fn given_up(&self) {
        self.done(|counts| counts.given_up += 1);
    }

    /// An attempt failed.
    pub(super) fn failed(&self) {
        self.state().counts.failed += 1;
    }

    pub(super) fn counts(&self) -> QueueCounts {
        let state = self.state();
        QueueCounts { waiting: state.waiting.len(), ..state.counts }
    }

    pub(super) fn has_journal(&self) -> bool {
        self.state().journal.is_some()
    }

    fn done(&self, count: impl FnOnce(&mut QueueCounts)) {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(first) = state.waiting.pop_front() else { return };
        state.bytes = state.bytes.saturating_sub(first.body.len());
        count(&mut state.counts);
        if let Some(journal) = &mut state.journal {
            let written = journal.done(&first, &state.waiting);
            self.journalled(state, written);
        }
    }

    /// An event that is in no journal is delivered all the same, as long as the process lives.
    fn journalled(&self, state: &mut State, written: io::Result<()>) {
        if let Err(error) = written
            && state.may_say()
        {
            let endpoint = &self.endpoint;
            tracing::warn!(endpoint, %error, "the journal of a webhook could not be written");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn may_say(&mut self) -> bool {
        let may = self.said.is_none_or(|said| said.elapsed() > AGAIN);
        if may {
            self.said = Some(Instant::now());
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: usize) -> Message {
        let text = format!(r#"{{"id":"{id}","event":"tag-moved","time":"2026-03-01T09:30:00Z"}}"#);
        Message::read(text.into()).unwrap()
    }

    #[test]
    fn what_is_too_much_is_dropped_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let endpoint = Endpoint::new("https://hooks.example/").unwrap();
        let open = |most| Queue::open(&endpoint, Some(directory.path()), most).unwrap();
        let queue = open(3);
        for id in 0..5 {
            queue.push(message(id));
        }
        assert_eq!(queue.counts(), QueueCounts { dropped: 2, waiting: 3, ..QueueCounts::default() });
        queue.delivered();
        queue.given_up();
        assert_eq!(queue.first().map(|message| message.id), Some("2".into()));
        queue.push(message(5));
        let counts = queue.counts();
        assert_eq!((counts.delivered, counts.given_up, counts.waiting), (1, 1, 2));
        drop(queue);
        let queue = open(1);
        assert_eq!((queue.counts().waiting, queue.counts().dropped), (1, 1));
        queue.delivered();
        queue.delivered();
        assert!(queue.first().is_none());
        assert_eq!(queue.counts().delivered, 1);
    }
}
