//! Connections to the database, and how it is read with them.
//!
//! A look-up of a few rows takes microseconds, a hop to another thread takes more: it is done where it is asked for. What
//! walks over many rows goes to another thread.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::SqliteMetadataStore;
use super::failure::{Failure, is_busy};
use crate::ContentError;

/// Idle connections of each kind that are kept; more may be in use for a while.
const KEPT: usize = 8;
/// Pages that all connections for look-ups keep together, in KiB, unless the least of each comes to more. Half of it, one's
/// share where there are two processors, holds a million tags and the inner pages of the index of their documents.
const LOOKUP_CACHES: i64 = 80 << 10;
/// What each of them has at least and at most: the inner pages of the indexes of a million documents; see above.
const LOOKUP_CACHE: (i64, i64) = (4 << 10, 40 << 10);
/// How long others are left to finish before the next try.
const PAUSE: Duration = Duration::from_millis(2);

/// Opens a connection, making the database if it is not there.
pub(super) fn connect(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Or SQLite plans a statement anew, at several times its cost, whenever a parameter changes that a partial index
    // could depend on.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Where `fsync` only reaches the drive's cache (macOS), ask for more.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    // The writer decides when.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

/// Repeats `operation` while others hold the database, for up to `busy_timeout`. Waits on the thread.
///
/// SQLite waits for others by itself, but not where two could wait for each other: when several want to turn a new
/// database to a write-ahead log, all but one are refused at once.
pub(super) fn until_free<T>(
    busy_timeout: Duration,
    mut operation: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let begun = Instant::now();
    loop {
        match operation() {
            Err(error) if is_busy(&error) && begun.elapsed() < busy_timeout => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
}

/// Connections that read. Each sees the last commit of any process.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    busy_timeout: Duration,
    /// They never wait. The threads of a server are as many as its processors, and none finds all in use.
    lookups: Idle,
    /// Pages that each of `lookups` keeps, in KiB.
    lookup_cache: i64,
    scans: Idle,
}

#[derive(Debug)]
struct Idle {
    connections: Mutex<Vec<Connection>>,
    kept: usize,
}

impl Idle {
    fn new(kept: usize) -> Self {
        Self { connections: Mutex::default(), kept }
    }

    fn take(&self) -> Option<Connection> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.kept {
            idle.push(connection);
        }
    }
}

impl Readers {
    pub(super) fn new(path: &Path, busy_timeout: Duration) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            path: path.to_owned(),
            busy_timeout,
            lookups: Idle::new(processors.max(KEPT)),
            lookup_cache: (LOOKUP_CACHES / i64::try_from(processors).unwrap_or(i64::MAX))
                .clamp(LOOKUP_CACHE.0, LOOKUP_CACHE.1),
            scans: Idle::new(KEPT),
        }
    }

    /// Looks a few rows up. Fails at once if another process holds the database for recovery.
    fn look_up<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let connection = if let Some(connection) = self.lookups.take() {
            connection
        } else {
            let connection = connect(&self.path, Duration::ZERO)?;
            connection.pragma_update(None, "cache_size", -self.lookup_cache)?;
            connection
        };
        let result = operation(&connection);
        self.lookups.put(connection);
        result
    }

    /// Reads many rows. Waits for others.
    pub(super) fn scan<T>(&self, operation: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
        let connection = match self.scans.take() {
            Some(connection) => connection,
            None => connect(&self.path, self.busy_timeout)?,
        };
        let result = operation(&connection);
        self.scans.put(connection);
        result
    }
}

impl SqliteMetadataStore {
    /// A look-up of a few rows, run where it is asked. Only if another process holds the database for recovery does it
    /// wait, and no thread with it.
    pub(super) async fn quick<T>(
        &self,
        action: impl FnOnce() -> String,
        operation: impl Fn(&Connection) -> Result<T, Failure>,
    ) -> Result<T, ContentError> {
        let readers = &self.inner.readers;
        let mut begun = None;
        loop {
            match readers.look_up(&operation) {
                Err(failure)
                    if failure.is_busy() && begun.get_or_insert_with(Instant::now).elapsed() < readers.busy_timeout =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                looked_up => return looked_up.map_err(|failure| failure.into_error(&action())),
            }
        }
    }

    /// A read of many rows, off the reactor.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> String,
        operation: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ContentError> {
        let inner = self.inner.clone();
        let read = tokio::task::spawn_blocking(move || inner.readers.scan(operation)).await;
        match read {
            Ok(result) => result.map_err(|failure| failure.into_error(&action())),
            Err(error) => Err(ContentError::Metadata { action: action(), source: error.into() }),
        }
    }
}
