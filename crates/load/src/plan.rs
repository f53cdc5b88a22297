//! What is going to be done. The plan that is printed is the plan that runs.

use std::fmt;

use crate::options::{Amount, LoadOptions};
use crate::scenario::Scenario;
use crate::shared::{LAYER, SMALL};

/// What is going to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// What is measured is pushed, and a trial image deleted.
    Prepare {
        /// The repository.
        repository: String,
        /// Whether a large blob is pushed too, and its size.
        large: Option<u64>,
    },
    /// A scenario.
    Measure {
        /// Which.
        scenario: Scenario,
        /// Clients at once.
        clients: usize,
        /// For how long.
        amount: Amount,
        /// Bytes of the blobs, where they may differ from run to run.
        size: Option<u64>,
    },
    /// Mixed load.
    Soak(crate::Soak),
    /// All that was pushed is deleted.
    Clean,
}

impl Plan {
    /// The plan for these options.
    pub fn new(options: &LoadOptions) -> Self {
        let needs_large = options.soak.is_none() && options.scenarios.contains(&Scenario::LargeBlob);
        let mut steps = vec![Step::Prepare {
            repository: options.repository.to_string(),
            large: needs_large.then_some(options.large),
        }];
        match options.soak {
            Some(soak) => steps.push(Step::Soak(soak)),
            None => steps.extend(options.scenarios.iter().map(|&scenario| Step::Measure {
                scenario,
                clients: options.clients.unwrap_or(scenario.clients()).max(1),
                amount: options.amount,
                size: matches!(scenario, Scenario::LargeBlob | Scenario::LargePush).then_some(options.large),
            })),
        }
        if !options.keep {
            steps.push(Step::Clean);
        }
        Self { steps }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { repository, large } => {
                write!(
                    f,
                    "prepare `{repository}`: push an image with a layer of {LAYER} bytes and 10 tags, a blob of {SMALL} bytes"
                )?;
                if let Some(size) = large {
                    write!(f, ", a blob of {size} bytes")?;
                }
                f.write_str("; push and delete a second image")
            }
            Self::Measure { scenario, clients, amount, size } => {
                write!(f, "measure {scenario}: {}", scenario.about())?;
                if let Some(size) = size {
                    write!(f, " of {size} bytes")?;
                }
                write!(f, ", {clients} {}", if *clients == 1 { "client" } else { "clients" })?;
                match amount {
                    Amount::For(duration) => write!(f, ", {} s", duration.as_secs_f64()),
                    Amount::Operations(1) => f.write_str(", 1 operation"),
                    Amount::Operations(count) => write!(f, ", {count} operations"),
                }
            }
            Self::Soak(soak) => write!(
                f,
                "soak: {}, {} connections, {} operations a second, {} s",
                Scenario::Mixed.about(),
                soak.connections,
                soak.rate,
                soak.duration.as_secs_f64()
            ),
            Self::Clean => f.write_str("clean up: delete all manifests and blobs that were pushed"),
        }
    }
}
