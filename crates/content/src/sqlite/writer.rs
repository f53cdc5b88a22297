//! One thread that writes. What arrives while a commit waits for the disk shares the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use rusqlite::Connection;

use super::failure::{Failure, Lost};
use crate::ContentError;

/// Most operations in one transaction: a bound on how long the first waits for the last.
const MOST_TOGETHER: usize = 256;
/// Payload after which the write-ahead log is copied into the database, once everybody has an answer.
const CHECKPOINT_BYTES: usize = 8 << 20;
/// What an operation writes beside its payload, roughly: some pages of index.
const OPERATION_BYTES: usize = 24 << 10;

/// Whether an operation must survive a power cut before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// It must.
    Full,
    /// A crash of the process is enough: upload sessions, which a client can begin again.
    Process,
}

/// Gives an operation's caller its answer, once it is known what became of the transaction.
type Answer = Box<dyn FnOnce(Result<(), &Lost>) + Send>;

/// Runs an operation, and says why SQLite refused it if it did; without a connection it only makes the answer that says
/// so.
type Run = Box<dyn FnOnce(Option<&Connection>) -> (Answer, Option<Lost>) + Send>;

struct Job {
    durability: Durability,
    payload: usize,
    run: Run,
}

/// The one writer of this process. Other processes have their own; SQLite lets one at a time have the lock.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Sender<Job>,
    commits: Arc<Commits>,
}

/// How often the writer committed.
#[derive(Debug, Default)]
pub(super) struct Commits {
    /// All commits.
    pub(super) all: AtomicU64,
    /// Those that waited for the disk.
    pub(super) durable: AtomicU64,
}

impl Writer {
    /// Starts the thread. It ends when the writer is dropped.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let commits = Arc::new(Commits::default());
        let counted = commits.clone();
        std::thread::Builder::new()
            .name("metadata-writer".to_owned())
            .spawn(move || work(&connection, &receiver, &counted))?;
        Ok(Self { jobs: sender, commits })
    }

    pub(super) fn commits(&self) -> &Commits {
        &self.commits
    }

    /// Runs `operation` in a transaction that it may share with others, and returns when that is committed. If it
    /// fails, all that it did is undone, and nothing that the others did.
    ///
    /// `payload` is about how many bytes it writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        payload: usize,
        action: String,
        operation: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ContentError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let said = action.clone();
        let run = Box::new(move |connection: Option<&Connection>| {
            let result = connection.map(|connection| in_savepoint(connection, operation));
            let refused = match &result {
                Some(Err(Failure::Sqlite(error))) => Some(Lost::from(error)),
                _ => None,
            };
            let answer: Answer = Box::new(move |committed: Result<(), &Lost>| {
                let result = match (committed, result) {
                    (Err(lost), _) => Err(Failure::Lost(lost.clone())),
                    (Ok(()), Some(result)) => result,
                    (Ok(()), None) => Err(Failure::Lost(Lost::other("it was not run"))),
                };
                // Nobody waits any more if the request was dropped; the change stands all the same.
                let _ = sender.send(result.map_err(|failure| failure.into_error(&said)));
            });
            (answer, refused)
        });
        let job = Job { durability, payload, run };
        let sent = self.jobs.send(job);
        let gone = || Failure::Lost(Lost::other("the thread that writes is gone")).into_error(&action);
        sent.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    operation: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("SAVEPOINT operation")?.execute([])?;
    let result = operation(connection);
    // A full disk, or one that fails, makes SQLite roll back everything by itself; then there is no savepoint left.
    if !connection.is_autocommit() {
        if result.is_err() {
            connection.prepare_cached("ROLLBACK TO operation")?.execute([])?;
        }
        connection.prepare_cached("RELEASE operation")?.execute([])?;
    }
    result
}

