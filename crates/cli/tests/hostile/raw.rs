//! A server that says whatever bytes it is told to: for what no HTTP library would send.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server on a free loopback port. It ends when it is dropped.
pub(crate) struct Raw {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

/// What a request is answered with: its head comes in, bytes go out. The connection is closed after each answer.
type Answer = dyn Fn(&str) -> Vec<u8> + Send + Sync;

impl Raw {
    /// Answers every request with what `answer` makes of its head. TLS is answered with words, so that clients see that
    /// it is plain HTTP.
    pub(crate) fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::serve(Arc::new(answer), |mut stream, bytes| {
            let _ = stream.write_all(&bytes);
        })
    }

    /// As [`Raw::start`], and after the answer come the same bytes again, until the client goes away.
    pub(crate) fn endless(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static, more: Vec<u8>) -> Self {
        Self::serve(Arc::new(answer), move |mut stream, bytes| {
            let mut next = &bytes;
            while stream.write_all(next).is_ok() {
                next = &more;
            }
        })
    }

    fn serve(answer: Arc<Answer>, send: impl Fn(TcpStream, Vec<u8>) + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopped) = (heads.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (answer, send, log) = (answer.clone(), send.clone(), log.clone());
                std::thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
                    let Some(head) = read_head(&stream) else { return };
                    log.lock().expect("the log").push(head.clone());
                    send(stream, answer(&head));
                });
            }
        });
        Self { address, heads, stop }
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// `127.0.0.1:PORT/repository:tag`
    pub(crate) fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address)
    }

    /// Heads of all requests so far, each as it came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("the log").clone()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

/// The head of a request, and whatever of its body came along. `None` for a TLS hello, which is turned away.
fn read_head(mut stream: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        head.extend_from_slice(&piece[..count]);
        if head[0] == 0x16 {
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request.\n");
            return None;
        }
        if head.windows(4).any(|window| window == b"\r\n\r\n") {
            return Some(String::from_utf8_lossy(&head).into_owned());
        }
    }
}

/// An answer with a body and its length.
pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n", body.len()).into_bytes();
    for (name, value) in headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}
