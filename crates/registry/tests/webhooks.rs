//! Who is told what was written: signed, in order, until they take it.

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use image::Digest;
use polyarch_registry::{
    Access, Endpoint, Identities, Options, Policy, QueueCounts, SelfSigned, WebhookOptions, Webhooks,
};
use serde_json::{Value, json};
use support::{MANIFEST, Registry, Reply};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &[u8] = b"a long and random secret";

/// What came.
#[derive(Clone, Debug)]
struct Post {
    path: String,
    /// What stands before the body, as an answer would have it.
    head: Reply,
    body: Vec<u8>,
}

impl Post {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// As whoever receives it is told to.
    fn is_signed_with(&self, secret: &[u8]) -> bool {
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
struct Receiver {
    address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    connections: Arc<Mutex<usize>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const FINE: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[expect(clippy::unnecessary_wraps, reason = "it stands beside `None`, which is no answer")]
fn status(status: u16) -> Option<String> {
    Some(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nno"))
}

impl Receiver {
    async fn start(answering: impl Fn(usize, &Post) -> Option<String> + Send + Sync + 'static) -> Self {
        Self::over(None, answering).await
    }

    async fn over(
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

    fn posts(&self) -> Vec<Post> {
        self.posts.lock().unwrap().clone()
    }

    /// Waits until so many came.
    async fn wait(&self, count: usize) -> Vec<Post> {
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

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

async fn receive(mut stream: impl AsyncRead + AsyncWrite + Unpin, kept: &Mutex<Vec<Post>>, answering: &Answering) {
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

/// Loopback is allowed, and pauses are short.
fn quick() -> WebhookOptions {
    let mut options = WebhookOptions::default();
    options.allow = vec!["127.0.0.1".parse().unwrap()];
    options.timeout = Duration::from_millis(500);
    options.first_pause = Duration::from_millis(20);
    options.longest_pause = Duration::from_millis(100);
    options
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(url).unwrap().with_secret(SECRET).unwrap()
}

async fn telling(endpoints: Vec<Endpoint>, options: WebhookOptions) -> (Registry, Webhooks) {
    log();
    let webhooks = Webhooks::open(endpoints, options).unwrap();
    let mut options = Options::default();
    options.webhooks = Some(webhooks.clone());
    options.drain_timeout = Duration::from_secs(1);
    (Registry::with(options).await, webhooks)
}

fn counts(webhooks: &Webhooks) -> QueueCounts {
    webhooks.counts()[0].1
}

async fn until(webhooks: &Webhooks, reached: impl Fn(QueueCounts) -> bool) {
    let begun = Instant::now();
    while !reached(counts(webhooks)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", counts(webhooks));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sets one tag to one image after another, so that there are two events for each.
async fn push(registry: &Registry, tag: &str, seeds: std::ops::Range<u32>) -> Vec<String> {
    let mut digests = Vec::new();
    for seed in seeds {
        let manifest = registry.image("team/app", Some(tag), &seed.to_string()).await;
        digests.push(Digest::sha256(&manifest).to_string());
    }
    digests
}

#[tokio::test]
async fn each_write_is_told_once_with_all_that_is_promised() {
    let receiver = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let webhooks = Webhooks::open(vec![endpoint(&receiver.url("/hook?key=1"))], quick()).unwrap();
    let mut options = Options::default();
    options.webhooks = Some(webhooks.clone());
    options.metrics = true;
    let tokens = Identities::token_line("ci", "cis own token");
    options.access = Some(Access::new(Policy::known_may_do_everything(), Identities::parse("", &tokens).unwrap()));
    let registry = Registry::with(options).await;
    let ci = ("Authorization", "Bearer cis own token");
    let config = b"{}";
    for bytes in [&b"layer"[..], config] {
        let path = format!("/v2/team/app/blobs/uploads/?digest={}", Digest::sha256(bytes));
        assert_eq!(registry.send("POST", &path, &[ci], bytes).await.status, 201);
    }
    let [one, two] = ["", r#","annotations":{"a":"b"}"#].map(|more| support::manifest(config, &[b"layer"], more));
    let [first, second] = [&one, &two].map(|manifest| Digest::sha256(manifest.as_bytes()).to_string());
    for manifest in [&one, &two] {
        let headers = [ci, ("Content-Type", MANIFEST), ("X-Request-Id", "build-7")];
        assert_eq!(registry.send("PUT", "/v2/team/app/manifests/v1", &headers, manifest.as_bytes()).await.status, 201);
    }
    for path in [format!("/v2/team/app/manifests/{first}"), "/v2/team/app/manifests/v1".to_owned()] {
        assert_eq!(registry.send("DELETE", &path, &[ci], b"").await.status, 202);
    }
    let posts = receiver.wait(6).await;
    let told: Vec<Value> = posts.iter().map(Post::json).collect();
    let summary: Vec<_> = told.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(
        summary,
        ["manifest-pushed", "tag-moved", "manifest-pushed", "tag-moved", "manifest-deleted", "tag-deleted"]
    );
    for (post, event) in posts.iter().zip(&told) {
        assert_eq!(post.path, "/hook?key=1");
        assert!(post.is_signed_with(SECRET) && !post.is_signed_with(b"another secret, as long"));
        assert_eq!(post.head.header("content-type"), Some("application/json"));
        assert_eq!(post.head.header("polyarch-event"), event["event"].as_str());
        assert_eq!(post.head.header("polyarch-delivery"), event["id"].as_str());
        assert_eq!(post.head.header("host"), Some(receiver.address.to_string().as_str()));
        assert_eq!(
            (&event["version"], &event["repository"], &event["actor"]),
            (&json!(1), &json!("team/app"), &json!("ci"))
        );
        assert!(event["time"].as_str().unwrap().ends_with('Z') && event.get("peer").is_none());
    }
    assert_eq!(told[0]["request"], "build-7");
    assert_eq!(told[0]["digest"], first.as_str());
    assert_eq!(
        (&told[0]["mediaType"], &told[0]["size"], &told[0]["tags"]),
        (&json!(MANIFEST), &json!(one.len()), &json!(["v1"]))
    );
    assert_eq!((&told[1]["tag"], &told[1]["from"], &told[1]["to"]), (&json!("v1"), &json!(null), &json!(first)));
    assert_eq!((&told[3]["tag"], &told[3]["from"], &told[3]["to"]), (&json!("v1"), &json!(first), &json!(second)));
    assert_eq!(told[4]["digest"], first.as_str());
    assert_eq!((&told[5]["tag"], &told[5]["from"]), (&json!("v1"), &json!(second)));
    let ids: std::collections::HashSet<_> = told.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6);
    until(&webhooks, |counts| counts.delivered == 6 && counts.waiting == 0).await;
    assert_eq!(*receiver.connections.lock().unwrap(), 1, "one connection serves for all");
    assert_eq!(counts(&webhooks).failed, 0);
    let text = String::from_utf8(registry.get("/metrics").await.body).unwrap();
    let host = format!("http://{}", receiver.address);
    let line = format!(r#"polyarch_registry_webhook_events_total{{endpoint="{host}",outcome="delivered"}} 6"#);
    assert!(text.contains(&line), "{text}");
}

#[tokio::test]
async fn what_is_not_taken_is_told_again_in_order() {
    // Too long, a failure, a redirect, an answer that makes no sense, too busy: all of it passes.
    let receiver = Receiver::start(|number, post| match number {
        0 => None,
        1 => status(500),
        2 => Some("HTTP/1.1 307 X\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned()),
        3 => Some("nonsense\r\n\r\n".to_owned()),
        4 => status(429),
        _ if number % 3 == 0 => status(503),
        _ => {
            assert_eq!(post.path, "/hook");
            Some(FINE.to_owned())
        }
    })
    .await;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/hook"))], quick()).await;
    let digests = push(&registry, "v1", 0..10).await;
    until(&webhooks, |counts| counts.delivered == 20).await;
    assert_eq!((counts(&webhooks).given_up, counts(&webhooks).dropped), (0, 0));
    let posts = receiver.posts();
    assert!(posts.iter().all(|post| post.path == "/hook" && post.is_signed_with(SECRET)));
    // Each is the same to the letter each time, and none overtakes another.
    let mut bodies: Vec<_> = posts.iter().map(|post| post.body.clone()).collect();
    assert!(bodies.len() > 25, "{}", bodies.len());
    bodies.dedup();
    let told: Vec<Value> = bodies.iter().map(|body| serde_json::from_slice(body).unwrap()).collect();
    let moved: Vec<_> = told.iter().filter_map(|event| event["to"].as_str()).collect();
    assert_eq!((bodies.len(), moved), (20, digests.iter().map(String::as_str).collect()));
}

#[tokio::test]
async fn what_is_refused_for_what_it_is_does_not_hold_up_what_comes_after() {
    let receiver =
        Receiver::start(
            |_, post| {
                if post.json()["event"] == "manifest-pushed" { status(422) } else { Some(FINE.to_owned()) }
            },
        )
        .await;
    let mut options = quick();
    options.refusals = 3;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], options).await;
    push(&registry, "v1", 0..2).await;
    until(&webhooks, |counts| counts.delivered == 2).await;
    let counts = counts(&webhooks);
    assert_eq!((counts.given_up, counts.failed, counts.waiting), (2, 6, 0));
    let events: Vec<_> =
        receiver.posts().iter().map(|post| post.json()["event"].as_str().unwrap().to_owned()).collect();
    let (pushed, moved) = ("manifest-pushed", "tag-moved");
    assert_eq!(events, [pushed, pushed, pushed, moved, pushed, pushed, pushed, moved]);
}

#[tokio::test]
async fn an_event_becomes_too_old() {
    let receiver = Receiver::start(|number, _| if number < 3 { status(500) } else { Some(FINE.to_owned()) }).await;
    let mut options = quick();
    options.give_up_after = Duration::ZERO;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], options).await;
    push(&registry, "v1", 0..2).await;
    until(&webhooks, |counts| counts.waiting == 0 && counts.given_up + counts.delivered == 4).await;
    assert_eq!((counts(&webhooks).given_up, counts(&webhooks).delivered), (3, 1));
}

#[tokio::test]
async fn a_slow_endpoint_delays_neither_others_nor_the_registry() {
    let slow = Receiver::start(|_, _| None).await;
    let fine = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let mut options = quick();
    options.timeout = Duration::from_secs(60);
    options.drain_timeout = Duration::from_millis(300);
    let (mut registry, webhooks) = telling(vec![endpoint(&slow.url("/")), endpoint(&fine.url("/"))], options).await;
    let begun = Instant::now();
    push(&registry, "v1", 0..5).await;
    fine.wait(10).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(slow.posts().len(), 1);
    assert_eq!(counts(&webhooks).waiting, 10);
    let begun = Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn only_what_is_asked_for_is_told() {
    let receiver = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let narrow = endpoint(&receiver.url("/narrow"))
        .with_events(&["tag-deleted"])
        .unwrap()
        .with_repositories(&["team/*", "none"])
        .unwrap();
    let unsigned = Endpoint::new(&receiver.url("/other")).unwrap().with_repositories(&["other"]).unwrap();
    let (registry, webhooks) = telling(vec![narrow, unsigned], quick()).await;
    for repository in ["team/app", "team/deep/app", "other"] {
        registry.image(repository, Some("v1"), "1").await;
        let path = format!("/v2/{repository}/manifests/v1");
        assert_eq!(registry.send("DELETE", &path, &[], b"").await.status, 202);
    }
    receiver.wait(4).await;
    until(&webhooks, |counts| counts.delivered == 1).await;
    let mut told: Vec<_> = receiver
        .posts()
        .iter()
        .map(|post| {
            assert_eq!(post.head.header("polyarch-signature").is_some(), post.path == "/narrow");
            format!(
                "{} {} {}",
                post.path,
                post.json()["repository"].as_str().unwrap(),
                post.json()["event"].as_str().unwrap()
            )
        })
        .collect();
    told.sort();
    let want = [
        "/narrow team/app tag-deleted",
        "/other other manifest-pushed",
        "/other other tag-deleted",
        "/other other tag-moved",
    ];
    assert_eq!(told, want);
}

#[tokio::test]
async fn this_machine_and_what_is_not_encrypted_is_refused_unless_it_is_listed() {
    let receiver = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let port = receiver.address.port();
    let refuse = |url: String| Webhooks::open(vec![endpoint(&url)], WebhookOptions::default()).unwrap_err().to_string();
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "127.1", "2130706433"]
    {
        for scheme in ["https", "http"] {
            let error = refuse(format!("{scheme}://{host}:{port}/T0PSECRET"));
            assert!(error.contains("is not a public one") && !error.contains("T0PSECRET"), "{error}");
        }
    }
    assert!(refuse("http://hooks.example/".to_owned()).contains("it is not encrypted"));
    // A name is judged by its address, when it is connected to.
    let mut options = quick();
    options.allow = vec![format!("127.0.0.1:{}", port - 1).parse().unwrap()];
    let (registry, webhooks) = telling(vec![endpoint(&format!("https://localhost:{port}/"))], options).await;
    push(&registry, "v1", 0..1).await;
    until(&webhooks, |counts| counts.failed >= 3).await;
    assert_eq!(*receiver.connections.lock().unwrap(), 0, "the name was connected to");
    // The same name, listed.
    let mut options = quick();
    options.allow = vec![format!("localhost:{port}").parse().unwrap()];
    let (registry, webhooks) = telling(vec![endpoint(&format!("http://LOCALHOST:{port}/"))], options).await;
    push(&registry, "v1", 0..1).await;
    until(&webhooks, |counts| counts.delivered == 2).await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let receiver = Receiver::start(|_, _| {
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(10_000_000)))
    })
    .await;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], quick()).await;
    push(&registry, "v1", 0..2).await;
    until(&webhooks, |counts| counts.delivered == 4).await;
    let endless = Receiver::start(|_, _| Some(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1_000_000)))).await;
    let (registry, webhooks) = telling(vec![endpoint(&endless.url("/"))], quick()).await;
    push(&registry, "v1", 0..1).await;
    until(&webhooks, |counts| counts.failed > 2).await;
    assert_eq!(counts(&webhooks).delivered, 0);
}

#[tokio::test]
async fn over_tls_whoever_receives_must_be_whom_somebody_vouches_for() {
    let made = SelfSigned::generate(&["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let authorities = directory.path().join("authorities.pem");
    std::fs::write(&authorities, &made.certificate).unwrap();
    let receiver = Receiver::over(Some(acceptor(&made)), |_, _| Some(FINE.to_owned())).await;
    let url = format!("https://{}/hook", receiver.address);
    let (registry, strict) = telling(vec![endpoint(&url)], quick()).await;
    push(&registry, "v1", 0..1).await;
    until(&strict, |counts| counts.failed > 1).await;
    assert_eq!((counts(&strict).delivered, receiver.posts().len()), (0, 0));
    let mut options = quick();
    options.authorities = Some(authorities);
    let (registry, trusting) = telling(vec![endpoint(&url)], options).await;
    push(&registry, "v1", 0..1).await;
    until(&trusting, |counts| counts.delivered == 2).await;
    assert!(receiver.posts().iter().all(|post| post.is_signed_with(SECRET)));
}

fn acceptor(made: &SelfSigned) -> tokio_rustls::TlsAcceptor {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(made.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config).into()
}

#[tokio::test]
async fn what_waits_is_told_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut options = quick();
    options.journal = Some(directory.path().join("webhooks"));
    options.drain_timeout = Duration::from_millis(100);
    let url = format!("http://{dead}/T0PSECRET");
    let (mut registry, webhooks) = telling(vec![endpoint(&url)], options.clone()).await;
    push(&registry, "v1", 0..3).await;
    until(&webhooks, |counts| counts.failed > 0).await;
    registry.stop().await;
    assert_eq!(counts(&webhooks).waiting, 6);
    // Its files tell nothing of where they go, and nobody else may read them.
    for entry in std::fs::read_dir(directory.path().join("webhooks")).unwrap() {
        let path = entry.unwrap().path();
        assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains("T0PSECRET"), "{path:?}");
    }
    drop((registry, webhooks));
    // It comes back at the same address, and so does the registry.
    let listener = TcpListener::bind(dead).await.unwrap();
    let (told, telling_task) = tokio::sync::mpsc::unbounded_channel();
    let mut telling_task = telling_task;
    let task = tokio::spawn(async move {
        let kept = Mutex::new(Vec::new());
        while let Ok((stream, _)) = listener.accept().await {
            let told = told.clone();
            receive(stream, &kept, &move |_, post| {
                let _ = told.send(post.clone());
                Some(FINE.to_owned())
            })
            .await;
        }
    });
    let (registry, webhooks) = telling(vec![endpoint(&url)], options).await;
    push(&registry, "v1", 3..4).await;
    let mut tags = Vec::new();
    for _ in 0..8 {
        let post = tokio::time::timeout(Duration::from_secs(10), telling_task.recv()).await.unwrap().unwrap();
        tags.push(post.json()["event"].as_str().unwrap().to_owned());
    }
    assert_eq!(tags, ["manifest-pushed", "tag-moved"].repeat(4));
    until(&webhooks, |counts| counts.waiting == 0).await;
    task.abort();
    drop(receiver);
}

#[tokio::test]
async fn what_waits_when_the_server_stops_is_told_for_a_while() {
    let receiver = Receiver::start(|_, _| {
        std::thread::sleep(Duration::from_millis(5));
        Some(FINE.to_owned())
    })
    .await;
    let (mut registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], quick()).await;
    push(&registry, "v1", 0..10).await;
    registry.stop().await;
    assert_eq!((counts(&webhooks).delivered, counts(&webhooks).waiting), (20, 0));
}

#[tokio::test]
async fn what_is_written_faster_than_it_is_taken_is_dropped_and_counted() {
    let receiver = Receiver::start(|_, _| None).await;
    let mut options = quick();
    options.waiting = 5.try_into().unwrap();
    options.timeout = Duration::from_secs(60);
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], options).await;
    push(&registry, "v1", 0..10).await;
    assert_eq!((counts(&webhooks).waiting, counts(&webhooks).dropped), (5, 15));
}

