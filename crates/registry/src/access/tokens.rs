//! Tokens of the registry's own: made, and checked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, Validation, get_current_timestamp};
use serde::{Deserialize, Serialize};

use crate::access::keys::SigningKey;
use crate::access::scope::{Entry, Granted};

/// Longest token that is looked at.
const LONGEST: usize = 16 << 10;
/// Tokens whose signature is known to be right.
const MOST_REMEMBERED: usize = 4096;
/// Seconds that the clocks of two servers may differ.
const LEEWAY: u64 = 10;

/// How tokens are made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenOptions {
    /// What the registry is called in its tokens. Servers that take each other's tokens have one name and one key.
    pub service: String,
    /// Where clients get tokens, as they see it: `https://registry.example.org/token`. Without it, `/token` at the
    /// address that they used.
    pub realm: Option<String>,
    /// How long a token can be used; at least a minute.
    pub lifetime: Duration,
    /// How long a refresh token can be used.
    pub refresh_lifetime: Duration,
}

impl Default for TokenOptions {
    /// `polyarch`, no realm, 5 minutes, 30 days.
    fn default() -> Self {
        Self {
            service: "polyarch".to_owned(),
            realm: None,
            lifetime: Duration::from_secs(300),
            refresh_lifetime: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// What cannot be used of [`TokenOptions`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenOptionsError {
    /// It would not fit between quotes.
    #[error("the service name `{0}` has other characters than letters, digits, `.`, `-`, `_` and `:`")]
    Service(String),
    /// It is no address.
    #[error("the realm `{0}` is not an `http://` or `https://` address")]
    Realm(String),
}

/// Makes tokens and checks them.
#[derive(Debug)]
pub struct TokenServer {
    key: SigningKey,
    pub(crate) options: TokenOptions,
    /// Tokens by their hash, with what they say. What they say about time is checked each time.
    remembered: Mutex<HashMap<[u8; 32], Arc<Shown>>>,
}

/// What a token says; what it must say is checked by `jsonwebtoken`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    #[serde(default)]
    access: Vec<Entry>,
    /// The state of the credentials that it was made for: it ends with them.
    #[serde(default)]
    stamp: String,
}

/// A token that was shown and is right.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Empty for anonymous.
    pub(crate) subject: String,
    pub(crate) stamp: String,
    pub(crate) granted: Granted,
    expires: u64,
}

/// All that may stand in a token's head. A key, an address of a key, or a certificate in it is for others to trust.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
}

