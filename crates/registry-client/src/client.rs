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

    /// Under which name `repository` has credentials of its own, alone or with others of its name space; `None`: those of
    /// its host are for it too. Must not block: it is asked for every request.
    fn own_key(&self, _host: &RegistryHost, _repository: &RepositoryName) -> Option<String> {
        None
    }

    /// The credentials for a repository that has some of its own. May block: it is called off the reactor, once per key.
    fn lookup_repository(
        &self,
        host: &RegistryHost,
        _repository: &RepositoryName,
    ) -> Result<Credentials, CredentialError> {
        self.lookup(host)
    }
}

impl CredentialSource for CredentialStore {
    fn lookup(&self, host: &RegistryHost) -> Result<Credentials, CredentialError> {
        CredentialStore::lookup(self, host)
    }

    fn own_key(&self, host: &RegistryHost, repository: &RepositoryName) -> Option<String> {
        CredentialStore::own_key(self, host, repository)
    }

    fn lookup_repository(
        &self,
        host: &RegistryHost,
        repository: &RepositoryName,
    ) -> Result<Credentials, CredentialError> {
        CredentialStore::lookup_repository(self, host, repository)
    }
}

/// What a repository has of its own, as if it were its host's.
struct OfRepository(Arc<dyn CredentialSource>, RepositoryName);

impl CredentialSource for OfRepository {
    fn lookup(&self, host: &RegistryHost) -> Result<Credentials, CredentialError> {
        self.0.lookup_repository(host, &self.1)
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
    registries: Mutex<HashMap<Identity, Arc<Registry>>>,
}

/// A host, and the key under which repositories of it have credentials of their own: tokens that were given to one user
/// are not shown for another.
type Identity = (RegistryHost, Option<String>);

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
        self.registry(host, Some(repository)).tokens.expect(&ScopeSet::repository(repository, access));
    }

    /// The repositories of a registry, in its own order.
    pub async fn catalog(&self, host: &RegistryHost) -> Result<Vec<RepositoryName>, ClientError> {
        crate::listing::catalog(&self.registry(host, None)).await
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

    /// The state of a registry, as whoever `repository` has credentials of.
    pub(crate) fn registry(&self, host: &RegistryHost, repository: Option<&RepositoryName>) -> Arc<Registry> {
        let credentials = &self.shared.credentials;
        let own = repository.and_then(|name| credentials.own_key(host, name).map(|key| (key, name)));
        let (key, source): (_, Arc<dyn CredentialSource>) = match own {
            None => (None, credentials.clone()),
            Some((key, name)) => (Some(key), Arc::new(OfRepository(credentials.clone(), name.clone()))),
        };
        let mut registries = self.shared.registries.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registries
            .entry((host.clone(), key))
            .or_insert_with(|| Arc::new(Registry::new(self.shared.wire.clone(), source, host.clone())));
        registry.clone()
    }
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").finish_non_exhaustive()
    }
}
