//! TLS: certificate and key, replaced while the server runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::access::{ClientCertificate, Epoch};

/// Why a certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("failed to read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// There is no certificate.
    #[error("the certificate is not PEM with `BEGIN CERTIFICATE`")]
    NoCertificate,
    /// There is no key.
    #[error("the key is not a private key in PEM")]
    NoKey,
    /// They do not fit, or are of a kind that is not used.
    #[error("failed to use certificate and key: {0}")]
    Unusable(#[from] rustls::Error),
    /// There is no certificate authority, or one that cannot be used.
    #[error("failed to use the certificate authorities of clients: {0}")]
    Authorities(String),
    /// No certificate could be made.
    #[error("failed to make a certificate: {0}")]
    Make(String),
}

/// A certificate that nobody vouches for, and its key. Both are PEM.
#[derive(Clone)]
pub struct SelfSigned {
    /// The certificate: clients must be told to trust it.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfSigned").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// Makes one for these host names and addresses, and for this machine's own.
    ///
    /// # Errors
    /// [`TlsError::Make`] if one of them is no name.
    pub fn generate(names: &[String]) -> Result<Self, TlsError> {
        let failed = |error: rcgen::Error| TlsError::Make(error.to_string());
        let mut all = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        all.extend(names.iter().filter(|name| !["localhost", "127.0.0.1", "::1"].contains(&name.as_str())).cloned());
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = CertificateParams::new(all).map_err(failed)?;
        parameters.distinguished_name.push(DnType::CommonName, "polyarch registry");
        parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        Ok(Self { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// What connections are encrypted with. Copies share it: all see what replaces it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Option<(PathBuf, PathBuf)>,
    authorities_file: Option<PathBuf>,
    now: Mutex<Material>,
    epoch: Epoch,
}

#[derive(Clone, PartialEq, Eq)]
struct Pem {
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// Who vouches for clients, if any are asked for a certificate.
    authorities: Option<Vec<u8>>,
}

struct Material {
    pem: Pem,
    /// Of the authorities.
    epoch: u64,
    acceptor: TlsAcceptor,
}

/// Makes connections encrypted, as it was decided when they came.
pub(crate) struct Handshake {
    acceptor: TlsAcceptor,
    epoch: Epoch,
    checked: u64,
    asks: bool,
}

impl Handshake {
    /// Agrees with a client on how to go on; and finds out who it is, if it shows a certificate.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Option<ClientCertificate>)> {
        let stream = self.acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown
            .filter(|_| self.asks)
            .map(|certificate| ClientCertificate::new(certificate, self.epoch.clone(), self.checked));
        Ok((stream, certificate))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.0.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Uses a chain of certificates, the server's first, and its key, both PEM.
    ///
    /// # Errors
    /// [`TlsError`], also if they do not belong together.
    pub fn new(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pem = Pem { certificate: certificate.to_vec(), key: key.to_vec(), authorities: None };
        Self::made(None, None, pem)
    }

    /// Reads both from files, which the server looks at from time to time. Blocks.
    ///
    /// # Errors
    /// As [`Tls::new`], and if a file cannot be read.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = Pem { certificate: read(certificate)?, key: read(key)?, authorities: None };
        Self::made(Some((certificate.to_owned(), key.to_owned())), None, pem)
    }

    /// Asks clients for a certificate of one of these authorities (PEM). One that shows another is sent away; one that
    /// shows none goes on, and is nobody in particular. Copies that were made before do not ask.
    ///
    /// # Errors
    /// [`TlsError::Authorities`].
    pub fn with_client_authorities(self, authorities: &[u8]) -> Result<Self, TlsError> {
        let pem = Pem { authorities: Some(authorities.to_vec()), ..self.pem() };
        Self::made(self.0.files.clone(), None, pem)
    }

    /// As [`Tls::with_client_authorities`], from a file, which the server looks at from time to time. Blocks. When it
    /// changes, certificates that were shown before do not count any more until their clients connect again.
    ///
    /// # Errors
    /// As there, and if it cannot be read.
    pub fn with_client_authorities_file(self, path: &Path) -> Result<Self, TlsError> {
        let pem = Pem { authorities: Some(read(path)?), ..self.pem() };
        Self::made(self.0.files.clone(), Some(path.to_owned()), pem)
    }

    fn made(files: Option<(PathBuf, PathBuf)>, authorities_file: Option<PathBuf>, pem: Pem) -> Result<Self, TlsError> {
        let now = Mutex::new(Material::new(pem, 0)?);
        Ok(Self(Arc::new(Shared { files, authorities_file, now, epoch: Epoch::default() })))
    }

    fn pem(&self) -> Pem {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).pem.clone()
    }

    /// Uses another certificate and key for the connections to come.
    ///
    /// # Errors
    /// As [`Tls::new`]; those that are used stay then.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        self.take(Pem { certificate: certificate.to_vec(), key: key.to_vec(), ..self.pem() })
    }