impl TokenServer {
    /// Signs with this key.
    ///
    /// # Errors
    /// [`TokenOptionsError`].
    pub fn new(key: SigningKey, mut options: TokenOptions) -> Result<Self, TokenOptionsError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        if options.service.is_empty() || !options.service.bytes().all(fits) {
            return Err(TokenOptionsError::Service(options.service.escape_debug().to_string()));
        }
        if let Some(realm) = &options.realm {
            let rest = realm.strip_prefix("https://").or_else(|| realm.strip_prefix("http://"));
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"\\<>`".contains(&byte);
            if !rest.is_some_and(|rest| rest.len() > 1 && rest.bytes().all(plain)) {
                return Err(TokenOptionsError::Realm(realm.escape_debug().to_string()));
            }
        }
        // Clients take a minute for granted.
        options.lifetime = options.lifetime.max(Duration::from_secs(60));
        Ok(Self { key, options, remembered: Mutex::default() })
    }

    /// A token that allows something.
    pub(crate) fn issue(&self, subject: &str, stamp: &str, access: Vec<Entry>) -> Option<String> {
        self.sign(subject, stamp, access, &self.options.service, self.options.lifetime)
    }

    /// A token that allows nothing but to get others.
    pub(crate) fn issue_refresh(&self, subject: &str, stamp: &str) -> Option<String> {
        self.sign(subject, stamp, Vec::new(), &self.refresh_audience(), self.options.refresh_lifetime)
    }

    /// What a token says, if it is right now.
    pub(crate) fn check(&self, token: &str) -> Option<Arc<Shown>> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let now = get_current_timestamp();
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some(shown) = remembered {
            return (now < shown.expires).then_some(shown);
        }
        let shown = Arc::new(self.verify(token, &self.options.service)?);
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, shown| now < shown.expires);
        }
        if remembered.len() < MOST_REMEMBERED {
            remembered.insert(hash, shown.clone());
        }
        Some(shown)
    }

    /// Whose refresh token this is, and of which state of their credentials.
    pub(crate) fn check_refresh(&self, token: &str) -> Option<Shown> {
        self.verify(token, &self.refresh_audience())
    }

    /// Another audience: neither kind is taken for the other.
    fn refresh_audience(&self) -> String {
        format!("{}/refresh", self.options.service)
    }

    fn sign(
        &self,
        subject: &str,
        stamp: &str,
        access: Vec<Entry>,
        audience: &str,
        lifetime: Duration,
    ) -> Option<String> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let now = get_current_timestamp();
        let claims = Claims {
            iss: self.options.service.clone(),
            sub: subject.to_owned(),
            aud: audience.to_owned(),
            exp: now.saturating_add(lifetime.as_secs()),
            nbf: now,
            iat: now,
            jti: URL_SAFE_NO_PAD.encode(random),
            access,
            stamp: stamp.to_owned(),
        };
        let header = Header { kid: Some(self.key.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key.encoding).ok()
    }

    fn verify(&self, token: &str, audience: &str) -> Option<Shown> {
        if token.len() > LONGEST {
            return None;
        }
        // What the token says about how it is to be checked must be what is done anyway.
        let head = URL_SAFE_NO_PAD.decode(token.split('.').next()?).ok()?;
        let head: Head = serde_json::from_slice(&head).ok()?;
        if head.alg != "ES256" || head.kid != self.key.id || head.typ.is_some_and(|typ| typ != "JWT") {
            return None;
        }
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_audience(&[audience]);
        validation.set_issuer(&[&self.options.service]);
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key.decoding, &validation).ok()?.claims;
        Some(Shown {
            subject: claims.sub,
            stamp: claims.stamp,
            granted: Granted::new(&claims.access),
            expires: claims.exp.saturating_add(LEEWAY),
        })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use serde_json::{Value, json};

    use super::*;

    fn server() -> TokenServer {
        TokenServer::new(SigningKey::generate().unwrap(), TokenOptions::default()).unwrap()
    }

    fn parts(token: &str) -> (Value, Value, String) {
        let mut parts = token.split('.');
        let mut json = || serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap();
        let (head, claims) = (json(), json());
        (head, claims, parts.next().unwrap().to_owned())
    }

    fn part(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    /// Signed with the server's own key, whatever it says.
    fn signed(server: &TokenServer, head: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", part(head), part(claims));
        let key = &server.key.encoding;
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn only_what_this_key_signed_is_taken() {
        // As CVE-2025-24976 and its kin did not: the token's head chose the key, or that there is none.
        let server = server();
        let token = server.issue("bob", "s", Vec::new()).unwrap();
        assert_eq!(server.verify(&token, "polyarch").unwrap().subject, "bob");
        let (head, claims, signature) = parts(&token);
        assert_eq!(signed(&server, &head, &claims).matches('.').count(), 2);
        assert!(server.check(&signed(&server, &head, &claims)).is_some());

        let other = SigningKey::generate().unwrap();
        let forger = TokenServer::new(other, TokenOptions::default()).unwrap();
        assert!(server.check(&forger.issue("bob", "s", Vec::new()).unwrap()).is_none());
        let with = |key: &str, value: Value| {
            let mut head = head.clone();
            head[key] = value;
            head
        };
        // The forger's signature under our key's name, with the forger's key beside it.
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": "AA", "y": "AA" });
        for head in [head.clone(), with("jwk", jwk.clone()), with("jku", json!("https://forger.example/keys"))] {
            assert!(server.check(&signed(&forger, &head, &claims)).is_none(), "{head}");
        }
        // Even what is signed rightly: a head that says more than it needs is not ours.
        for (key, value) in [
            ("jwk", jwk),
            ("jku", json!("https://forger.example/keys")),
            ("x5c", json!(["AA"])),
            ("x5u", json!("https://forger.example/chain")),
            ("crit", json!(["exp"])),
            ("kid", json!("../../../../dev/null")),
            ("kid", json!("' or 1=1 --")),
            ("kid", json!("")),
            ("kid", json!(null)),
            ("kid", json!(1)),
            ("typ", json!("at+jwt")),
            ("alg", json!("none")),
            ("alg", json!("None")),
            ("alg", json!("HS256")),
            ("alg", json!("es256")),
            ("alg", json!("ES384")),
            ("alg", json!("RS256")),
        ] {
            let head = with(key, value);
            assert!(server.check(&signed(&server, &head, &claims)).is_none(), "{head}");
            assert!(server.check(&format!("{}.{}.", part(&head), part(&claims))).is_none(), "{head}");
            assert!(server.check(&format!("{}.{}.{signature}", part(&head), part(&claims))).is_none(), "{head}");
        }
        let mut without = head.clone();
        without.as_object_mut().unwrap().remove("kid");
        assert!(server.check(&signed(&server, &without, &claims)).is_none());
        // The public key as a shared secret.
        let secret = EncodingKey::from_secret(server.key.decoding.try_get_as_bytes().unwrap());
        let head = with("alg", json!("HS256"));
        let message = format!("{}.{}", part(&head), part(&claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        assert!(server.check(&format!("{message}.{signature}")).is_none());
    }

    #[test]
    fn times_audience_and_issuer_must_be_right() {
        let server = server();
        let (head, claims, _) = parts(&server.issue("bob", "s", Vec::new()).unwrap());
        let now = get_current_timestamp();
        for (key, value) in [
            ("exp", json!(now - 60)),
            ("exp", json!("never")),
            ("exp", json!(-1)),
            ("exp", json!(null)),
            ("nbf", json!(now + 3600)),
            ("aud", json!("other")),
            ("aud", json!("polyarch/refresh")),
            ("aud", json!([])),
            ("iss", json!("other")),
            ("sub", json!(1)),
        ] {
            let mut changed = claims.clone();
            changed[key] = value;
            assert!(server.check(&signed(&server, &head, &changed)).is_none(), "{changed}");
        }
        for key in ["exp", "nbf", "aud", "iss", "sub"] {
            let mut changed = claims.clone();
            changed.as_object_mut().unwrap().remove(key);
            assert!(server.check(&signed(&server, &head, &changed)).is_none(), "{key}");
        }
    }

    #[test]
    fn a_token_that_was_right_is_not_when_its_time_is_over() {
        let server = server();
        let (head, mut claims, _) = parts(&server.issue("bob", "s", Vec::new()).unwrap());
        claims["exp"] = json!(get_current_timestamp() + 1 - LEEWAY);
        let token = signed(&server, &head, &claims);
        assert!(server.check(&token).is_some());
        std::thread::sleep(Duration::from_millis(2100));
        assert!(server.check(&token).is_none());
    }

    #[test]
    fn a_refresh_token_is_no_token_and_the_reverse() {
        let server = server();
        let (token, refresh) = (server.issue("b", "s", Vec::new()), server.issue_refresh("b", "s"));
        let (token, refresh) = (token.unwrap(), refresh.unwrap());
        assert!(server.check(&token).is_some() && server.check_refresh(&refresh).is_some());
        assert!(server.check(&refresh).is_none() && server.check_refresh(&token).is_none());
    }

    #[test]
    fn garbage_is_no_token() {
        let server = server();
        let token = server.issue("bob", "s", Vec::new()).unwrap();
        for garbage in ["", ".", "..", "...", "a.b.c", &token[1..], &token[..token.len() - 2], &format!("{token}.x")] {
            assert!(server.check(garbage).is_none(), "{garbage}");
        }
        assert!(server.check(&"x".repeat(1 << 20)).is_none());
    }

    #[test]
    fn names_that_break_out_of_their_quotes_are_refused() {
        let with = |service: &str, realm: Option<&str>| {
            let mut options = TokenOptions::default();
            service.clone_into(&mut options.service);
            options.realm = realm.map(str::to_owned);
            TokenServer::new(SigningKey::generate().unwrap(), options).map(|_| ())
        };
        with("registry.example:5000", Some("https://registry.example/token")).unwrap();
        for bad in ["", "a\"b", "a b", "a\n"] {
            assert!(matches!(with(bad, None), Err(TokenOptionsError::Service(_))), "{bad:?}");
        }
        for bad in ["", "/token", "ftp://x/", "https://", "https://a\"b/", "https://a b/", "javascript:x"] {
            assert!(matches!(with("a", Some(bad)), Err(TokenOptionsError::Realm(_))), "{bad:?}");
        }
    }
}
