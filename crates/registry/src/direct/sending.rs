//! Answers on their way into a socket.

use std::io::{self, IoSlice};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use content::{BlobFile, ByteStream};
use futures_util::StreamExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, response};
use http_body::Body as _;
use tokio::net::TcpStream;

use crate::answer::AnswerBody;
use crate::exchange::Sent;

/// Bodies up to this size are copied behind their heads; it costs less than a second place to send from.
const COPIED: usize = 16 << 10;
/// Answers to requests that came together wait for each other up to this many bytes.
const GATHERED: usize = 64 << 10;

/// What is sent of a file before others have their turn.
#[cfg(target_os = "linux")]
const TURN: u64 = 1 << 20;

/// Sends answers over one connection.
pub(super) struct Sender {
    out: BytesMut,
    date: Date,
    /// The client is on this machine. What the kernel need not copy to send then, the client copies at a higher price:
    /// from memory instead of from the processor's cache.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    near: bool,
    /// How long the client may take nothing.
    patience: Duration,
}

impl Sender {
    pub(super) fn new(near: bool, patience: Duration) -> Self {
        Self { out: BytesMut::with_capacity(2 << 10), date: Date::default(), near, patience }
    }

    /// Sends an answer, or keeps it until [`Sender::flush`]. `false`: it was the last one of the connection.
    pub(super) async fn send(
        &mut self,
        stream: &TcpStream,
        answer: Response<Sent>,
        head: bool,
        keep: bool,
    ) -> io::Result<bool> {
        let (parts, body) = answer.into_parts();
        let (body, mut exchange) = body.into_parts();
        let said = parts.headers.get(header::CONNECTION).is_some_and(|value| value.as_bytes() == b"close");
        let keep = keep && !said;
        let length = body.size_hint().exact();
        // What `HEAD` would have got is told, if it is anything.
        self.head(&parts, length.filter(|length| !head || *length > 0), keep || said);
        match body {
            _ if head => {}
            AnswerBody::Whole(None) => {}
            AnswerBody::Whole(Some(bytes)) if bytes.len() <= COPIED => {
                self.out.extend_from_slice(&bytes);
                exchange.sent += bytes.len() as u64;
            }
            AnswerBody::Whole(Some(bytes)) => {
                self.write(stream, &bytes).await?;
                exchange.sent += bytes.len() as u64;
            }
            AnswerBody::File(file) => {
                self.flush(stream).await?;
                if let Some(file) = self.file(stream, file, &mut exchange.sent).await? {
                    self.stream(stream, file.into_stream(), &mut exchange.sent).await?;
                }
            }
            AnswerBody::Stream { stream: bytes, .. } => self.stream(stream, bytes, &mut exchange.sent).await?,
        }
        if !keep || self.out.len() > GATHERED {
            self.flush(stream).await?;
        }
        Ok(keep)
    }

