//! Clients of HTTP/2 that take little of their answers, or nothing.

mod support;

use std::time::{Duration, Instant};

use polyarch_registry::Options;
use support::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
/// On the last DATA of an answer.
const END: u8 = 1;
/// On the answer to SETTINGS or PING.
const ACK: u8 = 1;

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The smallest client that speaks HTTP/2. It gives all signs of life that it is asked for.
struct Client {
    stream: TcpStream,
    read: Vec<u8>,
    pings: usize,
}

impl Client {
    /// One that lets the server send so many bytes of each answer before it says more.
    async fn connect(registry: &Registry, window: u32) -> Self {
        let mut stream = registry.connect().await;
        stream.set_nodelay(true).unwrap();
        let window = [&[0, 4][..], &window.to_be_bytes()].concat();
        let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &window)].concat();
        stream.write_all(&hello).await.unwrap();
        Self { stream, read: Vec::new(), pings: 0 }
    }

    async fn get(&mut self, stream: u32, path: &str) {
        // GET, http, a path and an authority that are spelt out (RFC 7541, appendix A).
        let mut head = vec![0x82, 0x86, 4, u8::try_from(path.len()).unwrap()];
        head.extend(path.bytes());
        head.extend([1, 1, b'x']);
        self.stream.write_all(&frame(1, 5, stream, &head)).await.unwrap();
    }

    /// So many bytes more of a stream may come.
    async fn take(&mut self, stream: u32, bytes: u32) {
        for stream in [0, stream] {
            self.stream.write_all(&frame(8, 0, stream, &bytes.to_be_bytes())).await.unwrap();
        }
    }

    /// A whole frame that was read: kind, flags, stream and payload.
    fn whole(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let end = 9 + number(self.read.get(..3)?) as usize;
        if self.read.len() < end {
            return None;
        }
        let rest = self.read.split_off(end);
        let frame = std::mem::replace(&mut self.read, rest);
        Some((frame[3], frame[4], number(&frame[5..9]), frame[9..].to_vec()))
    }

    /// The next frame that is no sign of life. `None`: the connection ended.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            match self.whole() {
                Some((SETTINGS | PING, ACK, _, _)) => {}
                Some((SETTINGS, ..)) => self.stream.write_all(&frame(SETTINGS, ACK, 0, b"")).await.ok()?,
                Some((PING, _, _, payload)) => {
                    self.pings += 1;
                    self.stream.write_all(&frame(PING, ACK, 0, &payload)).await.ok()?;
                }
                Some(frame) => return Some(frame),
                None if self.stream.read_buf(&mut self.read).await.ok()? == 0 => return None,
                None => {}
            }
        }
    }
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n % 251) as u8).collect()
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_left_whatever_signs_of_life_it_gives() {
    let mut options = Options::default();
    options.metrics = true;
    options.header_timeout = Duration::from_secs(1);
    options.limits.write_timeout = Duration::from_secs(3);
    let registry = Registry::with(options).await;
    let path = format!("/v2/app/blobs/{}", registry.blob("app", &bytes(3_000_000)).await);
    let inlined = format!("/v2/app/blobs/{}", registry.blob("app", &bytes(60_000)).await);
    let stalling = [0, 1, 50_000].map(async |window| {
        let mut client = Client::connect(&registry, window).await;
        client.get(1, &path).await;
        client.get(3, &inlined).await;
        let (begun, mut came) = (Instant::now(), 0);
        let ended = tokio::time::timeout(Duration::from_secs(20), async {
            while let Some((kind, _, _, payload)) = client.next().await {
                came += if kind == DATA { payload.len() } else { 0 };
            }
        });
        assert!(ended.await.is_ok(), "{window}: still open after {:?}", begun.elapsed());
        assert!(begun.elapsed() >= Duration::from_secs(3) && client.pings > 0, "{window}: {:?}", begun.elapsed());
        assert!(came <= 65_535.min(2 * window as usize), "{came}");
    });
    futures_util::future::join_all(stalling).await;
    // Nothing of them is left.
    let begun = Instant::now();
    loop {
        let text = String::from_utf8(registry.get("/metrics").await.body).unwrap();
        if text.contains("\npolyarch_registry_http_requests_in_flight 1\n") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_client_that_takes_a_little_all_the_time_gets_all_of_it() {
    let mut options = Options::default();
    options.limits.write_timeout = Duration::from_secs(2);
    let registry = Registry::with(options).await;
    let content = bytes(1_500_000);
    let path = format!("/v2/app/blobs/{}", registry.blob("app", &content).await);
    let mut client = Client::connect(&registry, 0).await;
    // Of this one nothing is taken, but the client is at work.
    client.get(1, &path).await;
    client.get(3, &path).await;
    let (mut came, mut end) = (Vec::new(), false);
    while !end {
        client.take(3, 20_000).await;
        let pause = tokio::time::sleep(Duration::from_millis(40));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                next = client.next() => {
                    let (kind, flags, stream, payload) = next.expect("the connection ended");
                    if kind == DATA {
                        assert_eq!(stream, 3);
                        came.extend(payload);
                        end = flags & END != 0;
                    }
                }
                () = &mut pause => break,
            }
        }
    }
    assert!(came == content, "{}", came.len());
    // Now it is not.
    let ended = tokio::time::timeout(Duration::from_secs(20), async { while client.next().await.is_some() {} });
    assert!(ended.await.is_ok());
}
