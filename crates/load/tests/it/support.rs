//! A client, options that a test can wait for, and a run.

use std::sync::Arc;
use std::time::Duration;

use image::{RegistryHost, RepositoryName};
use polyarch_load::{Amount, LoadError, LoadOptions, Report, Scenario, Stop, run};
use registry_client::{ClientOptions, RegistryClient, RetryPolicy};
use settings::{CredentialStore, Credentials};

/// The repository of all tests.
pub(crate) const REPOSITORY: &str = "bench/app";

pub(crate) fn options(host: &str, scenarios: &[Scenario], operations: u64) -> LoadOptions {
    let mut options = LoadOptions::new(RegistryHost::parse(host).unwrap()).unwrap();
    options.repository = RepositoryName::parse(REPOSITORY).unwrap();
    options.scenarios = scenarios.to_vec();
    options.amount = Amount::Operations(operations);
    options.large = 3 << 20;
    options.patience = Duration::from_secs(20);
    options
}

pub(crate) async fn measure(options: &LoadOptions) -> Report {
    measure_as(options, Credentials::Anonymous).await.unwrap()
}

pub(crate) async fn measure_as(options: &LoadOptions, credentials: Credentials) -> Result<Report, LoadError> {
    let retry = RetryPolicy { pause: Duration::from_millis(5), ..RetryPolicy::default() };
    let client_options = ClientOptions { retry, ..ClientOptions::default() };
    let store = CredentialStore::empty().with(options.host.clone(), credentials);
    let client = RegistryClient::new(client_options, Arc::new(store));
    run(options, &client, &Stop::default(), &mut |_| {}).await
}
