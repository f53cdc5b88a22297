//! Who asks, and what they may do.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;

mod caller;
mod challenge;
mod glob;
mod identities;
mod keys;
mod policy;
mod policy_file;
mod scope;
pub(crate) mod token_endpoint;
mod tokens;

pub(crate) use caller::{Caller, admit, denied};
pub(crate) use challenge::Encrypted;
pub(crate) use glob::Glob;
pub use identities::{Identities, IdentityError};
pub use keys::{KeyError, SigningKey};
pub use policy::{Action, Identity, Policy, Rights};
pub use policy_file::PolicyError;
pub use tokens::{TokenOptions, TokenOptionsError, TokenServer};

/// Passwords that are hashed at once: guessing them must not take all processors from those who pull.
const HASHING: usize = 2;

/// What decides who may do what. Its parts are replaced while requests are served: each request sees one state.
#[derive(Clone, Debug)]
pub struct Access {
    policy: Arc<RwLock<Arc<Policy>>>,
    identities: Arc<RwLock<Identities>>,
    hashing: Arc<Semaphore>,
    tokens: Option<Arc<TokenServer>>,
}

impl Access {
    /// Decides by a policy about these identities.
    pub fn new(policy: Policy, identities: Identities) -> Self {
        Self {
            policy: Arc::new(RwLock::new(Arc::new(policy))),
            identities: Arc::new(RwLock::new(identities)),
            hashing: Arc::new(Semaphore::new(HASHING)),
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

    pub(crate) fn tokens(&self) -> Option<&TokenServer> {
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

    /// Whether a password, or a token in its place, is that of `name`.
    pub(crate) async fn knows(&self, name: &str, password: String) -> bool {
        let identities = self.identities();
        if identities.known_at_once(name, &password) {
            return true;
        }
        let Ok(_permit) = self.hashing.acquire().await else { return false };
        // Whoever sends several requests at once waits for the first of them only.
        if identities.known_at_once(name, &password) {
            return true;
        }
        let name = name.to_owned();
        tokio::task::spawn_blocking(move || identities.check_slowly(&name, &password)).await.unwrap_or(false)
    }
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
}