    /// Sends what was kept.
    pub(super) async fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        if self.out.is_empty() { Ok(()) } else { self.write(stream, &[]).await }
    }

    fn head(&mut self, parts: &response::Parts, length: Option<u64>, keep: bool) {
        let out = &mut self.out;
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(parts.status.as_str().as_bytes());
        out.put_u8(b' ');
        out.extend_from_slice(parts.status.canonical_reason().unwrap_or("Unknown").as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &parts.headers {
            field(out, name.as_str(), value.as_bytes());
        }
        if let Some(length) = length.filter(|_| has_length(parts.status, &parts.headers)) {
            field(out, "content-length", HeaderValue::from(length).as_bytes());
        }
        if !keep {
            field(out, "connection", b"close");
        }
        if !parts.headers.contains_key(header::DATE) {
            field(out, "date", self.date.now());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Sends what was kept, and `body` behind it.
    async fn write(&mut self, stream: &TcpStream, body: &[u8]) -> io::Result<()> {
        let (head, mut sent) = (self.out.len(), 0);
        while sent < head + body.len() {
            let first = &self.out[sent.min(head)..];
            let rest = &body[sent.saturating_sub(head)..];
            let written = match (first.is_empty(), rest.is_empty()) {
                (false, false) => stream.try_write_vectored(&[IoSlice::new(first), IoSlice::new(rest)]),
                (true, _) => stream.try_write(rest),
                (_, true) => stream.try_write(first),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => sent += length,
                Err(error) => self.wait(stream, error).await?,
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Waits for room in the socket, if that is what it lacks.
    async fn wait(&self, stream: &TcpStream, error: io::Error) -> io::Result<()> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => match tokio::time::timeout(self.patience, stream.writable()).await {
                Ok(ready) => ready,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")),
            },
            _ => Err(error),
        }
    }

    async fn stream(&mut self, stream: &TcpStream, mut bytes: ByteStream, sent: &mut u64) -> io::Result<()> {
        while let Some(bytes) = bytes.next().await {
            let bytes = bytes.map_err(lost)?;
            self.write(stream, &bytes).await?;
            *sent += bytes.len() as u64;
        }
        Ok(())
    }

    /// Has the kernel send a file, and gives it back if it cannot.
    #[cfg(not(target_os = "linux"))]
    async fn file(&self, _stream: &TcpStream, file: BlobFile, _sent: &mut u64) -> io::Result<Option<BlobFile>> {
        Ok(Some(file))
    }

    /// Sends a file without a hop to another thread, and gives it back if that cannot be.
    #[cfg(target_os = "linux")]
    async fn file(&mut self, stream: &TcpStream, file: BlobFile, sent: &mut u64) -> io::Result<Option<BlobFile>> {
        if self.near { self.copied(stream, file, sent).await } else { self.by_kernel(stream, file, sent).await }
    }

    /// Sends a file through a buffer that is small enough for the processor's cache.
    #[cfg(target_os = "linux")]
    async fn copied(&mut self, stream: &TcpStream, mut file: BlobFile, sent: &mut u64) -> io::Result<Option<BlobFile>> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        const PIECE: u64 = 256 << 10;
        let mut buffer = vec![0; PIECE as usize];
        let (mut turn, mut fetched) = (0, None);
        while !file.range().is_empty() {
            let Some(source) = file.file() else { return Ok(Some(file)) };
            let (at, left) = (file.range().start, file.range().end - file.range().start);
            let mut slices = [io::IoSliceMut::new(&mut buffer[..left.min(PIECE) as usize])];
            match preadv2(source, &mut slices, at, ReadWriteFlags::NOWAIT) {
                Ok(length) => {
                    file.advance(length as u64).map_err(lost)?;
                    self.write(stream, &buffer[..length]).await?;
                    *sent += length as u64;
                    turn += length as u64;
                }
                Err(Errno::INTR) => {}
                // Nothing may wait for the disk here.
                Err(Errno::AGAIN) if fetched != Some(at) => {
                    fetched = Some(at);
                    file = file.prefetch(TURN).await.map_err(lost)?;
                }
                Err(_) => return Ok(Some(file)),
            }
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(None)
    }

    /// Has the kernel send a file.
    #[cfg(target_os = "linux")]
    async fn by_kernel(&self, stream: &TcpStream, mut file: BlobFile, sent: &mut u64) -> io::Result<Option<BlobFile>> {
        if file.file().is_none() {
            return Ok(Some(file));
        }
        while !file.range().is_empty() {
            let end = file.range().end.min(file.range().start + TURN);
            if !file.file().is_some_and(|file| is_in_memory(file, end - 1)) {
                // Nothing may wait for the disk here.
                file = file.prefetch(TURN).await.map_err(lost)?;
            }
            while file.range().start < end {
                let Some(source) = file.file() else { return Ok(Some(file)) };
                let mut at = file.range().start;
                let length = usize::try_from(end - at).unwrap_or(usize::MAX);
                let done = stream.try_io(tokio::io::Interest::WRITABLE, || {
                    rustix::fs::sendfile(stream, source, Some(&mut at), length).map_err(io::Error::from)
                });
                match done {
                    Ok(length) => {
                        file.advance(length as u64).map_err(lost)?;
                        *sent += length as u64;
                    }
                    Err(error) => self.wait(stream, error).await?,
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(None)
    }
}

/// Whether a byte of a file can be had without the disk; those shortly before it can then, too.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &std::fs::File, at: u64) -> bool {
    let mut byte = [0];
    let mut slices = [io::IoSliceMut::new(&mut byte)];
    rustix::io::preadv2(file, &mut slices, at, rustix::io::ReadWriteFlags::NOWAIT) == Ok(1)
}

/// The head is long gone: all that is left is to cut the connection, and to say why here.
fn lost(error: content::ContentError) -> io::Error {
    tracing::error!(%error, "could not read a blob to its end");
    io::Error::other(error)
}

fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether the length of a body belongs into the head (RFC 9110, section 8.6).
fn has_length(status: StatusCode, headers: &HeaderMap) -> bool {
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    !bodiless && !headers.contains_key(header::CONTENT_LENGTH)
}

/// The date in a head: made once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn now(&mut self) -> &[u8] {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
        if second != self.second || self.text.is_empty() {
            self.second = second;
            let instant = i64::try_from(second).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
            self.text = instant.unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        }
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn near_and_far_clients_get_the_same_bytes_of_a_file() {
        use tokio::io::AsyncReadExt as _;
        let directory = tempfile::tempdir().unwrap();
        let store = content::ContentStore::open(directory.path(), content::Options::default()).await.unwrap();
        let app = content::RepositoryId::served("app".parse().unwrap());
        let bytes: Vec<u8> = (0..3_500_001usize).map(|n| (n * n % 251) as u8).collect();
        let blob = store.put_blob_bytes(&app, &image::Digest::sha256(&bytes), bytes.clone().into()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        for near in [true, false] {
            for range in [0..3_500_001, 1_000_001..3_400_000] {
                let client = TcpStream::connect(listener.local_addr().unwrap());
                let (client, accepted) = tokio::join!(client, listener.accept());
                let (mut client, stream) = (client.unwrap(), accepted.unwrap().0);
                let wanted = range.start as u64..range.end as u64;
                let Ok(content::BlobBytes::File(file)) = store.open_blob(&blob, Some(wanted)).await else { panic!() };
                let sending = async move {
                    let mut sent = 0;
                    let mut sender = Sender::new(near, Duration::from_secs(10));
                    assert!(sender.file(&stream, file, &mut sent).await.unwrap().is_none());
                    sent
                };
                let mut read = Vec::new();
                let (sent, _) = tokio::join!(sending, client.read_to_end(&mut read));
                assert_eq!(sent, read.len() as u64);
                assert!(read == bytes[range.clone()], "{near} {range:?}");
            }
        }
    }

    #[test]
    fn dates_are_those_of_http() {
        let mut date = Date { second: 0, text: String::new() };
        let now = String::from_utf8(date.now().to_vec()).unwrap();
        assert_eq!(now.len(), 29, "{now}");
        assert!(now.ends_with(" GMT"), "{now}");
        let text = jiff::Timestamp::from_second(784_111_777).unwrap().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert_eq!(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
