//! Somebody who is told what was written.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::Reply;

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) path: String,
    /// What stands before the body, as an answer would have it.
    pub(crate) head: Reply,
    pub(crate) body: Vec<u8>,
}

impl Post {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// As whoever receives it is told to.
    pub(crate) fn is_signed_with(&self, secret: &[u8]) -> bool {
        let Some((time, code)) = self.head.header("polyarch-signature").and_then(|text| text.split_once(",v1=")) else {
            return false;
        };
        let seconds: u64 = time.strip_prefix("t=").unwrap().parse().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(now.abs_diff(seconds) < 60);
        let code: Vec<u8> =
            (0..code.len() / 2).map(|n| u8::from_str_radix(&code[2 * n..2 * n + 2], 16).unwrap()).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        hmac::verify(&key, &[format!("{seconds}.").as_bytes(), &self.body].concat(), &code).is_ok()
    }
}

/// What a receiver does with what comes: the head and body of its answer, or `None` for none at all.
type Answering = dyn Fn(usize, &Post) -> Option<String> + Send + Sync;

/// Somebody who is told.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    pub(crate) connections: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) const FINE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[expect(clippy::unnecessary_wraps, reason = "it stands beside `None`, which is no answer")]
pub(crate) fn status(status: u16) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno"))
}

impl Receiver {
    pub(crate) async fn start(answering: impl Fn(usize, &Post) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::over(None, answering).await
    }

    pub(crate) async fn over(
        tls: Option<tokio_rustls::TlsAcceptor>,
        answering: impl Fn(usize, &Post) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (posts, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let answering: Arc<Answering> = Arc::new(answering);
        let (kept, count) = (posts.clone(), connections.clone());
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap() += 1;
                let (kept, answering, tls) = (kept.clone(), answering.clone(), tls.clone());
                serving.spawn(async move {
                    match tls {
                        None => receive(stream, &kept, &*answering).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                receive(stream, &kept, &*answering).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, posts, connections, task }
    }

    pub(crate) fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Waits until so many came.
    pub(crate) async fn wait(&self, count: usize) -> Vec<Post> {
        let begun = Instant::now();
        loop {
            let posts = self.posts();
            if posts.len() >= count {
                return posts;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{} of {count} came", posts.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

pub(crate) async fn receive(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    kept: &Mutex<Vec<Post>>,
    answering: &Answering,
) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            // A request's head in the form of an answer's, so that one reader does for both.
            let text = String::from_utf8(bytes[..end + 4].to_vec()).unwrap();
            let (line, rest) = text.split_once("\r\n").unwrap();
            let head = Reply::parse(format!("HTTP/1.1 200 OK\r\n{rest}").as_bytes());
            let length: usize = head.header("content-length").unwrap().parse().unwrap();
            if bytes.len() >= end + 4 + length {
                let body = bytes[end + 4..end + 4 + length].to_vec();
                bytes.drain(..end + 4 + length);
                assert!(line.starts_with("POST ") && line.ends_with(" HTTP/1.1"), "{line}");
                let post = Post { path: line.split(' ').nth(1).unwrap().to_owned(), head, body };
                let number = {
                    let mut kept = kept.lock().unwrap();
                    kept.push(post.clone());
                    kept.len() - 1
                };
                match answering(number, &post) {
                    Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                    None => std::future::pending().await,
                }
                continue;
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}
