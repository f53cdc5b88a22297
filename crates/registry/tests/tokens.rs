//! The token server, and what its tokens open.

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use polyarch_registry::{Access, Identities, Options, Policy, SigningKey, TokenAlgorithm, TokenOptions, TokenServer};
use support::{MANIFEST, Registry, Reply};

const POLICY: &str = r#"
    [[rules]]
    identities = ["anonymous", "*"]
    repositories = ["public/**"]
    actions = ["pull", "catalogue"]

    [[rules]]
    identities = ["bob"]
    repositories = ["team/**"]
    actions = ["pull", "push"]

    [[rules]]
    identities = ["ci"]
    repositories = ["team/**"]
    actions = ["pull", "create-only"]
"#;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn identities(password: &str) -> Identities {
    let users = format!("bob:{}\nci:{}", bcrypt::hash(password, 4).unwrap(), bcrypt::hash("ci!", 4).unwrap());
    Identities::parse(&users, "").unwrap()
}

fn server() -> TokenServer {
    TokenServer::new(SigningKey::generate().unwrap(), TokenOptions::default()).unwrap()
}

async fn start_with(server: TokenServer) -> (Registry, Access) {
    let access = Access::new(Policy::parse(POLICY).unwrap(), identities("bob!")).with_tokens(server);
    let mut options = Options::default();
    options.access = Some(access.clone());
    (Registry::with(options).await, access)
}

async fn start() -> (Registry, Access) {
    start_with(server()).await
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Asks for a token as `who`, whose password is their name and `!`.
async fn ask(registry: &Registry, who: &str, query: &str) -> Reply {
    let credentials = basic(who, &format!("{who}!"));
    let headers = [("Authorization", credentials.as_str())];
    registry.send("GET", &format!("/token?{query}"), &headers[usize::from(who.is_empty())..], b"").await
}

fn text(reply: &Reply, key: &str) -> String {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()[key].as_str().unwrap_or_else(|| panic!("no {key}: {reply:?}")).to_owned()
}

async fn token(registry: &Registry, who: &str, scope: &str) -> String {
    text(&ask(registry, who, &format!("service=polyarch&scope={scope}")).await, "token")
}

async fn with(registry: &Registry, token: &str, method: &str, path: &str, body: &[u8]) -> Reply {
    let header = format!("Bearer {token}");
    registry.send(method, path, &[("Authorization", &header), ("Content-Type", MANIFEST)], body).await
}

#[tokio::test]
async fn a_client_is_led_from_the_challenge_to_the_answer() {
    let (registry, _) = start().await;
    let reply = registry.get("/v2/").await;
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"polyarch\"", registry.address);
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some(realm.as_str())));
    let reply = registry.get("/v2/team/app/tags/list").await;
    let want = format!("{realm},scope=\"repository:team/app:pull\"");
    assert_eq!((reply.code().as_str(), reply.header("www-authenticate")), ("UNAUTHORIZED", Some(want.as_str())));
    let reply = registry.send("POST", "/v2/team/app/blobs/uploads/", &[], b"").await;
    let want = format!("{realm},scope=\"repository:team/app:pull,push\"");
    assert_eq!(reply.header("www-authenticate"), Some(want.as_str()));

    let reply = ask(&registry, "bob", "service=polyarch&scope=repository:team/app:pull,push&account=bob").await;
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(text(&reply, "token"), text(&reply, "access_token"));
    assert_eq!(reply.json()["expires_in"], 300);
    assert!(reply.json()["refresh_token"].is_null());
    let issued = text(&reply, "issued_at");
    assert!(issued.ends_with('Z') && issued.len() == 20, "{issued}");
    let token = text(&reply, "token");
    assert_eq!(with(&registry, &token, "GET", "/v2/", b"").await.status, 200);
    assert_eq!(with(&registry, &token, "GET", "/v2/team/app/tags/list", b"").await.status, 404);
    assert_eq!(with(&registry, &token, "POST", "/v2/team/app/blobs/uploads/", b"").await.status, 202);
    // Passwords open the same doors.
    let password = basic("bob", "bob!");
    assert_eq!(registry.send("GET", "/v2/", &[("Authorization", &password)], b"").await.status, 200);
}

