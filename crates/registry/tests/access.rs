//! Who may do what.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::Digest;
use polyarch_registry::{Access, Identities, Options, Policy};
use support::{INDEX, MANIFEST, Registry, Reply, index, manifest};

const POLICY: &str = r#"
    [groups]
    makers = ["maker"]

    [[rules]]
    identities = ["anonymous", "*"]
    repositories = ["public/**"]
    actions = ["pull", "catalogue"]

    [[rules]]
    identities = ["owner"]
    repositories = ["**"]
    actions = ["admin"]

    [[rules]]
    identities = ["reader"]
    repositories = ["team/**"]
    actions = ["pull"]

    [[rules]]
    identities = ["writer", "reader"]
    repositories = ["own/**"]
    actions = ["pull", "push"]

    [[rules]]
    groups = ["makers"]
    repositories = ["team/**"]
    actions = ["pull", "create-only"]

    [[rules]]
    identities = ["cleaner"]
    repositories = ["team/**"]
    actions = ["delete"]
"#;

/// Everybody's password is their name and `!`; `robot` has a token.
fn access(policy: &str) -> Access {
    use std::fmt::Write as _;
    let mut users = String::new();
    for name in ["owner", "reader", "writer", "maker", "cleaner", "idle"] {
        let _ = writeln!(users, "{name}:{}", bcrypt::hash(format!("{name}!"), 4).unwrap());
    }
    let tokens = Identities::token_line("writer", "a-long-random-token");
    Access::new(Policy::parse(policy).unwrap(), Identities::parse(&users, &tokens).unwrap())
}

struct Guarded {
    registry: Registry,
    access: Access,
}

fn credentials(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

impl Guarded {
    async fn start() -> Self {
        let access = access(POLICY);
        let mut options = Options::default();
        options.access = Some(access.clone());
        Self { registry: Registry::with(options).await, access }
    }

    /// One request of somebody, or of nobody.
    async fn ask(&self, who: &str, method: &str, path: &str, media_type: &str, body: &[u8]) -> Reply {
        let credentials = credentials(who, &format!("{who}!"));
        let mut headers = vec![("Authorization", credentials.as_str()), ("Content-Type", media_type)];
        if who.is_empty() {
            headers.remove(0);
        }
        self.registry.send(method, path, &headers, body).await
    }

    async fn get(&self, who: &str, path: &str) -> Reply {
        self.ask(who, "GET", path, "", b"").await
    }

    async fn blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(self.ask("owner", "POST", &path, "", bytes).await.status, 201);
        digest
    }

    /// An image that the owner pushed.
    async fn image(&self, repository: &str, tag: &str, seed: &str) -> Vec<u8> {
        self.blob(repository, seed.as_bytes()).await;
        self.blob(repository, b"{}").await;
        let manifest = manifest(b"{}", &[seed.as_bytes()], "").into_bytes();
        let path = format!("/v2/{repository}/manifests/{tag}");
        assert_eq!(self.ask("owner", "PUT", &path, MANIFEST, &manifest).await.status, 201);
        manifest
    }

    async fn tag(&self, path: &str) -> Option<Digest> {
        let reply = self.ask("owner", "HEAD", path, "", b"").await;
        reply.header("docker-content-digest").map(|digest| Digest::parse(digest).unwrap())
    }
}

