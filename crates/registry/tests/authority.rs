//! Every right, alone and with every other, against everything that can be asked for.

mod issuer;
mod support;

use std::fmt::Write as _;

use image::Digest;
use issuer::{ISSUER, Key, claims, set, trust};
use polyarch_registry::{
    Access, Identities, IssuerOptions, Issuers, Options, Policy, SigningKey, TokenOptions, TokenServer,
};
use serde_json::json;
use support::{MANIFEST, Registry, Reply, manifest};

const ACTIONS: [&str; 6] = ["pull", "push", "create-only", "delete", "catalogue", "admin"];

/// Some of all actions: one bit for each.
#[derive(Clone, Copy, Debug)]
struct Rights(usize);

impl Rights {
    fn has(self, action: &str) -> bool {
        ACTIONS.iter().position(|known| *known == action).is_some_and(|at| self.0 & (1 << at) != 0)
    }

    fn pull(self) -> bool {
        self.has("pull") || self.has("admin")
    }

    fn push(self) -> bool {
        self.has("push") || self.has("admin")
    }

    fn create(self) -> bool {
        self.push() || self.has("create-only")
    }

    fn delete(self) -> bool {
        self.has("delete") || self.has("admin")
    }

    fn catalogue(self) -> bool {
        self.has("catalogue") || self.has("admin")
    }

    fn names(self) -> Vec<&'static str> {
        ACTIONS.into_iter().filter(|action| self.has(action)).collect()
    }
}

/// How somebody shows who they are.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A token from a file.
    Static,
    /// A token of the registry's own, for all that they may do.
    Token,
    /// A token of an issuer, which says what group they are in.
    Vouched,
}

struct Guarded {
    registry: Registry,
    access: Access,
    key: Key,
    _directory: tempfile::TempDir,
}

impl Guarded {
    /// `u1` to `u63`, each with the rights of its number in `r/u1` to `r/u63`; `root` may do everything.
    async fn start() -> Self {
        let mut policy = String::from("[[rules]]\nidentities=[\"root\"]\nrepositories=[\"**\"]\nactions=[\"admin\"]\n");
        let mut tokens = Identities::token_line("root", "token of root");
        for number in 1..1 << ACTIONS.len() {
            let actions = Rights(number).names();
            let _ = write!(
                policy,
                "[[rules]]\nidentities=[\"u{number}\"]\ngroups=[\"hub:u{number}\"]\n\
                 repositories=[\"r/u{number}\",\"r/u{number}/**\"]\nactions={actions:?}\n"
            );
            let _ =
                write!(tokens, "\n{}", Identities::token_line(&format!("u{number}"), &format!("token of u{number}")));
        }
        let key = Key::new("one", "EdDSA");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        std::fs::write(&path, set(&[&key])).unwrap();
        let mut options = IssuerOptions::new(ISSUER, path.to_str().unwrap(), "registry");
        options.name = Some("hub".to_owned());
        options.groups_claim = Some("groups".to_owned());
        let server = TokenServer::new(SigningKey::generate().unwrap(), TokenOptions::default()).unwrap();
        let access = Access::new(Policy::parse(&policy).unwrap(), Identities::parse("", &tokens).unwrap())
            .with_issuers(Issuers::open(vec![options], &trust(&[])).unwrap())
            .with_tokens(server);
        let mut options = Options::default();
        options.access = Some(access.clone());
        Self { registry: Registry::with(options).await, access, key, _directory: directory }
    }

    async fn ask(&self, token: &str, method: &str, path: &str, more: &[(&str, &str)], body: &[u8]) -> Reply {
        let header = format!("Bearer {token}");
        let mut headers = vec![("Authorization", header.as_str()), ("Content-Type", MANIFEST)];
        headers.extend(more);
        self.registry.send(method, path, &headers, body).await
    }

    async fn root(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.ask("token of root", method, path, &[], body).await
    }

    /// Where a tag points, as somebody sees it who sees everything.
    async fn tag(&self, repository: &str, tag: &str) -> Option<String> {
        let reply = self.root("HEAD", &format!("/v2/{repository}/manifests/{tag}"), b"").await;
        reply.header("docker-content-digest").map(str::to_owned)
    }

    async fn credentials(&self, number: usize, way: Way) -> String {
        match way {
            Way::Static => format!("token of u{number}"),
            Way::Vouched => {
                let mut said = claims("somebody");
                said["groups"] = json!([format!("u{number}")]);
                self.key.vouch("EdDSA", &said)
            }
            Way::Token => {
                let path = format!(
                    "/token?scope=repository:r/u{number}:*&scope=repository:r/u{number}/more:*\
                     &scope=repository:secret:*&scope=registry:catalog:*"
                );
                let password = format!("token of u{number}");
                let header = {
                    use base64::Engine as _;
                    base64::engine::general_purpose::STANDARD.encode(format!("u{number}:{password}"))
                };
                let reply =
                    self.registry.send("GET", &path, &[("Authorization", &format!("Basic {header}"))], b"").await;
                reply.json()["token"].as_str().unwrap().to_owned()
            }
        }
    }

