//! Challenges, tokens and credentials.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use image::RegistryHost;
use lab::images::{Flavour, image};
use lab::{Auth, Bearer, Fault, FaultKind, Lab, Quirks, TokenField};
use polyarch_registry_client::{Access, ClientOptions, CredentialSource, ErrorKind, Mount, RegistryClient};
use settings::{CredentialError, CredentialStore, Credentials, Secret};

use crate::scripted::{Scripted, answer, header};
use crate::support::{client, client_with, in_repository, name, options, paths, repository, tag, user};

const STEP: Duration = Duration::from_millis(20);

fn lab_with(auth: impl Into<Auth>) -> Lab {
    let lab = Lab::builder().auth(auth).start();
    image("linux/amd64", 2, Flavour::Oci).push(&lab, "app", Some("v1"));
    lab
}

#[tokio::test]
async fn one_challenge_and_one_token_for_all_that_wait() {
    for tls in [false, true] {
        // In plain HTTP the others come by connections of their own: the time that those take says nothing here.
        let connection = if tls { STEP } else { Duration::ZERO };
        let lab = Lab::builder().tls(tls).auth(Auth::bearer("user", "secret")).latency(STEP, connection).start();
        image("linux/amd64", 2, Flavour::Oci).push(&lab, "app", Some("v1"));
        let client = client_with(options(), &lab, user());
        let app = in_repository(&client, &lab, "app");
        let v1 = tag("v1");
        let results = join_all((0..24).map(|_| app.get_manifest(&v1))).await;
        assert!(results.iter().all(Result::is_ok), "{:?}", results.iter().find(|result| result.is_err()));
        assert_eq!(lab.count_of("GET", "/token"), 1);
        assert_eq!(lab.log().iter().filter(|request| request.status == 401).count(), 1);
        assert_eq!(lab.count_of("GET", "/v2/app/manifests/v1"), 25, "no ping");
        assert_eq!(lab.count(), 26);
        assert_eq!(lab.depth(), 3, "challenge, token, and all the others at once");
    }
}

#[tokio::test]
async fn without_a_challenge_the_first_request_is_the_only_one_that_goes_alone() {
    let lab = Lab::builder().latency(STEP, Duration::ZERO).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let app = repository(&lab, "app");
    let v1 = tag("v1");
    assert!(join_all((0..10).map(|_| app.get_manifest(&v1))).await.iter().all(Result::is_ok));
    assert_eq!((lab.count(), lab.depth()), (10, 2));
}

#[tokio::test]
async fn what_was_learnt_saves_the_401_of_the_next_run() {
    let cache = tempfile::tempdir().unwrap();
    let lab = Lab::builder().tls(true).auth(Auth::bearer("user", "secret")).start();
    image("linux/amd64", 2, Flavour::Oci).push(&lab, "app", Some("v1"));
    let run = async || {
        lab.clear_log();
        let options = ClientOptions { cache_dir: Some(cache.path().to_owned()), ..options() };
        let client = client_with(options, &lab, user());
        in_repository(&client, &lab, "app").get_manifest(&tag("v1")).await.unwrap();
        (lab.count(), lab.failed_handshakes())
    };
    assert_eq!(run().await, (3, 0));
    assert_eq!(run().await, (2, 0), "token and manifest");
    let kept = std::fs::read_to_string(cache.path().join("registries.json")).unwrap();
    for secret in ["secret", "user", "eyJ", "Authorization"] {
        assert!(!kept.contains(secret), "{secret} in {kept}");
    }

    // It has changed in the meantime, each time to something that what was learnt does not fit.
    lab.set_auth(Auth::basic("user", "secret"));
    assert_eq!(run().await.0, 3, "a token server that is gone, 401, and the manifest");
    assert_eq!(run().await.0, 1, "Basic at once");
    lab.set_auth(Auth::None);
    assert_eq!(run().await.0, 1);
    lab.set_auth(Auth::bearer("user", "secret"));
    assert_eq!(run().await.0, 3);
    std::fs::write(cache.path().join("registries.json"), "{").unwrap();
    assert_eq!(run().await.0, 3, "a broken file is no file");
    assert_eq!(run().await.0, 2);
}

#[tokio::test]
async fn an_open_registry_is_remembered_as_open() {
    let cache = tempfile::tempdir().unwrap();
    let lab = Lab::builder().latency(STEP, Duration::ZERO).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let v1 = tag("v1");
    for depth in [2, 1] {
        lab.clear_log();
        let options = ClientOptions { cache_dir: Some(cache.path().to_owned()), ..options() };
        let app = in_repository(&client_with(options, &lab, user()), &lab, "app");
        assert!(join_all((0..5).map(|_| app.get_manifest(&v1))).await.iter().all(Result::is_ok));
        assert_eq!((lab.count(), lab.depth()), (5, depth));
    }
}

