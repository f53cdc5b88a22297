//! One line for each request.
//!
//! ```text
//! TIME PEER IDENTITY METHOD ROUTE REPOSITORY STATUS in=BYTES out=BYTES us=MICROSECONDS id=REQUEST "PATH?QUERY" "USER AGENT"
//! ```
//!
//! `-` stands for what is not known. What a client made up stands in quotes, escaped, so that it can neither end a line
//! nor look like another field.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

/// Lines that wait for the writer. Further ones are dropped and counted: requests never wait for a log.
const QUEUE: usize = 16 << 10;
/// Bytes that are written at once.
const BATCH: usize = 64 << 10;
/// Longest text of a client's that is written whole, in bytes. One that was cut ends with `…`.
const LONGEST: usize = 2048;
/// How long the end of a server waits for its last lines.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessLogFormat {
    /// Words, for people.
    #[default]
    Text,
    /// A JSON object in each line, for machines.
    Json,
}

/// Why a log cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be opened.
    #[error("failed to open the log `{}`: {source}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// There can be no thread that writes.
    #[error("failed to start the thread that writes the log: {0}")]
    Thread(#[source] io::Error),
}

/// Where lines about requests go. A thread writes them; clones share it.
#[derive(Clone)]
pub struct AccessLog {
    format: AccessLogFormat,
    path: Option<Arc<Path>>,
    sender: SyncSender<Order>,
    lost: Arc<AtomicU64>,
}

enum Order {
    Line(Vec<u8>),
    To(Box<dyn Write + Send>),
    Flush(oneshot::Sender<()>),
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("format", &self.format).field("path", &self.path).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// Lines to a writer, such as the standard output. Each write to it ends with the end of a line.
    ///
    /// # Errors
    /// [`LogError::Thread`].
    pub fn to_writer(format: AccessLogFormat, writer: impl Write + Send + 'static) -> Result<Self, LogError> {
        Self::to(format, None, Box::new(writer))
    }

    /// Lines to the end of a file, which is made if it is not there.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn to_file(format: AccessLogFormat, path: impl AsRef<Path>) -> Result<Self, LogError> {
        let file = open(path.as_ref())?;
        Self::to(format, Some(path.as_ref().into()), Box::new(file))
    }

    fn to(format: AccessLogFormat, path: Option<Arc<Path>>, writer: Box<dyn Write + Send>) -> Result<Self, LogError> {
        let (sender, receiver) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut pen = Pen { writer, lost: lost.clone(), failing: false };
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || pen.write_all(&receiver))
            .map_err(LogError::Thread)?;
        Ok(Self { format, path, sender, lost })
    }

    /// Opens the file anew, after it was given another name. A log that goes to no file stays as it is.
    ///
    /// # Errors
    /// [`LogError::Open`]; the lines go where they went then.
    pub fn reopen(&self) -> Result<(), LogError> {
        if let Some(path) = &self.path {
            // A writer that is gone has said so; there is nobody to hear it again.
            let _ = self.sender.send(Order::To(Box::new(open(path)?)));
        }
        Ok(())
    }

    /// Lines that were dropped: they came faster than they could be written, or writing failed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was said before is written.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let sender = self.sender.clone();
        let asked = tokio::task::spawn_blocking(move || sender.send(Order::Flush(done)));
        let _ = tokio::time::timeout(PATIENCE, async {
            let _ = asked.await;
            let _ = wait.await;
        })
        .await;
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let mut line = match self.format {
            AccessLogFormat::Text => entry.to_text().into_bytes(),
            AccessLogFormat::Json => serde_json::to_vec(entry).unwrap_or_default(),
        };
        line.push(b'\n');
        if self.sender.try_send(Order::Line(line)).is_err() && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("lines of the access log come faster than they can be written; some are dropped");
        }
    }
}

/// Opens a log for its end; only its owner may read it.
pub(crate) fn open(path: &Path) -> Result<File, LogError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| LogError::Open { path: path.to_owned(), source })
}

