//! Tokens of the registry's own: made, and checked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::access::jws::{Compact, compact};
use crate::access::keys::{SigningKey, TokenAlgorithm, VerifyingKey};
use crate::access::scope::{Entry, Granted};

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
    /// What tokens are signed with. Without it, whatever the key is for.
    pub algorithm: Option<TokenAlgorithm>,
}

impl Default for TokenOptions {
    /// `polyarch`, no realm, 5 minutes, 30 days, any algorithm.
    fn default() -> Self {
        Self {
            service: "polyarch".to_owned(),
            realm: None,
            lifetime: Duration::from_secs(300),
            refresh_lifetime: Duration::from_secs(30 * 24 * 3600),
            algorithm: None,
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
    /// The key does not sign so.
    #[error("tokens are to be signed with {wanted}, but the key is for {key}")]
    Algorithm {
        /// What was asked for.
        wanted: TokenAlgorithm,
        /// What the key is for.
        key: TokenAlgorithm,
    },
}

/// Makes tokens and checks them.
#[derive(Debug)]
pub struct TokenServer {
    keys: RwLock<Arc<Keys>>,
    pub(crate) options: TokenOptions,
    /// Tokens by their hash, with what they say. What they say about time is checked each time.
    remembered: Mutex<HashMap<[u8; 32], Arc<Shown>>>,
}

#[derive(Debug)]
struct Keys {
    signing: SigningKey,
    /// What signed before, and until when that counts; without an end while it stands in the file of the key.
    older: Vec<(VerifyingKey, Option<u64>)>,
}

impl Keys {
    fn new(signing: SigningKey) -> Self {
        let older = signing.older().iter().map(|key| (key.clone(), None)).collect();
        Self { signing, older }
    }

    /// All that check tokens now.
    fn verifying(&self, now: u64) -> impl Iterator<Item = &VerifyingKey> {
        let older = self.older.iter().filter(move |(_, until)| until.is_none_or(|until| now < until));
        std::iter::once(self.signing.verifying()).chain(older.map(|(key, _)| key))
    }
}

/// Who a token is for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Subject<'a> {
    /// Empty for anonymous.
    pub(crate) name: &'a str,
    /// The state of the credentials that it is made for: it ends with them.
    pub(crate) stamp: &'a str,
    /// What an issuer says they belong to.
    pub(crate) groups: Option<&'a BTreeSet<Box<str>>>,
    /// When what they showed ends, in seconds of Unix time.
    pub(crate) until: Option<u64>,
}

/// What a token says.
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
    #[serde(default)]
    stamp: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    groups: BTreeSet<Box<str>>,
}

/// A token that was shown and is right.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// Empty for anonymous.
    pub(crate) subject: String,
    pub(crate) stamp: String,
    pub(crate) groups: BTreeSet<Box<str>>,
    pub(crate) granted: Granted,
    expires: u64,
}