    /// Asks for certificates of other authorities from now on. Those that were shown before do not count any more.
    ///
    /// # Errors
    /// [`TlsError::Authorities`]; those that are used stay then.
    pub fn replace_client_authorities(&self, authorities: &[u8]) -> Result<(), TlsError> {
        self.take(Pem { authorities: Some(authorities.to_vec()), ..self.pem() })
    }

    fn take(&self, pem: Pem) -> Result<(), TlsError> {
        let mut now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        let others = now.pem.authorities != pem.authorities;
        let material = Material::new(pem, now.epoch + u64::from(others))?;
        *now = material;
        if others {
            self.0.epoch.next();
        }
        Ok(())
    }

    /// Reads the files once more, and says whether they have changed. Blocks.
    ///
    /// # Errors
    /// As [`Tls::open`]; what is used stays then. That is so for a moment while one file is new and the other is not.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let mut pem = self.pem();
        if let Some((certificate, key)) = &self.0.files {
            (pem.certificate, pem.key) = (read(certificate)?, read(key)?);
        }
        if let Some(authorities) = &self.0.authorities_file {
            pem.authorities = Some(read(authorities)?);
        }
        if pem == self.pem() {
            return Ok(false);
        }
        self.take(pem).map(|()| true)
    }

    pub(crate) fn has_files(&self) -> bool {
        self.0.files.is_some() || self.0.authorities_file.is_some()
    }

    pub(crate) fn handshake(&self) -> Handshake {
        let now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
        Handshake {
            acceptor: now.acceptor.clone(),
            epoch: self.0.epoch.clone(),
            checked: now.epoch,
            asks: now.pem.authorities.is_some(),
        }
    }
}

impl Material {
    fn new(pem: Pem, epoch: u64) -> Result<Self, TlsError> {
        let chain = certificates(&pem.certificate).ok_or(TlsError::NoCertificate)?;
        let private = PrivateKeyDer::from_pem_slice(&pem.key).map_err(|_| TlsError::NoKey)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = match &pem.authorities {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(authorities) => {
                let failed = |reason: &dyn fmt::Display| TlsError::Authorities(reason.to_string());
                let mut roots = RootCertStore::empty();
                let all = certificates(authorities).ok_or_else(|| failed(&"there is no `BEGIN CERTIFICATE`"))?;
                for authority in all {
                    roots.add(authority).map_err(|error| failed(&error))?;
                }
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| failed(&error))?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { pem, epoch, acceptor })
    }
}

/// All certificates of a text; `None` if there are none, or if one cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_the_old_stays() {
        let (one, two) = (SelfSigned::generate(&[]).unwrap(), SelfSigned::generate(&[]).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
        assert!(matches!(Tls::open(&certificate, &key), Err(TlsError::Read { .. })));
        std::fs::write(&certificate, &one.certificate).unwrap();
        std::fs::write(&key, &one.key).unwrap();
        let tls = Tls::open(&certificate, &key).unwrap();
        assert!(!tls.reload().unwrap());
        // One file is new, the other is not yet.
        std::fs::write(&certificate, &two.certificate).unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Unusable(_))));
        std::fs::write(&key, &two.key).unwrap();
        assert!(tls.reload().unwrap());
        assert!(!tls.reload().unwrap());
        std::fs::write(&key, "").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::NoKey)));
        assert!(matches!(Tls::new(b"", one.key.as_bytes()), Err(TlsError::NoCertificate)));
        assert!(matches!(SelfSigned::generate(&["\u{7f8e}".to_owned()]), Err(TlsError::Make(_))));
        assert!(!format!("{one:?}").contains("PRIVATE"));
    }
}
