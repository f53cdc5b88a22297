//! A load generator for registries.
//!
#![doc = include_str!("../README.md")]

mod answer;
mod body;
mod budget;
mod clean;
mod client;
mod connection;
mod crew;
mod error;
mod expected;
mod fault;
mod histogram;
mod mixed;
mod options;
mod plan;
mod process;
mod report;
mod run;
mod scenario;
mod shared;
mod soak;
mod tally;

pub use error::LoadError;
pub use options::{Amount, LoadOptions, Soak, Stop};
pub use plan::{Plan, Step};
pub use process::{Sample, sample};
pub use report::{Cleanup, Latency, Measured, Memory, Part, Report, ServerCost, SoakReport};
pub use run::{Progress, run};
pub use scenario::{Kind, Scenario};