/// The log of all tests here: what a thread logs is only sure to be seen where all of them log.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> String {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    });
    String::from_utf8(log.0.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn neither_secret_nor_path_is_in_the_log() {
    log();
    let receiver =
        Receiver::start(
            |number, _| if number < 3 { status(400 + 100 * u16::from(number == 1)) } else { Some(FINE.to_owned()) },
        )
        .await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoints = vec![
        endpoint(&receiver.url("/services/T0PSECRET?key=K3Y")),
        endpoint(&format!("http://{dead}/services/T0PSECRET")),
        endpoint("https://hooks.invalid/T0PSECRET"),
    ];
    let mut options = quick();
    options.refusals = 1;
    let (mut registry, webhooks) = telling(endpoints, options).await;
    push(&registry, "v1", 0..3).await;
    until(&webhooks, |counts| counts.waiting == 0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    registry.stop().await;
    let text = log();
    let said = |what: &str, host: &str| {
        assert!(text.lines().any(|line| line.contains(what) && line.contains(host)), "{what} of {host}: {text}");
    };
    let (refusing, dead) = (format!("http://{}", receiver.address), format!("http://{dead}"));
    said("a webhook did not take an event", &refusing);
    said("an event was given up", &refusing);
    said("a webhook takes events again", &refusing);
    said("a webhook did not take an event", &dead);
    said("events were lost", &dead);
    for secret in ["T0PSECRET", "K3Y", std::str::from_utf8(SECRET).unwrap(), "v1=", "services"] {
        assert!(!text.contains(secret), "{secret}");
    }
}
