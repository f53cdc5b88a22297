//! Whom the server posts to, and what it takes of their answers.

use std::sync::Arc;

use polyarch_registry::{SelfSigned, WebhookOptions, Webhooks};

use crate::receiver::{FINE, Receiver};
use crate::{SECRET, counts, endpoint, push, quick, telling, until};

#[tokio::test]
async fn this_machine_and_what_is_not_encrypted_is_refused_unless_it_is_listed() {
    let receiver = Receiver::start(|_, _| Some(FINE.to_owned())).await;
    let port = receiver.address.port();
    let refuse = |url: String| Webhooks::open(vec![endpoint(&url)], WebhookOptions::default()).unwrap_err().to_string();
    for host in
        ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254", "10.0.0.1", "127.1", "2130706433"]
    {
        for scheme in ["https", "http"] {
            let error = refuse(format!("{scheme}://{host}:{port}/T0PSECRET"));
            assert!(error.contains("is not a public one") && !error.contains("T0PSECRET"), "{error}");
        }
    }
    assert!(refuse("http://hooks.example/".to_owned()).contains("it is not encrypted"));
    // A name is judged by its address, when it is connected to.
    let mut options = quick();
    options.allow = vec![format!("127.0.0.1:{}", port - 1).parse().unwrap()];
    let (registry, webhooks) = telling(vec![endpoint(&format!("https://localhost:{port}/"))], options).await;
    push(&registry, "v1", 0..1).await;
    until(&webhooks, |counts| counts.failed >= 3).await;
    assert_eq!(*receiver.connections.lock().unwrap(), 0, "the name was connected to");
    // The same name, listed.
    let mut options = quick();
    options.allow = vec![format!("localhost:{port}").parse().unwrap()];
    let (registry, webhooks) = telling(vec![endpoint(&format!("http://LOCALHOST:{port}/"))], options).await;
    push(&registry, "v1", 0..1).await;
    until(&webhooks, |counts| counts.delivered == 2).await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let receiver = Receiver::start(|_, _| {
        Some(format!("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{}", "x".repeat(10_000_000)))
    })
    .await;
    let (registry, webhooks) = telling(vec![endpoint(&receiver.url("/"))], quick()).await;
    push(&registry, "v1", 0..2).await;
    until(&webhooks, |counts| counts.delivered == 4).await;
    let endless = Receiver::start(|_, _| Some(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1_000_000)))).await;
    let (registry, webhooks) = telling(vec![endpoint(&endless.url("/"))], quick()).await;
    push(&registry, "v1", 0..1).await;
    until(&webhooks, |counts| counts.failed > 2).await;
    assert_eq!(counts(&webhooks).delivered, 0);
}

#[tokio::test]
async fn over_tls_whoever_receives_must_be_whom_somebody_vouches_for() {
    let made = SelfSigned::generate(&["127.0.0.1".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let authorities = directory.path().join("authorities.pem");
    std::fs::write(&authorities, &made.certificate).unwrap();
    let receiver = Receiver::over(Some(acceptor(&made)), |_, _| Some(FINE.to_owned())).await;
    let url = format!("https://{}/hook", receiver.address);
    let (registry, strict) = telling(vec![endpoint(&url)], quick()).await;
    push(&registry, "v1", 0..1).await;
    until(&strict, |counts| counts.failed > 1).await;
    assert_eq!((counts(&strict).delivered, receiver.posts().len()), (0, 0));
    let mut options = quick();
    options.authorities = Some(authorities);
    let (registry, trusting) = telling(vec![endpoint(&url)], options).await;
    push(&registry, "v1", 0..1).await;
    until(&trusting, |counts| counts.delivered == 2).await;
    assert!(receiver.posts().iter().all(|post| post.is_signed_with(SECRET)));
}

fn acceptor(made: &SelfSigned) -> tokio_rustls::TlsAcceptor {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(made.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config).into()
}
