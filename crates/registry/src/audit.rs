//! What was written by whom: a line of JSON for each event, in a file that is only ever appended to.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::access_log::{LogError, count_lines, open};
use crate::events::{Event, Observer};

/// How often a file is made durable, and written again to if that failed.
const TICK: Duration = Duration::from_secs(1);
/// Bytes of lines that are kept while the file cannot be written.
const KEPT: usize = 16 << 20;
/// How long a write waits to be written down before it is answered all the same.
const PATIENCE: Duration = Duration::from_secs(5);

/// When lines survive a power cut. A crash of the process takes none in any case: they are with the operating system
/// before the client is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditSync {
    /// A second later at most.
    #[default]
    EverySecond,
    /// Before the client is answered; events that come together share an fsync.
    EachWrite,
    /// When the operating system pleases.
    Never,
}

/// An audit log. A thread writes it; clones share it.
///
/// A log that cannot be written is an error in the server's log and in its metrics, and the lines wait in memory, up to
/// 16 MiB, until it can be. Nothing else waits.
#[derive(Clone)]
pub struct Audit {
    path: Arc<Path>,
    sender: Sender<Order>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    waiting: AtomicU64,
    lost: AtomicU64,
}

enum Order {
    Lines(Vec<u8>, oneshot::Sender<()>),
    To(File),
    Flush(oneshot::Sender<()>),
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Audit {
    /// Lines to the end of a file, which is made if it is not there. Several servers may share one.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn open(path: impl AsRef<Path>, sync: AuditSync) -> Result<Self, LogError> {
        let path: Arc<Path> = path.as_ref().into();
        let file = open(&path)?;
        let counts = Arc::new(Counts::default());
        let (sender, receiver) = channel();
        let mut pen = Pen {
            path: path.clone(),
            file: None,
            waiting: Vec::new(),
            begun: 0,
            unsynced: false,
            failing: false,
            sync,
            counts: counts.clone(),
        };
        pen.take(file);
        std::thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(move || pen.write_all(&receiver))
            .map_err(LogError::Thread)?;
        Ok(Self { path, sender, counts })
    }

    /// Opens the file anew, after it was given another name. No line is torn or lost by that.
    ///
    /// # Errors
    /// [`LogError::Open`]; the lines go where they went then.
    pub fn reopen(&self) -> Result<(), LogError> {
        let _ = self.sender.send(Order::To(open(&self.path)?));
        Ok(())
    }

    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.counts.written.load(Ordering::Relaxed)
    }

    /// Bytes that wait for the file to be writable again.
    pub fn waiting(&self) -> u64 {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// Lines that were lost: more came than are kept while the file could not be written.
    pub fn lost(&self) -> u64 {
        self.counts.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was said before is written and durable, if it can be.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        if self.sender.send(Order::Flush(done)).is_ok() {
            let _ = tokio::time::timeout(PATIENCE, wait).await;
        }
    }
}

#[async_trait]
impl Observer for Audit {
    async fn observe(&self, event: &Arc<Event>) {
        self.observe_all(std::slice::from_ref(event)).await;
    }

    async fn observe_all(&self, events: &[Arc<Event>]) {
        let mut lines = Vec::with_capacity(events.len() * 512);
        for event in events {
            lines.extend_from_slice(event.to_json().to_string().as_bytes());
            lines.push(b'\n');
        }
        let (done, wait) = oneshot::channel();
        if self.sender.send(Order::Lines(lines, done)).is_err() {
            tracing::error!("the audit log has no writer any more");
        } else if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            tracing::error!("the audit log takes long to write; a write is answered before it is written down");
        }
    }
}

/// What the thread holds.
struct Pen {
    path: Arc<Path>,
    file: Option<File>,
    /// Whole lines. The first one may have been written in part.
    waiting: Vec<u8>,
    /// Bytes of the first line that are in the file.
    begun: usize,
    unsynced: bool,
    failing: bool,
    sync: AuditSync,
    counts: Arc<Counts>,
}

