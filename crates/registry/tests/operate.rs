//! What whoever runs a registry does with it: switches, questions, schedules, and the end.

mod support;

use std::time::{Duration, Instant};

use content::{GcOptions, ReferencePolicy, RepositoryId, Scope};
use image::{Digest, MediaType};
use polyarch_registry::{
    Access, AccessLog, AccessLogFormat, Audit, AuditSync, Collection, Endpoint, Identities, Options, Policy, ReadOnly,
    ReferenceRules, WebhookOptions, Webhooks,
};
use support::{INDEX, MANIFEST, Registry, Reply, index, manifest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Waits for something that comes by itself.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One answer of a connection that stays open, to a request that was sent.
async fn answer(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(read, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
        if bytes.windows(4).any(|window| window == b"\r\n\r\n") {
            let reply = Reply::parse(&bytes);
            let length: usize = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
            if reply.body.len() >= length {
                return reply;
            }
        }
    }
}

/// Whether the other side closes a connection, without a word.
async fn closes(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
    matches!(read, Ok(Ok(0)))
}

#[tokio::test]
async fn a_read_only_registry_is_pulled_from_and_not_pushed_to() {
    let switch = ReadOnly::default();
    let mut options = Options::default();
    options.read_only = switch.clone();
    let registry = Registry::with(options).await;
    let image = registry.image("app", Some("v1"), "1").await;
    let session = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    let session = session.header("location").unwrap().to_owned();
    let digest = Digest::sha256(&image);
    let last = format!("{session}?digest={}", Digest::sha256(b"x"));

    switch.set(true);
    for (method, path) in [
        ("PUT", "/v2/app/manifests/v2"),
        ("DELETE", "/v2/app/manifests/v1"),
        ("DELETE", &format!("/v2/app/blobs/{digest}")),
        ("POST", "/v2/app/blobs/uploads/"),
        ("POST", &format!("/v2/app/blobs/uploads/?mount={digest}&from=app")),
        ("PATCH", &session),
        ("PUT", &last),
        ("DELETE", &session),
    ] {
        let reply = registry.send(method, path, &[("Content-Type", MANIFEST)], &image).await;
        assert_eq!((reply.status, &*reply.code()), (405, "UNSUPPORTED"), "{method} {path} {reply:?}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
        assert!(String::from_utf8_lossy(&reply.body).contains("read-only"), "{reply:?}");
    }
    assert_eq!(registry.get("/v2/app/manifests/v1").await.body, image);
    assert_eq!(registry.get(&session).await.status, 204);
    assert_eq!(registry.get("/v2/app/tags/list").await.json()["tags"], serde_json::json!(["v1"]));
    assert_eq!(registry.get("/readyz").await.status, 200);

    switch.set(false);
    assert_eq!(registry.send("PUT", &last, &[], b"x").await.status, 201);
    assert_eq!(registry.send("DELETE", "/v2/app/manifests/v1", &[], b"").await.status, 202);
}

#[tokio::test]
async fn whoever_watches_the_server_is_answered_without_a_password() {
    let mut options = Options::default();
    options.access = Some(Access::new(Policy::nothing(), Identities::default()));
    let registry = Registry::with(options).await;
    assert_eq!(registry.get("/v2/").await.status, 401);
    for (path, status) in [("/healthz", "ok"), ("/readyz", "ready")] {
        let reply = registry.get(path).await;
        assert_eq!((reply.status, reply.json()["status"].as_str()), (200, Some(status)), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let head = registry.head(path).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(registry.send("POST", path, &[], b"").await.status, 405);
    }
    for path in ["/healthz/", "/readyz/x", "/Healthz", "/v2/healthz"] {
        assert_eq!(registry.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn each_answer_has_the_name_of_its_request() {
    let registry = Registry::start().await;
    let given = registry.send("GET", "/v2/", &[("X-Request-Id", "trace-7")], b"").await;
    assert_eq!(given.header("x-request-id"), Some("trace-7"));
    let (one, two) = (registry.get("/v2/").await, registry.get("/nowhere").await);
    assert_eq!((one.status, two.status), (200, 404));
    assert!(one.header("x-request-id").is_some_and(|id| id.len() == 16), "{one:?}");
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    let bad = registry.send("GET", "/v2/", &[("X-Request-Id", "a\"b c")], b"").await;
    assert_ne!(bad.header("x-request-id"), Some("a\"b c"));
}

#[tokio::test]
async fn repositories_have_reference_policies_of_their_own() {
    let mut options = Options::default();
    options.references = ReferenceRules::default().with("mirror/**", ReferencePolicy::Sparse).unwrap();
    let registry = Registry::with(options).await;
    let list = index(&[manifest(b"{}", &[], "").as_bytes()]);
    let reply = registry.put_manifest("/v2/app/manifests/v1", INDEX, list.as_bytes()).await;
    assert_eq!((reply.status, &*reply.code()), (400, "MANIFEST_BLOB_UNKNOWN"), "{reply:?}");
    assert_eq!(registry.put_manifest("/v2/mirror/app/manifests/v1", INDEX, list.as_bytes()).await.status, 201);
    assert_eq!(list.matches(MediaType::OCI_MANIFEST).count(), 1);
}

#[tokio::test]
async fn what_nothing_needs_goes_by_itself_unless_the_registry_is_read_only() {
    let mut gc = GcOptions::default();
    (gc.keep_untagged, gc.keep_unused_blobs, gc.sweep_after) = Default::default();
    let mut options = Options::default();
    let switch = ReadOnly::new(false);
    options.read_only = switch.clone();
    options.collection = Some(Collection::every(Duration::from_millis(100), gc));
    let registry = Registry::with(options).await;
    // Nobody says `HEAD`: whoever is told that it is there may rely on it.
    let app = RepositoryId::served("app".parse().unwrap());
    let there =
        async |digest: &Digest| registry.content.holders(Scope::Served, digest, 1).await.unwrap().contains(&app);
    let lost = registry.blob("app", b"nobody needs this").await;
    until("the blob is gone", async || !there(&lost).await).await;

    switch.set(true);
    tokio::time::sleep(Duration::from_millis(300)).await;
    registry.content.put_blob_bytes(&app, &lost, "nobody needs this".into()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(there(&lost).await, "collected while read-only");
    switch.set(false);
    until("the blob is gone again", async || !there(&lost).await).await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_said_and_its_collections_are_tried_again() {
    let mut options = Options::default();
    options.metrics = true;
    options.collection = Some(Collection::every(Duration::from_millis(100), GcOptions::default()));
    let registry = Registry::with(options).await;
    let database = rusqlite::Connection::open(registry.directory.path().join("metadata.sqlite3")).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let count = async |result: &str| -> u64 {
        let text = String::from_utf8(registry.get("/metrics").await.body).unwrap();
        let series = format!("polyarch_registry_gc_runs_total{{result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    };
    until("a collection", async || count("ok").await > 0).await;
    database.execute_batch("ALTER TABLE uploads RENAME TO u; ALTER TABLE condemned_documents RENAME TO c;").unwrap();
    let reply = registry.get("/readyz").await;
    assert_eq!((reply.status, &reply.json()["reasons"][0]["code"]), (503, &"metadata".into()), "{reply:?}");
    assert!(!String::from_utf8_lossy(&reply.body).contains("uploads"), "{reply:?}");
    assert_eq!(registry.get("/healthz").await.status, 200);
    until("a collection that fails", async || count("failed").await > 0).await;
    database.execute_batch("ALTER TABLE u RENAME TO uploads; ALTER TABLE c RENAME TO condemned_documents;").unwrap();
    assert_eq!(registry.get("/readyz").await.status, 200);
    let before = count("ok").await;
    until("another collection", async || count("ok").await > before).await;
}

#[tokio::test]
async fn the_readme_names_all_numbers_with_their_labels() {
    let mut options = Options::default();
    options.metrics = true;
    options.collection = Some(Collection::every(Duration::from_millis(50), GcOptions::default()));
    options.access_log = Some(AccessLog::to_writer(AccessLogFormat::Text, std::io::sink()).unwrap());
    let directory = tempfile::tempdir().unwrap();
    options.audit = Some(Audit::open(directory.path().join("audit"), AuditSync::Never).unwrap());
    let endpoint = Endpoint::new("https://hooks.example/").unwrap();
    options.webhooks = Some(Webhooks::open(vec![endpoint], WebhookOptions::default()).unwrap());
    let registry = Registry::with(options).await;
    let mut text = String::new();
    until("a collection", async || {
        text = String::from_utf8(registry.get("/metrics").await.body).unwrap();
        text.contains("gc_last_success")
    })
    .await;
    let readme = include_str!("../README.md");
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE polyarch_registry_")).collect();
    assert!(families.len() > 25, "{families:?}");
    for family in families {
        let name = family.split(' ').next().unwrap();
        let series = [format!("polyarch_registry_{name}{{"), format!("polyarch_registry_{name}_bucket{{")];
        let sample = text.lines().find_map(|line| series.iter().find_map(|series| line.strip_prefix(series.as_str())));
        let labels = sample.map_or("", |line| line.split('}').next().unwrap()).split(',');
        let labels: Vec<_> = labels.filter_map(|label| label.split_once('=')).map(|(label, _)| label).collect();
        let shown = labels.into_iter().filter(|label| *label != "le").collect::<Vec<_>>().join(",");
        let shown = if shown.is_empty() { format!("`{name}`") } else { format!("`{name}{{{shown}}}`") };
        assert!(readme.contains(&shown), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_says_so_first_and_ends_what_it_has_begun() {
    let mut options = Options::default();
    options.drain_delay = Duration::from_millis(700);
    let mut registry = Registry::with(options).await;
    let mut idle = registry.connect().await;
    idle.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut idle).await.status, 200);
    let digest = Digest::sha256(b"0123456789");
    let mut upload = registry.connect().await;
    let head =
        format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
    upload.write_all(head.as_bytes()).await.unwrap();

    registry.begin_to_stop();
    until("the server says that it stops", async || registry.get("/readyz").await.status == 503).await;
    let reply = registry.get("/readyz").await;
    assert_eq!(reply.json()["reasons"][0]["code"], "draining", "{reply:?}");
    assert_eq!(registry.get("/healthz").await.status, 200);
    assert_eq!(registry.get("/v2/").await.status, 200, "whoever has not seen it yet is served");

    assert!(closes(&mut idle).await, "an idle connection stays open");
    assert!(TcpStream::connect(registry.address).await.is_err(), "it still listens");
    upload.write_all(b"56789").await.unwrap();
    assert_eq!(answer(&mut upload).await.status, 201);
    assert!(closes(&mut upload).await, "a connection outlives its last request");
    let begun = Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let app = RepositoryId::served("app".parse().unwrap());
    assert!(registry.content.blob(&app, &digest).await.unwrap().is_some());
}

/// As a restart under systemd meets them: connected, and in the middle of what comes before a request.
#[tokio::test]
async fn a_connection_that_was_let_in_just_before_the_end_is_answered() {
    let mut registry = Registry::with(Options::default()).await;
    let mut early = registry.connect().await;
    let mut silent = registry.connect().await;
    // They were accepted if one that came after them was.
    assert_eq!(registry.get("/healthz").await.status, 200);

    registry.begin_to_stop();
    until("it does not listen", async || TcpStream::connect(registry.address).await.is_err()).await;
    early.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_eq!(answer(&mut early).await.status, 200);
    assert!(closes(&mut early).await, "a connection outlives its last request");
    assert!(closes(&mut silent).await, "who says nothing is waited for without an end");
    let begun = Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
