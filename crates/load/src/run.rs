//! From options to a report.

use std::sync::Arc;
use std::time::{Duration, Instant};

use registry_client::{Access, RegistryClient, Repository};
use rustls_pki_types::ServerName;

use crate::budget::Budget;
use crate::client::Client;
use crate::connection::Connector;
use crate::crew::{Crew, Outcome};
use crate::error::LoadError;
use crate::options::{LoadOptions, Stop, random_bytes};
use crate::plan::{Plan, Step};
use crate::process::{allow_files, own_time, sample};
use crate::report::{Measured, Report};
use crate::scenario::Scenario;
use crate::shared::{Pushed, Shared, Way};
use crate::soak::OTHER_FILES;

/// What is told while it runs.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A step begins.
    Begins(&'a Step),
    /// A scenario is over.
    Measured(&'a Measured),
    /// A soak goes on.
    Soaking {
        /// Since its beginning.
        elapsed: Duration,
        /// Operations that went well.
        operations: u64,
        /// And those that did not.
        errors: u64,
        /// The longest operation.
        highest: Duration,
        /// The server's memory, if its process was named.
        resident: Option<u64>,
    },
}

/// Pushes what is measured, measures, and deletes it again. What goes wrong while measuring is in the report.
///
/// # Errors
/// [`LoadError`] if it cannot begin: nobody there, not allowed, nothing can be pushed.
pub async fn run(
    options: &LoadOptions,
    client: &RegistryClient,
    stop: &Stop,
    watch: &mut (dyn FnMut(Progress<'_>) + Send),
) -> Result<Report, LoadError> {
    if let Some(pid) = options.pid {
        sample(pid).map_err(|source| LoadError::Process { pid, source })?;
    }
    let plan = Plan::new(options);
    let most = plan.steps.iter().map(|step| match step {
        Step::Measure { clients, .. } => *clients,
        Step::Soak(soak) => soak.connections,
        _ => 1,
    });
    let wanted = most.max().unwrap_or(1) as u64 + OTHER_FILES;
    let limit = allow_files(wanted);
    if limit < wanted {
        return Err(LoadError::Files { wanted, limit });
    }
    let crew = begin(options, client, stop).await?;
    let mut report = Report {
        registry: options.host.clone(),
        repository: options.repository.clone(),
        scenarios: Vec::new(),
        soak: None,
        cleanup: None,
        interrupted: false,
    };
    let mut pushed = Pushed::default();
    for step in &plan.steps {
        if stop.is_asked() && *step != Step::Clean {
            continue;
        }
        watch(Progress::Begins(step));
        match step {
            Step::Prepare { large, .. } => pushed.merge(prepare(&crew, large.is_some()).await?),
            Step::Measure { scenario, clients, amount, .. } => {
                let budget = Budget::new(*amount);
                let (measured, more) = measure(&crew, *scenario, *clients, budget, options.pid).await?;
                pushed.merge(more);
                watch(Progress::Measured(&measured));
                report.scenarios.push(measured);
            }
            Step::Soak(soak) => {
                let (soaked, more) = crew.soak(*soak, options.pid, watch).await?;
                pushed.merge(more);
                report.soak = Some(soaked);
            }
            Step::Clean => report.cleanup = Some(crew.clean(std::mem::take(&mut pushed)).await?),
        }
    }
    report.interrupted = stop.is_asked();
    Ok(report)
}

/// Finds out how the registry is reached, whether it may be written to, and with what.
async fn begin(options: &LoadOptions, client: &RegistryClient, stop: &Stop) -> Result<Crew, LoadError> {
    let repository = client.repository(&options.host, &options.repository);
    repository.expect(Access::Push);
    repository.expect(Access::Delete);
    let session = repository.start_upload().await?;
    // It ends by itself where it cannot be ended.
    let _ = repository.cancel_upload(session).await;
    let way = way(&repository).await?;
    let run = u64::from_le_bytes(random_bytes()?);
    let (options, own_stop) = (options.clone(), stop.clone());
    let threads = options.threads;
    // It hashes as much as a large blob has.
    let made = tokio::task::spawn_blocking(move || Shared::new(way, run, &options, own_stop)).await;
    let shared = Arc::new(made.map_err(|error| LoadError::Threads(std::io::Error::other(error)))?);
    shared.authorize(repository.doorway().await?.authorization.as_ref());
    Ok(Crew { shared, repository, threads })
}

async fn way(repository: &Repository) -> Result<Way, LoadError> {
    let doorway = repository.doorway().await?;
    let host = doorway.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = doorway.url.port_or_known_default().unwrap_or(443);
    let failed = |source| LoadError::LookUp { host: host.clone(), source };
    let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), port)).await.map_err(failed)?.collect();
    let tls = match doorway.tls {
        None => None,
        Some(config) => {
            let name = ServerName::try_from(host.clone()).map_err(|error| failed(std::io::Error::other(error)))?;
            Some((Arc::new(config), name))
        }
    };
    Ok(Way {
        connector: Connector { addresses, tls },
        origin: doorway.url.origin().ascii_serialization(),
        authority: doorway.url.authority().to_owned(),
    })
}

async fn prepare(crew: &Crew, with_large: bool) -> Result<Pushed, LoadError> {
    let failure = Arc::new(std::sync::Mutex::new(None));
    let told = failure.clone();
    let work = async move |client: &mut Client| {
        let shared = client.shared();
        match client.prepare(with_large).await {
            Ok(prepared) => {
                // Nobody else prepares.
                let _ = shared.prepared.set(prepared);
            }
            Err(failed) => {
                *told.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(failed.to_string());
            }
        }
    };
    let outcome = crew.work(1, false, work, &mut || {}).await?;
    let failed = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    match failed {
        None => Ok(outcome.pushed),
        Some(reason) => {
            let repository = crew.shared.repository.clone();
            // As much as can be.
            let _ = crew.clean(outcome.pushed).await;
            Err(LoadError::Prepare { repository, reason })
        }
    }
}

async fn measure(
    crew: &Crew,
    scenario: Scenario,
    clients: usize,
    budget: Budget,
    pid: Option<u32>,
) -> Result<(Measured, Pushed), LoadError> {
    let look = || pid.and_then(|pid| sample(pid).ok());
    let (before, own) = (look(), own_time());
    let stop = crew.shared.stop.clone();
    let work = async move |client: &mut Client| {
        let begun = Instant::now();
        while budget.take(begun, &stop) {
            let kind = client.next(scenario);
            client.operate(kind).await;
        }
    };
    let Outcome { tally, pushed } = crew.work(clients, true, work, &mut || {}).await?;
    let server = before.zip(look());
    Ok((Measured::new(scenario.name(), clients, tally, own_time().saturating_sub(own), server), pushed))
}
