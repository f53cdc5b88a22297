//! Tokens of other issuers: which are taken, whom they stand for, and where the keys come from.

mod issuer;
mod support;

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use issuer::{Host, ISSUER, Key, claims, now, ok, set, trust};
use polyarch_registry::{
    Access, Identities, IssuerOptions, Issuers, Options, Policy, SelfSigned, SigningKey, TokenOptions, TokenServer,
};
use serde_json::{Value, json};
use support::{Registry, Reply};

const POLICY: &str = r#"
    [groups]
    makers = ["hub:maker", "bob"]

    [[rules]]
    identities = ["*", "anonymous"]
    repositories = ["own/**"]
    actions = ["pull", "push", "delete"]

    [[rules]]
    identities = ["hub:alice", "hub:repo:team/*"]
    repositories = ["alice/**"]
    actions = ["pull", "push"]

    [[rules]]
    groups = ["hub:readers", "makers"]
    repositories = ["group/**"]
    actions = ["pull", "catalogue"]

    [[rules]]
    identities = ["bob"]
    repositories = ["bob/**"]
    actions = ["admin"]
"#;

fn options(jwks: &str) -> IssuerOptions {
    let mut options = IssuerOptions::new(ISSUER, jwks, "registry");
    options.name = Some("hub".to_owned());
    options.groups_claim = Some("groups".to_owned());
    options
}

struct Guarded {
    registry: Registry,
    access: Access,
    _directory: tempfile::TempDir,
}

impl Guarded {
    /// A registry that takes tokens of these keys, from a file.
    async fn file(keys: &[&Key], tokens: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.json");
        std::fs::write(&path, set(keys)).unwrap();
        let issuers = Issuers::open(vec![options(path.to_str().unwrap())], &trust(&[])).unwrap();
        Self::start(issuers, tokens, directory).await
    }

    async fn start(issuers: Issuers, tokens: bool, directory: tempfile::TempDir) -> Self {
        let users = format!("bob:{}", bcrypt::hash("bob!", 4).unwrap());
        let identities = Identities::parse(&users, "").unwrap();
        let mut access = Access::new(Policy::parse(POLICY).unwrap(), identities).with_issuers(issuers);
        if tokens {
            let server = TokenServer::new(SigningKey::generate().unwrap(), TokenOptions::default()).unwrap();
            access = access.with_tokens(server);
        }
        let mut options = Options::default();
        options.access = Some(access.clone());
        Self { registry: Registry::with(options).await, access, _directory: directory }
    }

    async fn of(options: IssuerOptions, trusted: &[&SelfSigned]) -> Self {
        let issuers = Issuers::open(vec![options], &trust(trusted)).unwrap();
        Self::start(issuers, false, tempfile::tempdir().unwrap()).await
    }

    async fn show(&self, authorization: &str, path: &str) -> Reply {
        self.registry.send("GET", path, &[("Authorization", authorization)], b"").await
    }

