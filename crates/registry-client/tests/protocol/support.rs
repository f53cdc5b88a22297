//! What all tests need: a client of a lab, and short names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use image::{Descriptor, Digest, MediaType, RegistryHost, RepositoryName, Tag, Target};
use lab::Lab;
use polyarch_registry_client::{ClientOptions, RegistryClient, Repository, RetryPolicy};
use settings::{CredentialStore, Credentials, Secret};

/// Options with pauses that a test can wait for.
pub(crate) fn options() -> ClientOptions {
    ClientOptions {
        retry: RetryPolicy { pause: Duration::from_millis(5), ..RetryPolicy::default() },
        ..ClientOptions::default()
    }
}

pub(crate) fn client_with(options: ClientOptions, lab: &Lab, credentials: Credentials) -> RegistryClient {
    RegistryClient::new(options, Arc::new(CredentialStore::empty().with(lab.registry_host(), credentials)))
}

pub(crate) fn client(lab: &Lab) -> RegistryClient {
    client_with(options(), lab, Credentials::Anonymous)
}

pub(crate) fn user() -> Credentials {
    Credentials::Basic { username: "user".to_owned(), password: Secret::new("secret") }
}

pub(crate) fn name(text: &str) -> RepositoryName {
    RepositoryName::parse(text).unwrap()
}

pub(crate) fn host(text: &str) -> RegistryHost {
    RegistryHost::parse(text).unwrap()
}

pub(crate) fn tag(text: &str) -> Target {
    Target::Tag(Tag::parse(text).unwrap())
}

pub(crate) fn in_repository(client: &RegistryClient, lab: &Lab, repository: &str) -> Repository {
    client.repository(&lab.registry_host(), &name(repository))
}

/// A repository of a new, anonymous client.
pub(crate) fn repository(lab: &Lab, repository: &str) -> Repository {
    in_repository(&client(lab), lab, repository)
}

pub(crate) fn blob(bytes: &Bytes) -> Descriptor {
    Descriptor::new(MediaType::OCI_LAYER_GZIP, Digest::sha256(bytes), bytes.len() as u64)
}

/// Paths of all requests with their methods, without queries.
pub(crate) fn paths(lab: &Lab) -> Vec<String> {
    lab.log().iter().map(|request| format!("{} {}", request.method, request.path())).collect()
}