#[tokio::test]
async fn every_endpoint_asks_for_its_right() {
    let guarded = Guarded::start().await;
    let image = guarded.image("team/app", "v1", "layer").await;
    guarded.image("team/app", "v2", "other").await;
    let (digest, blob) = (Digest::sha256(&image), Digest::sha256(b"layer"));
    let random = Digest::sha256(b"random");
    for (method, path, right) in [
        ("GET", "/v2/team/app/manifests/v1".to_owned(), "pull"),
        ("HEAD", "/v2/team/app/manifests/v1".to_owned(), "pull"),
        ("GET", format!("/v2/team/app/manifests/{digest}"), "pull"),
        ("GET", "/v2/team%2Fapp/manifests/v1".to_owned(), "pull"),
        ("GET", format!("/v2/team/app/blobs/{blob}"), "pull"),
        ("HEAD", format!("/v2/team/app/blobs/{blob}"), "pull"),
        ("GET", "/v2/team/app/tags/list".to_owned(), "pull"),
        ("GET", format!("/v2/team/app/referrers/{digest}"), "pull"),
        ("POST", "/v2/team/app/blobs/uploads/".to_owned(), "push"),
        ("POST", format!("/v2/team/app/blobs/uploads/?mount={blob}&from=public/x"), "push"),
        ("POST", format!("/v2/team/app/blobs/uploads/?digest={random}"), "push"),
        ("GET", "/v2/team/app/blobs/uploads/0".to_owned(), "push"),
        ("PATCH", "/v2/team/app/blobs/uploads/0".to_owned(), "push"),
        ("PUT", format!("/v2/team/app/blobs/uploads/0?digest={random}"), "push"),
        ("DELETE", "/v2/team/app/blobs/uploads/0".to_owned(), "push"),
        ("PUT", "/v2/team/app/manifests/new".to_owned(), "push"),
        ("PUT", format!("/v2/team/app/manifests/{random}"), "push"),
        ("DELETE", "/v2/team/app/manifests/none".to_owned(), "delete"),
        ("DELETE", format!("/v2/team/app/manifests/{random}"), "delete"),
        ("DELETE", format!("/v2/team/app/blobs/{random}"), "delete"),
    ] {
        for (who, rights) in [
            ("", &[][..]),
            ("idle", &[]),
            ("writer", &[]),
            ("reader", &["pull"]),
            ("maker", &["pull", "push"]),
            ("cleaner", &["delete"]),
            ("owner", &["pull", "push", "delete"]),
        ] {
            let reply = guarded.ask(who, method, &path, "", b"").await;
            let place = format!("{who} {method} {path}: {reply:?}");
            if rights.contains(&right) {
                assert!(!matches!(reply.status, 401 | 403 | 500), "{place}");
            } else if who.is_empty() {
                assert_eq!(reply.status, 401, "{place}");
                assert!(reply.header("www-authenticate").unwrap().starts_with("Basic realm="), "{place}");
                assert!(method == "HEAD" || reply.code() == "UNAUTHORIZED", "{place}");
            } else {
                assert_eq!(reply.status, 403, "{place}");
                assert!(method == "HEAD" || reply.code() == "DENIED", "{place}");
            }
        }
    }
    assert_eq!(guarded.tag("/v2/team/app/manifests/v1").await, Some(digest));
}

#[tokio::test]
async fn create_only_never_moves_a_tag() {
    // As CVE-2026-31801 did: what may create could overwrite `latest`.
    let guarded = Guarded::start().await;
    let old = guarded.image("team/app", "latest", "old").await;
    let new = guarded.image("team/app", "other", "new").await;
    let (was, will) = (Digest::sha256(&old), Digest::sha256(&new));
    let tags = "/v2/team/app/manifests";
    let quoted = format!("\"{was}\"");
    for (path, condition, want) in [
        (format!("{tags}/latest"), None, 403),
        (format!("{tags}/latest"), Some(("If-Match", quoted.as_str())), 403),
        (format!("{tags}/latest"), Some(("If-Match", "*")), 403),
        (format!("{tags}/latest"), Some(("If-None-Match", "*")), 412),
        (format!("{tags}/{will}?tag=latest"), None, 403),
        (format!("{tags}/{will}?tag=fresh&tag=latest"), None, 403),
        (format!("{tags}/fresh?tag=latest"), None, 403),
        (format!("{tags}/{will}"), None, 201),
        (format!("{tags}/fresh"), None, 201),
        // The same once more moves nothing.
        (format!("{tags}/fresh"), None, 201),
        (format!("{tags}/{will}?tag=fresh2"), None, 201),
    ] {
        let who = credentials("maker", "maker!");
        let mut headers = vec![("Authorization", who.as_str()), ("Content-Type", MANIFEST)];
        headers.extend(condition);
        let reply = guarded.registry.send("PUT", &path, &headers, &new).await;
        assert_eq!(reply.status, want, "{path} {condition:?} {reply:?}");
        if want == 403 {
            assert_eq!(reply.code(), "DENIED");
            assert_eq!(guarded.tag(&format!("{tags}/fresh")).await, None);
        }
        assert_eq!(guarded.tag(&format!("{tags}/latest")).await.as_ref(), Some(&was), "{path}");
    }
    for path in [format!("{tags}/latest"), format!("{tags}/{was}"), format!("{tags}/{was}?force=true")] {
        assert_eq!(guarded.ask("maker", "DELETE", &path, "", b"").await.status, 403, "{path}");
    }
    assert_eq!(guarded.tag(&format!("{tags}/fresh")).await, Some(will.clone()));
    assert_eq!(guarded.ask("owner", "PUT", &format!("{tags}/latest"), MANIFEST, &new).await.status, 201);
    assert_eq!(guarded.tag(&format!("{tags}/latest")).await, Some(will));
}

