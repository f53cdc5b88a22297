//! Sets of public keys as JSON (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::access::json;
use crate::access::signatures::{Algorithm, Curve, PublicKey};

/// Most keys of a set that are read.
const MOST: usize = 200;

/// A key that others sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jwk {
    /// What tokens call it.
    pub(crate) id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    pub(crate) only: Option<Algorithm>,
    pub(crate) key: PublicKey,
}

/// Keys, of which each may have signed a token.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct KeySet(Vec<Jwk>);

/// Why a set of keys is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeySetError {
    #[error("it is not JSON of the form `{{\"keys\": […]}}`")]
    Form,
    #[error("it has more than {MOST} keys")]
    TooMany,
    #[error("it has a private key or a shared secret in it: others may have read it")]
    Secret,
    #[error("it has no RSA, P-256, P-384, P-521 or Ed25519 key for signatures in it")]
    Empty,
}

impl KeySet {
    /// Reads a set. Keys of kinds that are not known here, for other uses, or too weak, are left out, as the
    /// specification says; a set of which nothing is left is refused.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, KeySetError> {
        let set = json::object(bytes).ok_or(KeySetError::Form)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Form)?;
        if keys.len() > MOST {
            return Err(KeySetError::TooMany);
        }
        let mut found = Vec::new();
        for key in keys {
            let key = key.as_object().ok_or(KeySetError::Form)?;
            if ["d", "k", "p", "q", "dp", "dq", "qi", "oth"].iter().any(|name| key.contains_key(*name)) {
                return Err(KeySetError::Secret);
            }
            found.extend(jwk(key));
        }
        if found.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(found)) }
    }

    /// The keys that may have signed a token of this algorithm. A token that does not say by which key it was signed is
    /// only taken where there is one that it can be.
    pub(crate) fn candidates(&self, algorithm: Algorithm, id: Option<&str>) -> Vec<&Jwk> {
        let fits = |key: &&Jwk| {
            key.key.takes(algorithm)
                && key.only.is_none_or(|only| only == algorithm)
                && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        let found: Vec<&Jwk> = self.0.iter().filter(fits).collect();
        if id.is_none() && found.len() > 1 { Vec::new() } else { found }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// One key; `None`: it is not one that can be used here.
fn jwk(key: &Map<String, Value>) -> Option<Jwk> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    if key.contains_key("use") && text("use") != Some("sig") {
        return None;
    }
    if let Some(operations) = key.get("key_ops") {
        operations.as_array()?.iter().find(|operation| *operation == "verify")?;
    }
    let only = match key.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::named(name.as_str()?)?),
    };
    let id = match key.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    let public = match text("kty")? {
        "RSA" => PublicKey::rsa(&number("n")?, &number("e")?)?,
        "EC" => {
            let (_, curve) = Curve::ALL.into_iter().find(|(name, _)| text("crv") == Some(name))?;
            PublicKey::ec(curve, &number("x")?, &number("y")?)?
        }
        "OKP" if text("crv") == Some("Ed25519") => PublicKey::ed25519(&number("x")?)?,
        _ => return None,
    };
    if only.is_some_and(|only| !public.takes(only)) {
        return None;
    }
    Some(Jwk { id, only, key: public })
}

