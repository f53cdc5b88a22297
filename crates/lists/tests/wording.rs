//! What is said of registries that cannot be reached, do not let one in or talk nonsense. The table of answers that
//! can be told from their text alone stands beside the code.

mod support;

use lab::{Auth, Bearer, Certificate, Fault, FaultKind, Lab, Tls};
use polyarch_lists::InspectForm;
use settings::Credentials;
use support::Docker;
use support::world::World;

const PING: &str = "failed to configure transport: error pinging v2 registry";

async fn said(world: &World, image: &str) -> String {
    world.inspect(image, InspectForm::Plain).await.unwrap_err().to_string()
}

#[tokio::test]
async fn nobody_listens() {
    let world = World::plain();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = free.local_addr().unwrap().to_string();
    drop(free);
    let want = format!("{PING}: Get \"https://{host}/v2/\": dial tcp {host}: connect: connection refused");
    assert_eq!(said(&world, &format!("{host}/app")).await, want);
    let Some(docker) = Docker::find() else { return };
    let theirs = docker.manifest(world.config.path(), &["inspect", &format!("{host}/app")]);
    assert_eq!(theirs.err, format!("{want}\n"));
}

#[tokio::test]
async fn certificates_that_are_not_trusted() {
    for (certificate, trusted, want) in [
        (Certificate::Signed, false, "certificate signed by unknown authority".to_owned()),
        (Certificate::WrongHost, true, "certificate is valid for elsewhere.example, not 127.0.0.1".to_owned()),
        (Certificate::Expired, true, "certificate has expired or is not yet valid".to_owned()),
    ] {
        let lab = Lab::builder().tls(Tls { enabled: true, certificate, ..Tls::default() }).start();
        let ca = lab.ca_pem_path().filter(|_| trusted);
        let world = World::strict(lab, ca, Credentials::Anonymous);
        let url = format!("https://{}/v2/", world.lab.host());
        let want = format!("{PING}: Get \"{url}\": tls: failed to verify certificate: x509: {want}");
        assert_eq!(said(&world, "t/app:v1").await, want);
    }
}

/// Row 65: docker says `no such manifest`.
#[tokio::test]
async fn plain_http_where_https_was_expected() {
    let world = World::strict(Lab::start(), None, Credentials::Anonymous);
    let url = format!("https://{}/v2/", world.lab.host());
    let want = format!("{PING}: Get \"{url}\": http: server gave HTTP response to HTTPS client");
    assert_eq!(said(&world, "t/app:v1").await, want);
}

#[tokio::test]
async fn credentials_are_wanted_and_there_are_none() {
    let lab = Lab::builder().auth(Auth::basic("user", "secret")).start();
    let mut world = World::new(lab);
    let anonymous = registry_client::RegistryClient::new(
        registry_client::ClientOptions::default(),
        std::sync::Arc::new(settings::CredentialStore::empty()),
    );
    world.stores = store::Stores::new(anonymous, world.data.path().to_owned());
    let want = format!("Get \"http://{}/v2/t/app/manifests/v1\": no basic auth credentials", world.lab.host());
    assert_eq!(said(&world, "t/app:v1").await, want);
}

#[tokio::test]
async fn the_token_server_refuses() {
    let auth = Bearer { refuse: true, ..Bearer::default() };
    let world = World::new(Lab::builder().auth(Auth::Bearer(auth)).start());
    let text = said(&world, "t/app:v1").await;
    let want = format!("Get \"http://{}/v2/t/app/manifests/v1\": unauthorized", world.lab.host());
    assert!(text.starts_with(&want), "{text}");
}

#[tokio::test]
async fn control_characters_do_not_reach_a_terminal() {
    let world = World::plain();
    let hostile = "\u{1b}[2J\u{9b}31m\r\nfoo\u{202e}";
    let media_type = "application/vnd.x\u{1b}[31m";
    world.lab.put_manifest_as(
        "t/app",
        Some("typed"),
        "application/vnd.oci.image.manifest.v1+json",
        format!(
            r#"{{"schemaVersion":2,"mediaType":{},"config":{{}},"layers":[]}}"#,
            serde_json::to_string(media_type).unwrap()
        ),
    );
    let mut texts = vec![said(&world, "t/app:typed").await];
    for kind in [
        FaultKind::Status { status: 403, code: "DENIED".into(), message: hostile.into() },
        FaultKind::Status { status: 404, code: hostile.into(), message: hostile.into() },
        FaultKind::Body { status: 404, content_type: "text/html".into(), body: hostile.into() },
        FaultKind::Body {
            status: 400,
            content_type: "application/json".into(),
            body: format!("{{\"details\":\"{hostile}\"}}"),
        },
        FaultKind::ControlCharacters,
    ] {
        world.lab.clear_faults();
        world.lab.fault(Fault::on("GET", "/manifests/", kind));
        texts.push(said(&world, "t/app:v1").await);
    }
    for text in texts {
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
    }
}
