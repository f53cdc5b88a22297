//! One connection: prepared bytes out, an answer in. No task of its own, no allocation for each request.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;

use crate::answer::{self, Chunks, Framing, Head};
use crate::body::{Body, PIECES};
use crate::expected::Check;
use crate::fault::Fault;

/// Head and body of most answers fit in here.
const BUFFER: usize = 16 << 10;
/// No head is longer.
const HEAD: usize = 64 << 10;
/// How much of a large body is read at once. All connections of a thread share it.
pub(crate) const SCRATCH: usize = 256 << 10;

/// Where connections go.
#[derive(Debug)]
pub(crate) struct Connector {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Connector {
    pub(crate) async fn open(&self) -> Result<Connection, Fault> {
        let stream = TcpStream::connect(&*self.addresses).await?;
        stream.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(stream),
            Some((config, name)) => {
                let connector = TlsConnector::from(config.clone());
                let stream = connector
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|error| Fault::Tls(error.to_string().chars().take(120).collect()))?;
                Stream::Tls(Box::new(stream))
            }
        };
        Ok(Connection { stream, head: Vec::new(), buffer: Vec::new(), used: false, retired: false })
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

/// An answer whose body has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Whether another request may follow.
    pub(crate) keeps: bool,
}

/// An open connection.
pub(crate) struct Connection {
    stream: Stream,
    /// Head of the last answer.
    head: Vec<u8>,
    buffer: Vec<u8>,
    /// Whether there was an answer before.
    used: bool,
    /// Whether no request may follow.
    retired: bool,
}

impl Connection {
    /// Whether a request went through here before: the other side may have closed it since.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// Takes no further request: the other side closes it.
    pub(crate) fn retire(&mut self) {
        self.retired = true;
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    /// A header of the last answer.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        answer::field(&self.head, name)
    }

    /// Sends a request and reads its answer. After an error the connection is of no use any more.
    pub(crate) async fn exchange(
        &mut self,
        head: &[u8],
        body: Body<'_>,
        headless: bool,
        scratch: &RefCell<Vec<u8>>,
        check: &mut Check<'_>,
    ) -> Result<Answer, Fault> {
        if let Err(error) = self.send(head, body).await {
            // Who refuses a body answers before it has all of it, and closes.
            if body.len() == 0 {
                return Err(error.into());
            }
            return match self.receive(headless, scratch, check).await {
                Ok(answer) if answer.status >= 400 => Ok(Answer { keeps: false, ..answer }),
                _ => Err(error.into()),
            };
        }
        let answer = self.receive(headless, scratch, check).await?;
        self.used = true;
        Ok(answer)
    }

    async fn send(&mut self, head: &[u8], body: Body<'_>) -> io::Result<()> {
        let total = head.len() as u64 + body.len();
        let mut sent = 0_u64;
        while sent < total {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut count = 0;
            if let Some(rest) = usize::try_from(sent).ok().and_then(|sent| head.get(sent..)).filter(|it| !it.is_empty())
            {
                slices[0] = IoSlice::new(rest);
                count = 1;
            }
            count += body.pieces(sent.saturating_sub(head.len() as u64), &mut slices[count..]);
            let written = poll_fn(|cx| self.stream.poll_write(cx, &slices[..count])).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            sent += written as u64;
        }
        poll_fn(|cx| self.stream.poll_flush(cx)).await
    }

    async fn receive(
        &mut self,
        headless: bool,
        scratch: &RefCell<Vec<u8>>,
        check: &mut Check<'_>,
    ) -> Result<Answer, Fault> {
        let mut filled = 0;
        let head = loop {
            let end = self.head_end(&mut filled).await?;
            let head = Head::parse(&self.buffer[..end], headless)?;
            self.head.clear();
            self.head.extend_from_slice(&self.buffer[..end]);
            // What is behind the head moves to the front: after an interim answer, the next head.
            self.buffer.copy_within(end..filled, 0);
            filled -= end;
            if head.status >= 200 {
                break head;
            }
        };
        let begun = &self.buffer[..filled];
        match head.framing {
            Framing::Length(length) => {
                if filled as u64 > length {
                    return Err(Fault::Malformed("more bytes than were announced"));
                }
                check.take(begun);
                let mut left = length - filled as u64;
                while left > 0 {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    let read = self.read(scratch, most, |bytes| check.take(bytes)).await?;
                    if read == 0 {
                        return Err(Fault::Closed);
                    }
                    left -= read as u64;
                }
            }
            Framing::Chunked => {
                let mut chunks = Chunks::default();
                let mut done = chunks.feed(begun, |bytes| check.take(bytes))?;
                while !done {
                    let mut fed = Ok(false);
                    let read = self
                        .read(scratch, usize::MAX, |bytes| fed = chunks.feed(bytes, |bytes| check.take(bytes)))
                        .await?;
                    done = fed?;
                    if read == 0 {
                        return Err(Fault::Closed);
                    }
                }
            }
            Framing::UntilClosed => {
                check.take(begun);
                while self.read(scratch, usize::MAX, |bytes| check.take(bytes)).await? > 0 {}
            }
        }
        Ok(Answer { status: head.status, keeps: head.keeps })
    }

    /// Reads until a whole head is in the buffer. Where it ends, the empty line included.
    async fn head_end(&mut self, filled: &mut usize) -> Result<usize, Fault> {
        let mut looked = 0;
        loop {
            if let Some(at) = self.buffer[looked..*filled].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                return Ok(looked + at + 4);
            }
            looked = filled.saturating_sub(3);
            if *filled >= HEAD {
                return Err(Fault::Malformed("a head without end"));
            }
            if self.buffer.len() < *filled + BUFFER / 2 {
                self.buffer.resize(*filled + BUFFER, 0);
            }
            let (stream, buffer) = (&mut self.stream, &mut self.buffer);
            let read = poll_fn(|cx| {
                let mut room = ReadBuf::new(&mut buffer[*filled..]);
                ready!(stream.poll_read(cx, &mut room))?;
                Poll::Ready(Ok::<_, io::Error>(room.filled().len()))
            })
            .await?;
            if read == 0 {
                return Err(Fault::Closed);
            }
            *filled += read;
        }
    }

    /// Reads at most `most` bytes and shows them. How many; 0 at the end.
    async fn read(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        most: usize,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        poll_fn(|cx| {
            // Borrowed only while this connection is polled, so that one is enough for all.
            let mut scratch = scratch.borrow_mut();
            let most = most.min(scratch.len());
            let mut room = ReadBuf::new(&mut scratch[..most]);
            ready!(self.stream.poll_read(cx, &mut room))?;
            take(room.filled());
            Poll::Ready(Ok(room.filled().len()))
        })
        .await
    }
}
