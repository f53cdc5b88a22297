//! What a registry writes down and counts: access log, audit log, metrics.

mod support;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use content::GcOptions;
use image::Digest;
use polyarch_registry::{
    Access, AccessLog, AccessLogFormat, Audit, AuditSync, Collection, Identities, Options, Policy, ReadOnly,
};
use serde_json::Value;
use support::{MANIFEST, Registry, Reply, manifest};
use tokio::io::AsyncWriteExt;

/// A writer whose text a test can read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert_eq!(bytes.last(), Some(&b'\n'), "a torn line");
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }
}

const POLICY: &str = r#"
[[rules]]
identities = ["ci"]
repositories = ["**"]
actions = ["pull", "push", "delete"]

[[rules]]
identities = ["root"]
repositories = ["**"]
actions = ["admin"]
"#;

fn access() -> Access {
    let tokens =
        format!("{}\n{}", Identities::token_line("ci", "ci-secret"), Identities::token_line("root", "top-secret"));
    Access::new(Policy::parse(POLICY).unwrap(), Identities::parse("", &tokens).unwrap())
}

const CI: (&str, &str) = ("Authorization", "Bearer ci-secret");
const ROOT: (&str, &str) = ("Authorization", "Bearer top-secret");
const WRONG: (&str, &str) = ("Authorization", "Bearer no-secret");