#[tokio::test]
async fn a_token_opens_no_more_than_it_was_asked_for() {
    let (registry, _) = start().await;
    let pull = token(&registry, "bob", "repository:team/app:pull").await;
    for (method, path, scope) in [
        ("POST", "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
        ("PUT", "/v2/team/app/manifests/v1", "repository:team/app:pull,push"),
        ("GET", "/v2/team/other/tags/list", "repository:team/other:pull"),
        ("GET", "/v2/_catalog", "registry:catalog:*"),
    ] {
        let reply = with(&registry, &pull, method, path, b"").await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{path}");
        let challenge = reply.header("www-authenticate").unwrap();
        assert!(challenge.ends_with(&format!(",scope=\"{scope}\",error=\"insufficient_scope\"")), "{challenge}");
    }
    // What the policy forbids, no token opens.
    let all = token(&registry, "bob", "repository:team/app:*&scope=repository:secret:*").await;
    assert_eq!(with(&registry, &all, "DELETE", "/v2/team/app/manifests/v1", b"").await.status, 403);
    assert_eq!(with(&registry, &all, "GET", "/v2/secret/tags/list", b"").await.status, 403);
}

#[tokio::test]
async fn scopes_are_cut_to_what_is_allowed() {
    let (registry, _) = start().await;
    for (who, scope, want) in [
        ("bob", "repository:team/app:pull,push", "repository:team/app:pull,push"),
        ("bob", "repository:team/app:*", "repository:team/app:pull,push"),
        ("bob", "repository:secret:pull", ""),
        ("ci", "repository:team/app:push", "repository:team/app:push"),
        ("", "repository:team/app:pull", ""),
        ("", "repository:public/a:pull,push&scope=repository:team/a:pull", "repository:public/a:pull"),
        ("bob", "repository:team/a:pull%20repository:team/b:pull", "repository:team/a:pull repository:team/b:pull"),
        ("bob", "repository:team/a:pull+registry:catalog:*", "registry:catalog:* repository:team/a:pull"),
        ("bob", "", ""),
    ] {
        let reply = ask(&registry, who, &format!("scope={scope}")).await;
        assert_eq!(text(&reply, "scope"), want, "{who} {scope}");
    }
    let catalogue = token(&registry, "", "registry:catalog:*").await;
    assert_eq!(with(&registry, &catalogue, "GET", "/v2/_catalog", b"").await.status, 200);
    for bad in ["scope=pull", "scope=repository:a", "service=other.example", "scope=:a:pull"] {
        assert_eq!(ask(&registry, "bob", bad).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn create_only_is_not_widened_by_a_token_that_says_push() {
    let (registry, _) = start().await;
    let bob = token(&registry, "bob", "repository:team/app:pull,push").await;
    let ci = token(&registry, "ci", "repository:team/app:pull,push").await;
    let index = |n: u8| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"annotations":{{"n":"{n}"}}}}"#, support::INDEX)
    };
    let put = async |token: &str, tag: &str, n| {
        let (header, path) = (format!("Bearer {token}"), format!("/v2/team/app/manifests/{tag}"));
        let headers = [("Authorization", header.as_str()), ("Content-Type", support::INDEX)];
        registry.send("PUT", &path, &headers, index(n).as_bytes()).await.status
    };
    assert_eq!(put(&bob, "latest", 1).await, 201);
    assert_eq!(put(&ci, "latest", 2).await, 403);
    assert_eq!(put(&ci, "v1", 2).await, 201);
    assert_eq!(put(&bob, "latest", 2).await, 201);
}

#[tokio::test]
async fn a_mount_needs_both_scopes() {
    let (registry, _) = start().await;
    let source = token(&registry, "bob", "repository:team/src:pull,push").await;
    let digest = image::Digest::sha256(b"layer");
    let path = format!("/v2/team/src/blobs/uploads/?digest={digest}");
    assert_eq!(with(&registry, &source, "POST", &path, b"layer").await.status, 201);
    let mount = format!("/v2/team/dst/blobs/uploads/?mount={digest}&from=team/src");
    let one = token(&registry, "bob", "repository:team/dst:pull,push").await;
    assert_eq!(with(&registry, &one, "POST", &mount, b"").await.status, 202);
    let both = token(&registry, "bob", "repository:team/dst:pull,push&scope=repository:team/src:pull").await;
    assert_eq!(with(&registry, &both, "POST", &mount, b"").await.status, 201);
}

#[tokio::test]
async fn who_has_no_name_gets_tokens_for_what_is_public() {
    let (registry, access) = start().await;
    let public = token(&registry, "", "repository:public/app:pull").await;
    assert_eq!(with(&registry, &public, "GET", "/v2/", b"").await.status, 200);
    assert_eq!(with(&registry, &public, "GET", "/v2/public/app/tags/list", b"").await.status, 404);
    assert_eq!(with(&registry, &public, "GET", "/v2/team/app/tags/list", b"").await.status, 401);
    assert!(ask(&registry, "", "offline_token=true").await.json()["refresh_token"].is_null());
    access.replace_policy("").unwrap();
    assert_eq!(with(&registry, &public, "GET", "/v2/public/app/tags/list", b"").await.status, 401);
}

#[tokio::test]
async fn a_refresh_token_stands_for_the_password_until_that_changes() {
    let (registry, access) = start().await;
    let post = async |form: &str| registry.send("POST", "/token", &[FORM], form.as_bytes()).await;
    let by_password =
        post("grant_type=password&username=bob&password=bob%21&service=polyarch&client_id=t&access_type=offline").await;
    let refresh = text(&by_password, "refresh_token");
    let by_query = text(&ask(&registry, "bob", "offline_token=true").await, "refresh_token");
    let form = |refresh: &str| {
        format!(
            "grant_type=refresh_token&refresh_token={refresh}&service=polyarch&client_id=t&scope=repository:team/a:pull"
        )
    };
    let mut last = String::new();
    for refresh in [&refresh, &by_query] {
        let reply = post(&form(refresh)).await;
        assert_eq!(text(&reply, "scope"), "repository:team/a:pull");
        last = text(&reply, "access_token");
        assert_eq!(with(&registry, &last, "GET", "/v2/team/a/tags/list", b"").await.status, 404);
        // It is no token itself.
        assert_eq!(with(&registry, refresh, "GET", "/v2/team/a/tags/list", b"").await.status, 401);
    }
    assert_eq!(post(&form(&last)).await.status, 401);
    access.replace_identities(identities("changed"));
    assert_eq!(post(&form(&refresh)).await.status, 401);
    let reply = with(&registry, &last, "GET", "/v2/team/a/tags/list", b"").await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").unwrap().ends_with(",error=\"invalid_token\""), "{reply:?}");
    access.replace_identities(Identities::default());
    assert_eq!(post(&form(&refresh)).await.status, 401);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_for_a_token_is_said() {
    let (registry, _) = start().await;
    let wrong = basic("bob", "wrong");
    let reply = registry.send("GET", "/token", &[("Authorization", &wrong)], b"").await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
    assert!(reply.header("www-authenticate").unwrap().starts_with("Basic "));
    for (form, want) in [
        ("", 400),
        ("grant_type=password", 400),
        ("grant_type=password&username=bob", 400),
        ("grant_type=password&username=bob&password=wrong", 401),
        ("grant_type=password&username=nobody&password=x", 401),
        ("grant_type=refresh_token&refresh_token=x", 401),
        ("grant_type=authorization_code&code=x", 400),
        ("grant_type=password&username=bob&password=bob!&scope=x", 400),
        ("grant_type=password&username=bob&password=bob!&service=x", 400),
        ("%ff%00&&&===", 400),
    ] {
        assert_eq!(registry.send("POST", "/token", &[FORM], form.as_bytes()).await.status, want, "{form}");
    }
    let json = [("Content-Type", "application/json")];
    assert_eq!(registry.send("POST", "/token", &json, b"{}").await.status, 400);
    assert_eq!(registry.send("POST", "/token", &[FORM], &vec![b'a'; 100_000]).await.status, 413);
    assert_eq!(registry.send("DELETE", "/token", &[], b"").await.status, 405);
}

