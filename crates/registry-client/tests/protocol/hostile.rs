//! Registries that mean no good, or are broken: each gives one clear error, soon, and nothing gets out that should not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use image::Target;
use lab::images::{Flavour, image, random};
use lab::{Fault, FaultKind, Lab};
use polyarch_registry_client::{ClientError, ClientOptions, ErrorKind, RegistryClient, Repository, Timeouts};
use settings::{CredentialStore, Credentials, Secret};

use crate::scripted::{Scripted, answer, header};
use crate::support::{blob, client, client_with, in_repository, name, options, repository, tag, user};

async fn read_blob(app: &Repository, bytes: &Bytes) -> Result<u64, ClientError> {
    let mut stream = app.get_blob(&blob(bytes)).await?;
    let mut count = 0;
    while let Some(chunk) = stream.next().await {
        count += chunk?.len() as u64;
    }
    Ok(count)
}

fn scripted(server: &Scripted) -> Repository {
    let client = RegistryClient::new(options(), Arc::new(CredentialStore::empty()));
    client.repository(&server.host(), &name("app"))
}

#[tokio::test]
async fn manifests_that_are_not_what_was_asked_for() {
    let lab = Lab::start();
    let app_image = image("linux/amd64", 3, Flavour::Oci);
    app_image.push(&lab, "app", Some("v1"));
    let by_digest = Target::Digest(app_image.digest().clone());
    let by_tag = tag("v1");
    for (fault, target, kinds) in [
        (FaultKind::WrongDigest, &by_tag, &[ErrorKind::DigestMismatch][..]),
        (FaultKind::WrongDigest, &by_digest, &[ErrorKind::DigestMismatch]),
        (FaultKind::WrongBytes, &by_digest, &[ErrorKind::DigestMismatch]),
        (FaultKind::WrongBytes, &by_tag, &[ErrorKind::DigestMismatch]),
        (FaultKind::Longer(5), &by_digest, &[ErrorKind::DigestMismatch]),
        (FaultKind::Shorter(5), &by_digest, &[ErrorKind::DigestMismatch]),
        (FaultKind::Gzip, &by_tag, &[ErrorKind::InvalidResponse]),
        (FaultKind::Endless, &by_tag, &[ErrorKind::TooLarge]),
        (FaultKind::ContentLength(1 << 40), &by_tag, &[ErrorKind::TooLarge]),
        (FaultKind::Truncate(10), &by_tag, &[ErrorKind::Network]),
        (FaultKind::RedirectLoop, &by_tag, &[ErrorKind::Redirect]),
        (FaultKind::Redirect("ftp://x/".to_owned()), &by_tag, &[ErrorKind::Redirect]),
        (FaultKind::Redirect("http://[".to_owned()), &by_tag, &[ErrorKind::Redirect]),
        (FaultKind::Raw(b"SSH-2.0-nonsense\r\n\r\n".to_vec()), &by_tag, &[ErrorKind::Network]),
        (FaultKind::Raw(b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n".to_vec()), &by_tag, &[ErrorKind::Network]),
        (FaultKind::Raw(vec![b'x'; 1 << 20]), &by_tag, &[ErrorKind::Network]),
        (
            FaultKind::Header("Docker-Content-Digest".to_owned(), "nonsense".to_owned()),
            &by_tag,
            &[ErrorKind::InvalidResponse],
        ),
        (
            FaultKind::Header("Docker-Content-Digest".to_owned(), "sha256:../../x".to_owned()),
            &by_tag,
            &[ErrorKind::InvalidResponse],
        ),
    ] {
        let app = repository(&lab, "app");
        // The first request of a client goes the long way; the fault is for the second.
        app.get_manifest(&by_tag).await.unwrap();
        lab.fault(Fault::on("GET", "/manifests/", fault.clone()));
        let begun = Instant::now();
        let error = app.get_manifest(target).await.unwrap_err();
        assert!(kinds.contains(&error.kind()), "{fault:?}: {error:?}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{fault:?}");
        assert!(!error.to_string().chars().any(char::is_control), "{error}");
        lab.clear_faults();
    }
    // An algorithm that is not known here says nothing, and is no error.
    lab.fault(Fault::on("GET", "", FaultKind::Header("Docker-Content-Digest".to_owned(), "blake3:00".to_owned())));
    repository(&lab, "app").get_manifest(&by_tag).await.unwrap();
}

#[tokio::test]
async fn documents_that_two_parsers_could_read_differently() {
    for body in [
        r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#,
        r#"{"schemaVersion":2,"schemaVersion":2,"manifests":[]}"#,
        "{",
        "",
        "[]",
    ] {
        let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
        let server = Scripted::start(vec![answer("200 OK", &headers, body.as_bytes())]).await;
        let error = scripted(&server).get_manifest(&tag("v1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidDocument, "{body}");
        assert!(error.document_error().is_some());
    }
}

#[tokio::test]
async fn blobs_that_are_not_what_was_asked_for() {
    let lab = Lab::start();
    for size in [1000_u64, 400_000] {
        let bytes = random(size, size);
        lab.put_blob("app", bytes.clone());
        for (fault, kinds) in [
            (FaultKind::WrongBytes, &[ErrorKind::DigestMismatch][..]),
            (FaultKind::Longer(5), &[ErrorKind::LengthMismatch]),
            (FaultKind::Shorter(5), &[ErrorKind::LengthMismatch]),
            (FaultKind::Endless, &[ErrorKind::LengthMismatch]),
            (FaultKind::Gzip, &[ErrorKind::InvalidResponse]),
            (FaultKind::RedirectLoop, &[ErrorKind::Redirect]),
        ] {
            let app = repository(&lab, "app");
            app.head_blob(&blob(&bytes).digest).await.unwrap();
            lab.fault(Fault::on("GET", "/blobs/", fault.clone()));
            let begun = Instant::now();
            let error = read_blob(&app, &bytes).await.unwrap_err();
            assert!(kinds.contains(&error.kind()), "{fault:?}: {error:?}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{fault:?}");
            lab.clear_faults();
        }
    }
}

#[tokio::test]
async fn error_bodies_are_bounded_and_escaped() {
    let lab = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let app = repository(&lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::ControlCharacters));
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert!(!error.codes().is_empty());
    for text in
        [error.to_string(), format!("{error:?}"), error.codes()[0].to_string(), error.body().unwrap().to_owned()]
    {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
    }

    let huge = vec![b'x'; 10 << 20];
    let server = Scripted::start(vec![answer("404 Not Found", &[], &huge)]).await;
    let error = scripted(&server).get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.body().unwrap().len() < 4096);
    assert!(error.to_string().len() < 500, "{error}");

    let errors = format!(r#"{{"code":"DENIED","message":"{}"}},"#, "x".repeat(1000)).repeat(30);
    let body = format!(r#"{{"errors":[{}]}}"#, errors.trim_end_matches(','));
    let server = Scripted::start(vec![answer("403 Forbidden", &[], body.as_bytes())]).await;
    let error = scripted(&server).get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.codes().len(), 30);
    assert!(error.to_string().len() < 1200 && error.to_string().ends_with("; 26 more)"), "{error}");
}

#[tokio::test]
async fn time_outs() {
    let lab = Lab::start();
    let bytes = random(1, 100_000);
    lab.put_blob("app", bytes.clone());
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let quick = Duration::from_millis(150);
    let mut options =
        ClientOptions { timeouts: Timeouts { head: quick, stall: quick, ..Timeouts::default() }, ..options() };
    options.retry.attempts = 2;
    let app = in_repository(&client_with(options, &lab, user()), &lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();

    lab.fault(Fault::on("GET", "/manifests/", FaultKind::Stall(Duration::from_secs(60))));
    let begun = Instant::now();
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("no answer for 0.2 s"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));

    lab.fault(Fault::on("GET", "/blobs/", FaultKind::StallBody(0)));
    let begun = Instant::now();
    let error = read_blob(&app, &bytes).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("no further byte"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3));

    // A request that stalls once succeeds when it is sent again.
    lab.clear_faults();
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::Stall(Duration::from_secs(60))).once());
    app.get_manifest(&tag("v1")).await.unwrap();
}