#[tokio::test]
async fn a_line_tells_who_asked_for_what_and_what_came_of_it() {
    let page = Page::default();
    let mut options = Options::default();
    options.access = Some(access());
    options.access_log = Some(AccessLog::to_writer(AccessLogFormat::Text, page.clone()).unwrap());
    let mut registry = Registry::with(options).await;
    let digest = Digest::sha256(b"layer bytes");
    let path = format!("/v2/team/app/blobs/uploads/?digest={digest}");
    let named = [CI, ("X-Request-Id", "build-7"), ("User-Agent", "test/1 \"quoted\"")];
    assert_eq!(registry.send("POST", &path, &named, b"layer bytes").await.status, 201);
    let path = format!("/v2/team/app/blobs/{digest}");
    assert_eq!(registry.send("GET", &path, &[CI, ("X-Request-Id", "pull-1")], b"").await.status, 200);
    assert_eq!(registry.send("GET", "/v2/", &[WRONG], b"").await.status, 401);
    assert_eq!(registry.send("GET", "/v2/%0a%22/tags/list?x=%0d", &[], b"").await.status, 400);
    registry.stop().await;

    let lines = page.lines();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let words: Vec<&str> = lines[0].split(' ').collect();
    assert!(words[0].ends_with('Z') && words[1].starts_with("127.0.0.1:"), "{}", lines[0]);
    assert_eq!(words[2..9], ["ci", "POST", "uploads", "team/app", "201", "in=11", "out=0"]);
    assert!(words[9].strip_prefix("us=").unwrap().parse::<u64>().is_ok());
    assert_eq!(words[10], "id=build-7");
    let end = format!(r#""/v2/team/app/blobs/uploads/?digest={digest}" "test/1 \"quoted\"""#);
    assert!(lines[0].ends_with(&end), "{}", lines[0]);
    assert!(lines[1].contains(" ci GET blob team/app 200 in=0 out=11 us="), "{}", lines[1]);
    assert!(lines[2].contains(" - GET base - 401 in=0 out="), "{}", lines[2]);
    assert!(lines[3].contains(" - GET none - 400 "), "{}", lines[3]);
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:#?}");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_line_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.jsonl");
    let log = AccessLog::to_file(AccessLogFormat::Json, &path).unwrap();
    let mut options = Options::default();
    options.access_log = Some(log.clone());
    let mut registry = Registry::with(options).await;
    let mut stream = registry.connect().await;
    let digest = Digest::sha256(b"");
    let head =
        format!("POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(100)).await;

    std::fs::rename(&path, directory.path().join("old")).unwrap();
    log.reopen().unwrap();
    assert_eq!(registry.get("/v2/").await.status, 200);
    registry.stop().await;
    let read = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (old, new) = (read("old"), read("access.jsonl"));
    assert_eq!((old.len(), new.len()), (1, 1), "{old:#?} {new:#?}");
    assert_eq!((&old[0]["route"], &old[0]["in"]), (&"uploads".into(), &3.into()));
    assert_eq!((&new[0]["path"], &new[0]["status"]), (&"/v2/".into(), &200.into()));
    assert_eq!(log.lost(), 0);
}

#[tokio::test]
async fn the_audit_log_has_each_write_once_and_no_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let mut options = Options::default();
    options.access = Some(access());
    options.audit = Some(Audit::open(&path, AuditSync::EachWrite).unwrap());
    let mut registry = Registry::with(options).await;
    let send = async |method: &str, path: &str, body: &[u8]| -> Reply {
        let headers = [CI, ("Content-Type", MANIFEST), ("X-Request-Id", "r-1")];
        let reply = registry.send(method, path, &headers, body).await;
        assert!(reply.status < 300, "{method} {path} {reply:?}");
        reply
    };
    let config = Digest::sha256(b"{}");
    send("POST", &format!("/v2/a/blobs/uploads/?digest={config}"), b"{}").await;
    let session = send("POST", "/v2/a/blobs/uploads/", b"").await.header("location").unwrap().to_owned();
    send("PATCH", &session, b"layer").await;
    let layer = Digest::sha256(b"layer");
    send("PUT", &format!("{session}?digest={layer}"), b"").await;
    send("POST", &format!("/v2/b/blobs/uploads/?mount={layer}&from=a"), b"").await;
    let (one, two) = (manifest(b"{}", &[b"layer"], ""), manifest(b"{}", &[], ""));
    send("PUT", "/v2/a/manifests/v1?tag=v1.0", one.as_bytes()).await;
    send("PUT", "/v2/a/manifests/v1", two.as_bytes()).await;
    send("PUT", "/v2/a/manifests/v1", two.as_bytes()).await;
    // Each write is in the file before its answer.
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().last().unwrap().contains("manifest-pushed"), "{text}");
    send("GET", "/v2/a/manifests/v1", b"").await;
    send("DELETE", "/v2/a/manifests/v1.0", b"").await;
    let (one, two) = (Digest::sha256(one.as_bytes()), Digest::sha256(two.as_bytes()));
    send("DELETE", &format!("/v2/a/manifests/{two}"), b"").await;
    send("DELETE", &format!("/v2/b/blobs/{layer}"), b"").await;
    let refused = registry.send("DELETE", "/v2/a/manifests/none", &[CI], b"").await;
    assert_eq!(refused.status, 404);
    registry.stop().await;

    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            assert_eq!((&line["actor"], &line["peer"]), (&"ci".into(), &"127.0.0.1".into()));
            assert_eq!(line["request"], "r-1");
            let field = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
            let words = ["event", "repository", "tag", "digest", "from", "to"].map(field);
            words.join(" ").replace(one.as_str(), "ONE").replace(two.as_str(), "TWO")
        })
        .collect();
    assert_eq!(
        told,
        [
            format!("blob-pushed a - {config} - -"),
            format!("blob-pushed a - {layer} - -"),
            format!("blob-mounted b - {layer} a -"),
            "manifest-pushed a - ONE - -".to_owned(),
            "tag-moved a v1.0 - - ONE".to_owned(),
            "tag-moved a v1 - - ONE".to_owned(),
            "manifest-pushed a - TWO - -".to_owned(),
            "tag-moved a v1 - ONE TWO".to_owned(),
            "manifest-pushed a - TWO - -".to_owned(),
            "tag-deleted a v1.0 - ONE -".to_owned(),
            "tag-deleted a v1 - TWO -".to_owned(),
            "manifest-deleted a - TWO - -".to_owned(),
            format!("blob-deleted b - {layer} - -"),
        ]
    );
    let mut ids: Vec<&str> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), lines.len());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_audit_log_that_cannot_be_written_stops_nobody() {
    let mut options = Options::default();
    // Each write to it fails: no space left.
    let audit = Audit::open("/dev/full", AuditSync::EachWrite).unwrap();
    options.audit = Some(audit.clone());
    options.metrics = true;
    let mut registry = Registry::with(options).await;
    registry.image("app", Some("v1"), "1").await;
    assert_eq!(registry.get("/v2/app/manifests/v1").await.status, 200);
    assert!(audit.waiting() > 0 && audit.written() == 0);
    let text = String::from_utf8(registry.get("/metrics").await.body).unwrap();
    assert!(number(&text, "polyarch_registry_audit_waiting_bytes") > 0, "{text}");
    registry.stop().await;
}

