//! Why there is no measurement. What goes wrong while measuring is counted instead.

use std::io;

use registry_client::ClientError;

/// Why it could not begin. The texts read well after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The registry cannot be reached, or not be written to.
    #[error(transparent)]
    Registry(#[from] ClientError),
    /// The name of the registry leads nowhere.
    #[error("look up `{host}`")]
    LookUp {
        /// What was looked up.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// What is to be measured could not be pushed before.
    #[error("push what is to be measured to `{repository}`: {reason}")]
    Prepare {
        /// The repository.
        repository: String,
        /// What went wrong.
        reason: String,
    },
    /// No random bytes.
    #[error("read random bytes: {0}")]
    Random(String),
    /// No threads, or a thread that ended early.
    #[error("run clients on threads of their own")]
    Threads(#[source] io::Error),
    /// More connections than files may be open.
    #[error("open {wanted} connections: only {limit} files may be open at once")]
    Files {
        /// How many are needed.
        wanted: u64,
        /// How many may be open.
        limit: u64,
    },
    /// There is no such process.
    #[error("look at process {pid}")]
    Process {
        /// Its number.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
}

impl LoadError {
    /// What a person can try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Registry(error) => error.hint().map(str::to_owned),
            Self::Files { .. } => {
                Some("raise the limit with `ulimit -n`, or ask for fewer with `--connections`".to_owned())
            }
            Self::Process { .. } => Some("`--pid` works on Linux, for a server on this machine".to_owned()),
            _ => None,
        }
    }
}