fn work(connection: &Connection, jobs: &Receiver<Job>, commits: &Commits) {
    let mut level = None;
    let mut uncopied = 0;
    while let Ok(first) = jobs.recv() {
        let mut batch = vec![first];
        while batch.len() < MOST_TOGETHER {
            let Ok(job) = jobs.try_recv() else { break };
            batch.push(job);
        }
        let durable = batch.iter().any(|job| job.durability == Durability::Full);
        let durability = if durable { Durability::Full } else { Durability::Process };
        uncopied += batch.iter().map(|job| job.payload + OPERATION_BYTES).sum::<usize>();
        let (answers, committed) = transaction(connection, batch, durability, &mut level);
        commits.all.fetch_add(1, Ordering::Relaxed);
        commits.durable.fetch_add(u64::from(durable), Ordering::Relaxed);
        for answer in answers {
            answer(committed.as_ref().copied());
        }
        if uncopied > CHECKPOINT_BYTES {
            uncopied = 0;
            if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
                tracing::warn!(%error, "could not copy the write-ahead log into the database");
            }
        }
    }
}

fn transaction(
    connection: &Connection,
    batch: Vec<Job>,
    durability: Durability,
    level: &mut Option<Durability>,
) -> (Vec<Answer>, Result<(), Lost>) {
    let mut lost = begin(connection, durability, level).err();
    let mut answers = Vec::with_capacity(batch.len());
    for job in batch {
        let (answer, refused) = (job.run)(if lost.is_none() { Some(connection) } else { None });
        answers.push(answer);
        if lost.is_none() && connection.is_autocommit() {
            lost = Some(refused.unwrap_or_else(|| Lost::other("the transaction was undone by a failure of the disk")));
        }
    }
    if lost.is_none() {
        let committed = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        lost = committed.err().map(|error| Lost::from(&error));
    }
    match lost {
        None => (answers, Ok(())),
        Some(lost) => {
            if !connection.is_autocommit()
                && let Err(error) = connection.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "could not undo a transaction");
            }
            (answers, Err(lost))
        }
    }
}

fn begin(connection: &Connection, durability: Durability, level: &mut Option<Durability>) -> Result<(), Lost> {
    let begun = || {
        if *level != Some(durability) {
            let synchronous = match durability {
                Durability::Full => "FULL",
                Durability::Process => "NORMAL",
            };
            connection.pragma_update(None, "synchronous", synchronous)?;
        }
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])
    };
    begun().map_err(|error: rusqlite::Error| Lost::from(&error))?;
    *level = Some(durability);
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    /// What others are told whose transaction SQLite undid because of `code`.
    async fn told_with(code: i32) -> ContentError {
        let writer = Writer::start(Connection::open_in_memory().unwrap()).unwrap();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (go, gone) = channel::<()>();
        // Those that come while one is at work share the next transaction.
        let first = writer.write(Durability::Process, 0, "begin".to_owned(), move |_| {
            let _ = begun.send(());
            let _ = gone.recv();
            Ok(())
        });
        let rest = async {
            begins.await.unwrap();
            let failing = writer.write(Durability::Process, 0, "fail".to_owned(), move |connection| {
                connection.execute_batch("ROLLBACK")?;
                Err::<(), _>(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into())
            });
            let other = writer.write(Durability::Process, 0, "write".to_owned(), |_| Ok(()));
            let (_, other, ()) = tokio::join!(failing, other, async { drop(go) });
            other.unwrap_err()
        };
        let (first, told) = tokio::join!(first, rest);
        first.unwrap();
        told
    }

    /// "No space left" was said of every disk that failed.
    #[tokio::test]
    async fn a_disk_that_fails_is_not_a_full_one() {
        let told = told_with(ffi::SQLITE_FULL).await;
        assert!(matches!(told, ContentError::NoSpace { .. }), "{told}");
        for code in [ffi::SQLITE_IOERR, ffi::SQLITE_NOMEM] {
            let told = told_with(code).await;
            assert!(matches!(told, ContentError::Metadata { .. }), "{told}");
        }
    }
}