#[tokio::test]
async fn source_and_target_are_in_one_token() {
    let lab = lab_with(Auth::bearer("user", "secret"));
    let blobs = image("linux/amd64", 2, Flavour::Oci).blobs;
    let client = client_with(options(), &lab, user());
    let copy = in_repository(&client, &lab, "copy");
    copy.expect(Access::Push);
    in_repository(&client, &lab, "app").expect(Access::Pull);
    let source = name("app");
    let mounts = join_all(blobs.iter().map(|(blob, _)| copy.mount_blob(&blob.digest, Some(&source)))).await;
    assert!(mounts.iter().all(|mount| matches!(mount, Ok(Mount::Mounted))), "{mounts:?}");
    assert_eq!(lab.count_of("GET", "/token"), 1);
    let token = lab.log().into_iter().find(|request| request.path() == "/token").unwrap();
    let scopes: HashSet<String> = url::form_urlencoded::parse(token.query().as_bytes())
        .filter(|(key, _)| key == "scope")
        .map(|(_, scope)| scope.into_owned())
        .collect();
    assert_eq!(scopes, HashSet::from(["repository:copy:pull,push".to_owned(), "repository:app:pull".to_owned()]));
}

#[tokio::test]
async fn every_form_of_token_answer_is_read() {
    for field in [TokenField::Both, TokenField::Token, TokenField::AccessToken] {
        for expires_in in [None, Some(1), Some(u64::MAX)] {
            let lab = lab_with(Bearer { field, expires_in, ..Bearer::default() });
            let client = client_with(options(), &lab, user());
            let app = in_repository(&client, &lab, "app");
            for _ in 0..3 {
                app.get_manifest(&tag("v1")).await.unwrap();
            }
            assert_eq!(lab.count_of("GET", "/token"), 1, "no token lives shorter than 60 s");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_renewed_once() {
    let lab = lab_with(Auth::bearer("user", "secret"));
    let client = client_with(options(), &lab, user());
    let app = in_repository(&client, &lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    lab.revoke_tokens();
    lab.clear_log();
    let v1 = tag("v1");
    assert!(join_all((0..8).map(|_| app.get_manifest(&v1))).await.iter().all(Result::is_ok));
    assert_eq!(lab.count_of("GET", "/token"), 1);
}

#[tokio::test]
async fn a_scope_that_nobody_foresaw_is_asked_for_when_it_is_missing() {
    let lab = lab_with(Auth::bearer("user", "secret"));
    for status in [401, 403] {
        lab.set_auth(Bearer { lacking_status: status, ..Bearer::default() });
        let client = client_with(options(), &lab, user());
        let app = in_repository(&client, &lab, "app");
        app.get_manifest(&tag("v1")).await.unwrap();
        let document = image("linux/amd64", 2, Flavour::Oci).document;
        app.put_manifest(&document, None).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_granted_is_refused_after_two_tokens_at_most() {
    let lab = lab_with(Bearer { denied: vec![("app".to_owned(), "push".to_owned())], ..Bearer::default() });
    let client = client_with(options(), &lab, user());
    let app = in_repository(&client, &lab, "app");
    let document = image("linux/amd64", 2, Flavour::Oci).document;
    let error = app.put_manifest(&document, None).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Unauthorized, Some(401)));
    assert_eq!(error.codes()[0].code, "UNAUTHORIZED");
    assert!(error.hint().unwrap().contains("polyarch login"), "{error:?}");
    assert!(lab.count_of("GET", "/token") <= 2, "{:?}", lab.lines());
}

#[tokio::test]
async fn anonymous_tokens_are_for_those_without_credentials() {
    let lab = lab_with(Auth::anonymous_bearer());
    let app = repository(&lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    let token = lab.log().into_iter().find(|request| request.path() == "/token").unwrap();
    assert_eq!(token.header("authorization"), None);
    let error = app.put_manifest(&image("linux/amd64", 2, Flavour::Oci).document, None).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::TokenServer), "{error:?}");
    assert!(error.hint().unwrap().contains("polyarch login"));
}

#[tokio::test]
async fn an_identity_token_is_posted() {
    let lab = lab_with(Bearer { identity_token: Some("refresh".to_owned()), ..Bearer::default() });
    let client = client_with(options(), &lab, Credentials::IdentityToken(Secret::new("refresh")));
    in_repository(&client, &lab, "app").get_manifest(&tag("v1")).await.unwrap();
    assert_eq!(paths(&lab), ["GET /v2/app/manifests/v1", "POST /token", "GET /v2/app/manifests/v1"]);
    assert!(!lab.lines().iter().any(|line| line.contains("refresh")), "not in a URL: those are logged everywhere");
}

#[tokio::test]
async fn a_registry_token_is_used_as_it_is() {
    let lab = lab_with(Auth::RegistryToken("fixed".to_owned()));
    let client = client_with(options(), &lab, Credentials::RegistryToken(Secret::new("fixed")));
    in_repository(&client, &lab, "app").get_manifest(&tag("v1")).await.unwrap();
    assert_eq!(lab.count_of("", "/token"), 0);
    let wrong = client_with(options(), &lab, Credentials::RegistryToken(Secret::new("other")));
    let error = in_repository(&wrong, &lab, "app").get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[tokio::test]
async fn basic() {
    let lab = lab_with(Auth::basic("user", "secret"));
    let client = client_with(options(), &lab, user());
    let app = in_repository(&client, &lab, "app");
    let v1 = tag("v1");
    assert!(join_all((0..5).map(|_| app.get_manifest(&v1))).await.iter().all(Result::is_ok));
    assert_eq!(lab.count(), 6);

    let error = repository(&lab, "app").get_manifest(&v1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoCredentials);
    assert!(error.to_string().contains("no basic auth credentials"), "{error}");

    let wrong = Credentials::Basic { username: "user".to_owned(), password: Secret::new("wrong") };
    let error = in_repository(&client_with(options(), &lab, wrong), &lab, "app").get_manifest(&v1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!format!("{error:?}").contains("wrong\""), "no password in errors");
}

#[tokio::test]
async fn a_challenge_is_honoured_wherever_it_appears() {
    let lab = Lab::builder().auth(Auth::bearer("user", "secret")).quirks(Quirks::challenge_on_manifests_only()).start();
    let app_image = image("linux/amd64", 2, Flavour::Oci);
    app_image.push(&lab, "app", Some("v1"));
    let client = client_with(options(), &lab, user());
    let app = in_repository(&client, &lab, "app");
    app.read_blob(&app_image.blobs[0].0, 1 << 20).await.unwrap();
    app.get_manifest(&tag("v1")).await.unwrap();
    app.put_manifest(&app_image.document, None).await.unwrap();
}

#[tokio::test]
async fn a_token_server_that_refuses_is_told_apart_from_the_registry() {
    let lab = lab_with(Bearer { refuse: true, ..Bearer::default() });
    let client = client_with(options(), &lab, user());
    let app = in_repository(&client, &lab, "app");
    let v1 = tag("v1");
    let errors = join_all((0..6).map(|_| app.get_manifest(&v1))).await;
    assert_eq!(lab.count_of("GET", "/token"), 1, "all of them wait for one answer");
    for error in errors {
        let error = error.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::TokenServer, Some(401)));
        assert!(error.token_server().unwrap().as_str().contains("/token?"));
        assert!(error.url().as_str().ends_with("/v2/app/manifests/v1"), "{error:?}");
    }
}

#[tokio::test]
async fn a_token_server_that_is_busy_is_asked_again() {
    let lab = lab_with(Auth::bearer("user", "secret"));
    lab.fault(Fault::on("GET", "/token", FaultKind::status(503)).times(2));
    let client = client_with(options(), &lab, user());
    in_repository(&client, &lab, "app").get_manifest(&tag("v1")).await.unwrap();
    assert_eq!(lab.count_of("GET", "/token"), 3);
}

#[tokio::test]
async fn one_scope_that_is_refused_does_not_take_the_others_with_it() {
    // A server that refuses the whole request where one scope of it is not allowed.
    let server = Scripted::start_with(|_, head| {
        let line = head.lines().next().unwrap();
        if line.contains("/token") {
            if line.contains("secret-source") {
                return answer("403 Forbidden", &[], b"{}");
            }
            return answer("200 OK", &[], br#"{"token":"t"}"#);
        }
        if header(head, "authorization") == Some("Bearer t") {
            return answer("202 Accepted", &[("Location", "/v2/app/blobs/uploads/1")], b"");
        }
        let port = header(head, "host").unwrap();
        let challenge = format!("Bearer realm=\"http://{port}/token\",service=\"s\"");
        answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await;
    let client = RegistryClient::new(options(), Arc::new(settings::CredentialStore::empty()));
    let app = client.repository(&server.host(), &name("app"));
    client.expect(&server.host(), &name("secret-source"), Access::Pull);
    app.start_upload().await.unwrap();
}

#[tokio::test]
async fn a_password_is_not_sent_to_another_host_in_plain_http() {
    let realm = "http://auth.example/token".to_owned();
    let lab = lab_with(Bearer { realm: Some(realm), ..Bearer::default() });
    let client = client_with(options(), &lab, user());
    let error = in_repository(&client, &lab, "app").get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenServer);
    assert!(error.to_string().contains("plain HTTP"), "{error}");
    assert!(error.network().is_none(), "nothing was sent there");
}

#[tokio::test]
async fn check_login_says_whether_credentials_are_let_in() {
    for auth in [Auth::basic("user", "secret"), Auth::bearer("user", "secret")] {
        let lab = lab_with(auth);
        let client = client(&lab);
        client.check_login(&lab.registry_host(), &user()).await.unwrap();
        let wrong = Credentials::Basic { username: "user".to_owned(), password: Secret::new("wrong") };
        let error = client.check_login(&lab.registry_host(), &wrong).await.unwrap_err();
        assert_eq!(error.status(), Some(401), "{error:?}");
    }
    let open = Lab::start();
    client(&open).check_login(&open.registry_host(), &user()).await.unwrap();
}

struct Counting(AtomicUsize);

impl CredentialSource for Counting {
    fn lookup(&self, _host: &RegistryHost) -> Result<Credentials, CredentialError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        Ok(user())
    }
}

#[tokio::test]
async fn credentials_are_looked_up_once_and_only_when_they_are_asked_for() {
    let source = Arc::new(Counting(AtomicUsize::new(0)));
    let open = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&open, "app", Some("v1"));
    let client = RegistryClient::new(options(), source.clone());
    client.repository(&open.registry_host(), &name("app")).get_manifest(&tag("v1")).await.unwrap();
    assert_eq!(source.0.load(Ordering::SeqCst), 0);
    let lab = lab_with(Auth::basic("user", "secret"));
    let app = client.repository(&lab.registry_host(), &name("app"));
    let v1 = tag("v1");
    assert!(join_all((0..5).map(|_| app.get_manifest(&v1))).await.iter().all(Result::is_ok));
    assert_eq!(source.0.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_registry_that_does_not_stop_asking_is_left() {
    let server = Scripted::start_with(|n, head| {
        if head.contains("/token") {
            return answer("200 OK", &[], br#"{"token":"t"}"#);
        }
        let port = header(head, "host").unwrap();
        let challenge = match n % 2 {
            0 => format!(
                "Bearer realm=\"http://{port}/token\",scope=\"repository:app:more{n}\",error=\"insufficient_scope\""
            ),
            _ => format!("Bearer realm=\"http://{port}/token/{n}\",scope=\"repository:app:more{n}\""),
        };
        answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await;
    let client = RegistryClient::new(options(), Arc::new(settings::CredentialStore::empty()));
    let error = client.repository(&server.host(), &name("app")).get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(server.requests().len() < 20, "{}", server.requests().len());
}

/// Logins to a repository, as podman keeps them, were read and never used.
#[tokio::test]
async fn a_repository_with_a_login_of_its_own_uses_it_and_others_do_not() {
    let lab = lab_with(Auth::basic("app", "secret"));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("auth.json");
    let host = lab.host();
    // `app:secret` and `pod:other`.
    let auths =
        format!(r#"{{"auths":{{"{host}/team":{{"auth":"YXBwOnNlY3JldA=="}},"{host}":{{"auth":"cG9kOm90aGVy"}}}}}}"#);
    std::fs::write(&file, auths).unwrap();
    let environment: settings::Environment =
        [("HOME", home.path().as_os_str()), ("REGISTRY_AUTH_FILE", file.as_os_str())].into_iter().collect();
    let store = CredentialStore::new(&environment, home.path());
    let client = RegistryClient::new(options(), Arc::new(store));
    for repository in ["team/app", "team/deep/app", "app"] {
        image("linux/amd64", 1, Flavour::Oci).push(&lab, repository, Some("v1"));
    }
    for _ in 0..2 {
        in_repository(&client, &lab, "team/app").get_manifest(&tag("v1")).await.unwrap();
        in_repository(&client, &lab, "team/deep/app").get_manifest(&tag("v1")).await.unwrap();
        let error = in_repository(&client, &lab, "app").get_manifest(&tag("v1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error:?}");
    }
    for request in lab.log() {
        let shown = request.header("authorization");
        let own = request.path().starts_with("/v2/team/");
        let wanted = if own { "Basic YXBwOnNlY3JldA==" } else { "Basic cG9kOm90aGVy" };
        assert!(shown.is_none_or(|shown| shown == wanted), "{}: {shown:?}", request.line());
    }
}