/// A key as others read it.
pub(crate) fn publish(id: &str, algorithm: &str, key: &PublicKey) -> Value {
    let mut jwk = match key {
        PublicKey::Rsa { modulus, exponent } => {
            json!({ "kty": "RSA", "n": URL_SAFE_NO_PAD.encode(modulus), "e": URL_SAFE_NO_PAD.encode(exponent) })
        }
        PublicKey::Ec { curve, point } => {
            let (x, y) = point.get(1..).unwrap_or_default().split_at(curve.width().min(point.len().saturating_sub(1)));
            let name = Curve::ALL.iter().find(|(_, known)| known == curve).map(|(name, _)| *name);
            json!({ "kty": "EC", "crv": name, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
        }
        PublicKey::Ed25519(bytes) => json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(bytes) }),
    };
    jwk["use"] = json!("sig");
    jwk["alg"] = json!(algorithm);
    jwk["kid"] = json!(id);
    jwk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::keys::{SigningKey, TokenAlgorithm};

    fn jwk_of(algorithm: TokenAlgorithm) -> Value {
        SigningKey::generate_for(algorithm).unwrap().jwk()
    }

    fn read(keys: &[Value]) -> Result<usize, KeySetError> {
        KeySet::parse(json!({ "keys": keys, "more": 1 }).to_string().as_bytes()).map(|set| set.len())
    }

    #[test]
    fn what_is_published_can_be_read() {
        for (algorithm, used) in [
            (TokenAlgorithm::Es256, Algorithm::Es256),
            (TokenAlgorithm::Rs256, Algorithm::Rs256),
            (TokenAlgorithm::EdDsa, Algorithm::EdDsa),
        ] {
            let key = SigningKey::generate_for(algorithm).unwrap();
            let set = KeySet::parse(json!({ "keys": [key.jwk()] }).to_string().as_bytes()).unwrap();
            let signature = key.sign(b"message").unwrap();
            let found = set.candidates(used, Some(key.id()));
            assert!(found[0].key.verify(used, b"message", &signature));
            assert!(!found[0].key.verify(used, b"messages", &signature));
            for other in [Algorithm::Rs384, Algorithm::Ps256, Algorithm::Es384, Algorithm::Es512] {
                assert!(set.candidates(other, Some(key.id())).is_empty(), "it says what it is for");
                assert!(!found[0].key.verify(other, b"message", &signature));
            }
        }
    }

    #[test]
    fn keys_that_cannot_be_used_are_left_out() {
        let good = jwk_of(TokenAlgorithm::Es256);
        let with = |name: &str, value: Value| {
            let mut key = good.clone();
            key[name] = value;
            key
        };
        assert_eq!(read(std::slice::from_ref(&good)), Ok(1));
        let small = json!({ "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode([0xff; 128]) });
        let even = json!({ "kty": "RSA", "e": "AQAA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]) });
        let one = json!({ "kty": "RSA", "e": "AQ", "n": URL_SAFE_NO_PAD.encode([0xff; 256]) });
        let huge = json!({ "kty": "RSA", "e": "AQAB", "n": URL_SAFE_NO_PAD.encode(vec![0xff; 4096]) });
        for bad in [
            json!({}),
            json!({ "kty": "RSA" }),
            json!({ "kty": "RSA", "n": "", "e": "" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": good["x"] }),
            json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" }),
            json!({ "kty": "oct" }),
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
            small,
            even,
            one,
            huge,
            with("use", json!("enc")),
            with("use", json!(1)),
            with("key_ops", json!(["sign"])),
            with("key_ops", json!("verify")),
            with("alg", json!("none")),
            with("alg", json!("HS256")),
            with("alg", json!("RS256")),
            with("alg", json!("ES384")),
            with("crv", json!("P-384")),
            with("crv", json!("secp256k1")),
            with("kid", json!(7)),
            with("x", good["y"].clone()),
            with("y", json!("AA")),
        ] {
            assert_eq!(read(std::slice::from_ref(&bad)), Err(KeySetError::Empty), "{bad}");
            assert_eq!(read(&[bad, good.clone()]), Ok(1));
        }
        for secret in ["d", "k"] {
            assert_eq!(read(&[with(secret, json!("AA")), good.clone()]), Err(KeySetError::Secret));
        }
        assert_eq!(read(&vec![good.clone(); 201]), Err(KeySetError::TooMany));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#, r#"{"keys":[],"keys":[]}"#] {
            assert_eq!(KeySet::parse(text.as_bytes()), Err(KeySetError::Form), "{text}");
        }
    }

    #[test]
    fn a_token_without_a_key_id_is_only_taken_where_there_is_one_key() {
        let (one, two) = (jwk_of(TokenAlgorithm::Es256), jwk_of(TokenAlgorithm::Es256));
        let other = jwk_of(TokenAlgorithm::EdDsa);
        let set = |keys: &[&Value]| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        assert_eq!(set(&[&one, &other]).candidates(Algorithm::Es256, None).len(), 1);
        assert_eq!(set(&[&one, &two]).candidates(Algorithm::Es256, None).len(), 0);
        assert_eq!(set(&[&one, &two]).candidates(Algorithm::Es256, two["kid"].as_str()).len(), 1);
        assert_eq!(set(&[&one, &two]).candidates(Algorithm::Es256, Some("../../dev/null")).len(), 0);
    }
}
