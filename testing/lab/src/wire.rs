//! A connection that can be cut or made to say something that is not HTTP.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a request may do to its connection.
#[derive(Debug, Default)]
pub(crate) struct Control {
    cut: AtomicBool,
    raw: Mutex<Option<(Vec<u8>, usize)>>,
}

impl Control {
    /// The connection fails at its next read or write.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// At the next write these bytes are sent instead, then the connection is cut.
    pub(crate) fn say(&self, bytes: Vec<u8>) {
        *self.raw.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes, 0));
    }
}

/// The stream that hyper gets.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    inner: S,
    control: Arc<Control>,
}

impl<S> Wire<S> {
    pub(crate) fn new(inner: S, control: Arc<Control>) -> Self {
        Self { inner, control }
    }

    fn check(&self) -> io::Result<()> {
        if self.control.cut.load(Ordering::SeqCst) { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        let control = self.control.clone();
        let mut raw = control.raw.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((bytes, written)) = raw.as_mut() {
            while *written < bytes.len() {
                *written += ready!(Pin::new(&mut self.inner).poll_write(cx, &bytes[*written..]))?;
            }
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            control.cut();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        drop(raw);
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