/// What the thread holds.
struct Pen {
    writer: Box<dyn Write + Send>,
    lost: Arc<AtomicU64>,
    failing: bool,
}

impl Pen {
    fn write_all(&mut self, receiver: &Receiver<Order>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Ok(first) = receiver.recv() {
            let mut next = Some(first);
            let mut flushed = Vec::new();
            while let Some(order) = next {
                match order {
                    Order::Line(line) => batch.extend_from_slice(&line),
                    Order::To(writer) => {
                        self.write(&mut batch);
                        self.writer = writer;
                    }
                    Order::Flush(done) => flushed.push(done),
                }
                if batch.len() >= BATCH {
                    self.write(&mut batch);
                }
                next = receiver.try_recv().ok();
            }
            self.write(&mut batch);
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    fn write(&mut self, batch: &mut Vec<u8>) {
        if batch.is_empty() {
            return;
        }
        match self.writer.write_all(batch).and_then(|()| self.writer.flush()) {
            Ok(()) if self.failing => {
                self.failing = false;
                tracing::info!(lost = self.lost.load(Ordering::Relaxed), "the access log is written again");
            }
            Ok(()) => {}
            Err(error) => {
                self.lost.fetch_add(count_lines(batch), Ordering::Relaxed);
                if !self.failing {
                    tracing::error!(%error, "the access log cannot be written; its lines are lost until it can");
                }
                self.failing = true;
            }
        }
        batch.clear();
    }
}

/// What a line says.
#[derive(Debug, Serialize)]
pub(crate) struct Entry<'a> {
    /// When the request came.
    #[serde(serialize_with = "shown")]
    pub(crate) time: Timestamp,
    pub(crate) id: &'a str,
    pub(crate) peer: SocketAddr,
    pub(crate) identity: Option<&'a str>,
    pub(crate) method: Text<'a>,
    pub(crate) route: &'a str,
    pub(crate) repository: Option<&'a str>,
    pub(crate) path: Text<'a>,
    pub(crate) query: Option<Text<'a>>,
    /// `None`: the client went away before it was answered.
    pub(crate) status: Option<u16>,
    #[serde(rename = "in")]
    pub(crate) received: u64,
    #[serde(rename = "out")]
    pub(crate) sent: u64,
    pub(crate) microseconds: u64,
    #[serde(rename = "userAgent")]
    pub(crate) user_agent: Option<Text<'a>>,
}

impl Entry<'_> {
    fn to_text(&self) -> String {
        let mut line = String::with_capacity(256);
        let _ = write!(line, "{:.6} {} ", self.time, self.peer);
        match self.identity {
            // Names that could be taken for something else are quoted.
            Some(name) if name == "-" || !name.bytes().all(is_plain) => quote(&mut line, Text(name)),
            name => line.push_str(name.unwrap_or("-")),
        }
        line.push(' ');
        match self.method.0 {
            // Any word may be a method.
            method if method.len() <= 32 && method.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                line.push_str(method);
            }
            _ => quote(&mut line, self.method),
        }
        let _ = write!(line, " {} {} ", self.route, self.repository.unwrap_or("-"));
        match self.status {
            Some(status) => _ = write!(line, "{status}"),
            None => line.push('-'),
        }
        let (received, sent, took) = (self.received, self.sent, self.microseconds);
        let _ = write!(line, " in={received} out={sent} us={took} id={} ", self.id);
        match self.query {
            Some(query) => quote(&mut line, Text(&format!("{}?{}", self.path.0, query.0))),
            None => quote(&mut line, self.path),
        }
        line.push(' ');
        match self.user_agent {
            Some(agent) => quote(&mut line, agent),
            None => line.push('-'),
        }
        line
    }
}

fn shown<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

/// A text of a client's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl Text<'_> {
    /// The beginning of it, and a mark if that is not all.
    fn parts(self) -> (&'static str, usize) {
        if self.0.len() <= LONGEST {
            return ("", self.0.len());
        }
        ("…", (0..=LONGEST).rev().find(|end| self.0.is_char_boundary(*end)).unwrap_or_default())
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (more, end) = self.parts();
        serializer.collect_str(&format_args!("{}{more}", &self.0[..end]))
    }
}

