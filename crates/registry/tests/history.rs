//! The moves of a tag over HTTP, and manifests as of a time.

mod support;

use std::time::{Duration, SystemTime};

use image::Digest;
use polyarch_registry::{Access, Identities, Options, Policy};
use support::{INDEX, MANIFEST, Registry, index};

/// An instant that is surely after what came before it, and before what comes after it.
async fn instant() -> SystemTime {
    tokio::time::sleep(Duration::from_millis(5)).await;
    let now = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    now
}

fn digest(bytes: &[u8]) -> String {
    Digest::sha256(bytes).to_string()
}

#[tokio::test]
async fn the_moves_of_a_tag_are_listed_page_by_page() {
    let registry = Registry::start().await;
    let mut images = Vec::new();
    for seed in ["1", "2", "3"] {
        images.push(digest(&registry.image("app", Some("v1"), seed).await));
    }
    assert_eq!(registry.send("DELETE", "/v2/app/manifests/v1", &[], b"").await.status, 202);
    let reply = registry.get("/v2/app/_polyarch/history/v1").await;
    assert_eq!((reply.status, reply.header("link")), (200, None));
    let body = reply.json();
    assert_eq!((body["name"].as_str(), body["tag"].as_str()), (Some("app"), Some("v1")));
    let moves = body["moves"].as_array().unwrap();
    let ends: Vec<_> = moves.iter().map(|step| (step["from"].as_str(), step["to"].as_str())).collect();
    let [one, two, three] = [0, 1, 2].map(|at| Some(images[at].as_str()));
    assert_eq!(ends, [(three, None), (two, three), (one, two), (None, one)]);
    assert!(moves.iter().all(|step| step["at"].as_str().is_some_and(|at| at.len() == 24 && at.ends_with('Z'))));
    assert_eq!(moves.iter().map(|step| step["kept"] == true).collect::<Vec<_>>(), [false, true, true, true]);

    let mut path = "/v2/app/_polyarch/history/v1?n=3".to_owned();
    let mut found = Vec::new();
    for _ in 0..2 {
        let reply = registry.get(&path).await;
        found.extend(reply.json()["moves"].as_array().unwrap().clone());
        if let Some(link) = reply.header("link") {
            path = link.split(['<', '>']).nth(1).unwrap().to_owned();
        }
    }
    assert_eq!(&found, moves);
    // No move has so high a number: all are before it.
    for last in [u64::MAX, 1 << 63, (1 << 63) - 1] {
        let reply = registry.get(&format!("/v2/app/_polyarch/history/v1?last={last}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.json()["moves"].as_array(), Some(moves), "{last}");
    }
    assert_eq!(registry.head("/v2/app/_polyarch/history/v1").await.status, 200);
    let none = registry.get("/v2/app/_polyarch/history/v1?n=0").await;
    assert_eq!((none.status, none.json()["moves"].as_array().map(Vec::len)), (200, Some(0)));
}

#[tokio::test]
async fn what_is_wrong_with_a_question_for_history_has_a_code() {
    let registry = Registry::start().await;
    registry.image("app", Some("v1"), "1").await;
    for (method, path, status, code) in [
        ("GET", "/v2/app/_polyarch/history/v2", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/app/_polyarch/history/.bad", 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/none/_polyarch/history/v1", 404, "NAME_UNKNOWN"),
        ("GET", "/v2/APP/_polyarch/history/v1", 400, "NAME_INVALID"),
        ("GET", "/v2/app/_polyarch/history/v1?n=x", 400, "PAGINATION_NUMBER_INVALID"),
        ("GET", "/v2/app/_polyarch/history/v1?last=x", 400, "PAGINATION_LAST_INVALID"),
        ("GET", "/v2/app/_polyarch/other/v1", 404, "UNSUPPORTED"),
        ("PUT", "/v2/app/_polyarch/history/v1", 405, "UNSUPPORTED"),
    ] {
        let reply = registry.send(method, path, &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{path}");
    }
    let reply = registry.get("/v2/_oci/ext/discover").await;
    let names: Vec<_> = reply.json()["extensions"].as_array().unwrap().iter().map(|e| e["name"].clone()).collect();
    assert_eq!(names, ["_oci", "_polyarch"]);
}

#[tokio::test]
async fn a_tag_is_served_as_of_a_time() {
    let registry = Registry::start().await;
    let before = instant().await;
    let first = registry.image("app", Some("v1"), "1").await;
    let between = instant().await;
    let second = registry.image("app", Some("v1"), "2").await;
    let after = instant().await;
    let ask = async |method: &str, at: SystemTime| {
        let path = format!("/v2/app/manifests/v1?at={}", content::instant_text(at));
        registry.send(method, &path, &[], b"").await
    };
    let reply = ask("GET", between).await;
    assert_eq!((reply.status, &reply.body, reply.header("content-type")), (200, &first, Some(MANIFEST)));
    assert_eq!(reply.header("etag"), Some(format!("\"{}\"", digest(&first)).as_str()));
    assert_eq!(ask("GET", after).await.body, second);
    let head = ask("HEAD", between).await;
    assert_eq!((head.status, head.header("docker-content-digest")), (200, Some(digest(&first).as_str())));
    let none = ask("GET", before).await;
    assert_eq!((none.status, none.code().as_str()), (404, "MANIFEST_UNKNOWN"));

    // The header says the same, and what depends on it says so.
    let at = content::instant_text(between);
    let reply = registry.send("GET", "/v2/app/manifests/v1", &[("Polyarch-At", &at)], b"").await;
    assert_eq!((&reply.body, reply.header("vary")), (&first, Some("Polyarch-At")));
    let plain = registry.get("/v2/app/manifests/v1").await;
    assert_eq!((&plain.body, plain.header("vary")), (&second, Some("Polyarch-At")));
    let known = [("Polyarch-At", at.as_str()), ("If-None-Match", &format!("\"{}\"", digest(&second)))];
    assert_eq!(registry.send("GET", "/v2/app/manifests/v1", &known, b"").await.body, first);
    let known = [("Polyarch-At", at.as_str()), ("If-None-Match", &format!("\"{}\"", digest(&first)))];
    let reply = registry.send("GET", "/v2/app/manifests/v1", &known, b"").await;
    assert_eq!((reply.status, reply.header("vary")), (304, Some("Polyarch-At")));
    // A digest is the same at all times.
    let by_digest = format!("/v2/app/manifests/{}?at=1", digest(&second));
    let reply = registry.get(&by_digest).await;
    assert_eq!((reply.status, reply.header("vary")), (200, None));

    for bad in ["", "yesterday", "2026-13-01T00:00:00Z", "%ff", "12345678901234567890"] {
        let reply = registry.get(&format!("/v2/app/manifests/v1?at={bad}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "TIME_INVALID"), "{bad}");
    }
    let seconds = after.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 1;
    assert_eq!(registry.get(&format!("/v2/app/manifests/v1?at={seconds}")).await.body, second);

    // What is gone is said to be.
    let path = format!("/v2/app/manifests/{}", digest(&first));
    assert_eq!(registry.send("DELETE", &path, &[], b"").await.status, 202);
    let gone = ask("GET", between).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    assert!(String::from_utf8_lossy(&gone.body).contains("which is gone"), "{gone:?}");
}

#[tokio::test]
async fn who_moved_a_tag_is_told_to_those_who_have_a_name() {
    let policy = "[[rules]]\nidentities = [\"anonymous\"]\nrepositories = [\"**\"]\nactions = [\"pull\"]\n\
                  [[rules]]\nidentities = [\"ann\", \"bob\"]\nrepositories = [\"**\"]\nactions = [\"admin\"]\n\
                  [[rules]]\nidentities = [\"eve\"]\nrepositories = [\"other\"]\nactions = [\"admin\"]";
    let lines = ["ann", "bob", "eve"].map(|name| Identities::token_line(name, &format!("secret-of-{name}")));
    let mut options = Options::default();
    let identities = Identities::parse("", &lines.join("\n")).unwrap();
    options.access = Some(Access::new(Policy::parse(policy).unwrap(), identities));
    let registry = Registry::with(options).await;
    let bearer = |name: &str| format!("Bearer secret-of-{name}");
    for (name, children) in [("ann", &[][..]), ("bob", &[&b"{}"[..]])] {
        let authorization = bearer(name);
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", INDEX)];
        if !children.is_empty() {
            let path = format!("/v2/app/blobs/uploads/?digest={}", digest(b"{}"));
            assert_eq!(registry.send("POST", &path, &headers[..1], b"{}").await.status, 201);
        }
        let reply = registry.send("PUT", "/v2/app/manifests/v1", &headers, index(children).as_bytes()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let path = "/v2/app/_polyarch/history/v1";
    let actors = async |headers: &[(&str, &str)]| {
        let reply = registry.send("GET", path, headers, b"").await;
        assert_eq!(reply.status, 200);
        let moves = reply.json()["moves"].as_array().unwrap().clone();
        moves.iter().map(|step| step["actor"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let known = actors(&[("Authorization", &bearer("ann"))]).await;
    assert_eq!(known, [Some("bob".to_owned()), Some("ann".to_owned())]);
    assert_eq!(actors(&[]).await, [None, None]);
    let reply = registry.send("GET", path, &[("Authorization", &bearer("eve"))], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "DENIED"));
}
