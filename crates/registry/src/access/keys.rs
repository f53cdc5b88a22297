//! The keys that sign tokens.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

use crate::access::jwk;
use crate::access::signatures::{Algorithm, Curve, PublicKey};

/// Most keys that a file has.
const MOST: usize = 16;

/// How the registry signs its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TokenAlgorithm {
    /// ECDSA with P-256 and SHA-256.
    #[default]
    Es256,
    /// RSA with 3072 bits and SHA-256 (PKCS #1 v1.5): for others who check the tokens and know nothing else.
    Rs256,
    /// Ed25519.
    EdDsa,
}

impl TokenAlgorithm {
    /// All of them, as settings and tokens spell them.
    pub const ALL: [(&'static str, Self); 3] = [("ES256", Self::Es256), ("RS256", Self::Rs256), ("EdDSA", Self::EdDsa)];

    /// As settings and tokens spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }

    fn verified_as(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::Es256,
            Self::Rs256 => Algorithm::Rs256,
            Self::EdDsa => Algorithm::EdDsa,
        }
    }
}

impl fmt::Display for TokenAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An algorithm that tokens are not signed with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of `ES256`, `RS256` and `EdDSA`")]
pub struct UnknownAlgorithm(String);

impl FromStr for TokenAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found
            .map(|(_, algorithm)| *algorithm)
            .ok_or_else(|| UnknownAlgorithm(text.chars().take(50).collect::<String>().escape_debug().to_string()))
    }
}

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
    /// It is no key of a kind that is used.
    #[error(
        "`{}` is not a private key for ECDSA with P-256, RSA of 2048 to 8192 bits, or Ed25519, as PKCS #8 in PEM",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// It is a key, but for another algorithm than was asked for.
    #[error(
        "the signing key `{}` is for {found}, not for {wanted}; name another file, and {wanted} gets a key of its own",
        path.display()
    )]
    OtherAlgorithm {
        /// The file.
        path: PathBuf,
        /// What its first key is for.
        found: TokenAlgorithm,
        /// What was asked for.
        wanted: TokenAlgorithm,
    },
    /// No key could be made.
    #[error("failed to make a signing key")]
    Generate,
}

/// A key that signs tokens, and older ones that still check them.
pub struct SigningKey {
    pair: Pair,
    algorithm: TokenAlgorithm,
    verifying: VerifyingKey,
    /// What signed before it: tokens that those made are taken until they end.
    older: Vec<VerifyingKey>,
}

enum Pair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

/// What checks tokens that a key signed.
#[derive(Clone, Debug)]
pub(crate) struct VerifyingKey {
    /// What tokens call it: the hash of its public half.
    pub(crate) id: String,
    pub(crate) algorithm: TokenAlgorithm,
    key: PublicKey,
}

impl VerifyingKey {
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(self.algorithm.verified_as(), message, signature)
    }

    /// The key as others read it.
    pub(crate) fn jwk(&self) -> Value {
        jwk::publish(&self.id, self.algorithm.name(), &self.key)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.verifying.id)
            .field("algorithm", &self.algorithm)
            .field("older", &self.older.len())
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key for ES256 that is kept nowhere.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the system has no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        Self::generate_for(TokenAlgorithm::default())
    }

    /// A new key that is kept nowhere.
    ///
    /// # Errors
    /// [`KeyError::Generate`] if the system has no randomness.
    pub fn generate_for(algorithm: TokenAlgorithm) -> Result<Self, KeyError> {
        Self::from_pkcs8(&new_key(algorithm)?).ok_or(KeyError::Generate)
    }

    /// Reads the key from a file, whichever of the three algorithms it is for; makes both, for ES256, if there is none.
    /// Blocks. When several do that at once, all get the same key.
    ///
    /// A file may have several keys in it, one after the other: the first signs, and all of them check. To change the
    /// key, put a new one before it, and take the old one out when the tokens that it signed have ended.
    ///
    /// # Errors
    /// Any [`KeyError`]. A file that is there is never written to.
    pub fn open(path: &Path) -> Result<Self, KeyError> {
        Self::open_or_make(path, TokenAlgorithm::default())
    }

    /// As [`SigningKey::open`], for one algorithm and no other.
    ///
    /// # Errors
    /// As [`SigningKey::open`], and [`KeyError::OtherAlgorithm`].
    pub fn open_for(path: &Path, wanted: TokenAlgorithm) -> Result<Self, KeyError> {
        let key = Self::open_or_make(path, wanted)?;
        if key.algorithm == wanted {
            return Ok(key);
        }
        Err(KeyError::OtherAlgorithm { path: path.to_owned(), found: key.algorithm, wanted })
    }

    fn open_or_make(path: &Path, algorithm: TokenAlgorithm) -> Result<Self, KeyError> {
        let failed = |source| KeyError::Io { path: path.to_owned(), source };
        let pem = match std::fs::read(path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path, &new_key(algorithm)?).map_err(failed)?;
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
        Self::from_pem(&pem).ok_or_else(|| KeyError::NoKey { path: path.to_owned() })
    }

    fn from_pem(pem: &[u8]) -> Option<Self> {
        let mut keys = Vec::new();
        for der in PrivatePkcs8KeyDer::pem_slice_iter(pem) {
            keys.push(Self::from_pkcs8(der.ok()?.secret_pkcs8_der())?);
        }
        if keys.len() > MOST {
            return None;
        }
        let mut keys = keys.into_iter();
        let mut first = keys.next()?;
        first.older = keys.map(|key| key.verifying).collect();
        Some(first)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let (pair, algorithm, key, public) =
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
                let public = pair.public_key().as_ref().to_vec();
                let (x, y) = public.get(1..)?.split_at_checked(Curve::P256.width())?;
                let key = PublicKey::ec(Curve::P256, x, y)?;
                (Pair::Es256(pair), TokenAlgorithm::Es256, key, public)
            } else if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                let public = pair.public_key().as_ref().to_vec();
                (Pair::EdDsa(pair), TokenAlgorithm::EdDsa, PublicKey::ed25519(&public)?, public)
            } else {
                let pair = RsaKeyPair::from_pkcs8(der).ok()?;
                let public = pair.public_key().as_ref().to_vec();
                let (_, numbers) = RSAPublicKey::from_der(&public).ok()?;
                let key = PublicKey::rsa(numbers.modulus, numbers.exponent)?;
                (Pair::Rs256(pair), TokenAlgorithm::Rs256, key, public)
            };
        let id = URL_SAFE_NO_PAD.encode(digest(&SHA256, &public));
        Some(Self { pair, algorithm, verifying: VerifyingKey { id, algorithm, key }, older: Vec::new() })
    }

    /// What it signs with.
    pub fn algorithm(&self) -> TokenAlgorithm {
        self.algorithm
    }

    /// What tokens call it (`kid`).
    pub fn id(&self) -> &str {
        &self.verifying.id
    }

    /// Signs; `None` if the system has no randomness.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Es256(pair) => Some(pair.sign(&random, message).ok()?.as_ref().to_vec()),
            Pair::EdDsa(pair) => Some(pair.try_sign(message).ok()?.as_ref().to_vec()),
            Pair::Rs256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
        }
    }

    /// What checks its tokens.
    pub(crate) fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// What checks the tokens of the keys before it.
    pub(crate) fn older(&self) -> &[VerifyingKey] {
        &self.older
    }

    #[cfg(test)]
    pub(crate) fn jwk(&self) -> Value {
        self.verifying.jwk()
    }
}

