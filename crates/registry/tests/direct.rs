//! Requests that take the short way are answered as those that go through hyper.

mod support;

use std::time::Duration;

use image::Digest;
use support::{Registry, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A length that is stated sends a request through hyper, whatever it is.
const LONG_WAY: (&str, &str) = ("Content-Length", "0");

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * n % 251) as u8).collect()
}

/// All that does not differ from one request to the next.
fn essence(reply: &Reply) -> (u16, Vec<(&str, &str)>) {
    let changing = ["date", "x-request-id"];
    let mut headers: Vec<_> = reply
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), if changing.contains(&name.as_str()) { "" } else { value.as_str() }))
        .collect();
    headers.sort_unstable();
    (reply.status, headers)
}

#[tokio::test]
async fn both_ways_give_the_same_answers() {
    let registry = Registry::start().await;
    let manifest = registry.image("app", Some("v1"), "x").await;
    let manifest = Digest::sha256(&manifest);
    let mut blobs = Vec::new();
    for length in [0, 1000, 100_000, 3_000_001] {
        blobs.push(registry.blob("app", &bytes(length)).await);
    }
    let mut paths: Vec<String> = [
        "/",
        "/v2/",
        "/v2/_catalog",
        "/v2/app/tags/list?n=1",
        "/v2/app/manifests/v1",
        "/v2/app/manifests/none",
        "/v2/app/manifests/.no",
        "/v2/App/manifests/v1",
        "/v2/a%2Fb/tags/list",
        "/v2/app/blobs/sha256:00",
        "/token",
    ]
    .map(str::to_owned)
    .into();
    paths.push(format!("/v2/app/manifests/{manifest}"));
    paths.push(format!("/v2/app/referrers/{manifest}"));
    paths.push(format!("/v2/other/manifests/{manifest}"));
    paths.extend(blobs.iter().map(|digest| format!("/v2/app/blobs/{digest}")));
    let known = format!("\"{manifest}\"");
    let further: [&[(&str, &str)]; 6] = [
        &[],
        &[("If-None-Match", &known)],
        &[("Range", "bytes=10-99")],
        &[("Range", "bytes=-2000000")],
        &[("Range", "bytes=5000000-")],
        &[("Accept", "*/*"), ("X-Request-Id", "given")],
    ];
    for path in &paths {
        for method in ["GET", "HEAD"] {
            for headers in further {
                let short = registry.send(method, path, headers, b"").await;
                let long = registry.send(method, path, &[headers, &[LONG_WAY]].concat(), b"").await;
                assert_eq!(essence(&short), essence(&long), "{method} {path} {headers:?}");
                assert!(short.body == long.body, "{method} {path} {headers:?}");
            }
        }
    }
}

/// Reads one answer off a connection whose bodies have lengths.
async fn next(stream: &mut tokio::net::TcpStream, read: &mut Vec<u8>, head: bool) -> Reply {
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let reply = Reply::parse(&read[..end + 4]);
            let length = if head { 0 } else { reply.header("content-length").map_or(0, |text| text.parse().unwrap()) };
            if read.len() >= end + 4 + length {
                let rest = read.split_off(end + 4 + length);
                let whole = std::mem::replace(read, rest);
                return Reply::parse(&whole);
            }
        }
        let mut buffer = vec![0; 64 << 10];
        let length = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0, "the connection ended");
        read.extend_from_slice(&buffer[..length]);
    }
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_order_whichever_way_they_go() {
    let registry = Registry::start().await;
    registry.image("app", Some("v1"), "x").await;
    let large = bytes(2_000_000);
    let digest = registry.blob("app", &large).await;
    let pushed = Digest::sha256(b"pushed");
    let text = format!(
        "GET /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n\
         HEAD /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n\
         GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /v2/app/manifests/none HTTP/1.1\r\nHost: x\r\n\r\n\
         POST /v2/app/blobs/uploads/?digest={pushed} HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\npushed\
         GET /v2/app/blobs/{pushed} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    // In one piece, and in pieces of any size.
    for piece in [text.len(), 7] {
        let mut stream = registry.connect().await;
        stream.set_nodelay(true).unwrap();
        for piece in text.as_bytes().chunks(piece) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut read = Vec::new();
        assert_eq!(next(&mut stream, &mut read, false).await.header("docker-content-digest").unwrap().len(), 71);
        assert_eq!(next(&mut stream, &mut read, true).await.header("content-length"), Some("2000000"));
        assert!(next(&mut stream, &mut read, false).await.body == large);
        assert_eq!(next(&mut stream, &mut read, false).await.status, 404);
        assert_eq!(next(&mut stream, &mut read, false).await.status, 201);
        assert_eq!(next(&mut stream, &mut read, false).await.body, b"pushed");
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn who_takes_nothing_of_a_file_is_left() {
    let mut options = polyarch_registry::Options::default();
    options.limits.write_timeout = Duration::from_millis(300);
    let registry = Registry::with(options).await;
    let digest = registry.blob("app", &bytes(32 << 20)).await;
    let mut stream = registry.connect().await;
    let head = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    assert!(read.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(read.len() < 32 << 20, "{}", read.len());
}

#[tokio::test]
async fn a_connection_is_not_idle_while_it_is_answered() {
    let mut options = polyarch_registry::Options::default();
    options.header_timeout = Duration::from_secs(1);
    let registry = Registry::with(options).await;
    let content = bytes(32 << 20);
    let digest = registry.blob("app", &content).await;
    let mut stream = registry.connect().await;
    let head = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // More is on its way than fits into the socket.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut read = Vec::new();
    assert!(next(&mut stream, &mut read, false).await.body == content);
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(next(&mut stream, &mut read, false).await.status, 200);
    // Then it is.
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await.unwrap();
    assert_eq!(ended.unwrap(), 0);
}

#[tokio::test]
async fn a_file_that_is_cut_off_cuts_the_connection_off() {
    let registry = Registry::start().await;
    let content = bytes(2_000_000);
    let digest = registry.blob("app", &content).await;
    let path = registry.directory.path().join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex());
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1_500_000).unwrap();
    let reply = registry.get(&format!("/v2/app/blobs/{digest}")).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("2000000")));
    assert!(reply.body == content[..1_500_000] || reply.body == content[..1 << 20], "{}", reply.body.len());
}
