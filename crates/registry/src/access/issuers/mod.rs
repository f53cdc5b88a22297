//! Others who say who somebody is: issuers of tokens (JWT) that this registry takes.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::ClientConfig;

use crate::access::json;
use crate::access::jws::Compact;
use crate::access::policy::{ANONYMOUS, External, Identity};
use crate::access::signatures::Algorithm;
use crate::access::tokens::now;

mod cache;
mod claims;
mod source;

use cache::Cache;
use source::Source;

/// What client certificates are known as: no issuer can be called that.
pub(crate) const CERTIFICATE: &str = "certificate";
/// Issuers that are taken at once.
const MOST: usize = 100;

/// An issuer whose tokens are taken, and how they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IssuerOptions {
    /// What its identities and groups begin with here, before a colon: `name:subject`. Without it, the host of `issuer`.
    pub name: Option<String>,
    /// What its tokens say as `iss`, to the letter.
    pub issuer: String,
    /// Its public keys (RFC 7517): a file, or an `https://` address. `http://` is taken for this machine only.
    pub jwks: String,
    /// What its tokens say as `aud`: one of these at least. A token for somebody else is not one for this registry.
    pub audience: Vec<String>,
    /// The claim that says who somebody is; one that begins with `/` is a JSON pointer.
    pub name_claim: String,
    /// The claim that says what they belong to: a list of texts, or one text. One that begins with `/` is a JSON
    /// pointer: `/realm_access/roles`.
    pub groups_claim: Option<String>,
    /// How long its keys are used before they are asked for again.
    pub refresh: Duration,
    /// How long nothing is asked after it was asked: a token with a key that is not known asks at once otherwise.
    pub retry: Duration,
    /// How long keys are used when there are no newer ones to be had.
    pub keep: Duration,
}

impl IssuerOptions {
    /// Takes tokens for this audience. Who somebody is says `sub`; groups are not read. Keys are asked for again after
    /// an hour (those in a file are looked at every 10 s), never twice within 30 s (1 s), and kept for a day.
    pub fn new(issuer: impl Into<String>, jwks: impl Into<String>, audience: impl Into<String>) -> Self {
        let jwks = jwks.into();
        let far = Source::is_address(&jwks);
        let seconds = |far_away, here| Duration::from_secs(if far { far_away } else { here });
        Self {
            name: None,
            issuer: issuer.into(),
            jwks,
            audience: vec![audience.into()],
            name_claim: "sub".to_owned(),
            groups_claim: None,
            refresh: seconds(3600, 10),
            retry: seconds(30, 1),
            keep: Duration::from_secs(24 * 3600),
        }
    }
}

