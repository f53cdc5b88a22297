//! What the process ends with: one enum, from which `docs/exit-codes.md` is generated.

use std::process::ExitCode;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// It did not work, and none of the more exact codes says why.
    Failure = 1,
    /// The command line was not understood, or the settings of `serve` were not.
    Usage = 2,
    /// What was asked for is not there.
    NotFound = 3,
    /// The other side wants other credentials, or does not allow it with these.
    Auth = 4,
    /// No connection: refused, unknown host, TLS failure, time-out.
    Network = 5,
    /// The registry asked for patience, and still did after waiting.
    RateLimited = 6,
    /// What came or was given is not what it says it is: wrong digest, malformed document.
    Invalid = 7,
    /// A flag of `manifest` was not understood. Docker's number.
    DockerUsage = 125,
    /// Ended by Ctrl-C (SIGINT).
    Interrupted = 130,
    /// Ended by SIGTERM (`serve` drains and ends with 0 instead).
    Terminated = 143,
}

impl Exit {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::NotFound,
        Self::Auth,
        Self::Network,
        Self::RateLimited,
        Self::Invalid,
        Self::DockerUsage,
        Self::Interrupted,
        Self::Terminated,
    ];

    /// Whether a signal ended it.
    pub fn is_signal(self) -> bool {
        matches!(self, Self::Interrupted | Self::Terminated)
    }

    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// One sentence for the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "Done.",
            Self::Failure => "It did not work, and none of the more exact codes below says why.",
            Self::Usage => {
                "The command line, or the settings of `serve`, were not understood (all commands but `manifest`)."
            }
            Self::NotFound => "What was asked for is not there.",
            Self::Auth => "The registry wants other credentials, or does not allow it with these.",
            Self::Network => "No connection: refused, unknown host, TLS failure, time-out.",
            Self::RateLimited => "The registry asked for patience, and still did after waiting.",
            Self::Invalid => "What came or was given is not what it says it is: wrong digest, malformed document.",
            Self::DockerUsage => "A flag of `manifest` was not understood (docker's number).",
            Self::Interrupted => "Ended by Ctrl-C (SIGINT).",
            Self::Terminated => "Ended by SIGTERM. `serve` ends with 0 instead, after it has drained.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_in_order() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }
}
