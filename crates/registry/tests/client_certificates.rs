//! Client certificates: who shows one, who is taken for whom, and that none is needed.

mod support;

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use polyarch_registry::{Access, Identities, Options, Policy, SelfSigned, Tls, TlsError};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use support::{Registry, Reply};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const POLICY: &str = r#"
    [[rules]]
    identities = ["anonymous", "*"]
    repositories = ["public/**"]
    actions = ["pull"]

    [[rules]]
    identities = ["certificate:ci", "certificate:spiffe://*"]
    repositories = ["team/**"]
    actions = ["pull"]

    [[rules]]
    identities = ["bob"]
    repositories = ["bob/**"]
    actions = ["pull"]
"#;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    fn vouch(&self, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn named(&self, name: &str) -> Pair {
        self.vouch(|parameters| parameters.distinguished_name.push(DnType::CommonName, name))
    }
}

struct Pair {
    certificate: String,
    key: String,
}

struct Guarded {
    registry: Registry,
    made: SelfSigned,
    tls: Tls,
}

impl Guarded {
    async fn start(with: impl FnOnce(Tls) -> Tls) -> Self {
        let made = SelfSigned::generate(&[]).unwrap();
        let tls = with(Tls::new(made.certificate.as_bytes(), made.key.as_bytes()).unwrap());
        let users = format!("bob:{}", bcrypt::hash("bob!", 4).unwrap());
        let mut options = Options::default();
        options.access = Some(Access::new(Policy::parse(POLICY).unwrap(), Identities::parse(&users, "").unwrap()));
        options.tls = Some(tls.clone());
        Self { registry: Registry::with(options).await, made, tls }
    }

    fn client(&self, shows: Option<&Pair>, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.made.certificate.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Arc::new(config)
    }

    async fn connect(&self, shows: Option<&Pair>, version: &'static SupportedProtocolVersion) -> io::Result<Talk> {
        self.connect_as(&self.client(shows, version)).await
    }

    async fn connect_as(&self, client: &Arc<ClientConfig>) -> io::Result<Talk> {
        let name = ServerName::try_from("localhost").unwrap();
        Ok(Talk(TlsConnector::from(client.clone()).connect(name, self.registry.connect().await).await?))
    }

    /// What somebody is answered on a connection of their own.
    async fn status(&self, shows: Option<&Pair>, path: &str) -> io::Result<u16> {
        Ok(self.connect(shows, V13).await?.get(path, None).await?.status)
    }
}

const V12: &SupportedProtocolVersion = &rustls::version::TLS12;
const V13: &SupportedProtocolVersion = &rustls::version::TLS13;
/// What is answered to somebody who may pull from a repository that has nothing.
const MAY: u16 = 404;

/// A connection that stays open.
struct Talk(TlsStream<tokio::net::TcpStream>);

impl Talk {
    async fn get(&mut self, path: &str, authorization: Option<&str>) -> io::Result<Reply> {
        let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n");
        self.0.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(self.0.read_u8().await?);
        }
        let mut reply = Reply::parse(&answer);
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        reply.body = vec![0; length];
        self.0.read_exact(&mut reply.body).await?;
        Ok(reply)
    }
}

fn asks(authority: &Authority) -> impl FnOnce(Tls) -> Tls {
    |tls| tls.with_client_authorities(authority.pem.as_bytes()).unwrap()
}