impl Pen {
    fn write_all(&mut self, receiver: &Receiver<Order>) {
        loop {
            let idle = self.waiting.is_empty() && !self.unsynced;
            let first = if idle { receiver.recv().ok() } else { None };
            let first = match first {
                Some(order) => Some(order),
                None if idle => return,
                None => match receiver.recv_timeout(TICK) {
                    Ok(order) => Some(order),
                    Err(RecvTimeoutError::Timeout) => None,
                    // The last one who could say something is gone: one more try.
                    Err(RecvTimeoutError::Disconnected) => {
                        self.write(true);
                        return;
                    }
                },
            };
            let tick = first.is_none();
            let mut next = first;
            let (mut told, mut flush) = (Vec::new(), false);
            while let Some(order) = next {
                match order {
                    Order::Lines(lines, done) => {
                        self.keep(&lines);
                        told.push(done);
                    }
                    Order::To(file) => {
                        self.write(true);
                        self.take(file);
                    }
                    Order::Flush(done) => {
                        flush = true;
                        told.push(done);
                    }
                }
                next = receiver.try_recv().ok();
            }
            self.write(flush || tick || self.sync == AuditSync::EachWrite);
            for done in told {
                let _ = done.send(());
            }
        }
    }

    fn keep(&mut self, lines: &[u8]) {
        if self.waiting.len() + lines.len() > KEPT {
            let lost = count_lines(lines);
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
            tracing::error!(lost, line = ?String::from_utf8_lossy(lines), "lines of the audit log are lost");
        } else {
            self.waiting.extend_from_slice(lines);
        }
    }

    /// Goes on in a file. What a crash or a full disk left of a line there stays a line of its own.
    fn take(&mut self, mut file: File) {
        self.begun = 0;
        let mut last = [b'\n'];
        let torn = file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).is_ok() && last != *b"\n";
        if torn && let Err(error) = file.write_all(b"\n") {
            self.failed(&error);
        }
        self.file = Some(file);
    }

    /// Writes what waits; `sync` makes it durable too, unless nobody wants that.
    fn write(&mut self, sync: bool) {
        match self.try_write(sync) {
            Ok(()) if std::mem::take(&mut self.failing) => tracing::info!("the audit log is written again"),
            Ok(()) => {}
            Err(error) => self.failed(&error),
        }
        self.counts.waiting.store(self.waiting.len() as u64, Ordering::Relaxed);
    }

    fn try_write(&mut self, sync: bool) -> io::Result<()> {
        if self.file.is_none() {
            let file = open(&self.path).map_err(io::Error::other)?;
            self.take(file);
        }
        if let Err(error) = self.pour() {
            // The file may be gone, or its disk: it is opened anew for the next try.
            self.file = None;
            return Err(error);
        }
        if sync && self.unsynced && self.sync != AuditSync::Never {
            self.file.as_ref().map_or(Ok(()), File::sync_data)?;
        }
        self.unsynced &= !sync;
        Ok(())
    }

    fn pour(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        while self.begun < self.waiting.len() {
            match file.write(&self.waiting[self.begun..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.unsynced = true;
                    self.begun += written;
                    let whole = self.waiting[..self.begun].iter().rposition(|byte| *byte == b'\n');
                    let whole = whole.map_or(0, |end| end + 1);
                    let lines = count_lines(&self.waiting[..whole]);
                    self.counts.written.fetch_add(lines, Ordering::Relaxed);
                    self.waiting.drain(..whole);
                    self.begun -= whole;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn failed(&mut self, error: &dyn fmt::Display) {
        if !std::mem::replace(&mut self.failing, true) {
            let path = self.path.display();
            tracing::error!(%path, %error, "the audit log cannot be written; its lines wait until it can");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(audit: &Audit, line: &str) -> oneshot::Receiver<()> {
        let (done, wait) = oneshot::channel();
        audit.sender.send(Order::Lines(format!("{line}\n").into_bytes(), done)).unwrap();
        wait
    }

    #[tokio::test]
    async fn a_torn_line_stays_alone_and_a_new_name_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        std::fs::write(&path, "{\"torn").unwrap();
        let audit = Audit::open(&path, AuditSync::EachWrite).unwrap();
        say(&audit, "one").await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"torn\none\n");
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        say(&audit, "two").await.unwrap();
        audit.reopen().unwrap();
        say(&audit, "three").await.unwrap();
        assert_eq!(std::fs::read_to_string(directory.path().join("old")).unwrap(), "{\"torn\none\ntwo\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
        assert_eq!((audit.written(), audit.waiting(), audit.lost()), (3, 0, 0));
    }

    #[tokio::test]
    async fn lines_wait_while_the_file_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit");
        let audit = Audit::open(&path, AuditSync::EverySecond).unwrap();
        // Nothing can be written to this one.
        audit.sender.send(Order::To(File::open(directory.path()).unwrap())).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        say(&audit, "one").await.unwrap();
        say(&audit, "two").await.unwrap();
        assert_eq!((audit.written(), audit.waiting()), (0, 8));
        std::fs::remove_dir(&path).unwrap();
        audit.flush().await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!((audit.written(), audit.waiting(), audit.lost()), (2, 0, 0));
    }
}
