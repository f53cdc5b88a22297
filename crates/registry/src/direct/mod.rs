//! The short way of requests that ask for something and bring nothing, over HTTP/1.1 without TLS: most of what a
//! registry does all day.
//!
//! ```text
//!   bytes ──▶ a whole head, GET or HEAD, no body, nothing special? ──▶ service ──▶ one write, files without a copy
//!                                  │ no
//!                                  ▼
//!                hyper, with all that was read, for the rest of the connection
//! ```
//!
//! What is refused, logged, limited and answered is the service's to say here as there: only how it is read and written
//! is shorter. hyper would cost as much again as the answer itself, and cannot send a file without copying it twice.

mod request;
mod rewound;
mod sending;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use self::request::Head;
pub(crate) use self::rewound::Rewound;
use self::sending::Sender;
use crate::newcomers::Newcomer;
use crate::service::{self, State};

/// What is read at once: no head of a plain request is longer, and others go to hyper.
const HEAD: usize = 8 << 10;

/// Answers requests of a connection until it ends, or until there is one for hyper: then it is given back with what was
/// read of it already.
pub(crate) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    state: &Arc<State>,
    newcomer: &Newcomer,
    stopping: &mut watch::Receiver<()>,
) -> Option<(TcpStream, Bytes)> {
    let mut buffer = BytesMut::with_capacity(HEAD);
    let mut sender = Sender::new(peer.ip().to_canonical().is_loopback(), state.options.limits.write_timeout);
    let mut stop = std::pin::pin!(stopping.changed());
    let mut idle = Idle::new(state.options.header_timeout);
    loop {
        match request::read(&mut buffer) {
            Head::Whole { request, keep } => {
                newcomer.heard();
                let head = *request.method() == http::Method::HEAD;
                let Ok(answer) = service::serve(state.clone(), peer, *request).await;
                match sender.send(&stream, answer, head, keep).await {
                    Ok(true) => {}
                    Ok(false) => {
                        let _ = stream.shutdown().await;
                        return None;
                    }
                    Err(error) => {
                        tracing::debug!(%peer, %error, "a connection ended early");
                        return None;
                    }
                }
            }
            Head::Nothing => {
                sender.flush(&stream).await.ok()?;
                buffer.reserve(HEAD);
                // From here on, and not from the last request on: answering it may have taken as long.
                idle.begin();
                let read = tokio::select! {
                    biased;
                    read = stream.read_buf(&mut buffer) => read,
                    _ = &mut stop => return None,
                    () = idle.over() => return None,
                };
                if read.ok()? == 0 {
                    return None;
                }
            }
            Head::Other => {
                sender.flush(&stream).await.ok()?;
                return Some((stream, buffer.freeze()));
            }
        }
    }
}

/// How long nothing may come. A timer that is only looked at when it goes off costs nothing for each request.
struct Idle {
    timer: std::pin::Pin<Box<tokio::time::Sleep>>,
    patience: Duration,
    begun: Instant,
}

impl Idle {
    fn new(patience: Duration) -> Self {
        Self { timer: Box::pin(tokio::time::sleep(patience)), patience, begun: Instant::now() }
    }

    fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// Resolves when nothing came for too long.
    async fn over(&mut self) {
        loop {
            self.timer.as_mut().await;
            if self.begun.elapsed() >= self.patience {
                return;
            }
            self.timer.as_mut().reset(self.begun + self.patience);
        }
    }
}