/// All that may stand in a token's head. A key, an address of a key, or a certificate in it is for others to trust.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    #[serde(default)]
    typ: Option<String>,
    alg: String,
    kid: String,
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
        check_algorithm(&key, &options)?;
        // Clients take a minute for granted.
        options.lifetime = options.lifetime.max(Duration::from_secs(60));
        Ok(Self { keys: RwLock::new(Arc::new(Keys::new(key))), options, remembered: Mutex::default() })
    }

    /// Signs with another key from now on. The one before still checks the tokens that it signed, until they end.
    ///
    /// # Errors
    /// [`TokenOptionsError::Algorithm`]; the key stays as it was then.
    pub fn replace_key(&self, key: SigningKey) -> Result<(), TokenOptionsError> {
        check_algorithm(&key, &self.options)?;
        let mut next = Keys::new(key);
        let now = now();
        let lifetime = self.options.lifetime.max(self.options.refresh_lifetime).as_secs();
        let until = now.saturating_add(lifetime).saturating_add(LEEWAY);
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::iter::once((keys.signing.verifying().clone(), Some(until)));
        let older = keys.older.iter().map(|(key, ends)| (key.clone(), Some(ends.unwrap_or(until))));
        for (key, ends) in before.chain(older) {
            let there = next.verifying(now).any(|known| known.id == key.id);
            if !there && ends.is_none_or(|ends| now < ends) {
                next.older.push((key, ends));
            }
        }
        *keys = Arc::new(next);
        Ok(())
    }

    fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The public halves of its keys, for others who check its tokens (RFC 7517).
    pub(crate) fn key_set(&self) -> Value {
        let keys = self.keys();
        json!({ "keys": keys.verifying(now()).map(VerifyingKey::jwk).collect::<Vec<_>>() })
    }

    /// How many seconds a token for somebody can be used from now on.
    pub(crate) fn lifetime(&self, subject: &Subject<'_>) -> u64 {
        let lifetime = self.options.lifetime.as_secs();
        subject.until.map_or(lifetime, |until| lifetime.min(until.saturating_sub(now())))
    }

    /// A token that allows something.
    pub(crate) fn issue(&self, subject: &Subject<'_>, access: Vec<Entry>) -> Option<String> {
        self.sign(subject, access, &self.options.service, self.lifetime(subject))
    }

    /// A token that allows nothing but to get others.
    pub(crate) fn issue_refresh(&self, subject: &Subject<'_>) -> Option<String> {
        self.sign(subject, Vec::new(), &self.refresh_audience(), self.options.refresh_lifetime.as_secs())
    }

    /// What a token says, if it is right now.
    pub(crate) fn check(&self, token: &str) -> Option<Arc<Shown>> {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        let now = now();
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

    fn sign(&self, subject: &Subject<'_>, access: Vec<Entry>, audience: &str, lifetime: u64) -> Option<String> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let now = now();
        let claims = Claims {
            iss: self.options.service.clone(),
            sub: subject.name.to_owned(),
            aud: audience.to_owned(),
            exp: now.saturating_add(lifetime),
            nbf: now,
            iat: now,
            jti: URL_SAFE_NO_PAD.encode(random),
            access,
            stamp: subject.stamp.to_owned(),
            groups: subject.groups.cloned().unwrap_or_default(),
        };
        let keys = self.keys();
        let head = Head {
            typ: Some("JWT".to_owned()),
            alg: keys.signing.algorithm().name().to_owned(),
            kid: keys.signing.id().to_owned(),
        };
        let (head, claims) = (serde_json::to_vec(&head).ok()?, serde_json::to_vec(&claims).ok()?);
        compact(&head, &claims, |message| keys.signing.sign(message))
    }

    fn verify(&self, token: &str, audience: &str) -> Option<Shown> {
        let token = Compact::parse(token)?;
        let now = now();
        let keys = self.keys();
        // What the token says about how it is to be checked must be what is done anyway.
        let head: Head = serde_json::from_slice(&token.head).ok()?;
        let key = keys.verifying(now).find(|key| key.id == head.kid)?;
        if head.alg != key.algorithm.name() || head.typ.is_some_and(|typ| typ != "JWT") {
            return None;
        }
        if !key.verify(token.message, &token.signature) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&token.claims).ok()?;
        let expires = claims.exp.saturating_add(LEEWAY);
        let in_time = now < expires && claims.nbf <= now.saturating_add(LEEWAY);
        if !in_time || claims.aud != audience || claims.iss != self.options.service {
            return None;
        }
        Some(Shown {
            subject: claims.sub,
            stamp: claims.stamp,
            groups: claims.groups,
            granted: Granted::new(&claims.access),
            expires,
        })
    }
}

fn check_algorithm(key: &SigningKey, options: &TokenOptions) -> Result<(), TokenOptionsError> {
    match options.algorithm {
        Some(wanted) if wanted != key.algorithm() => Err(TokenOptionsError::Algorithm { wanted, key: key.algorithm() }),
        _ => Ok(()),
    }
}