/// A new key, as PKCS #8.
fn new_key(algorithm: TokenAlgorithm) -> Result<Vec<u8>, KeyError> {
    let failed = |_| KeyError::Generate;
    match algorithm {
        TokenAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
            Ok(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
        }
        TokenAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::generate().map_err(failed)?;
            // Version 1: what `openssl` reads, too.
            Ok(pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
        }
        TokenAlgorithm::Rs256 => {
            let pair = RsaKeyPair::generate(KeySize::Rsa3072).map_err(failed)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
            Ok(der.as_ref().to_vec())
        }
    }
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
            let open = || SigningKey::open(&path).unwrap().id().to_owned();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
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

    #[test]
    fn a_key_of_each_kind_is_made_and_read_again_and_no_other_is_taken_for_it() {
        let directory = tempfile::tempdir().unwrap();
        for (name, algorithm) in TokenAlgorithm::ALL {
            assert_eq!((name.parse(), algorithm.name()), (Ok(algorithm), name));
            let path = directory.path().join(name);
            let made = SigningKey::open_for(&path, algorithm).unwrap();
            assert_eq!(made.algorithm(), algorithm);
            assert_eq!(SigningKey::open(&path).unwrap().id(), made.id(), "whatever it is for");
            assert!(made.verifying().verify(b"message", &made.sign(b"message").unwrap()));
            assert!(!made.verifying().verify(b"other", &made.sign(b"message").unwrap()));
            for (_, wanted) in TokenAlgorithm::ALL.into_iter().filter(|(_, other)| *other != algorithm) {
                let error = SigningKey::open_for(&path, wanted).unwrap_err().to_string();
                assert!(error.contains(&format!("is for {algorithm}, not for {wanted}")), "{error}");
            }
        }
        let error = "HS256".parse::<TokenAlgorithm>().unwrap_err().to_string();
        assert_eq!(error, "`HS256` is not one of `ES256`, `RS256` and `EdDSA`");
    }

    #[test]
    fn the_first_key_of_a_file_signs_and_all_of_them_check() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        let first = SigningKey::open_for(&old, TokenAlgorithm::Es256).unwrap();
        let second = SigningKey::open_for(&new, TokenAlgorithm::EdDsa).unwrap();
        let both = [std::fs::read(&new).unwrap(), std::fs::read(&old).unwrap()].concat();
        std::fs::write(&old, &both).unwrap();
        let key = SigningKey::open(&old).unwrap();
        assert_eq!(key.id(), second.id());
        let older: Vec<&str> = key.older().iter().map(|key| &*key.id).collect();
        assert_eq!(older, [first.id()]);
        // None of them is left out silently.
        std::fs::write(
            &old,
            [both, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec()].concat(),
        )
        .unwrap();
        assert!(matches!(SigningKey::open(&old), Err(KeyError::NoKey { .. })));
    }
}