#[tokio::test]
async fn a_chain_of_redirects_ends() {
    let server = Scripted::start_with(|n, _| {
        answer("307 Temporary Redirect", &[("Location", &format!("/v2/app/manifests/{n}"))], b"")
    })
    .await;
    let error = scripted(&server).get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Redirect);
    assert_eq!(server.requests().len(), 11);
}

#[tokio::test]
async fn a_redirect_out_and_back_does_not_bring_credentials_back() {
    let server = Scripted::start_with(|n, head| {
        let port = header(head, "host").unwrap().rsplit(':').next().unwrap().to_owned();
        match n {
            0 => answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b""),
            1 => answer("302 Found", &[("Location", &format!("http://localhost:{port}/elsewhere"))], b""),
            2 => answer("302 Found", &[("Location", &format!("http://me:pass@127.0.0.1:{port}/v2/other/secret"))], b""),
            _ => answer("404 Not Found", &[], b""),
        }
    })
    .await;
    let store = CredentialStore::empty().with(server.host(), user());
    let app = RegistryClient::new(options(), Arc::new(store)).repository(&server.host(), &name("app"));
    app.get_manifest(&tag("v1")).await.unwrap_err();
    let sent: Vec<bool> = server.requests().iter().map(|head| header(head, "authorization").is_some()).collect();
    assert_eq!(sent, [false, true, false, false]);
}

