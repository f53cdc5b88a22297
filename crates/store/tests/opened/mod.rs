//! Stores over labs and temporary directories.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use image::RegistryHost;
use lab::Lab;
use polyarch_store::{ImageStore, Location, Stores};
use registry_client::{ClientOptions, CredentialSource, RegistryClient};
use settings::{CredentialError, Credentials, Secret};

/// `user` and `secret` for everybody who asks.
struct Known;

impl CredentialSource for Known {
    fn lookup(&self, _: &RegistryHost) -> Result<Credentials, CredentialError> {
        Ok(Credentials::Basic { username: "user".to_owned(), password: Secret::new("secret") })
    }
}

/// A client for one lab.
pub(crate) fn client(lab: &Lab) -> RegistryClient {
    let mut options = ClientOptions::default();
    if lab.ca_pem().is_none() {
        options.plain_http = BTreeSet::from([lab.registry_host()]);
    }
    options.insecure = true;
    options.retry.attempts = 1;
    RegistryClient::new(options, Arc::new(Known))
}

/// Stores over one lab and a data directory that is only made when the local store is asked for.
pub(crate) fn stores(lab: &Lab, data_dir: &Path) -> Stores {
    Stores::new(client(lab), data_dir.to_owned())
}

pub(crate) fn registry(lab: &Lab, repository: &str) -> Arc<dyn ImageStore> {
    let name = image::RepositoryName::parse(repository).unwrap();
    Arc::new(polyarch_store::RegistryStore::new(client(lab).repository(&lab.registry_host(), &name)))
}

pub(crate) async fn local(data_dir: &Path, name: &str) -> Arc<dyn ImageStore> {
    let nowhere = RegistryClient::new(ClientOptions::default(), Arc::new(Known));
    let location = Location::parse(&format!("local:{name}")).unwrap();
    Stores::new(nowhere, data_dir.to_owned()).open_for_writing(&location).await.unwrap()
}

pub(crate) fn layout(directory: &Path) -> Arc<dyn ImageStore> {
    Arc::new(polyarch_store::LayoutStore::new(directory))
}
