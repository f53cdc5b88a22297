//! The copy engine: plan a graph of steps, print it, run it.
//!

#![doc = include_str!("../README.md")]

mod build;
mod collect;
mod copy;
mod error;
mod origin;
mod plan;
mod progress;
mod report;
mod run;
mod step;

pub use collect::{Attestations, Collection, Node, Selection, WalkLimits, collect, collect_below};
pub use copy::{CopyPlan, CopyReport, CopyRequest, copy};
pub use error::TransferError;
pub use plan::{Plan, PlanError, repository_name};
pub use progress::{Event, Outcome, Progress, Silent};
pub use report::{BlobTotals, DocumentOutcome, DocumentReport, Put, Report};
pub use run::Options;
pub use step::{Action, ByteSize, Step};
