//! TLS: certificate and key, replaced while the server runs.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

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
    now: Mutex<Material>,
}

struct Material {
    certificate: Vec<u8>,
    key: Vec<u8>,
    acceptor: TlsAcceptor,
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
        Ok(Self(Arc::new(Shared { files: None, now: Mutex::new(Material::new(certificate, key)?) })))
    }

    /// Reads both from files, which the server looks at from time to time. Blocks.
    ///
    /// # Errors
    /// As [`Tls::new`], and if a file cannot be read.
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let now = Mutex::new(Material::new(&read(certificate)?, &read(key)?)?);
        Ok(Self(Arc::new(Shared { files: Some((certificate.to_owned(), key.to_owned())), now })))
    }

    /// Uses others for the connections to come.
    ///
    /// # Errors
    /// As [`Tls::new`]; those that are used stay then.
    pub fn replace(&self, certificate: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let material = Material::new(certificate, key)?;
        *self.0.now.lock().unwrap_or_else(PoisonError::into_inner) = material;
        Ok(())
    }

    /// Reads the files once more, and says whether they have changed. Blocks.
    ///
    /// # Errors
    /// As [`Tls::open`]; what is used stays then. That is so for a moment while one file is new and the other is not.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let Some((certificate, key)) = &self.0.files else { return Ok(false) };
        let (certificate, key) = (read(certificate)?, read(key)?);
        {
            let now = self.0.now.lock().unwrap_or_else(PoisonError::into_inner);
            if now.certificate == certificate && now.key == key {
                return Ok(false);
            }
        }
        self.replace(&certificate, &key).map(|()| true)
    }

    pub(crate) fn has_files(&self) -> bool {
        self.0.files.is_some()
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner).acceptor.clone()
    }
}

impl Material {
    fn new(certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::NoCertificate)?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate);
        }
        let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Ok(Self { certificate: certificate.to_vec(), key: key.to_vec(), acceptor })
    }
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