/// Why issuers are not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerError {
    /// A setting of one of them cannot be used.
    #[error("issuer `{issuer}`: `{key}` {reason}")]
    Setting {
        /// Which one.
        issuer: String,
        /// What cannot be used.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Its file of keys cannot be used.
    #[error("issuer `{issuer}`: failed to read its keys from `{}`: {reason}", path.display())]
    Keys {
        /// Which one.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There are too many.
    #[error("there are more than {MOST} issuers")]
    TooMany,
    /// Connections cannot be made.
    #[error("failed to set up connections to issuers: {0}")]
    Connections(String),
}

/// Issuers whose tokens are taken. Cheap to copy; copies share what they know of keys.
#[derive(Clone, Default)]
pub struct Issuers(Arc<HashMap<String, Arc<Issuer>>>);

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

struct Issuer {
    options: IssuerOptions,
    name: String,
    /// Changes whenever something does that decides who somebody is.
    stamp: String,
    keys: Arc<Cache>,
}

/// Somebody for whom a token vouches.
#[derive(Clone, Debug)]
pub(crate) struct Vouched {
    pub(crate) identity: Identity,
    /// When the token ends, in seconds of Unix time.
    pub(crate) until: u64,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotVouched {
    /// It is wrong, or is none.
    Wrong,
    /// The keys of its issuer cannot be had now. Its name.
    NoKeys(String),
}

impl Issuers {
    /// Takes the tokens of these issuers. Files of keys are read now; addresses are asked when the first token comes.
    /// `trust` says whose certificates are believed then. Blocks.
    ///
    /// # Errors
    /// [`IssuerError`] for the first thing that cannot be used.
    pub fn open(options: Vec<IssuerOptions>, trust: &ClientConfig) -> Result<Self, IssuerError> {
        if options.len() > MOST {
            return Err(IssuerError::TooMany);
        }
        let mut client = None;
        let mut issuers: HashMap<String, Arc<Issuer>> = HashMap::new();
        for options in options {
            let fail = |key, reason: &str| IssuerError::Setting {
                issuer: shown(&options.issuer),
                key,
                reason: reason.to_owned(),
            };
            let name = name_of(&options)?;
            if options.issuer.is_empty() {
                return Err(fail("issuer", "is empty"));
            }
            if options.audience.is_empty() || options.audience.iter().any(String::is_empty) {
                return Err(fail("audience", "is empty: then tokens for anybody else would be taken here, too"));
            }
            if options.name_claim.is_empty() {
                return Err(fail("name-claim", "is empty"));
            }
            if options.groups_claim.as_ref().is_some_and(String::is_empty) {
                return Err(fail("groups-claim", "is empty"));
            }
            let source = Source::new(&options.jwks).map_err(|reason| fail("jwks", reason))?;
            if issuers.contains_key(&options.issuer) {
                return Err(fail("issuer", "is there twice"));
            }
            if let Some(other) = issuers.values().find(|other| other.name == name) {
                let reason = format!("would be `{name}`, as that of `{}` is", shown(&other.options.issuer));
                return Err(fail("name", &reason));
            }
            let reader = source.reader(&mut client, trust).map_err(IssuerError::Connections)?;
            let keys = Cache::new(name.clone(), reader, &options);
            if let Source::File(path) = &source {
                keys.fill().map_err(|reason| IssuerError::Keys {
                    issuer: shown(&options.issuer),
                    path: path.clone(),
                    reason,
                })?;
            }
            let claims = (&options.name_claim, &options.groups_claim);
            let stamp = format!("{:?}", (&name, &options.issuer, &options.audience, claims, &options.jwks));
            let stamp = URL_SAFE_NO_PAD.encode(digest(&SHA256, stamp.as_bytes()));
            let keys = Arc::new(keys);
            issuers.insert(options.issuer.clone(), Arc::new(Issuer { options, name, stamp, keys }));
        }
        Ok(Self(Arc::new(issuers)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same issuers, with what `before` knows of the keys of those that are as they were.
    pub(crate) fn after(self, before: &Self) -> Self {
        let issuers = self.0.iter().map(|(key, issuer)| {
            let old = before.0.get(key).filter(|old| old.options == issuer.options && old.keys.is_far());
            (key.clone(), old.unwrap_or(issuer).clone())
        });
        Self(Arc::new(issuers.collect()))
    }

    /// The state of the issuer that vouches for somebody. `None`: its tokens are not taken.
    pub(crate) fn stamp(&self, external: &External) -> Option<String> {
        let issuer = self.0.values().find(|issuer| issuer.name == external.source());
        issuer.map(|issuer| issuer.stamp.clone())
    }

    /// Who somebody is who shows this token.
    pub(crate) async fn check(&self, token: &str) -> Result<Vouched, NotVouched> {
        if self.is_empty() {
            return Err(NotVouched::Wrong);
        }
        let token = Compact::parse(token).ok_or(NotVouched::Wrong)?;
        let head = claims::Head::parse(&token.head).ok_or(NotVouched::Wrong)?;
        // Believed for nothing but to find out whose keys it must have been signed with.
        let claims = json::object(&token.claims).ok_or(NotVouched::Wrong)?;
        let issuer = claims.get("iss").and_then(|issuer| issuer.as_str()).and_then(|issuer| self.0.get(issuer));
        let issuer = issuer.ok_or(NotVouched::Wrong)?;
        let keys = issuer.keys.with(head.algorithm, head.id.as_deref()).await;
        let keys = keys.ok_or_else(|| NotVouched::NoKeys(issuer.name.clone()))?;
        let candidates = keys.candidates(head.algorithm, head.id.as_deref());
        let signed = |algorithm: Algorithm| {
            candidates.iter().any(|key| key.key.verify(algorithm, token.message, &token.signature))
        };
        let refused = |reason: &str| {
            tracing::debug!(issuer = issuer.name, reason, "a token is not taken");
            NotVouched::Wrong
        };
        if !signed(head.algorithm) {
            return Err(refused("no key of its issuer has signed it"));
        }
        let said = claims::read(&claims, &issuer.options, now()).map_err(refused)?;
        let external = External::new(&issuer.name, said.name, said.groups);
        Ok(Vouched { identity: Identity::External(Arc::new(external)), until: said.until })
    }
}

/// What an issuer is called here.
fn name_of(options: &IssuerOptions) -> Result<String, IssuerError> {
    let fail =
        |reason: &str| IssuerError::Setting { issuer: shown(&options.issuer), key: "name", reason: reason.to_owned() };
    let name = match &options.name {
        Some(name) => name.clone(),
        None => url::Url::parse(&options.issuer)
            .ok()
            .and_then(|url| Some(url.host()?.to_string()))
            .filter(|host| !host.contains(':'))
            .ok_or_else(|| fail("is missing, and `issuer` is no address whose host could stand for it"))?,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if name.is_empty() || name.len() > 100 || !name.bytes().all(fits) {
        return Err(fail("has to have 1 to 100 letters, digits, `.`, `-` and `_`"));
    }
    if name == CERTIFICATE || name == ANONYMOUS {
        return Err(fail(&format!("cannot be `{name}`: that has a meaning of its own")));
    }
    Ok(name)
}

/// A text of somebody's, fit to be shown.
fn shown(text: &str) -> String {
    text.chars().take(200).collect::<String>().escape_debug().to_string()
}
