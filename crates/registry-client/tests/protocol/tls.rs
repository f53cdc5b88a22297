//! Whom the client believes, and when it does without.

use std::path::PathBuf;

use lab::images::{Flavour, image};
use lab::{Alpn, Certificate, Fault, FaultKind, Lab, Tls};
use polyarch_registry_client::{CertificateProblem, ClientError, ClientOptions, ErrorKind, Verb};
use settings::{Credentials, TlsFiles, TrustRoots};

use crate::support::{client_with, in_repository, options, tag};

fn lab(tls: impl Into<Tls>) -> Lab {
    let lab = Lab::builder().tls(tls).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    lab
}

fn with(certificate: Certificate) -> Lab {
    lab(Tls { enabled: true, certificate, ..Tls::default() })
}

/// Options in which loopback is a place like any other, and nobody is trusted but those in `file`.
fn strict(file: Option<PathBuf>) -> ClientOptions {
    ClientOptions {
        lenient_loopback: false,
        trust_roots: TrustRoots { file: Some(file.unwrap_or_default()), directories: Some(Vec::new()) },
        ..options()
    }
}

async fn get(lab: &Lab, options: ClientOptions) -> Result<(), ClientError> {
    let client = client_with(options, lab, Credentials::Anonymous);
    in_repository(&client, lab, "app").get_manifest(&tag("v1")).await.map(drop)
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority() {
    let lab = with(Certificate::Signed);
    get(&lab, strict(lab.ca_pem_path())).await.unwrap();
    let directory = lab.ca_pem_path().unwrap().parent().unwrap().to_owned();
    let mut options = strict(None);
    options.trust_roots.directories = Some(vec![directory]);
    get(&lab, options).await.unwrap();
    assert_eq!(lab.log()[0].version, http::Version::HTTP_2);
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority() {
    let lab = with(Certificate::SelfSigned);
    get(&lab, strict(lab.ca_pem_path())).await.unwrap();
    let other = with(Certificate::SelfSigned);
    let error = get(&lab, strict(other.ca_pem_path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownCa, "{error:?}");
}

#[tokio::test]
async fn certificates_that_are_not_believed() {
    let lab = with(Certificate::Signed);
    let error = get(&lab, strict(None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownCa);
    assert_eq!(error.network().unwrap().certificate(), Some(&CertificateProblem::UnknownAuthority));
    let hint = error.hint().unwrap();
    assert!(hint.contains(&format!("/etc/docker/certs.d/{}/ca.crt", lab.host())) && hint.contains("SSL_CERT_FILE"));

    let lab = with(Certificate::WrongHost);
    let error = get(&lab, strict(lab.ca_pem_path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongHostName);
    let names = vec!["elsewhere.example".to_owned()];
    assert_eq!(error.network().unwrap().certificate(), Some(&CertificateProblem::Names(names)));

    let lab = with(Certificate::Expired);
    let error = get(&lab, strict(lab.ca_pem_path())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CertificateExpired);
    let problem = error.network().unwrap().certificate().unwrap().clone();
    assert!(matches!(problem, CertificateProblem::Time { not_after: Some(978_307_200), .. }), "{problem:?}");
}

#[tokio::test]
async fn insecure_and_loopback_believe_anybody() {
    for certificate in [Certificate::Signed, Certificate::SelfSigned, Certificate::WrongHost, Certificate::Expired] {
        let lab = with(certificate);
        get(&lab, ClientOptions { insecure: true, ..strict(None) }).await.unwrap();
        get(&lab, options()).await.unwrap();
    }
}

#[tokio::test]
async fn certs_d_has_authorities_and_client_certificates() {
    let lab = lab(Tls { enabled: true, client_auth: true, ..Tls::default() });
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join(lab.host());
    std::fs::create_dir(&files).unwrap();
    let certs_d = || TlsFiles::in_directories(vec![directory.path().to_owned()]);
    std::fs::write(files.join("ca.crt"), lab.ca_pem().unwrap()).unwrap();
    let error = get(&lab, ClientOptions { tls_files: certs_d(), ..strict(None) }).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Tls | ErrorKind::Network), "a client certificate is wanted: {error:?}");

    let (certificate, key) = lab.client_pair().unwrap();
    std::fs::write(files.join("client.cert"), certificate).unwrap();
    std::fs::write(files.join("client.key"), key).unwrap();
    get(&lab, ClientOptions { tls_files: certs_d(), ..strict(None) }).await.unwrap();
    get(&lab, ClientOptions { tls_files: certs_d(), ..options() }).await.unwrap();

    std::fs::remove_file(files.join("client.key")).unwrap();
    let error = get(&lab, ClientOptions { tls_files: certs_d(), ..strict(None) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("missing key client.key for client certificate client.cert"), "{error}");
}

#[tokio::test]
async fn plain_http_where_https_is_wanted_is_said_so() {
    let lab = lab(false);
    let error = get(&lab, strict(None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::HttpInsteadOfHttps, "{error:?}");
    assert!(error.hint().unwrap().contains("--insecure"));
    assert!(error.url().as_str().starts_with("https://"));
    assert_eq!(lab.count(), 0, "nothing was sent in plain");

    let garbage = crate::tls::saying(b"SSH-2.0-OpenSSH_9\r\n").await;
    let client = client_with(ClientOptions { insecure: true, ..strict(None) }, &lab, Credentials::Anonymous);
    let app = client.repository(&crate::support::host(&garbage), &crate::support::name("app"));
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotTls, "{error:?}");
}

/// A server that says `bytes` to everybody.
async fn saying(bytes: &'static [u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut hello = [0; 2048];
            let _ = connection.read(&mut hello).await;
            let _ = connection.write_all(bytes).await;
        }
    });
    format!("127.0.0.1:{port}")
}

#[tokio::test]
async fn plain_http_on_loopback_works_for_every_verb_and_is_remembered() {
    let cache = tempfile::tempdir().unwrap();
    let lab = lab(false);
    let document = image("linux/amd64", 1, Flavour::Oci).document;
    for (run, connections) in [(1, 3), (2, 1)] {
        lab.clear_log();
        let options = ClientOptions { cache_dir: Some(cache.path().to_owned()), ..options() };
        let client = client_with(options, &lab, Credentials::Anonymous);
        let app = in_repository(&client, &lab, "app");
        app.get_manifest(&tag("v1")).await.unwrap();
        app.put_manifest(&document, None).await.unwrap();
        app.list_tags().await.unwrap();
        assert_eq!(lab.count(), 3, "{:?}", lab.lines());
        assert_eq!(lab.connections(), connections, "run {run}: a hello and a look only the first time");
    }
    // By `insecure` too, on the same port.
    get(&lab, ClientOptions { insecure: true, ..strict(None) }).await.unwrap();
    let mut plain = strict(None);
    plain.plain_http.insert(lab.registry_host());
    get(&lab, plain).await.unwrap();
}

#[tokio::test]
async fn a_remembered_scheme_that_has_changed_is_learnt_anew() {
    let cache = tempfile::tempdir().unwrap();
    let with_cache = || ClientOptions { cache_dir: Some(cache.path().to_owned()), ..options() };
    let plain = lab(false);
    get(&plain, with_cache()).await.unwrap();
    let port = plain.port();
    drop(plain);
    let Ok(lab) = std::panic::catch_unwind(|| Lab::builder().tls(true).port(port).start()) else { return };
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    get(&lab, with_cache()).await.unwrap();
    drop(lab);
    let Ok(lab) = std::panic::catch_unwind(|| Lab::builder().port(port).start()) else { return };
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    get(&lab, with_cache()).await.unwrap();
}

#[tokio::test]
async fn versions_of_http() {
    for (alpn, version) in [
        (Alpn::Both, http::Version::HTTP_2),
        (Alpn::Http1, http::Version::HTTP_11),
        (Alpn::None, http::Version::HTTP_11),
    ] {
        let lab = lab(Tls { enabled: true, alpn, ..Tls::default() });
        get(&lab, options()).await.unwrap();
        assert_eq!(lab.log()[0].version, version, "{alpn:?}");
    }
}

#[tokio::test]
async fn https_does_not_lead_to_http() {
    let lab = lab(true);
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::Redirect(format!("http://localhost:{}/x", lab.port()))));
    let error = get(&lab, options()).await.unwrap_err();
    assert_eq!((error.kind(), error.verb(), error.status()), (ErrorKind::Redirect, Verb::GetManifest, Some(307)));
    assert!(error.to_string().contains("from HTTPS to plain HTTP"), "{error}");
}
