//! Whom to believe: roots, `certs.d`, client certificates, and the verifier.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use settings::{HostTls, TrustRoots};

/// Where distributions of Linux and the BSDs keep all roots in one file. One of these is read rather than the
/// directory beside it, which has the same certificates in some hundred files.
#[cfg(not(any(target_os = "macos", target_os = "ios", windows)))]
const BUNDLES: [&str; 7] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
    "/etc/openssl/certs/ca-certificates.crt",
];

/// A certificate or key file that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TlsSetupError {
    #[error("read `{}`: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("use the client certificate `{}`: {reason}", path.display())]
    ClientCertificate { path: PathBuf, reason: String },
    #[error("set up TLS: {0}")]
    Rustls(String),
}

/// The roots that are trusted for every host. Reading them takes milliseconds, so it begins on a thread of its own when
/// the first verified connection is about to be opened, and is waited for only when a certificate has to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Roots(Arc<RootsInner>);

#[derive(Debug)]
struct RootsInner {
    from: TrustRoots,
    begun: Once,
    loaded: OnceLock<Trusted>,
}

/// Certificates that are trusted, as anchors of chains and as they are.
#[derive(Clone, Debug)]
struct Trusted {
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Trusted {
    fn nobody() -> Self {
        Self { anchors: RootCertStore::empty(), certificates: Vec::new() }
    }

    fn add(&mut self, certificates: impl IntoIterator<Item = CertificateDer<'static>>) {
        let first = self.certificates.len();
        self.certificates.extend(certificates);
        // A root that cannot be parsed cannot be a root; the others still count.
        self.anchors.add_parsable_certificates(self.certificates[first..].iter().cloned());
    }
}

impl Roots {
    pub(crate) fn new(from: TrustRoots) -> Self {
        Self(Arc::new(RootsInner { from, begun: Once::new(), loaded: OnceLock::new() }))
    }

    /// Begins to read them, if nobody has.
    pub(crate) fn begin(&self) {
        self.0.begun.call_once(|| {
            let inner = self.0.clone();
            // Without a thread the verifier reads them itself.
            let _ = std::thread::Builder::new().name("roots".to_owned()).spawn(move || {
                inner.get();
            });
        });
    }

    fn get(&self) -> &Trusted {
        self.0.get()
    }
}

impl RootsInner {
    fn get(&self) -> &Trusted {
        self.loaded.get_or_init(|| {
            let mut trusted = Trusted::nobody();
            let mut read = |path: &Path| {
                if let Ok(certificates) = pem_certificates(path) {
                    trusted.add(certificates);
                    return true;
                }
                false
            };
            // As in Go: the file and the directories are replaced each on its own.
            if let Some(file) = &self.from.file {
                read(file);
            }
            if let Some(directories) = &self.from.directories {
                for directory in directories {
                    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                        read(&entry.path());
                    }
                }
            }
            if self.from.file.is_none() || self.from.directories.is_none() {
                load_system(&mut trusted);
            }
            tracing::debug!(certificates = trusted.certificates.len(), "roots are loaded");
            trusted
        })
    }
}

#[cfg(not(any(target_os = "macos", target_os = "ios", windows)))]
fn load_system(trusted: &mut Trusted) {
    for bundle in BUNDLES {
        if let Ok(certificates) = pem_certificates(Path::new(bundle))
            && !certificates.is_empty()
        {
            trusted.add(certificates);
            return;
        }
    }
    for entry in std::fs::read_dir("/etc/ssl/certs").into_iter().flatten().flatten() {
        trusted.add(pem_certificates(&entry.path()).unwrap_or_default());
    }
}

#[cfg(any(target_os = "macos", target_os = "ios", windows))]
fn load_system(trusted: &mut Trusted) {
    trusted.add(rustls_native_certs::load_native_certs().certs);
}

fn pem_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let failed = |reason: String| TlsSetupError::File { path: path.to_owned(), reason };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(format!("not a PEM file of certificates ({})", said(&error))))
}

/// What a reader of PEM says of a file, on one line.
fn said(error: &rustls_pki_types::pem::Error) -> String {
    crate::escape::line(&error.to_string())
}

