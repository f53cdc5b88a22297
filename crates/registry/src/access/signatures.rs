//! Which signatures are taken, and by which keys (RFC 7518, section 3; RFC 8037).

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, EcdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

/// Bits of the smallest and of the largest RSA key that is taken.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// How something is signed. There is none without a signature, and none with a shared secret: whoever could check such
/// a token could make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name, to the letter.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            // RFC 9864 names the curve.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        Some(match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
            Self::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Self::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Self::Ps512 => &RSA_PSS_2048_8192_SHA512,
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => return None,
        })
    }
}

/// Curves of ECDSA. Each goes with one algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(crate) const ALL: [(&'static str, Self); 3] =
        [("P-256", Self::P256), ("P-384", Self::P384), ("P-521", Self::P521)];

    /// Bytes of a coordinate.
    pub(crate) fn width(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    fn algorithm(self) -> (Algorithm, &'static EcdsaVerificationAlgorithm) {
        match self {
            Self::P256 => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED),
            Self::P384 => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED),
            Self::P521 => (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED),
        }
    }
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// A point: 4, x, y.
    Ec { curve: Curve, point: Vec<u8> },
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// An RSA key; `None` if it is too small, too large, or none.
    pub(crate) fn rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        let strip = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let (modulus, exponent) = (strip(modulus), strip(exponent));
        let bits = 8 * modulus.len() - modulus.first()?.leading_zeros() as usize;
        let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte % 2 == 1);
        if !RSA_BITS.contains(&bits) || !odd(&modulus) || !odd(&exponent) || exponent == [1] || exponent.len() > 4 {
            return None;
        }
        let components = RsaPublicKeyComponents { n: &modulus, e: &exponent };
        components.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some(Self::Rsa { modulus, exponent })
    }

    /// A key on a curve; `None` if the point is not on it.
    pub(crate) fn ec(curve: Curve, x: &[u8], y: &[u8]) -> Option<Self> {
        if x.len() != curve.width() || y.len() != curve.width() {
            return None;
        }
        let point = [&[4], x, y].concat();
        UnparsedPublicKey::new(curve.algorithm().1, &point).parse().ok()?;
        Some(Self::Ec { curve, point })
    }

    /// A key for Ed25519; `None` if it is none.
    pub(crate) fn ed25519(bytes: &[u8]) -> Option<Self> {
        UnparsedPublicKey::new(&ED25519, bytes).parse().ok()?;
        Some(Self::Ed25519(bytes.to_vec()))
    }

    /// Whether this kind of key signs in this way.
    pub(crate) fn takes(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => algorithm.rsa().is_some(),
            Self::Ec { curve, .. } => curve.algorithm().0 == algorithm,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    /// Whether the owner of this key signed the message in this way.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        if !self.takes(algorithm) {
            return false;
        }
        let verdict = match self {
            Self::Rsa { modulus, exponent } => {
                let Some(parameters) = algorithm.rsa() else { return false };
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(parameters, message, signature)
            }
            Self::Ec { curve, point } => UnparsedPublicKey::new(curve.algorithm().1, point).verify(message, signature),
            Self::Ed25519(bytes) => UnparsedPublicKey::new(&ED25519, bytes).verify(message, signature),
        };
        verdict.is_ok()
    }
}