#[tokio::test]
async fn two_who_may_create_cannot_both_have_a_tag() {
    let guarded = Guarded::start().await;
    let mut images = Vec::new();
    for n in 0..8 {
        images.push(guarded.image("team/app", &format!("t{n}"), &format!("layer {n}")).await);
    }
    let puts = images.iter().map(|image| guarded.ask("maker", "PUT", "/v2/team/app/manifests/race", MANIFEST, image));
    let mut statuses: Vec<u16> = futures_util::future::join_all(puts).await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403, 403, 403, 403, 403, 403, 403]);
}

#[tokio::test]
async fn a_private_repository_answers_the_same_whether_or_not_it_exists() {
    let guarded = Guarded::start().await;
    let image = guarded.image("secret/app", "v1", "layer").await;
    let (digest, blob) = (Digest::sha256(&image), Digest::sha256(b"layer"));
    for who in ["", "idle", "writer"] {
        for end in [
            "manifests/v1".to_owned(),
            format!("manifests/{digest}"),
            format!("blobs/{blob}"),
            "tags/list".to_owned(),
            format!("referrers/{digest}"),
            "blobs/uploads/".to_owned(),
            "blobs/uploads/0".to_owned(),
        ] {
            for method in ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"] {
                let there = guarded.ask(who, method, &format!("/v2/secret/app/{end}"), MANIFEST, b"").await;
                let not = guarded.ask(who, method, &format!("/v2/secret/not/{end}"), MANIFEST, b"").await;
                assert!(matches!(there.status, 401 | 403), "{method} {end} {there:?}");
                assert_eq!(there.status, not.status);
                let text = String::from_utf8(there.body).unwrap().replace("secret/app", "secret/not");
                assert_eq!(text, String::from_utf8(not.body).unwrap());
                let same = |reply: &[(String, String)]| {
                    let differs = |name: &str| matches!(name, "date" | "x-request-id");
                    reply.iter().filter(|(name, _)| !differs(name)).cloned().collect::<Vec<_>>()
                };
                assert_eq!(same(&there.headers), same(&not.headers));
            }
        }
    }
}

