//! What a connection may cost, and how the server ends.

mod support;

use std::time::{Duration, Instant};

use content::ContentStore;
use image::Digest;
use polyarch_registry::{Options, Server, ServerError};
use support::{Registry, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn content() -> (tempfile::TempDir, ContentStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = ContentStore::open(directory.path(), content::Options::default()).await.unwrap();
    (directory, store)
}

#[tokio::test]
async fn only_loopback_without_saying_that_anybody_may() {
    let (_directory, content) = content().await;
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = Server::bind(address, Options::default(), content.clone()).await.unwrap_err();
        assert!(matches!(error, ServerError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().starts_with("refused to listen on `"), "{error}");
    }
    let mut options = Options::default();
    options.allow_anonymous = true;
    let server = Server::bind("0.0.0.0:0", options, content.clone()).await.unwrap();
    assert_ne!(server.local_addr().port(), 0);
    let error = Server::bind("no address", Options::default(), content).await.unwrap_err();
    assert!(error.to_string().starts_with("failed to listen on `no address`: "), "{error}");
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let mut options = Options::default();
    options.header_timeout = Duration::from_millis(200);
    let registry = Registry::with(options).await;
    for sent in [
        &b""[..],
        b"G",
        b"P",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n",
        b"POST /v2/app/blobs/uploads/ HTTP/1.1\r\n",
    ] {
        let mut stream = registry.connect().await;
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let begun = Instant::now();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{:?} keeps it open for {:?}", String::from_utf8_lossy(sent), begun.elapsed());
    }
}

#[tokio::test]
async fn a_connection_shows_its_protocol_byte_by_byte() {
    let registry = Registry::start().await;
    let digest = Digest::sha256(b"0123456789");
    let one = format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    let one = format!("{one}Content-Length: 10\r\n\r\n0123456789");
    let two = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    for (sent, begins) in [(one.as_bytes(), &b"HTTP/1.1 201 Created\r\n"[..]), (two, &[0, 0])] {
        let mut stream = registry.connect().await;
        stream.set_nodelay(true).unwrap();
        for byte in sent {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = vec![0; begins.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, begins);
    }
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up_and_what_came_is_kept() {
    let mut options = Options::default();
    options.body_timeout = Duration::from_millis(300);
    let registry = Registry::with(options).await;
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    let mut stream = registry.connect().await;
    let head = format!("PATCH {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n0123456789");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Reply::parse(&answer).status, 408);
    assert_eq!(registry.get(&session).await.header("range"), Some("0-9"));
}

#[tokio::test]
async fn what_came_before_the_connection_broke_is_kept() {
    let registry = Registry::start().await;
    for length in [10usize, 300_000] {
        let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
        let session = reply.header("location").unwrap().to_owned();
        let bytes: Vec<u8> = (0..length * 2).map(|n| (n % 239) as u8).collect();
        let mut stream = registry.connect().await;
        let head = format!("PATCH {session} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", length * 2);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&bytes[..length]).await.unwrap();
        stream.shutdown().await.unwrap();
        drop(stream);
        let want = format!("0-{}", length - 1);
        let begun = Instant::now();
        while registry.get(&session).await.header("range") != Some(want.as_str()) {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let path = format!("{session}?digest={}", Digest::sha256(&bytes));
        let range = format!("{length}-{}", length * 2 - 1);
        let reply = registry.send("PUT", &path, &[("Content-Range", &range)], &bytes[length..]).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
}

#[tokio::test]
async fn heads_without_end_and_garbage_do_no_harm() {
    let registry = Registry::start().await;
    let endless = format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    for sent in
        [endless.as_bytes(), b"\0\0\0\0\0\r\n\r\n", b"GET /v2/ HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]
    {
        let mut stream = registry.connect().await;
        let _ = stream.write_all(sent).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(registry.get("/v2/").await.status, 200);
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let registry = Registry::start().await;
    let mut stream = registry.connect().await;
    let begun = Instant::now();
    for _ in 0..50 {
        stream.write_all(b"GET /v2/none/tags/list HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        assert_eq!(Reply::parse(&answer[..length]).status, 404);
    }
    // Nagle's algorithm against delayed acknowledgements would take 40 ms for each.
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_request_under_way_is_finished_when_the_server_stops() {
    let mut registry = Registry::start().await;
    let digest = Digest::sha256(b"0123456789");
    let mut stream = registry.connect().await;
    let head =
        format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
    stream.write_all(head.as_bytes()).await.unwrap();
    let idle = registry.connect().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    registry.begin_to_stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(tokio::net::TcpStream::connect(registry.address).await.is_err(), "it still takes connections");
    stream.write_all(b"56789").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Reply::parse(&answer).status, 201);
    drop(idle);
    registry.stop().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_keep_the_server_from_stopping() {
    let mut registry = Registry::start().await;
    let _silent = registry.connect().await;
    let mut idle = registry.connect().await;
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 1024];
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    let begun = Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn nothing_is_answered_with_500_when_the_bytes_of_a_request_make_no_sense() {
    let registry = Registry::start().await;
    registry.image("app", Some("v1"), "1").await;
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    let mut state = 42u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let digest = Digest::sha256(b"layer 1").to_string();
    let pieces = [
        "/v2/",
        "app",
        "/",
        "manifests/",
        "blobs/",
        "uploads/",
        "tags/list",
        "referrers/",
        "_polyarch/history/",
        "v1",
        &digest,
        "%2F",
        "%00",
        "..",
        "?",
        "&",
        "digest=",
        "mount=",
        "from=",
        "n=",
        "last=",
        "-1",
        "99999999999999999999",
        "tag=",
        "sha256:",
        "sha512:",
        "_catalog",
        "artifactType=",
        "%",
        "%zz",
        "+",
        "digest-algorithm=",
        &session,
        "~",
        ":",
        "@",
    ];
    let values = ["0-1", "bytes=0-", "bytes=-", "\"x\"", "*", "", ",", "-", "18446744073709551615", &digest];
    for _ in 0..1500 {
        let mut path = String::from("/");
        for _ in 0..random(9) {
            path.push_str(pieces[random(pieces.len())]);
        }
        let method = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE"][random(8)];
        let name =
            ["Range", "Content-Range", "If-Match", "If-None-Match", "Content-Type", "Accept", "If-Range"][random(7)];
        let body = [&b""[..], b"{}", b"layer 1", b"\xff\xfe"][random(4)];
        let reply = registry.send(method, &path, &[(name, values[random(values.len())])], body).await;
        assert!(reply.status < 500, "{method} {path} {name}: {reply:?}");
    }
    assert!(registry.content.verify().await.unwrap().is_sound());
}
