//! Who is told what was written: signed, in order, until they take it.

#[path = "../support/mod.rs"]
mod support;

mod delivery;
mod destination;
mod receiver;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use image::Digest;
use polyarch_registry::{Access, Endpoint, Identities, Options, Policy, QueueCounts, WebhookOptions, Webhooks};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::receiver::{FINE, Post, Receiver, status};
use crate::support::{MANIFEST, Registry};

const SECRET: &[u8] = b"a long and random secret";

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