#[tokio::test]
async fn a_forged_token_opens_nothing() {
    let (registry, _) = start().await;
    let (forger, _) = start().await;
    let forged = token(&forger, "bob", "repository:team/app:pull").await;
    assert_eq!(with(&forger, &forged, "GET", "/v2/team/app/tags/list", b"").await.status, 404);
    for bad in [forged.as_str(), "a.b.c", "x"] {
        for path in ["/v2/", "/v2/team/app/tags/list", "/v2/public/app/tags/list"] {
            let reply = with(&registry, bad, "GET", path, b"").await;
            assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
            assert!(reply.header("www-authenticate").unwrap().ends_with(",error=\"invalid_token\""), "{reply:?}");
        }
    }
}

#[tokio::test]
async fn the_realm_is_the_setting_or_a_host_that_is_one() {
    let mut options = TokenOptions::default();
    options.realm = Some("https://registry.example/token".to_owned());
    let server = TokenServer::new(SigningKey::generate().unwrap(), options).unwrap();
    let (set, _) = start_with(server).await;
    let reply = set.send("GET", "/v2/", &[("X-Forwarded-Host", "evil.example")], b"").await;
    let challenge = reply.header("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"https://registry.example/token\",service=\"polyarch\"");

    let (registry, _) = start().await;
    let of = async |head: &str| {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = registry.connect().await;
        stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Reply::parse(&answer).header("www-authenticate").map(str::to_owned)
    };
    let realm = |host: &str| Some(format!("Bearer realm=\"http://{host}/token\",service=\"polyarch\""));
    for host in ["registry.example", "registry.example:5000", "[::1]:5000"] {
        let head = format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: evil.example\r\n");
        assert_eq!(of(&head).await, realm(host));
    }
    // What would break out of its quotes is not repeated.
    for host in ["a\",realm=\"https://evil.example/", "user@host", "a b", "a/b", "a\\b", ""] {
        let challenge = of(&format!("GET /v2/ HTTP/1.1\r\nHost: {host}\r\n")).await;
        assert!(challenge.is_none_or(|challenge| challenge.starts_with("Basic realm=\"polyarch\"")), "{host}");
    }
    let two = of("GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n").await;
    assert!(two.is_none_or(|challenge| challenge.starts_with("Basic ")));
}

#[tokio::test]
async fn without_a_token_server_there_is_no_token() {
    let registry = Registry::start().await;
    assert_eq!(registry.get("/token").await.status, 404);
    assert_eq!(registry.get("/token/keys").await.status, 404);
    let mut options = Options::default();
    options.access = Some(Access::new(Policy::parse(POLICY).unwrap(), identities("bob!")));
    let registry = Registry::with(options).await;
    assert_eq!(registry.get("/token").await.status, 404);
}

/// The head of a token.
fn head(token: &str) -> serde_json::Value {
    let head = token.split('.').next().unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).unwrap()).unwrap()
}

