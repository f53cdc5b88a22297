//! Who asks, and what they may do.

use std::sync::{Arc, PoisonError, RwLock};

use http::StatusCode;
use http::header::{self, HeaderValue};
use tokio::sync::Semaphore;

mod caller;
mod certificate;
mod challenge;
mod glob;
mod identities;
mod issuers;
mod json;
mod jwk;
mod jws;
mod keys;
mod policy;
mod policy_file;
mod scope;
mod signatures;
pub(crate) mod token_endpoint;
mod tokens;

pub(crate) use caller::{Caller, admit, admit_administrator, basic_of, denied};
pub(crate) use certificate::{ClientCertificate, Epoch};
pub(crate) use challenge::Encrypted;
pub(crate) use glob::Glob;
pub use identities::{Identities, IdentityError};
pub use issuers::{IssuerError, IssuerOptions, Issuers};
pub(crate) use jwk::KeySet;
pub(crate) use jws::Compact;
pub use keys::{KeyError, SigningKey, TokenAlgorithm, UnknownAlgorithm};
pub use policy::{Action, External, Identity, Policy, Rights};
pub use policy_file::PolicyError;
pub(crate) use scope::parse as parse_scopes;
pub(crate) use tokens::Subject;
pub use tokens::{TokenOptions, TokenOptionsError, TokenServer};

use crate::refusal::Refusal;
use issuers::NotVouched;
use policy::VOUCHED;
use tokens::Shown;

/// Passwords that are hashed at once: guessing them must not take all processors from those who pull.
const HASHING: usize = 2;
/// Passwords that wait to be hashed. Whoever comes then is told to come again, and does not make others wait longer.
const WAITING: usize = 128;

/// What decides who may do what. Its parts are replaced while requests are served: each request sees one state.
#[derive(Clone, Debug)]
pub struct Access {
    policy: Arc<RwLock<Arc<Policy>>>,
    identities: Arc<RwLock<Identities>>,
    issuers: Arc<RwLock<Issuers>>,
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    tokens: Option<Arc<TokenServer>>,
}

/// Somebody who has shown who they are.
#[derive(Clone, Debug)]
pub(crate) struct Proven {
    pub(crate) identity: Identity,
    /// When what they showed ends, in seconds of Unix time.
    pub(crate) until: Option<u64>,
}

impl Access {
    /// Decides by a policy about these identities.
    pub fn new(policy: Policy, identities: Identities) -> Self {
        Self {
            policy: Arc::new(RwLock::new(Arc::new(policy))),
            identities: Arc::new(RwLock::new(identities)),
            issuers: Arc::default(),
            hashing: Arc::new(Semaphore::new(HASHING)),
            waiting: Arc::new(Semaphore::new(HASHING + WAITING)),
            tokens: None,
        }
    }

    /// Clients get tokens at `/token`, and are told so. Docker needs that where anonymous may do something and users
    /// more: it only logs in where it is asked to from the beginning.
    #[must_use]
    pub fn with_tokens(mut self, server: TokenServer) -> Self {
        self.tokens = Some(Arc::new(server));
        self
    }

    /// Takes the tokens of these issuers, too: as they are (`Authorization: Bearer`), and in place of a password, with
    /// any user name.
    #[must_use]
    pub fn with_issuers(self, issuers: Issuers) -> Self {
        self.replace_issuers(issuers);
        self
    }

    /// The server of its own tokens, if there is one.
    pub fn tokens(&self) -> Option<&TokenServer> {
        self.tokens.as_deref()
    }

    /// The policy as it is now.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a new policy file; the next request is decided by it.
    ///
    /// # Errors
    /// [`PolicyError`]; the policy stays as it was then.
    pub fn replace_policy(&self, text: &str) -> Result<(), PolicyError> {
        let policy = Arc::new(Policy::parse(text)?);
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = policy;
        Ok(())
    }

