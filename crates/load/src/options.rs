//! What is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use image::{RegistryHost, RepositoryName};

use crate::error::LoadError;
use crate::scenario::Scenario;

/// How long a scenario goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// What was begun in this time is finished.
    For(Duration),
    /// So many operations by all clients together.
    Operations(u64),
}

/// Mixed load with pauses, over many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soak {
    /// How long.
    pub duration: Duration,
    /// How many connections.
    pub connections: usize,
    /// Operations a second, of all connections together.
    pub rate: u64,
}

/// What to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The registry.
    pub host: RegistryHost,
    /// The repository, which should be nobody's.
    pub repository: RepositoryName,
    /// What to measure, in this order.
    pub scenarios: Vec<Scenario>,
    /// How many clients at once; `None`: as each scenario is meant.
    pub clients: Option<usize>,
    /// For how long.
    pub amount: Amount,
    /// Bytes of a large blob.
    pub large: u64,
    /// Threads that the clients are shared out to.
    pub threads: usize,
    /// Compare all bodies, large ones too. Else of those only the first.
    pub verify: bool,
    /// Leave everything in the registry.
    pub keep: bool,
    /// Long mixed load instead of the scenarios.
    pub soak: Option<Soak>,
    /// The server, if it is a process of this machine: its processor time and memory are looked at.
    pub pid: Option<u32>,
    /// How long an answer may take; a large body gets a second more for each MB.
    pub patience: Duration,
}

impl LoadOptions {
    /// All scenarios for five seconds each, in a repository that is made up.
    pub fn new(host: RegistryHost) -> Result<Self, LoadError> {
        Ok(Self {
            host,
            repository: made_up()?,
            scenarios: Scenario::ALL.to_vec(),
            clients: None,
            amount: Amount::For(Duration::from_secs(5)),
            large: 100 << 20,
            // The server has to have some, if it is on this machine.
            threads: std::thread::available_parallelism().map_or(1, |processors| (processors.get() / 2).max(1)),
            verify: false,
            keep: false,
            soak: None,
            pid: None,
            patience: Duration::from_secs(60),
        })
    }
}

fn made_up() -> Result<RepositoryName, LoadError> {
    use std::fmt::Write as _;

    let mut name = "polyarch-bench/".to_owned();
    for byte in random_bytes::<6>()? {
        // Writing to a `String` cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    RepositoryName::parse(&name).map_err(|_| LoadError::Random("a name was refused".to_owned()))
}

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], LoadError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| LoadError::Random(error.to_string()))?;
    Ok(bytes)
}

/// Asks a run to end early: what was begun is finished, and what was pushed is cleared away.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