/// Seconds of Unix time.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    fn server() -> TokenServer {
        TokenServer::new(SigningKey::generate().unwrap(), TokenOptions::default()).unwrap()
    }

    fn bob() -> Subject<'static> {
        Subject { name: "bob", stamp: "s", ..Subject::default() }
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
        let (head, claims) = (head.to_string(), claims.to_string());
        compact(head.as_bytes(), claims.as_bytes(), |message| server.keys().signing.sign(message)).unwrap()
    }

    #[test]
    fn only_what_this_key_signed_is_taken() {
        // As CVE-2025-24976 and its kin did not: the token's head chose the key, or that there is none.
        let server = server();
        let token = server.issue(&bob(), Vec::new()).unwrap();
        assert_eq!(server.verify(&token, "polyarch").unwrap().subject, "bob");
        let (head, claims, signature) = parts(&token);
        assert_eq!(signed(&server, &head, &claims).matches('.').count(), 2);
        assert!(server.check(&signed(&server, &head, &claims)).is_some());

        let other = SigningKey::generate().unwrap();
        let forger = TokenServer::new(other, TokenOptions::default()).unwrap();
        assert!(server.check(&forger.issue(&bob(), Vec::new()).unwrap()).is_none());
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
        let jwk = server.keys().signing.jwk();
        let point = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA256, &[vec![4], point("x"), point("y")].concat());
        let head = with("alg", json!("HS256")).to_string();
        let sign = |message: &[u8]| Some(hmac::sign(&secret, message).as_ref().to_vec());
        let forged = compact(head.as_bytes(), claims.to_string().as_bytes(), sign).unwrap();
        assert!(server.check(&forged).is_none());
        // Said twice, in the head or in the claims.
        let sign = |message: &[u8]| server.keys().signing.sign(message);
        let (head, text) = (parts(&token).0.to_string(), claims.to_string());
        assert!(server.check(&compact(head.as_bytes(), text.as_bytes(), sign).unwrap()).is_some());
        let twice = |text: &str, more: &str| format!("{{{more},{}", &text[1..]);
        for (head, claims) in [
            (twice(&head, r#""alg":"none""#), text.clone()),
            (twice(&head, r#""kid":"x""#), text.clone()),
            (head.clone(), twice(&text, r#""sub":"eve""#)),
            (head.clone(), twice(&text, r#""exp":9999999999"#)),
        ] {
            assert!(
                server.check(&compact(head.as_bytes(), claims.as_bytes(), sign).unwrap()).is_none(),
                "{head} {claims}"
            );
        }
    }

    #[test]
    fn times_audience_and_issuer_must_be_right() {
        let server = server();
        let (head, claims, _) = parts(&server.issue(&bob(), Vec::new()).unwrap());
        let now = super::now();
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
        let (head, mut claims, _) = parts(&server.issue(&bob(), Vec::new()).unwrap());
        claims["exp"] = json!(now() + 1 - LEEWAY);
        let token = signed(&server, &head, &claims);
        assert!(server.check(&token).is_some());
        std::thread::sleep(Duration::from_millis(2100));
        assert!(server.check(&token).is_none());
    }

    #[test]
    fn a_refresh_token_is_no_token_and_the_reverse() {
        let server = server();
        let (token, refresh) = (server.issue(&bob(), Vec::new()), server.issue_refresh(&bob()));
        let (token, refresh) = (token.unwrap(), refresh.unwrap());
        assert!(server.check(&token).is_some() && server.check_refresh(&refresh).is_some());
        assert!(server.check(&refresh).is_none() && server.check_refresh(&token).is_none());
    }

    #[test]
    fn garbage_is_no_token() {
        let server = server();
        let token = server.issue(&bob(), Vec::new()).unwrap();
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

    #[test]
    fn each_algorithm_makes_tokens_that_only_its_own_key_opens() {
        let servers: Vec<TokenServer> = TokenAlgorithm::ALL
            .iter()
            .map(|(_, algorithm)| {
                let options = TokenOptions { algorithm: Some(*algorithm), ..TokenOptions::default() };
                TokenServer::new(SigningKey::generate_for(*algorithm).unwrap(), options).unwrap()
            })
            .collect();
        for (at, server) in servers.iter().enumerate() {
            let token = server.issue(&bob(), Vec::new()).unwrap();
            let (head, claims, _) = parts(&token);
            assert_eq!(head["alg"], TokenAlgorithm::ALL[at].0);
            assert_eq!(head["kid"], server.key_set()["keys"][0]["kid"]);
            for (other, checks) in servers.iter().enumerate() {
                assert_eq!(checks.check(&token).is_some(), at == other);
                // Another key under the name of this one, and this key under the name of another algorithm.
                assert_eq!(server.check(&signed(checks, &head, &claims)).is_some(), at == other);
                let mut changed = head.clone();
                changed["alg"] = json!(TokenAlgorithm::ALL[other].0);
                assert_eq!(server.check(&signed(server, &changed, &claims)).is_some(), at == other);
            }
        }
    }

    #[test]
    fn a_key_for_another_algorithm_is_refused_by_name() {
        let options = TokenOptions { algorithm: Some(TokenAlgorithm::EdDsa), ..TokenOptions::default() };
        let error = TokenServer::new(SigningKey::generate().unwrap(), options.clone()).unwrap_err();
        assert_eq!(error.to_string(), "tokens are to be signed with EdDSA, but the key is for ES256");
        let server = TokenServer::new(SigningKey::generate_for(TokenAlgorithm::EdDsa).unwrap(), options).unwrap();
        let before = server.key_set();
        server.replace_key(SigningKey::generate().unwrap()).unwrap_err();
        assert_eq!(server.key_set(), before);
    }

    #[test]
    fn tokens_of_the_key_before_are_taken_until_they_end() {
        let server = server();
        let (token, refresh) = (server.issue(&bob(), Vec::new()).unwrap(), server.issue_refresh(&bob()).unwrap());
        server.replace_key(SigningKey::generate_for(TokenAlgorithm::EdDsa).unwrap()).unwrap();
        let next = server.issue(&bob(), Vec::new()).unwrap();
        assert_eq!(parts(&next).0["alg"], "EdDSA");
        assert!(server.check(&token).is_some() && server.check(&next).is_some());
        assert!(server.check_refresh(&refresh).is_some());
        assert_eq!(server.key_set()["keys"].as_array().unwrap().len(), 2);
        // The new key under the name of the old one.
        let (head, claims, _) = parts(&token);
        assert!(server.check(&signed(&server, &head, &claims)).is_none());
        // It is forgotten when the last token that it can have signed has ended.
        let keys = server.keys();
        let until = keys.older[0].1.unwrap();
        assert!(until >= now() + 30 * 24 * 3600);
        assert_eq!(keys.verifying(until - 1).count(), 2);
        assert_eq!(keys.verifying(until).count(), 1);
    }

    #[test]
    fn a_token_ends_with_what_it_was_made_for() {
        let server = server();
        let subject = Subject { until: Some(now() + 20), ..bob() };
        let (_, claims, _) = parts(&server.issue(&subject, Vec::new()).unwrap());
        assert!(claims["exp"].as_u64().unwrap() <= now() + 20);
        let subject = Subject { until: Some(now() + 1_000_000), ..bob() };
        assert_eq!(server.lifetime(&subject), 300);
    }
}
