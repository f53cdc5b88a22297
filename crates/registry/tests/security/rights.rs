//! Rights on one thing that must not become rights on another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::Digest;
use polyarch_registry::{Access, Identities, Options, Policy};

use crate::support::{MANIFEST, Registry, Reply, manifest};

const POLICY: &str = r#"
    [[rules]]
    identities = ["owner"]
    repositories = ["**"]
    actions = ["admin"]

    [[rules]]
    identities = ["writer"]
    repositories = ["own/**"]
    actions = ["pull", "push"]

    [[rules]]
    identities = ["reader"]
    repositories = ["team/**"]
    actions = ["pull"]
"#;

struct Guarded(Registry, Access);

impl Guarded {
    async fn start() -> Self {
        let users = ["owner", "writer", "reader"].map(|name| format!("{name}:{}\n", bcrypt::hash(name, 4).unwrap()));
        let identities = Identities::parse(&users.concat(), "").unwrap();
        let access = Access::new(Policy::parse(POLICY).unwrap(), identities);
        let mut options = Options::default();
        options.access = Some(access.clone());
        Self(Registry::with(options).await, access)
    }

    async fn ask(&self, who: &str, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Reply {
        let credentials = format!("Basic {}", STANDARD.encode(format!("{who}:{who}")));
        let mut headers = vec![("Authorization", credentials.as_str()), ("Content-Type", MANIFEST)];
        headers.extend(more);
        self.0.send(method, path, &headers, body).await
    }

    /// An image of the owner's.
    async fn image(&self, repository: &str) -> Vec<u8> {
        for bytes in [&b"layer"[..], b"{}"] {
            let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(bytes));
            assert_eq!(self.ask("owner", "POST", &path, &[], bytes).await.status, 201);
        }
        let image = manifest(b"{}", &[b"layer"], "").into_bytes();
        let path = format!("/v2/{repository}/manifests/v1");
        assert_eq!(self.ask("owner", "PUT", &path, &[], &image).await.status, 201);
        image
    }
}

#[tokio::test]
async fn who_may_push_may_not_delete_be_it_a_tag() {
    let guarded = Guarded::start().await;
    let image = guarded.image("own/app").await;
    for end in [
        "manifests/v1".to_owned(),
        "manifests/v1?force=true".to_owned(),
        format!("manifests/{}", Digest::sha256(&image)),
        format!("manifests/{}?force=true", Digest::sha256(&image)),
        format!("blobs/{}?force=true", Digest::sha256(b"layer")),
    ] {
        let reply = guarded.ask("writer", "DELETE", &format!("/v2/own/app/{end}"), &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "DENIED"), "{end}");
    }
    // Nor by another method's name.
    for (name, value) in [("X-HTTP-Method-Override", "DELETE"), ("X-Method-Override", "DELETE")] {
        guarded.ask("writer", "POST", "/v2/own/app/manifests/v1", &[(name, value)], b"").await;
        guarded.ask("writer", "GET", "/v2/own/app/manifests/v1?_method=DELETE", &[(name, value)], b"").await;
    }
    assert_eq!(guarded.ask("writer", "GET", "/v2/own/app/manifests/v1", &[], b"").await.body, image);
    // Its own upload session it may drop.
    let reply = guarded.ask("writer", "POST", "/v2/own/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    assert_eq!(guarded.ask("writer", "DELETE", &session, &[], b"").await.status, 204);
}

#[tokio::test]
async fn a_session_of_a_repository_is_nothing_in_ones_own() {
    let guarded = Guarded::start().await;
    let reply = guarded.ask("owner", "POST", "/v2/secret/app/blobs/uploads/", &[], b"").await;
    let session = reply.header("location").unwrap().to_owned();
    assert_eq!(guarded.ask("owner", "PATCH", &session, &[], b"secret bytes").await.status, 202);
    let own = session.replace("/v2/secret/app/", "/v2/own/app/");
    let digest = Digest::sha256(b"secret bytes");
    for (method, path) in
        [("GET", own.clone()), ("PATCH", own.clone()), ("PUT", format!("{own}?digest={digest}")), ("DELETE", own)]
    {
        let reply = guarded.ask("writer", method, &path, &[], b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"), "{method}");
    }
    for method in ["GET", "PATCH", "PUT", "DELETE"] {
        assert_eq!(guarded.ask("writer", method, &session, &[], b"").await.status, 403, "{method}");
    }
    assert_eq!(guarded.ask("owner", "GET", &session, &[], b"").await.header("range"), Some("0-11"));
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_gone_for_what_was_read_before() {
    let guarded = Guarded::start().await;
    let image = guarded.image("team/app").await;
    let etag = format!("\"{}\"", Digest::sha256(&image));
    let paths = [
        "/v2/team/app/manifests/v1".to_owned(),
        format!("/v2/team/app/manifests/{}", Digest::sha256(&image)),
        format!("/v2/team/app/blobs/{}", Digest::sha256(b"layer")),
        "/v2/team/app/tags/list".to_owned(),
        format!("/v2/team/app/referrers/{}", Digest::sha256(&image)),
    ];
    for _ in 0..2 {
        for path in &paths {
            assert_eq!(guarded.ask("reader", "GET", path, &[], b"").await.status, 200, "{path}");
        }
    }
    assert_eq!(guarded.ask("reader", "GET", &paths[0], &[("If-None-Match", &etag)], b"").await.status, 304);
    guarded.1.replace_policy(&POLICY.replace("\"team/**\"", "\"other/**\"")).unwrap();
    for path in &paths {
        for method in ["GET", "HEAD"] {
            for more in [&[][..], &[("If-None-Match", etag.as_str())], &[("Range", "bytes=0-0")]] {
                assert_eq!(
                    guarded.ask("reader", method, path, more, b"").await.status,
                    403,
                    "{method} {path} {more:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_blob_that_was_deleted_here_is_gone_here_though_another_holds_it() {
    let guarded = Guarded::start().await;
    let digest = Digest::sha256(b"shared");
    for repository in ["own/app", "secret/app"] {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        assert_eq!(guarded.ask("owner", "POST", &path, &[], b"shared").await.status, 201);
        assert_eq!(
            guarded.ask("owner", "GET", &format!("/v2/{repository}/blobs/{digest}"), &[], b"").await.status,
            200
        );
    }
    let here = format!("/v2/own/app/blobs/{digest}");
    assert_eq!(guarded.ask("owner", "DELETE", &here, &[], b"").await.status, 202);
    for method in ["GET", "HEAD"] {
        assert_eq!(guarded.ask("writer", method, &here, &[], b"").await.status, 404);
    }
    let reply = guarded.ask("owner", "GET", &format!("/v2/secret/app/blobs/{digest}"), &[], b"").await;
    assert_eq!(reply.body, b"shared");
}