#[tokio::test]
async fn a_mount_needs_pull_where_the_blob_is() {
    let guarded = Guarded::start().await;
    let private = guarded.blob("secret/app", b"private layer").await;
    let nowhere = Digest::sha256(b"nowhere");
    let shared = guarded.blob("team/base", b"team layer").await;
    let public = guarded.blob("public/base", b"public layer").await;
    for (who, mount, want) in [
        ("writer", format!("mount={private}&from=secret/app"), 202),
        ("writer", format!("mount={private}"), 202),
        ("writer", format!("mount={nowhere}&from=secret/app"), 202),
        ("writer", format!("mount={nowhere}"), 202),
        ("writer", format!("mount={shared}&from=team/base"), 202),
        ("writer", format!("mount={shared}"), 202),
        ("reader", format!("mount={shared}&from=team/base"), 201),
        ("reader", format!("mount={shared}"), 201),
        ("writer", format!("mount={public}&from=public/base"), 201),
        ("writer", format!("mount={public}"), 201),
    ] {
        let repository = format!("own/{who}");
        let reply = guarded.ask(who, "POST", &format!("/v2/{repository}/blobs/uploads/?{mount}"), "", b"").await;
        assert_eq!(reply.status, want, "{who} {mount} {reply:?}");
    }
    // Neither does a HEAD tell, nor a manifest that names it.
    assert_eq!(guarded.ask("writer", "HEAD", &format!("/v2/own/writer/blobs/{private}"), "", b"").await.status, 404);
    guarded.blob("own/writer", b"{}").await;
    let stolen = manifest(b"{}", &[b"private layer"], "");
    let reply = guarded.ask("writer", "PUT", "/v2/own/writer/manifests/v1", MANIFEST, stolen.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let image = guarded.image("secret/app", "v1", "layer").await;
    let stolen = index(&[&image]);
    let reply = guarded.ask("writer", "PUT", "/v2/own/writer/manifests/v1", INDEX, stolen.as_bytes()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn the_catalogue_shows_what_the_caller_may_see() {
    let guarded = Guarded::start().await;
    for repository in ["a/hidden", "public/a", "public/b", "public/c", "secret/z", "team/app"] {
        guarded.image(repository, "v1", "layer").await;
    }
    let names = |reply: &Reply| reply.json()["repositories"].to_string();
    let public = r#"["public/a","public/b","public/c"]"#;
    for who in ["", "idle", "reader"] {
        let reply = guarded.get(who, "/v2/_catalog").await;
        assert_eq!(names(&reply), public);
        assert_eq!(reply.header("link"), None);
        let reply = guarded.get(who, "/v2/_catalog?n=2").await;
        assert_eq!(names(&reply), r#"["public/a","public/b"]"#);
        assert_eq!(reply.header("link"), Some("</v2/_catalog?n=2&last=public/b>; rel=\"next\""));
        let reply = guarded.get(who, "/v2/_catalog?n=2&last=public/b").await;
        assert_eq!((names(&reply).as_str(), reply.header("link")), (r#"["public/c"]"#, None));
        // A full last page does not tell that something hidden comes after it.
        assert_eq!(guarded.get(who, "/v2/_catalog?n=3").await.header("link"), None);
    }
    assert!(names(&guarded.get("owner", "/v2/_catalog").await).contains("secret/z"));
    guarded.access.replace_policy("").unwrap();
    assert_eq!(guarded.get("idle", "/v2/_catalog").await.status, 403);
    assert_eq!(guarded.get("", "/v2/_catalog").await.status, 401);
}

#[tokio::test]
async fn who_shows_wrong_credentials_is_refused_even_where_none_are_needed() {
    let guarded = Guarded::start().await;
    guarded.image("public/app", "v1", "layer").await;
    let path = "/v2/public/app/manifests/v1";
    assert_eq!(guarded.get("", path).await.status, 200);
    for wrong in [
        credentials("owner", "wrong"),
        credentials("owner", ""),
        credentials("nobody", "x"),
        credentials("anonymous", "anonymous!"),
        credentials("*", "*!"),
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        format!("Basic {}", STANDARD.encode("no colon")),
        format!("Basic {}", STANDARD.encode([0xff, b':', 0xfe])),
        "Bearer nothing".to_owned(),
        "Digest x".to_owned(),
        format!("Basic {}", "A".repeat(60_000)),
    ] {
        let reply = guarded.registry.send("GET", path, &[("Authorization", &wrong)], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{wrong}");
    }
    let right = credentials("owner", "owner!");
    let twice = [("Authorization", right.as_str()), ("Authorization", right.as_str())];
    assert_eq!(guarded.registry.send("GET", path, &twice, b"").await.status, 401);
}

#[tokio::test]
async fn a_static_token_is_taken_as_bearer_and_as_password() {
    let guarded = Guarded::start().await;
    for header in ["Bearer a-long-random-token".to_owned(), credentials("writer", "a-long-random-token")] {
        let reply = guarded.registry.send("POST", "/v2/own/x/blobs/uploads/", &[("Authorization", &header)], b"").await;
        assert_eq!(reply.status, 202, "{header}");
    }
    let other = credentials("owner", "a-long-random-token");
    assert_eq!(guarded.registry.send("GET", "/v2/", &[("Authorization", &other)], b"").await.status, 401);
}

#[tokio::test]
async fn who_leaves_a_group_loses_its_rights_at_once() {
    // As CVE-2025-23208 did not: groups were remembered.
    let guarded = Guarded::start().await;
    guarded.image("team/app", "v1", "layer").await;
    let path = "/v2/team/app/manifests/v1";
    assert_eq!(guarded.get("maker", path).await.status, 200);
    guarded.access.replace_policy(&POLICY.replace("makers = [\"maker\"]", "makers = []")).unwrap();
    assert_eq!(guarded.get("maker", path).await.status, 403);
    guarded.access.replace_policy("nonsense").unwrap_err();
    assert_eq!(guarded.get("maker", path).await.status, 403);
    assert_eq!(guarded.get("reader", path).await.status, 200);
    guarded.access.replace_identities(Identities::default());
    assert_eq!(guarded.get("reader", path).await.status, 401);
}

#[tokio::test]
async fn the_base_tells_clients_whether_to_log_in() {
    let guarded = Guarded::start().await;
    assert_eq!(guarded.get("", "/v2/").await.status, 200);
    assert_eq!(guarded.get("idle", "/v2/").await.status, 200);
    guarded.access.replace_policy("").unwrap();
    let reply = guarded.get("", "/v2/").await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
    assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
    assert_eq!(guarded.get("idle", "/v2/").await.status, 200);
}

#[tokio::test]
async fn who_is_asked_who_they_are_may_come_from_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    let content = content::ContentStore::open(directory.path(), content::Options::default()).await.unwrap();
    let mut options = Options::default();
    options.access = Some(access(""));
    polyarch_registry::Server::bind("0.0.0.0:0", options, content).await.unwrap();
}