#[tokio::test]
async fn a_foreign_challenge_is_not_answered() {
    let server = Scripted::start_with(|_, head| {
        if head.contains("/elsewhere") {
            return answer("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
        }
        let port = header(head, "host").unwrap().rsplit(':').next().unwrap();
        answer("302 Found", &[("Location", &format!("http://localhost:{port}/elsewhere"))], b"")
    })
    .await;
    let store = CredentialStore::empty().with(server.host(), user());
    let app = RegistryClient::new(options(), Arc::new(store)).repository(&server.host(), &name("app"));
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(server.requests().iter().all(|head| header(head, "authorization").is_none()));
}

#[tokio::test]
async fn writes_are_not_turned_into_reads() {
    for status in ["301 Moved", "302 Found", "303 See Other"] {
        let server = Scripted::start(vec![answer(status, &[("Location", "/elsewhere")], b"")]).await;
        let error = scripted(&server).start_upload().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Redirect, "{status}");
        assert_eq!(server.requests().len(), 1);
    }
    let server = Scripted::start_with(|n, _| match n {
        0 => answer("307 Temporary Redirect", &[("Location", "/v2/elsewhere/blobs/uploads/")], b""),
        _ => answer("202 Accepted", &[("Location", "u1")], b""),
    })
    .await;
    let session = scripted(&server).start_upload().await.unwrap();
    assert!(session.location().as_str().ends_with("/v2/elsewhere/blobs/uploads/u1"));
}

/// The form that an identity token is posted in used to follow redirects to wherever they led.
#[tokio::test]
async fn an_identity_token_is_not_posted_to_whoever_a_token_server_names() {
    let server = Scripted::start_with(|_, head| {
        let host = header(head, "host").unwrap();
        if head.starts_with("POST /token") {
            let port = host.rsplit(':').next().unwrap();
            let elsewhere = format!("http://localhost:{port}/elsewhere");
            return answer("307 Temporary Redirect", &[("Location", &elsewhere)], b"");
        }
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await;
    let credentials = Credentials::IdentityToken(Secret::new("identity"));
    let store = CredentialStore::empty().with(server.host(), credentials);
    let app = RegistryClient::new(options(), Arc::new(store)).repository(&server.host(), &name("app"));
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenServer);
    assert!(error.to_string().contains("it would take credentials to another host"), "{error}");
    assert!(server.requests().iter().all(|head| !head.contains("/elsewhere")), "{:#?}", server.requests());
}

/// A lost connection was taken for a sign that it had to be HTTPS after all, which the server had just shown it is not.
#[tokio::test]
async fn a_connection_that_is_lost_after_plain_http_was_found_is_not_blamed_on_tls() {
    let lab = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::Drop));
    let error = repository(&lab, "app").get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
    assert!(error.url().as_str().starts_with("http://"), "{error}");
    assert_eq!(lab.count(), 4, "tried as often as any other request");
    lab.clear_faults();
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::Drop).times(3));
    repository(&lab, "app").get_manifest(&tag("v1")).await.unwrap();
}

#[tokio::test]
async fn a_token_cannot_carry_a_header_in() {
    let server = Scripted::start_with(|_, head| {
        if head.contains("/token") {
            return answer("200 OK", &[], br#"{"token":"t\r\nX-Evil: 1"}"#);
        }
        let port = header(head, "host").unwrap();
        let challenge = format!("Bearer realm=\"http://{port}/token\"");
        answer("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await;
    let error = scripted(&server).get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TokenServer);
    assert!(server.requests().iter().all(|head| !head.contains("X-Evil")));
}

#[tokio::test]
async fn token_servers_that_talk_nonsense() {
    for body in ["", "{}", "[]", r#"{"token":""}"#, r#"{"token":5}"#, "<html>"] {
        let server = Scripted::start_with(move |_, head| {
            if head.contains("/token") {
                return answer("200 OK", &[], body.as_bytes());
            }
            let port = header(head, "host").unwrap();
            answer("401 Unauthorized", &[("WWW-Authenticate", &format!("Bearer realm=\"http://{port}/token\""))], b"")
        })
        .await;
        let error = scripted(&server).get_manifest(&tag("v1")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TokenServer, "{body}");
    }
}

#[tokio::test]
async fn an_upload_that_leads_nowhere() {
    for headers in [&[][..], &[("Location", "http://[")], &[("Location", "file:///etc/passwd")]] {
        let server = Scripted::start(vec![answer("202 Accepted", headers, b"")]).await;
        let error = scripted(&server).start_upload().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidResponse, "{headers:?}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let lab = Lab::start();
    let client = client(&lab);
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let begun = Instant::now();
    let refused = client.repository(&crate::support::host(&format!("127.0.0.1:{free}")), &name("app"));
    let error = refused.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let network = error.network().unwrap();
    assert_eq!((network.host(), network.port()), ("127.0.0.1", free));
    assert_eq!(network.address().unwrap().to_string(), format!("127.0.0.1:{free}"));
    assert!(network.os_error().is_some());
    assert!(error.hint().unwrap().contains("is a registry running"));
    assert!(begun.elapsed() < Duration::from_secs(1), "not tried again: it would be refused again");

    let nowhere = client.repository(&crate::support::host("no-such-host.invalid"), &name("app"));
    let error = nowhere.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns, "{error:?}");
    assert_eq!(error.network().unwrap().host(), "no-such-host.invalid");

    let port = client.repository(&crate::support::host("r.io:99999"), &name("app"));
    assert_eq!(port.get_manifest(&tag("v1")).await.unwrap_err().kind(), ErrorKind::Configuration);
}
