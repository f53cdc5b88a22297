//! The key that signs tokens.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, EncodingKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("failed to open the signing key `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Others may read it.
    #[error("refused the signing key `{}`: others than its owner can read or write it; `chmod 600` it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// It is no key of the kind that is used.
    #[error("`{}` is not a private key for ECDSA with P-256, as PKCS #8 in PEM", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// No key could be made.
    #[error("failed to make a signing key")]
    Generate,
}

/// A key for ES256.
pub struct SigningKey {
    pub(crate) encoding: EncodingKey,
    pub(crate) decoding: DecodingKey,
    /// What tokens call it: the hash of its public half.
    pub(crate) id: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key that is kept nowhere.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the system has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Self::from_pkcs8(&new_key()?).ok_or(KeyError::Generate)
    }

    /// Reads the key from a file; makes both if there is none. Blocks. When several do that at once, all get the same
    /// key.
    ///
    /// # Errors
    /// Any [`KeyError`]. A file that is there is never written to.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io { path: path.to_owned(), source };
        let pem = match std::fs::read(path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, &new_key()?).map_err(failed)?;
                std::fs::read(path).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            if std::fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
                return Err(KeyError::Exposed { path: path.to_owned() });
            }
        }
        let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).ok();
        key.and_then(|key| Self::from_pkcs8(key.secret_pkcs8_der()))
            .ok_or_else(|| KeyError::NoKey { path: path.to_owned() })
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).ok()?;
        let public = pair.public_key().as_ref();
        Some(Self {
            encoding: EncodingKey::from_ec_der(der),
            decoding: DecodingKey::from_ec_der(public),
            id: URL_SAFE_NO_PAD.encode(digest(&SHA256, public)),
        })
    }
}

fn new_key() -> Result<Vec<u8>, KeyError> {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| KeyError::Generate)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
    Ok(pkcs8.as_ref().to_vec())
}

/// Writes a key where there is none. Whoever comes second keeps the key of the first.
fn create(path: &Path, der: &[u8]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Only its owner can read a file that is made so, from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let text = STANDARD.encode(der);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    file.write_all(pem.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => std::fs::File::open(directory)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| SigningKey::open(&path).unwrap().id)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            let error = SigningKey::open(&path).unwrap_err();
            assert!(error.to_string().ends_with("`chmod 600` it"), "{error}");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(SigningKey::open(&path), Err(KeyError::NoKey { .. })));
        assert!(matches!(SigningKey::open(&directory.path().join("no/key")), Err(KeyError::Io { .. })));
    }
}