fn quote(line: &mut String, text: Text<'_>) {
    let (more, end) = text.parts();
    let _ = write!(line, "\"{}{more}\"", text.0[..end].escape_debug());
}

/// How many lines these are.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    bytes.split_inclusive(|byte| *byte == b'\n').count() as u64
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-@+:/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            time: Timestamp::UNIX_EPOCH,
            id: "abc-1",
            peer: ([10, 0, 0, 1], 1234).into(),
            identity: Some("ci"),
            method: Text("GET"),
            route: "manifest",
            repository: Some("team/app"),
            path: Text("/v2/team/app/manifests/v1"),
            query: None,
            status: Some(200),
            received: 0,
            sent: 512,
            microseconds: 42,
            user_agent: Some(Text("docker/1")),
        }
    }

    #[test]
    fn a_line_is_as_it_is_documented() {
        assert_eq!(
            entry().to_text(),
            "1970-01-01T00:00:00.000000Z 10.0.0.1:1234 ci GET manifest team/app 200 in=0 out=512 us=42 id=abc-1 \
             \"/v2/team/app/manifests/v1\" \"docker/1\""
        );
        let nobody = Entry { identity: None, repository: None, status: None, user_agent: None, ..entry() };
        assert!(nobody.to_text().contains(" - GET manifest - - in=0 "), "{}", nobody.to_text());
        assert!(nobody.to_text().ends_with(" -"));
    }

    #[test]
    fn what_a_client_made_up_ends_no_line_and_no_field() {
        let text = Entry {
            identity: Some("x GET blob \"\n"),
            path: Text("/a\" 200\r\n"),
            query: Some(Text("q=\u{1b}[2J\u{202e}\u{2028}")),
            user_agent: Some(Text("\\\"\u{0}")),
            ..entry()
        }
        .to_text();
        assert!(text.chars().all(|character| !character.is_control()), "{text:?}");
        assert!(text.contains(r#" "x GET blob \"\n" GET manifest "#), "{text}");
        assert!(text.ends_with(r#""/a\" 200\r\n?q=\u{1b}[2J\u{202e}\u{2028}" "\\\"\0""#), "{text}");
        let minus = Entry { identity: Some("-"), ..entry() }.to_text();
        assert!(minus.contains(r#" "-" GET "#), "{minus}");
        let long = "ä".repeat(5000);
        let text = Entry { path: Text(&long), ..entry() }.to_text();
        assert!(text.contains("ä…\" ") && text.len() < 3000, "{}", text.len());
    }

    #[tokio::test]
    async fn a_writer_that_is_stuck_costs_lines_and_no_time() {
        struct Stuck(std::sync::mpsc::Receiver<()>, Arc<AtomicU64>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                self.1.fetch_add(count_lines(bytes), Ordering::Relaxed);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let written = Arc::new(AtomicU64::new(0));
        let log = AccessLog::to_writer(AccessLogFormat::Json, Stuck(stuck, written.clone())).unwrap();
        let said = 2 * QUEUE as u64;
        for _ in 0..said {
            log.write(&entry());
        }
        assert!(log.lost() > 0);
        drop(release);
        log.flush().await;
        assert_eq!(written.load(Ordering::Relaxed) + log.lost(), said);
    }

    #[test]
    fn a_json_line_is_one_object() {
        let line = serde_json::to_string(&Entry { path: Text("/\n\""), ..entry() }).unwrap();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["path"], &value["out"], &value["query"]), (&"/\n\"".into(), &512.into(), &().into()));
        assert_eq!(value["time"], "1970-01-01T00:00:00.000000Z");
        let long = "x".repeat(100_000);
        let line = serde_json::to_vec(&Entry {
            path: Text(&long),
            query: Some(Text(&long)),
            user_agent: Some(Text(&long)),
            ..entry()
        })
        .unwrap();
        assert!(line.len() < 7000, "{}", line.len());
    }
}
