//! Certificates and TLS settings of a lab.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What certificate the lab shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// A leaf for `127.0.0.1` and `localhost`, signed by the lab's own CA.
    #[default]
    Signed,
    /// A certificate that is its own CA, as `openssl req -x509` makes it. [`crate::Lab::ca_pem`] is this one.
    SelfSigned,
    /// A leaf of the lab's CA for `elsewhere.example`.
    WrongHost,
    /// A leaf of the lab's CA that ended in 2001.
    Expired,
}

/// Which HTTP versions are offered in the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/2 and HTTP/1.1.
    #[default]
    Both,
    /// HTTP/1.1 alone.
    Http1,
    /// No ALPN at all.
    None,
}

/// TLS of a lab. The default has no TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Whether there is TLS.
    pub enabled: bool,
    /// The certificate.
    pub certificate: Certificate,
    /// The versions offered.
    pub alpn: Alpn,
    /// Clients must show a certificate of the lab's CA: [`crate::Lab::client_pair`].
    pub client_auth: bool,
}

impl From<bool> for Tls {
    fn from(enabled: bool) -> Self {
        Self { enabled, ..Self::default() }
    }
}

/// What was made for a lab.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) config: Arc<ServerConfig>,
    /// What a client must trust.
    pub(crate) ca_pem: String,
    /// Certificate and key of a client, PEM.
    pub(crate) client: (String, String),
}

/// Makes keys and certificates anew: nothing is committed that could be mistaken for a secret.
pub(crate) fn identity(tls: Tls, address: Option<IpAddr>) -> Result<Identity, Box<dyn std::error::Error>> {
    let ca_key = KeyPair::generate()?;
    let ca_params = {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "polyarch lab CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    };
    let ca = ca_params.self_signed(&ca_key)?;
    let issuer = Issuer::from_params(&ca_params, &ca_key);

    let leaf_key = KeyPair::generate()?;
    let names = match tls.certificate {
        Certificate::WrongHost => vec!["elsewhere.example".to_owned()],
        _ => vec!["127.0.0.1".to_owned(), "::1".to_owned(), "localhost".to_owned()]
            .into_iter()
            .chain(address.map(|address| address.to_string()))
            .collect(),
    };
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "polyarch lab");
    leaf.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    if tls.certificate == Certificate::Expired {
        leaf.not_before = rcgen::date_time_ymd(2000, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    let (leaf, ca_pem) = if tls.certificate == Certificate::SelfSigned {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = leaf.self_signed(&leaf_key)?;
        let pem = certificate.pem();
        (certificate, pem)
    } else {
        (leaf.signed_by(&leaf_key, &issuer)?, ca.pem())
    };

    let client_key = KeyPair::generate()?;
    let mut client = CertificateParams::new(Vec::<String>::new())?;
    client.distinguished_name.push(DnType::CommonName, "polyarch lab client");
    client.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let client = client.signed_by(&client_key, &issuer)?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if tls.client_auth {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone())?;
        builder
            .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?)
    } else {
        builder.with_no_client_auth()
    };
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = match tls.alpn {
        Alpn::Both => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Alpn::Http1 => vec![b"http/1.1".to_vec()],
        Alpn::None => Vec::new(),
    };
    Ok(Identity { config: Arc::new(config), ca_pem, client: (client.pem(), client_key.serialize_pem()) })
}