#[tokio::test]
async fn each_kind_of_key_opens_the_same_and_others_can_check_it() {
    for (name, algorithm) in TokenAlgorithm::ALL {
        let mut options = TokenOptions::default();
        options.algorithm = Some(algorithm);
        let key = SigningKey::generate_for(algorithm).unwrap();
        let (registry, _) = start_with(TokenServer::new(key, options).unwrap()).await;
        let token = token(&registry, "bob", "repository:team/app:pull").await;
        assert_eq!(with(&registry, &token, "GET", "/v2/team/app/tags/list", b"").await.status, 404);
        let keys = registry.get("/token/keys").await;
        assert_eq!((keys.status, keys.header("content-type")), (200, Some("application/json")));
        let keys = keys.json();
        let key = &keys["keys"][0];
        assert_eq!((&key["kid"], &key["alg"], &key["use"]), (&head(&token)["kid"], &name.into(), &"sig".into()));
        for secret in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key[secret].is_null());
        }
        assert_eq!(registry.head("/token/keys").await.status, 200);
        assert_eq!(registry.send("POST", "/token/keys", &[], b"").await.status, 405);
    }
}

#[tokio::test]
async fn a_key_can_be_changed_while_tokens_are_under_way() {
    let (registry, access) = start().await;
    let form = |refresh: &str| format!("grant_type=refresh_token&refresh_token={refresh}&scope=repository:team/a:pull");
    let old = token(&registry, "bob", "repository:team/app:pull").await;
    let refresh = text(&ask(&registry, "bob", "offline_token=true").await, "refresh_token");
    access.tokens().unwrap().replace_key(SigningKey::generate_for(TokenAlgorithm::EdDsa).unwrap()).unwrap();
    let new = token(&registry, "bob", "repository:team/app:pull").await;
    assert_eq!((&head(&old)["alg"], &head(&new)["alg"]), (&"ES256".into(), &"EdDSA".into()));
    for token in [&old, &new] {
        assert_eq!(with(&registry, token, "GET", "/v2/team/app/tags/list", b"").await.status, 404);
    }
    let reply = registry.send("POST", "/token", &[FORM], form(&refresh).as_bytes()).await;
    assert_eq!(head(&text(&reply, "token"))["alg"], "EdDSA");
    let ids: Vec<_> = registry.get("/token/keys").await.json()["keys"].as_array().unwrap().clone();
    assert_eq!((&ids[0]["kid"], &ids[1]["kid"]), (&head(&new)["kid"], &head(&old)["kid"]));
}
