//! TLS: which versions and protocols, and that what is used can be replaced.

mod support;

use std::sync::Arc;
use std::time::Duration;

use polyarch_registry::{Access, Identities, Options, Policy, SelfSigned, SigningKey, Tls, TokenOptions, TokenServer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use support::{Registry, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn start(tls: &Tls) -> Registry {
    start_with(tls, Options::default()).await
}

async fn start_with(tls: &Tls, mut options: Options) -> Registry {
    options.tls = Some(tls.clone());
    let server = TokenServer::new(SigningKey::generate().unwrap(), TokenOptions::default()).unwrap();
    options.access = Some(Access::new(Policy::nothing(), Identities::default()).with_tokens(server));
    Registry::with(options).await
}

fn tls_of(made: &SelfSigned) -> Tls {
    Tls::new(made.certificate.as_bytes(), made.key.as_bytes()).unwrap()
}

/// A connection of a client that trusts one certificate only.
async fn connect(
    registry: &Registry,
    trusted: &SelfSigned,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    agree(registry.connect().await, trusted, name, versions, alpn).await
}

/// The same over a connection that is there.
async fn agree(
    stream: tokio::net::TcpStream,
    trusted: &SelfSigned,
    name: &str,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

async fn ask(stream: &mut TlsStream<tokio::net::TcpStream>) -> Reply {
    let request = b"GET /v2/ HTTP/1.1\r\nHost: registry.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Reply::parse(&answer)
}

#[tokio::test]
async fn clients_of_both_versions_are_answered_and_sent_to_an_encrypted_realm() {
    let made = SelfSigned::generate(&["registry.example".to_owned()]).unwrap();
    let registry = start(&tls_of(&made)).await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for name in ["127.0.0.1", "localhost", "registry.example"] {
            let mut stream = connect(&registry, &made, name, &[version], &["http/1.1"]).await.unwrap();
            let reply = ask(&mut stream).await;
            let want = "Bearer realm=\"https://registry.example/token\",service=\"polyarch\"";
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, Some(want)));
        }
    }
    connect(&registry, &made, "other.example", BOTH, &[]).await.unwrap_err();
}

#[tokio::test]
async fn http_2_is_agreed_on() {
    let made = SelfSigned::generate(&[]).unwrap();
    let registry = start(&tls_of(&made)).await;
    let mut stream = connect(&registry, &made, "localhost", BOTH, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[3], 4, "the first frame is SETTINGS");
}

#[tokio::test]
async fn a_client_that_says_nothing_after_its_handshake_is_left() {
    let made = SelfSigned::generate(&[]).unwrap();
    let mut options = Options::default();
    options.header_timeout = Duration::from_millis(300);
    let registry = start_with(&tls_of(&made), options).await;
    for alpn in ["h2", "http/1.1"] {
        for sent in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let mut stream = connect(&registry, &made, "localhost", BOTH, &[alpn]).await.unwrap();
            stream.write_all(sent).await.unwrap();
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut Vec::new())).await;
            assert!(read.is_ok(), "{alpn} after {} bytes", sent.len());
        }
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_left() {
    let made = SelfSigned::generate(&[]).unwrap();
    let mut options = Options::default();
    options.tls = Some(tls_of(&made));
    options.limits.write_timeout = Duration::from_millis(500);
    let registry = Registry::with(options).await;
    let app = content::RepositoryId::served("app".parse().unwrap());
    let bytes = vec![7; 32 << 20];
    let digest = image::Digest::sha256(&bytes);
    registry.content.put_blob_bytes(&app, &digest, bytes.into()).await.unwrap();
    let mut stream = connect(&registry, &made, "localhost", BOTH, &["http/1.1"]).await.unwrap();
    let request = format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut took = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut took)).await;
    assert!(ended.is_ok() && took.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(took.len() < 32 << 20, "{}", took.len());
}

#[tokio::test]
async fn a_replaced_certificate_is_used_for_the_next_connection() {
    let (old, new) = (SelfSigned::generate(&[]).unwrap(), SelfSigned::generate(&[]).unwrap());
    let tls = tls_of(&old);
    let registry = start(&tls).await;
    let mut open = connect(&registry, &old, "localhost", BOTH, &[]).await.unwrap();
    tls.replace(new.certificate.as_bytes(), old.key.as_bytes()).unwrap_err();
    connect(&registry, &old, "localhost", BOTH, &[]).await.unwrap();
    tls.replace(new.certificate.as_bytes(), new.key.as_bytes()).unwrap();
    connect(&registry, &old, "localhost", BOTH, &[]).await.unwrap_err();
    let mut next = connect(&registry, &new, "localhost", BOTH, &[]).await.unwrap();
    assert_eq!(ask(&mut next).await.status, 401);
    // What was open goes on.
    assert_eq!(ask(&mut open).await.status, 401);
}

#[tokio::test]
async fn a_client_that_does_not_speak_tls_gets_nothing_and_harms_nobody() {
    let made = SelfSigned::generate(&[]).unwrap();
    let mut registry = start(&tls_of(&made)).await;
    let mut plain = registry.connect().await;
    plain.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // One that stops in its handshake, or behind it, does not keep the server from ending.
    let mut half = registry.connect().await;
    half.write_all(b"\x16\x03\x01").await.unwrap();
    let mut stream = connect(&registry, &made, "localhost", BOTH, &[]).await.unwrap();
    assert_eq!(ask(&mut stream).await.status, 401);
    let _silent = connect(&registry, &made, "localhost", BOTH, &[]).await.unwrap();
    let begun = std::time::Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_client_that_was_let_in_just_before_the_end_agrees_on_tls_and_is_answered() {
    let made = SelfSigned::generate(&["registry.example".to_owned()]).unwrap();
    let mut registry = start(&tls_of(&made)).await;
    let (waiting, begun) = (registry.connect().await, connect(&registry, &made, "registry.example", BOTH, &[]).await);
    // All were accepted if one that came after them was.
    let mut last = connect(&registry, &made, "registry.example", BOTH, &[]).await.unwrap();
    assert_eq!(ask(&mut last).await.status, 401);

    registry.begin_to_stop();
    while tokio::net::TcpStream::connect(registry.address).await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&mut begun.unwrap()).await.status, 401);
    let mut agreed = agree(waiting, &made, "registry.example", BOTH, &[]).await.expect("an end in the middle of TLS");
    assert_eq!(ask(&mut agreed).await.status, 401);
    registry.stop().await;
}