    /// Who is known now.
    pub fn identities(&self) -> Identities {
        self.identities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes other identities. Passwords that were right are forgotten.
    pub fn replace_identities(&self, identities: Identities) {
        *self.identities.write().unwrap_or_else(PoisonError::into_inner) = identities;
    }

    /// Whose tokens are taken now.
    pub fn issuers(&self) -> Issuers {
        self.issuers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the tokens of other issuers. Those that are as they were keep the keys that are known of them.
    pub fn replace_issuers(&self, issuers: Issuers) {
        let mut now = self.issuers.write().unwrap_or_else(PoisonError::into_inner);
        let next = issuers.after(&now);
        *now = next;
    }

    /// Who it is that shows a password, or a token in its place. `None`: it is not right.
    ///
    /// # Errors
    /// A refusal if it cannot be found out now.
    pub(crate) async fn by_password(&self, name: &str, password: String) -> Result<Option<Proven>, Refusal> {
        let identities = self.identities();
        let known = || Some(Proven { identity: Identity::named(name), until: None });
        if identities.known_at_once(name, &password) {
            return Ok(known());
        }
        if jws::resembles(&password) && !self.issuers().is_empty() {
            // The name is that in the token, whatever the client calls itself: many clients want one to be given.
            return self.by_token(&password).await;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Err(too_many()) };
        let Ok(_permit) = self.hashing.acquire().await else { return Err(too_many()) };
        // Whoever sends several requests at once waits for the first of them only.
        if identities.known_at_once(name, &password) {
            return Ok(known());
        }
        let owner = name.to_owned();
        let check = tokio::task::spawn_blocking(move || identities.check_slowly(&owner, &password));
        Ok(if check.await.unwrap_or(false) { known() } else { None })
    }

    /// Who it is that shows a token of an issuer. `None`: it is not right.
    ///
    /// # Errors
    /// A refusal if it cannot be found out now.
    pub(crate) async fn by_token(&self, token: &str) -> Result<Option<Proven>, Refusal> {
        match self.issuers().check(token).await {
            Ok(vouched) => Ok(Some(Proven { identity: vouched.identity, until: Some(vouched.until) })),
            Err(NotVouched::Wrong) => Ok(None),
            Err(NotVouched::NoKeys(issuer)) => {
                let message = format!("the keys of issuer `{issuer}` cannot be had at the moment");
                Err(later(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message), "10"))
            }
        }
    }

    /// The state of what somebody shows who they are with. `None`: nobody is called that, or nobody vouches for them
    /// here.
    pub(crate) fn stamp(&self, identity: &Identity) -> Option<String> {
        match identity {
            Identity::Anonymous => Some(String::new()),
            Identity::Named(name) => self.identities().stamp(name),
            Identity::External(external) => self.issuers().stamp(external),
        }
    }

    /// Whose token it is. `None`: what they showed to get it does not count any more.
    pub(crate) fn holder(&self, shown: &Shown) -> Option<Identity> {
        let identity = match shown.subject.as_str() {
            "" => Identity::Anonymous,
            name if name.contains(VOUCHED) => Identity::External(Arc::new(External::again(name, shown.groups.clone()))),
            name => Identity::named(name),
        };
        (self.stamp(&identity)? == shown.stamp).then_some(identity)
    }
}

fn too_many() -> Refusal {
    let message = "too many passwords are being checked at the moment";
    later(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message), "1")
}

fn later(refusal: Refusal, seconds: &'static str) -> Refusal {
    refusal.header(header::RETRY_AFTER, HeaderValue::from_static(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PULL: &str = "[[rules]]\nidentities = [\"anonymous\"]\nrepositories = [\"**\"]\nactions = [\"pull\"]";

    #[test]
    fn an_invalid_policy_is_refused_and_the_old_one_stays() {
        let access = Access::new(Policy::parse(PULL).unwrap(), Identities::default());
        let shared = access.clone();
        let may =
            |access: &Access| access.policy().rights(&Identity::Anonymous, &"app".parse().unwrap()).allow(Action::Pull);
        access.replace_policy("[[rules]]\nactions = 3").unwrap_err();
        assert!(may(&access) && may(&shared));
        shared.replace_policy("").unwrap();
        assert!(!may(&access) && !may(&shared));
    }

    #[tokio::test]
    async fn passwords_that_cannot_be_hashed_soon_are_sent_away_and_those_that_are_known_are_not() {
        // So dear that none is done before all have come, on a busy machine too.
        let users = format!("bob:{}", bcrypt::hash("bob!", 8).unwrap());
        let tokens = Identities::token_line("ci", "long and random");
        let access = Access::new(Policy::nothing(), Identities::parse(&users, &tokens).unwrap());
        let right = async |name, password: &str| access.by_password(name, password.to_owned()).await;
        assert!(right("bob", "bob!").await.unwrap().is_some());
        let wrong = (0..WAITING + HASHING + 50).map(|n| access.by_password("bob", format!("guess {n}")));
        let known = async {
            // After the others have taken their places.
            (right("bob", "bob!").await, right("ci", "long and random").await, right("bob", "wrong").await)
        };
        let (wrong, (bob, ci, late)) = tokio::join!(futures_util::future::join_all(wrong), known);
        let away: Vec<_> = wrong.iter().filter_map(|result| result.as_ref().err()).collect();
        assert_eq!(away.len(), 50);
        assert_eq!(
            (away[0].status, &*away[0].headers[0].0.to_string()),
            (StatusCode::TOO_MANY_REQUESTS, "retry-after")
        );
        assert!(wrong.iter().flatten().all(Option::is_none));
        assert!(bob.unwrap().is_some() && ci.unwrap().is_some() && late.is_err());
        assert!(right("bob", "wrong").await.unwrap().is_none());
    }
}
