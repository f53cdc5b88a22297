//! A connection whose client must take what it is sent.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Ends a connection that takes nothing for too long: what is to be sent, and what it is read from, wait all that time.
#[derive(Debug)]
pub(crate) struct Taken<S> {
    io: S,
    patience: Duration,
    /// Runs out while nothing is taken.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether it runs.
    waits: bool,
}

impl<S> Taken<S> {
    pub(crate) fn new(io: S, patience: Duration) -> Self {
        Self { io, patience, timer: None, waits: false }
    }

    /// Nothing could be written: waits, but not forever. What could be ends the wait.
    fn watch<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !self.waits {
            timer.as_mut().reset(Instant::now() + patience);
            self.waits = true;
        }
        match timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the client took nothing for {} s", patience.as_secs()),
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Taken<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Taken<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_flush(context) {
            // A socket has nothing to flush: that it says so is no sign of life.
            Poll::Ready(flushed) => Poll::Ready(flushed),
            Poll::Pending => self.watch(context, Poll::Pending),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.watch(context, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_left_and_who_takes_a_little_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Taken::new(ours, Duration::from_secs(5));
        let reader = tokio::spawn(async move {
            let mut byte = [0];
            for _ in 0..32 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                theirs.read_exact(&mut byte).await.unwrap();
            }
            theirs
        });
        ours.write_all(&[7; 48]).await.unwrap();
        let _theirs = reader.await.unwrap();
        let begun = Instant::now();
        let error = ours.write_all(&[7; 48]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 5);
        // Pauses of the server are nobody's fault.
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut ours = Taken::new(ours, Duration::from_secs(5));
        ours.write_all(&[7; 16]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        let mut all = [0; 16];
        theirs.read_exact(&mut all).await.unwrap();
        ours.write_all(&[7; 16]).await.unwrap();
    }
}
