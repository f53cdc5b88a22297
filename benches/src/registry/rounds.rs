//! Scenarios in turn, so that a change of the machine's speed meets all servers.

use std::sync::Arc;
use std::time::Duration;

use image::{RegistryHost, RepositoryName};
use load::{Amount, LoadOptions, Measured, Scenario, Stop};
use registry_client::{ClientOptions, RegistryClient};
use settings::CredentialStore;

use crate::Wishes;
use crate::server::{Peer, Server};

/// For each scenario, for each server, its rounds.
pub(crate) type Results = Vec<(Scenario, Vec<Vec<Measured>>)>;

pub(crate) async fn side_by_side(wishes: &Wishes, peers: &[Peer]) -> Result<Results, String> {
    let servers: Vec<Server> = peers.iter().map(Peer::start).collect::<Result<_, _>>()?;
    let empty = || peers.iter().map(|_| Vec::new()).collect();
    let mut results: Results = wishes.scenarios.iter().map(|&scenario| (scenario, empty())).collect();
    for round in 0..wishes.rounds {
        for (scenario, rounds) in &mut results {
            for (at, server) in servers.iter().enumerate() {
                eprintln!("round {} of {}: {scenario}, {}", round + 1, wishes.rounds, peers[at].name);
                let amount = Amount::For(Duration::from_secs(wishes.seconds));
                rounds[at].extend(measure(server, &[*scenario], amount, None, false).await?);
            }
        }
    }
    Ok(results)
}

/// Runs scenarios against a server.
pub(crate) async fn measure(
    server: &Server,
    scenarios: &[Scenario],
    amount: Amount,
    repository: Option<&str>,
    keep: bool,
) -> Result<Vec<Measured>, String> {
    let host = RegistryHost::parse(&server.host()).map_err(|error| error.to_string())?;
    let mut options = LoadOptions::new(host.clone()).map_err(|error| error.to_string())?;
    if let Some(repository) = repository {
        options.repository = RepositoryName::parse(repository).map_err(|error| error.to_string())?;
    }
    options.scenarios = scenarios.to_vec();
    options.amount = amount;
    options.pid = Some(server.pid());
    options.keep = keep;
    let mut client_options = ClientOptions::default();
    client_options.plain_http.insert(host);
    let client = RegistryClient::new(client_options, Arc::new(CredentialStore::empty()));
    let report = load::run(&options, &client, &Stop::default(), &mut |_| {})
        .await
        .map_err(|error| format!("failed to {error}"))?;
    for measured in &report.scenarios {
        for (what, count) in &measured.errors {
            eprintln!("{}: {what}: {count}", measured.scenario);
        }
    }
    Ok(report.scenarios)
}
