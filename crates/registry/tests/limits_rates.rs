//! How much one client may take.

mod support;

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::Digest;
use polyarch_registry::{Access, ForwardedHeader, Identities, Limits, Options, Pace, Policy, Rate};
use support::{Registry, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn some(count: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(count)
}

/// So many at once, and then one in a minute: no test waits for that one.
fn few(burst: u32) -> Option<Rate> {
    Some(Rate::per_minute(NonZeroU32::MIN).with_burst(some(burst)?))
}

fn limited(set: impl FnOnce(&mut Limits)) -> Options {
    let mut options = Options::default();
    set(&mut options.limits);
    options
}

/// As if a proxy on this machine stood in front.
fn behind_a_proxy(limits: &mut Limits) {
    limits.proxies.networks = vec!["127.0.0.0/8".parse().unwrap()];
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// `bob` and `ci`, each with a token in place of a password; anonymous may do nothing.
fn with_users(mut options: Options) -> Options {
    let tokens =
        format!("{}\n{}", Identities::token_line("bob", "bobs token"), Identities::token_line("ci", "cis token"));
    options.access = Some(Access::new(Policy::known_may_do_everything(), Identities::parse("", &tokens).unwrap()));
    options
}

fn assert_too_many(reply: &Reply) {
    assert_eq!((reply.status, reply.code().as_str()), (429, "TOOMANYREQUESTS"), "{reply:?}");
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{reply:?}");
}

#[tokio::test]
async fn an_address_has_so_many_requests() {
    let mut options = limited(|limits| {
        limits.address_requests = few(3);
        behind_a_proxy(limits);
    });
    options.metrics = true;
    let registry = Registry::with(options).await;
    let from = async |address: &str| registry.send("GET", "/v2/", &[("X-Forwarded-For", address)], b"").await;
    for _ in 0..3 {
        assert_eq!(from("192.0.2.1").await.status, 200);
    }
    assert_too_many(&from("192.0.2.1").await);
    assert_too_many(&registry.send("GET", "/nothing/here", &[("X-Forwarded-For", "192.0.2.1")], b"").await);
    assert_eq!(from("192.0.2.2").await.status, 200);
    // An IPv6 site is one client, whatever addresses it makes up.
    for last in 1..=3 {
        assert_eq!(from(&format!("2001:db8::{last}")).await.status, 200);
    }
    assert_too_many(&from("2001:db8::ffff").await);
    assert_eq!(from("2001:db8:0:1::1").await.status, 200);
    // Whoever watches the server is let in, and sees what happens.
    for _ in 0..5 {
        assert_eq!(registry.send("GET", "/healthz", &[("X-Forwarded-For", "192.0.2.1")], b"").await.status, 200);
    }
    let metrics = registry.send("GET", "/metrics", &[("X-Forwarded-For", "192.0.2.9")], b"").await;
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains(r#"polyarch_registry_limits_reached_total{limit="address-requests"} 3"#), "{text}");
}

#[tokio::test]
async fn a_rate_lets_more_through_after_a_while() {
    let rate = Rate::per_second(some(20).unwrap()).with_burst(NonZeroU32::MIN);
    let registry = Registry::with(limited(|limits| limits.address_requests = Some(rate))).await;
    let begun = Instant::now();
    let mut taken = 0;
    while taken < 5 {
        assert!(begun.elapsed() < Duration::from_secs(10));
        let reply = registry.get("/v2/").await;
        if reply.status == 200 {
            taken += 1;
        } else {
            assert_too_many(&reply);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(begun.elapsed() > Duration::from_millis(199), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_identity_has_so_many_requests_wherever_they_come_from() {
    let registry = Registry::with(with_users(limited(|limits| {
        limits.requests = few(2);
        behind_a_proxy(limits);
    })))
    .await;
    let get = async |name: &str, address: &str| {
        let password = basic(name, &format!("{name}s token"));
        registry.send("GET", "/v2/", &[("Authorization", &password), ("X-Forwarded-For", address)], b"").await
    };
    assert_eq!(get("bob", "192.0.2.1").await.status, 200);
    assert_eq!(get("bob", "192.0.2.2").await.status, 200);
    assert_too_many(&get("bob", "192.0.2.3").await);
    assert_eq!(get("ci", "192.0.2.3").await.status, 200);
}

#[tokio::test]
async fn whoever_has_no_name_is_counted_by_address() {
    let registry = Registry::with(limited(|limits| {
        limits.requests = few(2);
        behind_a_proxy(limits);
    }))
    .await;
    let from = async |address: &str| registry.send("GET", "/v2/", &[("X-Forwarded-For", address)], b"").await.status;
    assert_eq!([from("192.0.2.1").await, from("192.0.2.1").await, from("192.0.2.1").await], [200, 200, 429]);
    assert_eq!(from("192.0.2.2").await, 200);
}

#[tokio::test]
async fn what_nobody_vouches_for_does_not_say_where_a_request_came_from() {
    let registry = Registry::with(limited(|limits| limits.address_requests = few(2))).await;
    for (number, want) in [(1, 200), (2, 200), (3, 429)] {
        let address = format!("192.0.2.{number}");
        let forwarded = format!("for={address}");
        let headers =
            [("X-Forwarded-For", address.as_str()), ("Forwarded", forwarded.as_str()), ("X-Real-IP", &address)];
        assert_eq!(registry.send("GET", "/v2/", &headers, b"").await.status, want);
    }
    // The other header may be the client's own.
    let registry = Registry::with(limited(|limits| {
        limits.address_requests = few(2);
        behind_a_proxy(limits);
        limits.proxies.header = ForwardedHeader::Forwarded;
    }))
    .await;
    for (number, want) in [(1, 200), (2, 200), (3, 429)] {
        let own = format!("192.0.2.{number}");
        let headers = [("X-Forwarded-For", own.as_str()), ("Forwarded", "for=\"[2001:db8::1]:4711\"")];
        assert_eq!(registry.send("GET", "/v2/", &headers, b"").await.status, want);
    }
}

#[tokio::test]
async fn guessing_passwords_ends_and_does_not_end_anybody_elses_work() {
    let registry = Registry::with(with_users(limited(|limits| {
        limits.failed_logins = few(3);
        behind_a_proxy(limits);
    })))
    .await;
    let get = async |credentials: Option<String>, address: &str| {
        let mut headers = vec![("X-Forwarded-For", address)];
        if let Some(credentials) = &credentials {
            headers.push(("Authorization", credentials));
        }
        registry.send("GET", "/v2/", &headers, b"").await
    };
    for guess in ["a", "b", "c"] {
        assert_eq!(get(Some(basic("bob", guess)), "192.0.2.1").await.status, 401);
    }
    assert_too_many(&get(Some(basic("bob", "d")), "192.0.2.1").await);
    assert_too_many(&get(Some("Bearer x.y.z".to_owned()), "192.0.2.1").await);
    // Not even the right one shows that it is right.
    assert_too_many(&get(Some(basic("bob", "bobs token")), "192.0.2.1").await);
    assert_eq!(get(None, "192.0.2.1").await.status, 401);
    assert_eq!(get(Some(basic("bob", "bobs token")), "192.0.2.2").await.status, 200);
    // To have no credentials at all, or to come from this machine, costs nothing.
    for _ in 0..5 {
        assert_eq!(get(None, "192.0.2.3").await.status, 401);
        assert_eq!(get(Some(basic("bob", "?")), "127.0.0.1").await.status, 401);
    }
    assert_eq!(get(Some(basic("bob", "bobs token")), "192.0.2.3").await.status, 200);
}

#[tokio::test]
async fn a_refused_request_is_answered_before_its_body_comes() {
    let registry = Registry::with(limited(|limits| limits.address_requests = few(1))).await;
    assert_eq!(registry.get("/v2/").await.status, 200);
    for head in [
        "Content-Length: 100000000000\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 9\r\nExpect: 100-continue\r\n",
    ] {
        let mut stream = registry.connect().await;
        let request = format!("PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await.unwrap().unwrap();
        assert_too_many(&Reply::parse(&answer[..read]));
    }
    // A body without end is not read forever.
    let mut stream = registry.connect().await;
    let request = "PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let chunk = vec![0; 1 << 20];
    let mut sent = 0;
    while stream.write_all(&chunk).await.is_ok() {
        sent += 1;
        assert!(sent < 200, "{sent} MiB were taken");
    }
}

#[tokio::test]
async fn open_sessions_are_counted_until_they_end() {
    let registry = Registry::with(limited(|limits| {
        limits.sessions = some(3);
        behind_a_proxy(limits);
    }))
    .await;
    let start = async |address: &str| {
        registry.send("POST", "/v2/app/blobs/uploads/", &[("X-Forwarded-For", address)], b"").await
    };
    let mut open = Vec::new();
    for _ in 0..3 {
        let reply = start("192.0.2.1").await;
        assert_eq!(reply.status, 202);
        open.push(reply.header("location").unwrap().to_owned());
    }
    let reply = start("192.0.2.1").await;
    assert_too_many(&reply);
    let message = reply.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "3 upload sessions are open, and no more may be; finish or cancel one");
    assert_eq!(start("192.0.2.2").await.status, 202);
    // A mount that does not come off is a session too; a blob in one request, or a mount that does, is none.
    let digest = Digest::sha256(b"x");
    let from = [("X-Forwarded-For", "192.0.2.1")];
    let mount = format!("/v2/app/blobs/uploads/?mount={digest}&from=other");
    assert_eq!(registry.send("POST", &mount, &from, b"").await.status, 429);
    assert_eq!(
        registry.send("POST", &format!("/v2/other/blobs/uploads/?digest={digest}"), &from, b"x").await.status,
        201
    );
    assert_eq!(registry.send("POST", &mount, &from, b"").await.status, 201);
    // Finished, cancelled, failed for good: each makes room for one.
    let finish = format!("{}?digest={digest}", open[0]);
    assert_eq!(registry.send("PUT", &finish, &[], b"x").await.status, 201);
    assert_eq!(start("192.0.2.1").await.status, 202);
    assert_eq!(start("192.0.2.1").await.status, 429);
    assert_eq!(registry.send("DELETE", &open[1], &[], b"").await.status, 204);
    assert_eq!(start("192.0.2.1").await.status, 202);
    let wrong = format!("{}?digest={}", open[2], Digest::sha256(b"y"));
    assert_eq!(registry.send("PUT", &wrong, &[], b"x").await.status, 400);
    let last = start("192.0.2.1").await;
    assert_eq!(last.status, 202);
    assert_eq!(start("192.0.2.1").await.status, 429);
    // So does one that ended without this server.
    let id = last.header("docker-upload-uuid").unwrap();
    let repository = content::RepositoryId::served("app".parse().unwrap());
    assert!(registry.content.cancel_upload(&repository, &content::UploadId::parse(id).unwrap()).await.unwrap());
    assert_eq!(start("192.0.2.1").await.status, 202);
    assert_eq!(start("192.0.2.1").await.status, 429);
}

#[tokio::test]
async fn sessions_that_are_asked_for_at_once_are_no_more_than_may_be() {
    let registry = Registry::with(limited(|limits| limits.sessions = some(5))).await;
    let starts = (0..40).map(|_| registry.send("POST", "/v2/app/blobs/uploads/", &[], b""));
    let replies = futures_util::future::join_all(starts).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 202).count(), 5);
    assert!(replies.iter().all(|reply| matches!(reply.status, 202 | 429)));
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let registry = Registry::with(limited(|limits| limits.connections_per_address = some(3))).await;
    let alive = async |stream: &mut TcpStream| {
        if stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.is_err() {
            return false;
        }
        let mut answer = [0; 1024];
        matches!(tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await, Ok(Ok(1..)))
    };
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = registry.connect().await;
        assert!(alive(&mut stream).await);
        held.push(stream);
    }
    let mut fourth = registry.connect().await;
    assert!(!alive(&mut fourth).await, "the fourth was served");
    assert!(alive(&mut held[0]).await);
    held.pop();
    let begun = Instant::now();
    loop {
        let mut stream = registry.connect().await;
        if alive(&mut stream).await {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "its place was not given to another");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A proxy has those of everybody.
    let registry = Registry::with(limited(|limits| {
        limits.connections_per_address = some(1);
        behind_a_proxy(limits);
    }))
    .await;
    let mut streams = [registry.connect().await, registry.connect().await];
    for stream in &mut streams {
        assert!(alive(stream).await);
    }
}

#[tokio::test]
async fn a_blob_that_is_too_large_is_refused_and_leaves_nothing() {
    let registry = Registry::with(limited(|limits| limits.blob_size = Some(100_000))).await;
    let (fits, over) = (vec![7; 100_000], vec![7; 100_001]);
    let chunked = |bytes: &[u8]| {
        let mut body = Vec::new();
        for chunk in bytes.chunks(30_000) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n\r\n");
        body
    };
    const CHUNKED: (&str, &str) = ("Transfer-Encoding", "chunked");
    let start = async || {
        let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
        reply.header("location").unwrap().to_owned()
    };
    let assert_refused = |reply: &Reply| {
        assert_eq!((reply.status, reply.code().as_str()), (413, "SIZE_INVALID"), "{reply:?}");
        assert_eq!(reply.json()["errors"][0]["detail"]["limit"], 100_000);
    };
    // At once, with its length and without.
    let whole = |bytes: &[u8]| format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(bytes));
    assert_refused(&registry.send("POST", &whole(&over), &[], &over).await);
    assert_refused(&registry.send("POST", &whole(&over), &[CHUNKED], &chunked(&over)).await);
    assert_refused(&registry.send("POST", &whole(&over), &[("Content-Length", "99999999999999")], b"").await);
    // By a session: what it has already counts, and the session is gone.
    for (first, second) in [(0, 100_001), (1, 100_000), (60_000, 40_001), (100_000, 1)] {
        for (method, streams) in [("PATCH", false), ("PATCH", true), ("PUT", false), ("PUT", true)] {
            let session = start().await;
            let reply = registry.send("PATCH", &session, &[], &fits[..first]).await;
            assert_eq!(reply.status, 202, "{first} {second}");
            let path = format!("{session}?digest={}", Digest::sha256(&over));
            let path = if method == "PUT" { &path } else { &session };
            let reply = if streams {
                registry.send(method, path, &[CHUNKED], &chunked(&over[..second])).await
            } else {
                registry.send(method, path, &[], &over[..second]).await
            };
            assert_eq!(reply.status, 413, "{first} {second} {method} {streams}");
            assert_refused(&reply);
            assert_eq!(registry.get(&session).await.status, 404, "{first} {second} {method} {streams}");
        }
    }
    // A chunk for another place is that, and not too large.
    let session = start().await;
    let reply = registry.send("PATCH", &session, &[("Content-Range", "90000-190000")], &over).await;
    assert_eq!(reply.status, 416, "{reply:?}");
    assert_eq!(registry.get(&session).await.status, 204);
    // What fits, fits.
    assert_eq!(registry.send("POST", &whole(&fits), &[], &fits).await.status, 201);
    let reply = registry.send("PATCH", &session, &[CHUNKED], &chunked(&fits[..70_000])).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let finish = format!("{session}?digest={}", Digest::sha256(&fits));
    assert_eq!(registry.send("PUT", &finish, &[CHUNKED], &chunked(&fits[70_000..])).await.status, 201);
    let (uploads, sound) = (registry.directory.path().join("uploads"), registry.content.verify().await.unwrap());
    assert!(sound.is_sound());
    let left: u64 = std::fs::read_dir(uploads).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert_eq!(left, 0, "bytes of refused blobs are still there");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused_with_what_is_too_large() {
    let registry = Registry::with(limited(|limits| {
        limits.url_length = 1000;
        limits.header_bytes = 5000;
        limits.header_count = 20;
        limits.query_tags = 3;
    }))
    .await;
    let long = |length: usize| format!("/v2/app/tags/list?last={}", "x".repeat(length));
    assert_eq!(registry.get(&long(900)).await.status, 404);
    let reply = registry.get(&long(1000)).await;
    assert_eq!((reply.status, reply.code().as_str()), (414, "UNSUPPORTED"));
    let large = "x".repeat(5000);
    let reply = registry.send("GET", "/v2/", &[("X", &large)], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (431, "UNSUPPORTED"));
    let reply = registry.send("GET", "/v2/", &[("X", "y"); 21], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (431, "UNSUPPORTED"));
    assert_eq!(registry.send("GET", "/v2/", &[("X", "y"); 500], b"").await.status, 431);
    assert_eq!(registry.send("GET", "/v2/", &[("X", "y"); 15], b"").await.status, 200);
    registry.image("app", None, "1").await;
    let manifest = support::manifest(br#"{"architecture":"amd64","os":"linux","seed":"1"}"#, &[b"layer 1"], "");
    let put = async |tags: usize| {
        let mut path = format!("/v2/app/manifests/{}?", Digest::sha256(manifest.as_bytes()));
        for tag in 0..tags {
            let _ = write!(path, "&tag=t{tag}");
        }
        registry.put_manifest(&path, support::MANIFEST, manifest.as_bytes()).await.status
    };
    assert_eq!([put(3).await, put(4).await], [201, 414]);
}

/// Sends a byte now and then until the other side has had enough.
async fn drip(stream: &mut TcpStream, byte: &[u8], every: Duration) -> (usize, Vec<u8>) {
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    let mut sent = 0;
    let dripping = async {
        while write.write_all(byte).await.is_ok() {
            sent += 1;
            tokio::time::sleep(every).await;
        }
    };
    let reading = async {
        let _ = tokio::time::timeout(Duration::from_secs(10), read.read_to_end(&mut answer)).await;
    };
    tokio::select! {
        () = dripping => {}
        () = reading => {}
    }
    (sent, answer)
}

#[tokio::test]
async fn a_head_that_drips_is_given_up() {
    let mut options = Options::default();
    options.header_timeout = Duration::from_millis(400);
    let registry = Registry::with(options).await;
    let begun = Instant::now();
    let mut stream = registry.connect().await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ").await.unwrap();
    drip(&mut stream, b"y", Duration::from_millis(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // HTTP/2: the beginning of a head, whose end comes piece by piece.
    let begun = Instant::now();
    let mut stream = registry.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    stream.write_all(b"\0\0\x01\x01\0\0\0\0\x01\x82").await.unwrap();
    drip(&mut stream, b"\0\0\0\x09\0\0\0\0\x01", Duration::from_millis(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(registry.get("/v2/").await.status, 200);
}

#[tokio::test]
async fn a_body_that_drips_is_given_up_and_the_session_keeps_what_came() {
    let registry = Registry::with(limited(|limits| {
        limits.body_pace = Some(Pace { bytes_per_second: 1000, window: Duration::from_millis(500) });
    }))
    .await;
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    let mut stream = registry.connect().await;
    let head = format!("PATCH {session} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let begun = Instant::now();
    let (sent, answer) = drip(&mut stream, b"y", Duration::from_millis(20)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(Reply::parse(&answer).status, 408);
    let range = registry.get(&session).await.header("range").unwrap().to_owned();
    let kept: usize = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!(kept > 5 && kept <= sent, "{kept} of {sent}");
    // It goes on from there.
    let rest = vec![b'y'; 100_000 - kept];
    let path = format!("{session}?digest={}", Digest::sha256(&vec![b'y'; 100_000]));
    let range = format!("{kept}-99999");
    assert_eq!(registry.send("PUT", &path, &[("Content-Range", &range)], &rest).await.status, 201);
    // A manifest may not drip either.
    let mut stream = registry.connect().await;
    stream.write_all(b"PUT /v2/app/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n").await.unwrap();
    let (_, answer) = drip(&mut stream, b"y", Duration::from_millis(20)).await;
    assert_eq!(Reply::parse(&answer).status, 408);
}

#[tokio::test]
async fn a_body_that_is_slow_but_steady_arrives() {
    let registry = Registry::with(limited(|limits| {
        limits.body_pace = Some(Pace { bytes_per_second: 1000, window: Duration::from_millis(200) });
    }))
    .await;
    let bytes = vec![b'z'; 5000];
    let mut stream = registry.connect().await;
    let digest = Digest::sha256(&bytes);
    let head =
        format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for chunk in bytes.chunks(250) {
        stream.write_all(chunk).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    assert_eq!(Reply::parse(&answer[..read]).status, 201);
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_left() {
    let mut options = limited(|limits| {
        limits.write_timeout = Duration::from_millis(500);
        limits.connections_per_address = some(2);
    });
    options.header_timeout = Duration::from_secs(60);
    let registry = Registry::with(options).await;
    let bytes = vec![1; 32 << 20];
    let digest = registry.blob("app", &bytes).await;
    let request = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut idle = [registry.connect().await, registry.connect().await];
    for stream in &mut idle {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    // They hold all that there is; when they are left, there is room again.
    let begun = Instant::now();
    loop {
        let mut stream = registry.connect().await;
        let _ = stream.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = [0; 1024];
        if matches!(tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await, Ok(Ok(1..))) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "they are still served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for stream in &mut idle {
        let mut took = Vec::new();
        let _ = stream.read_to_end(&mut took).await;
        assert!(took.len() < bytes.len());
    }
    // Who takes a little all the time gets all of it.
    let mut stream = registry.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut took, mut buffer) = (0, vec![0; 1 << 20]);
    while took < bytes.len() {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{took}");
        took += read;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