#[tokio::test]
async fn who_shows_a_certificate_is_known_by_it_and_who_shows_none_goes_on() {
    let authority = Authority::new();
    let guarded = Guarded::start(asks(&authority)).await;
    let ci = authority.named("ci");
    for version in [V12, V13] {
        let mut talk = guarded.connect(Some(&ci), version).await.unwrap();
        assert_eq!(talk.get("/v2/", None).await.unwrap().status, 200);
        assert_eq!(talk.get("/v2/team/app/tags/list", None).await.unwrap().status, MAY);
        let reply = talk.get("/v2/bob/app/tags/list", None).await.unwrap();
        assert_eq!(reply.status, 403);
        assert_eq!(reply.json()["errors"][0]["message"], "`certificate:ci` may not pull from `bob/app`");
        // What a request says counts before it, and counts alone.
        let bob = format!("Basic {}", STANDARD.encode("bob:bob!"));
        assert_eq!(talk.get("/v2/bob/app/tags/list", Some(&bob)).await.unwrap().status, MAY);
        assert_eq!(talk.get("/v2/team/app/tags/list", Some(&bob)).await.unwrap().status, 403);
        for wrong in ["Basic eDp5", "Bearer x", "x"] {
            assert_eq!(talk.get("/v2/team/app/tags/list", Some(wrong)).await.unwrap().status, 401);
        }
        let mut none = guarded.connect(None, version).await.unwrap();
        assert_eq!(none.get("/v2/public/app/tags/list", None).await.unwrap().status, MAY);
        assert_eq!(none.get("/v2/team/app/tags/list", None).await.unwrap().status, 401);
        assert_eq!(none.get("/v2/bob/app/tags/list", Some(&bob)).await.unwrap().status, MAY);
    }
    // Nobody is whom they are called after: neither one whom the registry knows, nor `*`.
    for name in ["bob", "*", "anonymous", "CI", "ci ", "certificate:ci"] {
        let shows = authority.named(name);
        for path in ["/v2/bob/app/tags/list", "/v2/team/app/tags/list", "/v2/public/app/tags/list"] {
            assert_eq!(guarded.status(Some(&shows), path).await.unwrap(), 403, "{name} {path}");
        }
    }
}

#[tokio::test]
async fn the_name_is_the_common_name_or_the_first_other_one() {
    let authority = Authority::new();
    let guarded = Guarded::start(asks(&authority)).await;
    let san = |name: &str| SanType::URI(name.try_into().unwrap());
    let uri = || san("spiffe://example/build");
    let host = || SanType::DnsName("ci".try_into().unwrap());
    let address = || SanType::IpAddress([127, 0, 0, 1].into());
    let path = "/v2/team/app/tags/list";
    for (common, others, want) in [
        (vec!["ci"], vec![], MAY),
        (vec!["ci"], vec![san("https://other")], MAY),
        (vec!["other"], vec![host()], 403),
        (vec![], vec![host(), san("https://other")], MAY),
        (vec![], vec![san("https://other"), host()], 403),
        (vec![], vec![address(), host()], MAY),
        (vec![], vec![uri()], MAY),
        // None that can be used, which is not the same as to show nothing.
        (vec![], vec![], 401),
        (vec![], vec![address()], 401),
        (vec![""], vec![host()], 401),
        (vec!["c\u{0}i"], vec![], 401),
        (vec!["ci\n"], vec![host()], 401),
    ] {
        let shows = authority.vouch(|parameters| {
            for name in &common {
                parameters.distinguished_name.push(DnType::CommonName, *name);
            }
            parameters.subject_alt_names.clone_from(&others);
        });
        assert_eq!(guarded.status(Some(&shows), path).await.unwrap(), want, "{common:?} {others:?}");
        if want == 401 {
            assert_eq!(guarded.status(Some(&shows), "/v2/public/app/tags/list").await.unwrap(), 401);
        }
    }
}

#[tokio::test]
async fn certificates_that_are_not_right_end_the_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    let guarded = Guarded::start(asks(&authority)).await;
    let itself = SelfSigned::generate(&[]).unwrap();
    let late = authority.vouch(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "ci");
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let early = authority.vouch(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "ci");
        parameters.not_before = rcgen::date_time_ymd(2200, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2201, 1, 1);
    });
    let server = authority.vouch(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "ci");
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let wrong = [other.named("ci"), Pair { certificate: itself.certificate, key: itself.key }, late, early, server];
    for shows in &wrong {
        for version in [V12, V13] {
            let answered = match guarded.connect(Some(shows), version).await {
                Ok(mut talk) => talk.get("/v2/public/app/tags/list", None).await.map(|reply| reply.status),
                Err(error) => Err(error),
            };
            answered.unwrap_err();
        }
    }
    assert_eq!(guarded.status(Some(&authority.named("ci")), "/v2/").await.unwrap(), 200);
    // Who is not asked shows nothing.
    let plain = Guarded::start(|tls| tls).await;
    assert_eq!(plain.status(Some(&authority.named("ci")), "/v2/team/app/tags/list").await.unwrap(), 401);
}

