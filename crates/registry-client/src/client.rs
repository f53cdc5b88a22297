//! The client: what all repositories of all registries share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use image::{RegistryHost, RepositoryName};
use settings::{CredentialError, CredentialStore, Credentials};

use crate::call::{Call, Place};
use crate::error::{ClientError, Verb};
use crate::options::ClientOptions;
use crate::registry::Registry;
use crate::repository::Repository;
use crate::scope::{Access, ScopeSet};
use crate::wire::Wire;

/// Who knows the credentials for a registry.
pub trait CredentialSource: Send + Sync {
    /// The credentials for `host`. May block: it is called off the reactor, once per host.
    fn lookup(&self, host: &RegistryHost) -> Result<Credentials, CredentialError>;
}

impl CredentialSource for CredentialStore {
    fn lookup(&self, host: &RegistryHost) -> Result<Credentials, CredentialError> {
        CredentialStore::lookup(self, host)
    }
}

/// The same credentials for every host: those that are being tried.
struct Fixed(Credentials);

impl CredentialSource for Fixed {
    fn lookup(&self, _host: &RegistryHost) -> Result<Credentials, CredentialError> {
        Ok(self.0.clone())
    }
}

/// A client of registries: connections, tokens, pacing and what was learnt. Cloning is cheap; clones share everything.
#[derive(Clone)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

struct Shared {
    wire: Arc<Wire>,
    credentials: Arc<dyn CredentialSource>,
    registries: Mutex<HashMap<RegistryHost, Arc<Registry>>>,
}

impl RegistryClient {
    /// A client. Nothing is opened or read until the first request.
    pub fn new(options: ClientOptions, credentials: Arc<dyn CredentialSource>) -> Self {
        let wire = Arc::new(Wire::new(options));
        Self { shared: Arc::new(Shared { wire, credentials, registries: Mutex::default() }) }
    }

    /// A repository. Nothing is sent.
    pub fn repository(&self, host: &RegistryHost, name: &RepositoryName) -> Repository {
        Repository::new(self.clone(), host.clone(), name.clone())
    }

    /// The options that it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.shared.wire.options
    }

    /// Says what will be wanted of a repository, so that the first token allows all of it.
    pub fn expect(&self, host: &RegistryHost, repository: &RepositoryName, access: Access) {
        self.registry(host).tokens.expect(&ScopeSet::repository(repository, access));
    }

    /// The repositories of a registry, in its own order.
    pub async fn catalog(&self, host: &RegistryHost) -> Result<Vec<RepositoryName>, ClientError> {
        crate::listing::catalog(&self.registry(host)).await
    }

    /// Tries `credentials` on a registry: `Ok` if it lets them in, or if it lets everybody in.
    pub async fn check_login(&self, host: &RegistryHost, credentials: &Credentials) -> Result<(), ClientError> {
        // A state of its own: what other credentials were told must not be taken for what these are.
        let source = Arc::new(Fixed(credentials.clone()));
        let registry = Registry::new(self.shared.wire.clone(), source, host.clone());
        let place = Place::Path("/v2/".to_owned());
        let call = Call::new(Verb::CheckLogin, Method::GET, place, ScopeSet::default());
        registry.exchange(&call).await.map(drop)
    }

    pub(crate) fn registry(&self, host: &RegistryHost) -> Arc<Registry> {
        let mut registries = self.shared.registries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(registry) = registries.get(host) {
            return registry.clone();
        }
        let registry = Arc::new(Registry::new(self.shared.wire.clone(), self.shared.credentials.clone(), host.clone()));
        registries.insert(host.clone(), registry.clone());
        registry
    }
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").finish_non_exhaustive()
    }
}
