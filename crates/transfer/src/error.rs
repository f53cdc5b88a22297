//! What can go wrong while images move.

use image::{Digest, MediaType, Platform};
use store::StoreError;

use crate::plan::PlanError;
use crate::report::Report;
use crate::step::Step;

/// Why a transfer failed. The texts are fragments that read well after "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// What was asked for is not a plan.
    #[error("plan the transfer to {target}")]
    Plan {
        /// The target repository.
        target: String,
        /// Why.
        source: PlanError,
    },
    /// The source or the target could not be read while the plan was made.
    #[error("read {what}")]
    Read {
        /// The reference that was being read.
        what: String,
        /// What came back.
        source: StoreError,
    },
    /// An entry of an index is not what the index says.
    #[error(
        "read {what}: the index says `{stated_type}` of {stated_size} bytes, but it is `{found_type}` of {found_size} bytes"
    )]
    Contradiction {
        /// The reference that was being read.
        what: String,
        /// Media type in the index.
        stated_type: MediaType,
        /// Size in the index.
        stated_size: u64,
        /// Media type of the document.
        found_type: MediaType,
        /// Size of the document.
        found_size: u64,
    },
    /// More entries or more levels than allowed.
    #[error("read {what}: {limit}")]
    TooLarge {
        /// The reference that was being read.
        what: String,
        /// Which limit.
        limit: String,
    },
    /// No image for a platform that was asked for.
    #[error("find {} in {what}: it has {}", join(.missing), at_hand(.available))]
    NoSuchPlatform {
        /// The reference that was being read.
        what: String,
        /// Platforms that were asked for and are not there.
        missing: Vec<Platform>,
        /// Platforms that are there.
        available: Vec<Platform>,
    },
    /// A part of an index cannot be written as an index of its own.
    #[error("take a part of {what}: {reason}")]
    Part {
        /// The index.
        what: String,
        /// Why.
        reason: String,
    },
    /// A step failed. What the report names is at the target and is not sent again by a second run.
    #[error("transfer to {target} ({} of {} documents and {} of {} blobs were done)",
        .done.documents_done(), .done.documents.len(), .done.blobs_done(), .done.blobs.planned)]
    Step {
        /// The target repository.
        target: String,
        /// The step.
        step: Box<Step>,
        /// What was done before.
        done: Box<Report>,
        /// What came back.
        source: StoreError,
    },
}

impl TransferError {
    /// What the store said, where it was a store that failed.
    pub fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Read { source, .. } | Self::Step { source, .. } => Some(source),
            _ => None,
        }
    }

    /// What was at the target when it failed.
    pub fn done(&self) -> Option<&Report> {
        match self {
            Self::Step { done, .. } => Some(done),
            _ => None,
        }
    }

    /// What a person can try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } => source.hint.clone(),
            Self::Step { source, done, .. } => match (&source.hint, done.documents_done() + done.blobs_done()) {
                (Some(hint), _) => Some(hint.clone()),
                (None, 0) => None,
                (None, _) => Some("run it again: what was done is not sent twice".to_owned()),
            },
            Self::NoSuchPlatform { .. } => Some("name one of these with `--platform`".to_owned()),
            _ => None,
        }
    }
}

/// Digests or platforms, separated by commas, each in backticks.
fn join<T: std::fmt::Display>(items: &[T]) -> String {
    items.iter().map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ")
}

fn at_hand(platforms: &[Platform]) -> String {
    if platforms.is_empty() { "no platforms at all".to_owned() } else { join(platforms) }
}

/// The document of a digest that nobody added.
pub(crate) fn unknown(digest: &Digest) -> PlanError {
    PlanError::UnknownDocument { digest: digest.clone() }
}