/// The whole part of a number.
fn number(text: &str, series: &str) -> u64 {
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit_once(' ').unwrap().1.split('.').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn metrics_count_what_happened_and_name_nobody() {
    let mut gc = GcOptions::default();
    (gc.keep_untagged, gc.keep_unused_blobs, gc.sweep_after) = Default::default();
    let switch = ReadOnly::default();
    let mut options = Options::default();
    options.metrics = true;
    options.read_only = switch.clone();
    options.collection = Some(Collection::every(Duration::from_millis(200), gc));
    let registry = Registry::with(options).await;
    registry.image("secret/name", Some("hidden"), "1").await;
    registry.send("GET", "/v2/secret/name/manifests/hidden", &[("User-Agent", "agent-name")], b"").await;
    registry.send("GET", "/v2/secret/name/manifests/missing", &[], b"").await;
    registry.send("BREW", "/v2/", &[], b"").await;
    registry.send("POST", "/v2/secret/name/blobs/uploads/", &[], b"").await;
    registry.blob("secret/name", b"nobody needs this").await;
    switch.set(true);
    registry.send("POST", "/v2/secret/name/blobs/uploads/", &[], b"").await;
    switch.set(false);
    let mut text = String::new();
    for _ in 0..100 {
        let reply = registry.get("/metrics").await;
        assert_eq!(reply.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        text = String::from_utf8(reply.body).unwrap();
        if number(&text, "polyarch_registry_gc_swept_total{kind=\"blob\"}") > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (series, want) in [
        (r#"http_requests_total{method="GET",route="manifest",status="2xx"}"#, 1),
        (r#"http_requests_total{method="GET",route="manifest",status="4xx"}"#, 1),
        (r#"http_requests_total{method="PUT",route="manifest",status="2xx"}"#, 1),
        (r#"http_requests_total{method="other",route="base",status="4xx"}"#, 1),
        (r#"http_request_duration_seconds_count{route="manifest"}"#, 3),
        (r#"http_request_duration_seconds_bucket{route="manifest",le="+Inf"}"#, 3),
        (r#"writes_total{event="manifest-pushed"}"#, 1),
        (r#"writes_total{event="tag-moved"}"#, 1),
        (r#"writes_total{event="blob-pushed"}"#, 3),
        (r#"refused_total{reason="read-only"}"#, 1),
        (r#"gc_swept_total{kind="blob"}"#, 1),
        ("upload_sessions", 1),
        ("http_requests_in_flight", 1),
        ("connections", 1),
    ] {
        assert_eq!(number(&text, &format!("polyarch_registry_{series}")), want, "{series}\n{text}");
    }
    for series in ["received_bytes_total", "sent_bytes_total", "gc_last_success_timestamp_seconds", "disk_free_bytes"] {
        assert!(number(&text, &format!("polyarch_registry_{series}")) > 0, "{series}");
    }
    for name in ["secret", "hidden", "missing", "agent-name", "BREW", "sha256"] {
        assert!(!text.contains(name), "{name}\n{text}");
    }
    // Each family is told once, with its kind, before its numbers.
    let mut families = std::collections::BTreeSet::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            current = rest.split(' ').next().unwrap();
            assert!(families.insert(current), "{current} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(current), "{line} is not of {current}");
        }
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_and_for_administrators() {
    let mut options = Options::default();
    assert_eq!(Registry::with(options.clone()).await.get("/metrics").await.status, 404, "off by default");
    options.metrics = true;
    options.access = Some(access());
    let registry = Registry::with(options).await;
    assert_eq!(registry.get("/metrics").await.status, 200, "from this machine");
    // What comes through a proxy on this machine comes from somewhere else.
    for proxy in [("X-Forwarded-For", "10.0.0.9"), ("Forwarded", "for=10.0.0.9"), ("Via", "1.1 proxy")] {
        for (who, want) in [(None, 401), (Some(WRONG), 401), (Some(CI), 403), (Some(ROOT), 200)] {
            let headers: Vec<_> = [proxy].into_iter().chain(who).collect();
            let reply = registry.send("GET", "/metrics", &headers, b"").await;
            assert_eq!(reply.status, want, "{proxy:?} {who:?} {reply:?}");
        }
    }
    let text = String::from_utf8(registry.get("/metrics").await.body).unwrap();
    assert_eq!(number(&text, r#"polyarch_registry_refused_total{reason="credentials"}"#), 3);
    assert_eq!(number(&text, r#"polyarch_registry_refused_total{reason="policy"}"#), 3);
}