#[tokio::test]
async fn authorities_that_change_take_along_what_they_said() {
    let (old, new) = (Authority::new(), Authority::new());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("clients.pem");
    std::fs::write(&file, &old.pem).unwrap();
    let guarded = Guarded::start(|tls| tls.with_client_authorities_file(&file).unwrap()).await;
    let path = "/v2/team/app/tags/list";
    let (before, after) = (old.named("ci"), new.named("ci"));
    let mut open = guarded.connect(Some(&before), V13).await.unwrap();
    assert_eq!(open.get(path, None).await.unwrap().status, MAY);
    assert!(!guarded.tls.reload().unwrap());
    // What cannot be used is not taken.
    std::fs::write(&file, "nothing").unwrap();
    assert!(matches!(guarded.tls.reload(), Err(TlsError::Authorities(_))));
    assert_eq!(open.get(path, None).await.unwrap().status, MAY);
    // Another certificate of the server changes nothing for clients.
    let made = SelfSigned::generate(&[]).unwrap();
    guarded.tls.replace(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
    assert_eq!(open.get(path, None).await.unwrap().status, MAY);
    guarded.tls.replace(guarded.made.certificate.as_bytes(), guarded.made.key.as_bytes()).unwrap();
    assert_eq!(guarded.status(Some(&before), path).await.unwrap(), MAY);
    // Both, for as long as clients change; then the new one alone.
    std::fs::write(&file, format!("{}{}", old.pem, new.pem)).unwrap();
    assert!(guarded.tls.reload().unwrap());
    let mut both = guarded.connect(Some(&before), V13).await.unwrap();
    assert_eq!(both.get(path, None).await.unwrap().status, MAY);
    std::fs::write(&file, &new.pem).unwrap();
    assert!(guarded.tls.reload().unwrap());
    for talk in [&mut open, &mut both] {
        let reply = talk.get(path, None).await.unwrap();
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
    }
    guarded.status(Some(&before), path).await.unwrap_err();
    assert_eq!(guarded.status(Some(&after), path).await.unwrap(), MAY);
    guarded.tls.replace_client_authorities(old.pem.as_bytes()).unwrap();
    guarded.status(Some(&after), path).await.unwrap_err();
}

#[tokio::test]
async fn a_connection_that_is_taken_up_again_is_of_the_same_client_and_of_the_same_authorities() {
    let (old, new) = (Authority::new(), Authority::new());
    let guarded = Guarded::start(asks(&old)).await;
    let path = "/v2/team/app/tags/list";
    for version in [V12, V13] {
        let client = guarded.client(Some(&old.named("ci")), version);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut talk = guarded.connect_as(&client).await.unwrap();
            assert_eq!(talk.get(path, None).await.unwrap().status, MAY);
            kinds.push(talk.0.get_ref().1.handshake_kind());
        }
        assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]);
        guarded.tls.replace_client_authorities(new.pem.as_bytes()).unwrap();
        let answered = match guarded.connect_as(&client).await {
            Ok(mut talk) => talk.get(path, None).await.map(|reply| reply.status),
            Err(error) => Err(error),
        };
        answered.unwrap_err();
        guarded.tls.replace_client_authorities(old.pem.as_bytes()).unwrap();
    }
}

#[test]
fn what_is_no_authority_is_refused() {
    let made = SelfSigned::generate(&[]).unwrap();
    let tls = || Tls::new(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
    for bad in ["", "x", &made.key, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(tls().with_client_authorities(bad.as_bytes()), Err(TlsError::Authorities(_))), "{bad}");
    }
    let missing = tempfile::tempdir().unwrap().path().join("none");
    assert!(matches!(tls().with_client_authorities_file(&missing), Err(TlsError::Read { .. })));
}
