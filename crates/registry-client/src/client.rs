//! The client: what all repositories of all registries share.

use std::sync::Arc;

use http::Method;
use image::{RegistryHost, RepositoryName};
use settings::{CredentialError, CredentialStore, Credentials};
use url::Url;

use crate::error::{ClientError, ErrorKind, Failure, Verb};
use crate::options::ClientOptions;
use crate::redact::RedactedUrl;
use crate::repository::Repository;
use crate::scope::Access;

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

/// A client of registries: connections, tokens, pacing and what was learnt. Cloning is cheap; clones share everything.
#[derive(Clone)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

struct Shared {
    options: ClientOptions,
    credentials: Arc<dyn CredentialSource>,
}

impl RegistryClient {
    /// A client. Nothing is opened or read until the first request.
    pub fn new(options: ClientOptions, credentials: Arc<dyn CredentialSource>) -> Self {
        Self { shared: Arc::new(Shared { options, credentials }) }
    }

    /// A repository. Nothing is sent.
    pub fn repository(&self, host: &RegistryHost, name: &RepositoryName) -> Repository {
        Repository::new(self.clone(), host.clone(), name.clone())
    }

    /// The options that it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.shared.options
    }

    /// Says what will be wanted of a repository, so that the first token allows all of it.
    pub fn expect(&self, host: &RegistryHost, repository: &RepositoryName, access: Access) {
        let _ = (host, repository, access, &self.shared.credentials);
    }

    /// The repositories of a registry, in its own order.
    pub async fn catalog(&self, host: &RegistryHost) -> Result<Vec<RepositoryName>, ClientError> {
        self.unfinished(host, Verb::ListRepositories)
    }

    /// Tries `credentials` on a registry: `Ok` if it lets them in.
    pub async fn check_login(&self, host: &RegistryHost, credentials: &Credentials) -> Result<(), ClientError> {
        let _ = credentials;
        self.unfinished(host, Verb::CheckLogin)
    }

    fn unfinished<T>(&self, host: &RegistryHost, verb: Verb) -> Result<T, ClientError> {
        let url = Url::parse(&format!("https://{host}/v2/"));
        let url = url.as_ref().map(RedactedUrl::from).unwrap_or_else(|_| unreachable!());
        Err(Failure::new(ErrorKind::Unsupported, verb, Method::GET, url).into())
    }
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").finish_non_exhaustive()
    }
}