    async fn bearer(&self, token: &str, path: &str) -> u16 {
        self.show(&format!("Bearer {token}"), path).await.status
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// What is answered to somebody who may pull from a repository that has nothing.
const MAY: u16 = 404;

#[tokio::test]
async fn a_token_is_taken_as_bearer_and_in_place_of_a_password() {
    let key = Key::new("one", "ES256");
    for tokens in [false, true] {
        let guarded = Guarded::file(&[&key], tokens).await;
        let token = key.vouch("ES256", &claims("alice"));
        for header in [
            format!("Bearer {token}"),
            format!("bearer {token}"),
            basic("oauth2", &token),
            basic("", &token),
            basic("bob", &token),
        ] {
            assert_eq!(guarded.show(&header, "/v2/").await.status, 200);
            assert_eq!(guarded.show(&header, "/v2/alice/app/tags/list").await.status, MAY);
            // Neither is it `bob`, whatever it calls itself, nor anybody whom this registry knows by itself.
            for other in ["bob/app", "own/app", "group/app"] {
                assert_eq!(guarded.show(&header, &format!("/v2/{other}/tags/list")).await.status, 403, "{other}");
            }
        }
        let reply = guarded.show(&format!("Bearer {token}"), "/v2/bob/app/tags/list").await;
        assert_eq!(reply.json()["errors"][0]["message"], "`hub:alice` may not pull from `bob/app`");
        assert_eq!(guarded.show(&basic("bob", "bob!"), "/v2/bob/app/tags/list").await.status, MAY);
    }
}

#[tokio::test]
async fn nobody_can_be_somebody_else_by_what_an_issuer_says() {
    let key = Key::new("one", "ES256");
    let guarded = Guarded::file(&[&key], false).await;
    for (subject, groups, want) in [
        ("bob", json!([]), &[][..]),
        ("*", json!(["*", "anonymous", "makers"]), &[]),
        ("anonymous", json!([]), &[]),
        ("alice", json!([]), &["alice"]),
        ("ALICE", json!([]), &[]),
        ("alice ", json!([]), &[]),
        ("hub:alice", json!(["hub:readers"]), &[]),
        ("repo:team/app:ref:main", json!([]), &["alice"]),
        ("repo:teams", json!([]), &[]),
        ("maker", json!([]), &["group"]),
        ("x", json!(["readers"]), &["group"]),
        ("x", json!("readers"), &["group"]),
        ("x", json!(["Readers", "readers "]), &[]),
    ] {
        let mut said = claims(subject);
        said["groups"] = groups;
        let token = key.vouch("ES256", &said);
        let mut may = Vec::new();
        for repository in ["alice", "group", "bob", "own"] {
            match guarded.bearer(&token, &format!("/v2/{repository}/app/tags/list")).await {
                MAY => may.push(repository),
                status => assert_eq!(status, 403, "{subject} {repository}"),
            }
        }
        assert_eq!(may, want, "{said}");
    }
}

#[tokio::test]
async fn who_leaves_a_group_of_the_policy_or_loses_its_issuer_loses_its_rights_at_once() {
    let key = Key::new("one", "ES256");
    let guarded = Guarded::file(&[&key], false).await;
    let mut said = claims("x");
    said["groups"] = json!(["readers"]);
    let token = key.vouch("ES256", &said);
    let path = "/v2/group/app/tags/list";
    assert_eq!(guarded.bearer(&token, path).await, MAY);
    guarded.access.replace_policy(&POLICY.replace("hub:readers", "hub:others")).unwrap();
    assert_eq!(guarded.bearer(&token, path).await, 403);
    guarded.access.replace_policy(POLICY).unwrap();
    assert_eq!(guarded.bearer(&token, path).await, MAY);
    guarded.access.replace_issuers(Issuers::default());
    assert_eq!(guarded.bearer(&token, path).await, 401);
}

#[tokio::test]
async fn every_signature_that_is_taken_is_one_of_a_key_for_it() {
    let names = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];
    let keys: Vec<Key> = names.iter().map(|name| Key::new(name, name)).collect();
    let guarded = Guarded::file(&keys.iter().collect::<Vec<_>>(), false).await;
    for (key, name) in keys.iter().zip(names) {
        assert_eq!(guarded.bearer(&key.vouch(name, &claims("alice")), "/v2/").await, 200, "{name}");
        for other in names.into_iter().chain(["none", "HS256", "HS384", "HS512"]).filter(|other| *other != name) {
            // A key that signs in one way, under the name of another, and the reverse.
            let head = json!({ "alg": other, "kid": name }).to_string();
            let token = key.token(&head, &claims("alice").to_string(), name);
            assert_eq!(guarded.bearer(&token, "/v2/").await, 401, "{name} as {other}");
        }
    }
}

/// `{"a":1}` with something before it.
fn twice(value: &Value, more: &str) -> String {
    format!("{{{more},{}", &value.to_string()[1..])
}

#[tokio::test]
async fn a_forged_token_opens_nothing() {
    // As CVE-2025-24976 and its kin let it: what the token says of its key was believed.
    let (key, forger) = (Key::new("one", "ES256"), Key::new("one", "ES256"));
    let rsa = Key::new("two", "RS256");
    let guarded = Guarded::file(&[&key, &rsa], true).await;
    let said = claims("alice");
    let text = said.to_string();
    let head = |more: Value| {
        let mut head = json!({ "alg": "ES256", "kid": "one", "typ": "JWT" });
        for (name, value) in more.as_object().unwrap() {
            head[name] = value.clone();
        }
        head.to_string()
    };
    let good = key.vouch("ES256", &said);
    assert_eq!(guarded.bearer(&good, "/v2/").await, 200);
    let (message, signature) = good.rsplit_once('.').unwrap();
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let mut forged = vec![
        ("another key under the same name", forger.vouch("ES256", &said)),
        ("no signature", format!("{message}.")),
        ("no part for it", message.to_owned()),
        ("four parts", format!("{good}.x")),
        ("another signature", format!("{message}.{}", URL_SAFE_NO_PAD.encode([0; 64]))),
        ("a signature in DER", format!("{message}.{}", URL_SAFE_NO_PAD.encode([0x30, 6, 2, 1, 1, 2, 1, 1]))),
        ("other claims", format!("{}.{}.{signature}", encoded(&head(json!({}))), encoded(&claims("bob").to_string()))),
        ("padding", format!("{good}==")),
        ("a blank", format!("{message} .{signature}")),
        ("too long", format!("{good}{}", "A".repeat(20_000))),
        ("too long, but right", {
            let mut said = said.clone();
            said["more"] = json!("x".repeat(20_000));
            key.vouch("ES256", &said)
        }),
    ];
    for name in ["jwk", "jku", "x5c", "x5u", "crit", "b64", "zip"] {
        let value = if name == "jwk" { forger.jwk() } else { json!(["https://forger.example/keys"]) };
        let head = head(json!({ name: value }));
        forged.push((name, forger.token(&head, &text, "ES256")));
        forged.push((name, key.token(&head, &text, "ES256")));
    }
    for id in ["../../../../dev/null", "' or 1=1 --", "", "two", "ONE", "one\u{0}", "https://forger.example/keys"] {
        forged.push(("kid", key.token(&head(json!({ "kid": id })), &text, "ES256")));
    }
    for value in [json!(1), json!(null), json!(["one"]), json!({})] {
        forged.push(("kid", key.token(&head(json!({ "kid": value })), &text, "ES256")));
    }
    for algorithm in ["none", "None", "NONE", "nOnE", "", "HS256", "es256", "ES256K", "ES384", "RS256"] {
        let head = head(json!({ "alg": algorithm }));
        forged.push(("alg", key.token(&head, &text, "ES256")));
        forged.push(("alg", format!("{}.{}.", encoded(&head), encoded(&text))));
    }
    // The public key as a shared secret, in each form that it could be taken for one.
    for secret in [rsa.jwk().to_string().into_bytes(), rsa.jwk()["n"].as_str().unwrap().as_bytes().to_vec()] {
        let message = format!("{}.{}", encoded(r#"{"alg":"HS256","kid":"two"}"#), encoded(&text));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        forged.push(("HS256", format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))));
    }
    forged.push((
        "alg twice",
        key.token(&twice(&json!({ "alg": "ES256", "kid": "one" }), r#""alg":"none""#), &text, "ES256"),
    ));
    for more in [r#""sub":"bob""#, r#""aud":"x""#, r#""exp":9999999999"#, r#""iss":"x""#, r#""x":{"a":1,"a":2}"#] {
        forged.push(("claims twice", key.token(&head(json!({})), &twice(&said, more), "ES256")));
    }
    for (name, value) in [
        ("exp", json!(now() - 3600)),
        ("exp", json!(null)),
        ("exp", json!("9999999999")),
        ("exp", json!(-1)),
        ("nbf", json!(now() + 3600)),
        ("iat", json!(now() + 3600)),
        ("aud", json!("other")),
        ("aud", json!([])),
        ("aud", json!(["other", { "registry": 1 }])),
        ("iss", json!("https://forger.example")),
        ("iss", json!("https://issuer.example/")),
        ("iss", json!([ISSUER])),
        ("sub", json!("")),
        ("sub", json!(0)),
        ("sub", json!("alice\u{0}")),
        ("groups", json!([1])),
    ] {
        let mut said = said.clone();
        said[name] = value;
        forged.push((name, key.vouch("ES256", &said)));
    }
    for name in ["exp", "aud", "iss", "sub"] {
        let mut said = said.clone();
        said.as_object_mut().unwrap().remove(name);
        forged.push((name, key.vouch("ES256", &said)));
    }
    for claims in ["", "[]", "null", "\u{feff}{}", "{}", "{", &"[".repeat(5000), &"{\"a\":".repeat(2000)] {
        forged.push(("claims", key.token(&head(json!({})), claims, "ES256")));
    }
    for head in ["", "[]", "{}", "null", &"[".repeat(5000)] {
        forged.push(("head", key.token(head, &text, "ES256")));
    }
    for (what, token) in forged {
        for header in [format!("Bearer {token}"), basic("alice", &token)] {
            for path in ["/v2/", "/v2/alice/app/tags/list", "/v2/own/app/tags/list"] {
                let reply = guarded.show(&header, path).await;
                assert_eq!(reply.status, 401, "{what} {path} {token}");
            }
        }
        assert_eq!(guarded.show(&basic("alice", &token), "/token").await.status, 401, "{what}");
    }
}

#[tokio::test]
async fn a_login_with_a_token_gets_tokens_that_end_with_it() {
    let key = Key::new("one", "EdDSA");
    let guarded = Guarded::file(&[&key], true).await;
    let mut said = claims("alice");
    said["groups"] = json!(["readers"]);
    said["exp"] = json!(now() + 20 - 60);
    let path = "/token?service=polyarch&offline_token=true&scope=repository:alice/app:pull,push\
                &scope=repository:group/app:pull,push&scope=repository:bob/app:pull";
    let reply = guarded.show(&basic("token", &key.vouch("EdDSA", &said)), path).await;
    assert_eq!((reply.status, &reply.json()["refresh_token"]), (200, &Value::Null));
    assert_eq!(reply.json()["scope"], "repository:alice/app:pull,push repository:group/app:pull");
    let lasts = reply.json()["expires_in"].as_u64().unwrap();
    assert!((1..=20).contains(&lasts), "{lasts}");
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    for (path, want) in [
        ("/v2/", 200),
        ("/v2/alice/app/tags/list", MAY),
        ("/v2/group/app/tags/list", MAY),
        ("/v2/group/other/tags/list", 401),
        ("/v2/bob/app/tags/list", 403),
        ("/v2/own/app/tags/list", 403),
    ] {
        assert_eq!(guarded.bearer(&token, path).await, want, "{path}");
    }
    let password = key.vouch("EdDSA", &claims("alice"));
    let form = format!("grant_type=password&username=x&password={password}&scope=repository:alice/app:pull");
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let reply = guarded.registry.send("POST", "/token", &headers, form.as_bytes()).await;
    assert_eq!((reply.status, &reply.json()["scope"]), (200, &json!("repository:alice/app:pull")));
    assert_eq!(reply.json()["expires_in"], 300);
    // It is no refresh token, and a token of this registry is no password.
    let form = format!("grant_type=refresh_token&refresh_token={password}");
    assert_eq!(guarded.registry.send("POST", "/token", &headers, form.as_bytes()).await.status, 401);
    assert_eq!(guarded.show(&basic("x", &token), "/token").await.status, 401);
    // Whoever is no longer believed takes what they said along.
    guarded.access.replace_issuers(Issuers::default());
    assert_eq!(guarded.bearer(&token, "/v2/alice/app/tags/list").await, 401);
}

#[tokio::test]
async fn keys_come_from_an_address_whose_certificate_is_right_and_from_nowhere_else() {
    let (made, other) = (SelfSigned::generate(&[]).unwrap(), SelfSigned::generate(&[]).unwrap());
    let key = Key::new("one", "RS256");
    let token = key.vouch("RS256", &claims("alice"));
    let keys = set(&[&key]);
    let host = Host::start(Some(&made), ok(&keys)).await;
    let address = format!("https://localhost:{}/keys", host.address.port());
    let good = Guarded::of(options(&address), &[&made]).await;
    assert_eq!(host.asked(), 0, "nobody has shown a token yet");
    for _ in 0..3 {
        assert_eq!(good.bearer(&token, "/v2/").await, 200);
    }
    assert_eq!(host.asked(), 1);
    // Whoever stands in its place.
    for trusted in [&[&other][..], &[]] {
        let bad = Guarded::of(options(&address), trusted).await;
        let reply = bad.show(&format!("Bearer {token}"), "/v2/").await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("10")), "{reply:?}");
        assert_eq!(reply.code(), "UNAVAILABLE");
        assert_eq!(bad.show(&basic("x", &token), "/v2/").await.status, 503);
        // Others go on.
        assert_eq!(bad.show(&basic("bob", "bob!"), "/v2/").await.status, 200);
    }
    assert_eq!(host.asked(), 1);
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n").into_bytes();
    let huge = ok(&format!("{}{keys}", " ".repeat(600 << 10)));
    let endless = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), b"10000\r\n".to_vec()].concat();
    let endless = [endless, [vec![b' '; 0x10000], b"\r\n10000\r\n".to_vec()].concat().repeat(20)].concat();
    let status = format!("HTTP/1.1 500 Oh\r\nContent-Length: {}\r\n\r\n{keys}", keys.len()).into_bytes();
    for answer in [redirect, huge, endless, status, ok("{}"), ok("<html>"), ok(r#"{"keys":[]}"#), Vec::new()] {
        let host = Host::start(None, answer).await;
        let bad = Guarded::of(options(&format!("http://{}/keys", host.address)), &[&made]).await;
        for _ in 0..2 {
            assert_eq!(bad.bearer(&token, "/v2/").await, 503);
        }
        assert_eq!(host.asked(), 1, "it is not asked again at once");
    }
}

#[tokio::test]
async fn a_key_that_is_not_known_is_asked_for_but_not_by_everybody_all_the_time() {
    let (old, new) = (Key::new("old", "ES256"), Key::new("new", "ES256"));
    let host = Host::start(None, ok(&set(&[&old]))).await;
    let mut options = options(&format!("http://{}/keys", host.address));
    options.retry = Duration::from_millis(400);
    let guarded = Guarded::of(options.clone(), &[]).await;
    let (before, after) = (old.vouch("ES256", &claims("alice")), new.vouch("ES256", &claims("alice")));
    assert_eq!(guarded.bearer(&before, "/v2/").await, 200);
    assert_eq!(guarded.bearer(&after, "/v2/").await, 401);
    host.say(ok(&set(&[&new, &old])));
    for _ in 0..20 {
        assert_eq!(guarded.bearer(&Key::new("x", "ES256").vouch("ES256", &claims("alice")), "/v2/").await, 401);
    }
    assert_eq!(host.asked(), 1, "within the time that it is let alone");
    tokio::time::sleep(Duration::from_millis(450)).await;
    // All at once: one asks, and the others wait for what it gets.
    *host.delay.lock().unwrap() = Duration::from_millis(100);
    let all = futures_util::future::join_all((0..10).map(|_| guarded.bearer(&after, "/v2/"))).await;
    assert_eq!((all, host.asked()), (vec![200; 10], 2));
    assert_eq!(guarded.bearer(&before, "/v2/").await, 200);
    // The same issuer, set once more, is not asked again.
    let same = Issuers::open(vec![options.clone()], &trust(&[])).unwrap();
    guarded.access.replace_issuers(same);
    assert_eq!((guarded.bearer(&after, "/v2/").await, host.asked()), (200, 2));
    options.audience = vec!["other".to_owned()];
    guarded.access.replace_issuers(Issuers::open(vec![options], &trust(&[])).unwrap());
    assert_eq!((guarded.bearer(&after, "/v2/").await, host.asked()), (401, 3));
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_keep_keys_from_others() {
    let key = Key::new("one", "ES256");
    let host = Host::start(None, ok(&set(&[&key]))).await;
    *host.delay.lock().unwrap() = Duration::from_millis(300);
    let guarded = Guarded::of(options(&format!("http://{}/keys", host.address)), &[]).await;
    let token = key.vouch("ES256", &claims("alice"));
    let _ = tokio::time::timeout(Duration::from_millis(100), guarded.bearer(&token, "/v2/")).await.unwrap_err();
    assert_eq!((guarded.bearer(&token, "/v2/").await, host.asked()), (200, 1));
}

#[tokio::test]
async fn keys_are_kept_for_a_while_when_their_issuer_is_gone() {
    let key = Key::new("one", "ES256");
    let host = Host::start(None, ok(&set(&[&key]))).await;
    let mut options = options(&format!("http://{}/keys", host.address));
    (options.refresh, options.retry, options.keep) =
        (Duration::from_millis(100), Duration::from_millis(50), Duration::from_millis(1500));
    let guarded = Guarded::of(options, &[]).await;
    let token = key.vouch("ES256", &claims("alice"));
    assert_eq!(guarded.bearer(&token, "/v2/").await, 200);
    let begun = std::time::Instant::now();
    host.say(b"HTTP/1.1 503 Gone\r\nContent-Length: 0\r\n\r\n".to_vec());
    tokio::time::sleep(Duration::from_millis(200)).await;
    if begun.elapsed() < Duration::from_millis(1200) {
        assert_eq!(guarded.bearer(&token, "/v2/").await, 200);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(host.asked() > 1, "it was asked again meanwhile");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(guarded.bearer(&token, "/v2/").await, 503);
    host.say(ok(&set(&[&key])));
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(guarded.bearer(&token, "/v2/").await, 200);
    // A key that its issuer has taken back.
    host.say(ok(&set(&[&Key::new("two", "ES256")])));
    tokio::time::sleep(Duration::from_millis(150)).await;
    let _ = guarded.bearer(&token, "/v2/").await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(guarded.bearer(&token, "/v2/").await, 401);
}

#[tokio::test]
async fn a_file_of_keys_that_changes_is_read_again_and_one_that_breaks_is_not_taken() {
    let (old, new) = (Key::new("old", "ES256"), Key::new("new", "ES256"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, set(&[&old])).unwrap();
    let mut options = options(path.to_str().unwrap());
    options.retry = Duration::ZERO;
    let guarded = Guarded::of(options, &[]).await;
    let (before, after) = (old.vouch("ES256", &claims("alice")), new.vouch("ES256", &claims("alice")));
    assert_eq!(guarded.bearer(&before, "/v2/").await, 200);
    std::fs::write(&path, "{").unwrap();
    assert_eq!(guarded.bearer(&after, "/v2/").await, 401);
    assert_eq!(guarded.bearer(&before, "/v2/").await, 200);
    std::fs::write(&path, set(&[&new])).unwrap();
    assert_eq!(guarded.bearer(&after, "/v2/").await, 200);
    assert_eq!(guarded.bearer(&before, "/v2/").await, 401);
}

#[test]
fn settings_that_cannot_be_used_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, set(&[&Key::new("one", "ES256")])).unwrap();
    let file = path.to_str().unwrap();
    let with = |change: &dyn Fn(&mut IssuerOptions)| {
        let mut options = options(file);
        change(&mut options);
        Issuers::open(vec![options], &trust(&[])).map(|_| ()).map_err(|error| error.to_string())
    };
    let of = |key: &str, reason: &str| format!("issuer `{ISSUER}`: `{key}` {reason}");
    with(&|_| ()).unwrap();
    with(&|options| options.name = None).unwrap();
    for name in ["", "a:b", "a b", "certificate", "anonymous", "*", &"x".repeat(101)] {
        let error = with(&|options| options.name = Some(name.to_owned())).unwrap_err();
        assert!(error.starts_with(&of("name", "")), "{error}");
    }
    for (issuer, name) in [("accounts", None), ("", Some("x")), ("https://[::1]/", None)] {
        let error = with(&|options| {
            options.issuer = issuer.to_owned();
            options.name = name.map(str::to_owned);
        });
        assert!(error.unwrap_err().starts_with(&format!("issuer `{issuer}`: `")));
    }
    let error = with(&|options| options.audience.clear()).unwrap_err();
    assert_eq!(error, of("audience", "is empty: then tokens for anybody else would be taken here, too"));
    assert_eq!(with(&|options| options.name_claim.clear()).unwrap_err(), of("name-claim", "is empty"));
    let error = with(&|options| "http://issuer.example/keys".clone_into(&mut options.jwks)).unwrap_err();
    let reason = "is `http://` and not on this machine: whoever is on the way could put in keys of their own";
    assert_eq!(error, of("jwks", reason));
    let missing = directory.path().join("none.json");
    let error = with(&|options| missing.to_str().unwrap().clone_into(&mut options.jwks)).unwrap_err();
    assert!(error.contains("none.json") && error.contains("No such file"), "{error}");
    std::fs::write(&path, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#).unwrap();
    let error = with(&|_| ()).unwrap_err();
    assert!(error.ends_with("it has a private key or a shared secret in it: others may have read it"), "{error}");
    std::fs::write(&path, set(&[&Key::new("one", "ES256")])).unwrap();
    let mut other = options(file);
    let both =
        |other: &IssuerOptions| Issuers::open(vec![options(file), other.clone()], &trust(&[])).unwrap_err().to_string();
    assert_eq!(both(&other), of("issuer", "is there twice"));
    other.issuer = "https://other.example".to_owned();
    let want = format!("issuer `https://other.example`: `name` would be `hub`, as that of `{ISSUER}` is");
    assert_eq!(both(&other), want);
}