    /// Asks for everything that can be asked for, with these rights.
    async fn all(&self, number: usize, way: Way) {
        let rights = Rights(number);
        let (layer, config) = (b"layer", b"{}");
        let (first, second) =
            (manifest(config, &[layer], ""), manifest(config, &[layer], r#","annotations":{"n":"2"}"#));
        let (old, new) = (Digest::sha256(first.as_bytes()), Digest::sha256(second.as_bytes()));
        let blob = Digest::sha256(layer);
        let at = format!("/v2/r/u{number}");
        for bytes in [&layer[..], config] {
            let digest = Digest::sha256(bytes);
            assert_eq!(self.root("POST", &format!("{at}/blobs/uploads/?digest={digest}"), bytes).await.status, 201);
        }
        for (tag, text) in [("kept", &first), ("other", &second)] {
            assert_eq!(self.root("PUT", &format!("{at}/manifests/{tag}"), text.as_bytes()).await.status, 201);
        }
        let who = self.credentials(number, way).await;
        let moved = [("If-None-Match", "*")];
        let quoted = format!("\"{old}\"");
        let matches = [("If-Match", quoted.as_str())];
        let none: &[(&str, &str)] = &[];
        let (pull, push, create, delete, list) =
            (rights.pull(), rights.push(), rights.create(), rights.delete(), rights.catalogue());
        let or = |may: bool, status: u16| if may { status } else { 403 };
        let (uploads, manifests) = (format!("{at}/blobs/uploads"), format!("{at}/manifests"));
        let (two, empty): (&[u8], &[u8]) = (second.as_bytes(), b"");
        let random = Digest::sha256(b"random");
        for (method, path, more, body, want) in [
            ("GET", "/v2/".to_owned(), none, empty, 200),
            ("GET", format!("{manifests}/kept"), none, empty, or(pull, 200)),
            ("HEAD", format!("{manifests}/kept"), none, empty, or(pull, 200)),
            ("GET", format!("{manifests}/none"), none, empty, or(pull, 404)),
            ("GET", format!("{manifests}/{old}"), none, empty, or(pull, 200)),
            ("GET", format!("{manifests}/{random}"), none, empty, or(pull, 404)),
            ("GET", format!("{at}/blobs/{blob}"), none, empty, or(pull, 200)),
            ("HEAD", format!("{at}/blobs/{blob}"), none, empty, or(pull, 200)),
            ("HEAD", format!("{at}/blobs/{random}"), none, empty, or(pull, 404)),
            ("GET", format!("{at}/tags/list"), none, empty, or(pull, 200)),
            ("GET", format!("{at}/referrers/{old}"), none, empty, or(pull, 200)),
            ("POST", format!("{uploads}/"), none, empty, or(create, 202)),
            ("GET", format!("{uploads}/0"), none, empty, or(create, 404)),
            ("PATCH", format!("{uploads}/0"), none, b"x", or(create, 404)),
            ("PUT", format!("{uploads}/0?digest={random}"), none, empty, or(create, 404)),
            ("DELETE", format!("{uploads}/0"), none, empty, or(create, 404)),
            ("POST", format!("{uploads}/?mount={blob}&from=secret"), none, empty, or(create, 202)),
            // Where one may not read, a blob that is there is no blob.
            (
                "POST",
                format!("{at}/more/blobs/uploads/?mount={blob}&from=r/u{number}"),
                none,
                empty,
                or(create, if pull { 201 } else { 202 }),
            ),
            // What is as it is moves nothing.
            ("PUT", format!("{manifests}/kept"), none, first.as_bytes(), or(create, 201)),
            ("PUT", format!("{manifests}/kept"), &moved, two, or(create, 412)),
            ("PUT", format!("{manifests}/{new}"), none, two, or(create, 201)),
            ("PUT", format!("{manifests}/created"), none, two, or(create, 201)),
            ("PUT", format!("{manifests}/created-too"), &moved, two, or(create, 201)),
            ("PUT", format!("{manifests}/{new}?tag=created-three&tag=created-four"), none, two, or(create, 201)),
            ("PUT", format!("{manifests}/{new}?tag=not-created&tag=kept"), none, two, or(push, 201)),
            ("PUT", format!("{manifests}/kept"), none, first.as_bytes(), or(create, 201)),
            ("PUT", format!("{manifests}/kept"), &matches, two, or(push, 201)),
            ("PUT", format!("{manifests}/kept"), none, first.as_bytes(), or(create, 201)),
            ("PUT", format!("{manifests}/kept"), none, two, or(push, 201)),
            ("GET", "/v2/_catalog".to_owned(), none, empty, or(list, 200)),
            ("DELETE", format!("{manifests}/none"), none, empty, or(delete, 404)),
            ("DELETE", format!("{manifests}/{random}"), none, empty, or(delete, 404)),
            ("DELETE", format!("{at}/blobs/{random}"), none, empty, or(delete, 404)),
            ("DELETE", format!("{manifests}/other"), none, empty, or(delete, 202)),
            ("DELETE", format!("{manifests}/kept"), none, empty, or(delete, 202)),
            ("DELETE", format!("{manifests}/{new}"), none, empty, or(delete, 202)),
            ("DELETE", format!("{at}/blobs/{blob}?force=true"), none, empty, or(delete, 202)),
            // Elsewhere nothing of all that counts.
            ("GET", "/v2/secret/tags/list".to_owned(), none, empty, 403),
            ("PUT", "/v2/r/manifests/kept".to_owned(), none, two, 403),
            ("DELETE", "/v2/secret/manifests/kept".to_owned(), none, empty, 403),
        ] {
            let before = self.tag(&format!("r/u{number}"), "kept").await;
            let reply = self.ask(&who, method, &path, more, body).await;
            let place = format!("{way:?} {:?} {method} {path} {more:?}: {reply:?}", rights.names());
            assert_eq!(reply.status, want, "{place}");
            if want == 403 {
                assert!(method == "HEAD" || reply.code() == "DENIED", "{place}");
                assert_eq!(self.tag(&format!("r/u{number}"), "kept").await, before, "{place}");
            }
            if path == "/v2/_catalog" && want == 200 {
                let mine = format!("r/u{number}");
                let shown: Vec<String> = serde_json::from_value(reply.json()["repositories"].clone()).unwrap();
                assert!(shown.iter().all(|name| name.starts_with(&mine)), "{place}");
                assert_eq!(shown.contains(&mine), pull, "{place}");
            }
        }
        assert_eq!(self.tag(&format!("r/u{number}"), "not-created").await.is_some(), push && !delete);
        assert_eq!(self.tag(&format!("r/u{number}"), "created-three").await.is_some(), create && !delete);
    }
}

#[tokio::test]
async fn each_right_allows_what_it_says_and_nothing_else() {
    let guarded = Guarded::start().await;
    assert_eq!(
        guarded.root("POST", &format!("/v2/secret/blobs/uploads/?digest={}", Digest::sha256(b"x")), b"x").await.status,
        201
    );
    // Alone and in pairs; in a long test, as many together as there are.
    let most = if std::env::var_os("POLYARCH_LONG").is_some() { ACTIONS.len() as u32 } else { 2 };
    let numbers: Vec<usize> = (1..1 << ACTIONS.len()).filter(|number: &usize| number.count_ones() <= most).collect();
    for some in numbers.chunks(8) {
        futures_util::future::join_all(some.iter().map(|number| guarded.all(*number, Way::Static))).await;
    }
}

#[tokio::test]
async fn it_is_the_same_however_somebody_shows_who_they_are() {
    for way in [Way::Token, Way::Vouched] {
        let guarded = Guarded::start().await;
        // Each alone, and those that go together.
        for number in [0b1, 0b10, 0b100, 0b1000, 0b10_0000, 0b11, 0b101, 0b1_0101, 0b1001] {
            guarded.all(number, way).await;
        }
    }
}

#[tokio::test]
async fn rights_that_are_taken_away_are_gone_in_the_middle_of_what_was_begun() {
    let guarded = Guarded::start().await;
    for way in [Way::Static, Way::Token, Way::Vouched] {
        let number = 0b11;
        let who = guarded.credentials(number, way).await;
        let uploads = format!("/v2/r/u{number}/blobs/uploads/");
        let begun = guarded.ask(&who, "POST", &uploads, &[], b"").await;
        let session = begun.header("location").unwrap().to_owned();
        assert_eq!(guarded.ask(&who, "PATCH", &session, &[], b"one").await.status, 202);
        let before = guarded.access.policy();
        guarded.access.replace_policy("").unwrap();
        for (method, path) in
            [("PATCH", session.clone()), ("GET", session.clone()), ("PUT", format!("{session}?digest=x"))]
        {
            assert_eq!(guarded.ask(&who, method, &path, &[], b"two").await.status, 403, "{way:?} {method}");
        }
        assert_eq!(guarded.ask(&who, "GET", &format!("/v2/r/u{number}/tags/list"), &[], b"").await.status, 403);
        let again = format!(
            "[[rules]]\nidentities=[\"u{number}\"]\ngroups=[\"hub:u{number}\"]\nrepositories=[\"r/*\"]\nactions=[\"push\"]"
        );
        guarded.access.replace_policy(&again).unwrap();
        let path = format!("{session}?digest={}", Digest::sha256(b"one"));
        assert_eq!(guarded.ask(&who, "PUT", &path, &[], b"").await.status, 201, "{way:?}");
        assert_ne!(*before, *guarded.access.policy());
        guarded.access.replace_policy(&again.replace("\"push\"", "\"pull\",\"push\"")).unwrap();
    }
}