/// TLS that believes these roots and asks nothing else: for others in this house who must connect to somebody.
///
/// # Errors
/// Never where `rustls` has what it was built with.
pub fn believing(roots: &TrustRoots) -> Result<ClientConfig, rustls::Error> {
    client_config(&Roots::new(roots.clone()), &HostTls::default(), false)
        .map_err(|error| rustls::Error::General(error.to_string()))
}

/// TLS for one kind of host. `lenient`: certificates are not verified. Errors of `certs.d` files matter only where they
/// are needed, as in Docker.
pub(crate) fn client_config(roots: &Roots, files: &HostTls, lenient: bool) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut extra = Vec::new();
    if !lenient {
        for path in &files.ca_pems {
            extra.extend(pem_certificates(path)?);
        }
    }
    let mut keys = Vec::new();
    for (certificate, key) in &files.client_pairs {
        match client_key(&provider, certificate, key) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(error) if lenient => tracing::debug!(%error, "client certificate is left out"),
            Err(error) => return Err(error),
        }
    }
    let verifier =
        Verifier { lenient, provider: provider.clone(), roots: roots.clone(), extra, strict: OnceLock::new() };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsSetupError::Rustls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = if keys.is_empty() {
        builder.with_no_client_auth()
    } else {
        builder.with_client_cert_resolver(Arc::new(ClientKeys(keys)))
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn client_key(provider: &CryptoProvider, certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsSetupError> {
    let chain = pem_certificates(certificate)?;
    let failed = |reason: String| TlsSetupError::ClientCertificate { path: certificate.to_owned(), reason };
    let text =
        std::fs::read(key).map_err(|error| TlsSetupError::File { path: key.to_owned(), reason: error.to_string() })?;
    let key =
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| failed(format!("no usable key ({})", said(&error))))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| failed(error.to_string()))?;
    Ok(key)
}

/// The client certificates for one host; the first that the server's signature schemes allow is shown.
#[derive(Debug)]
struct ClientKeys(Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for ClientKeys {
    fn resolve(&self, _root_hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|key| key.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Verifier {
    lenient: bool,
    provider: Arc<CryptoProvider>,
    roots: Roots,
    extra: Vec<CertificateDer<'static>>,
    strict: OnceLock<Option<Strict>>,
}

#[derive(Debug)]
struct Strict {
    chains: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn strict(&self) -> Option<&Strict> {
        self.strict
            .get_or_init(|| {
                let mut trusted = self.roots.get().clone();
                trusted.add(self.extra.iter().cloned());
                let anchors = Arc::new(trusted.anchors);
                WebPkiServerVerifier::builder_with_provider(anchors, self.provider.clone())
                    .build()
                    .map(|chains| Strict { chains, certificates: trusted.certificates })
                    .ok()
            })
            .as_ref()
    }
}

/// Whether the path was refused only because the server's own certificate is a CA. Validity has been checked then: it
/// comes before the basic constraints.
fn is_ca_as_end_entity(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.lenient {
            return Ok(ServerCertVerified::assertion());
        }
        // Without any root nobody is known.
        let Some(strict) = self.strict() else { return Err(CertificateError::UnknownIssuer.into()) };
        match strict.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // A plain self-signed certificate is its own CA, which a verifier of chains refuses as an end entity.
            // People put exactly that certificate among the trusted ones, so it is what they trust.
            Err(error) if is_ca_as_end_entity(&error) => {
                if !strict.certificates.iter().any(|trusted| trusted == end_entity) {
                    return Err(CertificateError::UnknownIssuer.into());
                }
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_and_the_directories_are_replaced_each_on_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let both = TrustRoots {
            file: Some(directory.path().join("none.pem")),
            directories: Some(vec![directory.path().to_owned()]),
        };
        assert!(Roots::new(both).get().certificates.is_empty(), "nothing of the system's");
    }

    #[test]
    fn a_broken_ca_file_is_an_error_that_names_it_unless_nothing_is_verified() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.crt");
        let files = HostTls { ca_pems: vec![path.clone()], client_pairs: Vec::new() };
        let roots = Roots::new(TrustRoots::default());
        let error = client_config(&roots, &files, false).unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("No such file"), "{error}");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").unwrap();
        assert!(client_config(&roots, &files, false).is_err());
        assert!(client_config(&roots, &files, true).is_ok());
    }
}
