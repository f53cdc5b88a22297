//! What can go wrong in the content store.

use std::error::Error;
use std::io;

use image::{Digest, Tag};

use crate::UploadId;

/// An error of the outside: of whoever hands in bytes.
pub type SourceError = Box<dyn Error + Send + Sync>;

/// A failed operation on the content store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The disk failed.
    #[error("failed to {action}: {source}")]
    Io {
        /// What was being done, to what.
        action: String,
        /// What came back.
        source: io::Error,
    },
    /// There is no room. Nothing was half-written; reads go on.
    #[error("failed to {action}: no space left; free some, then try again")]
    NoSpace {
        /// What was being done, to what.
        action: String,
    },
    /// The metadata database failed.
    #[error("failed to {action}: {source}")]
    Metadata {
        /// What was being done, to what.
        action: String,
        /// What came back.
        source: SourceError,
    },
    /// The data directory was written by a later version.
    #[error(
        "the data directory `{directory}` has metadata of version {found}, but this program knows versions up to \
         {known}; use the program that wrote it, or a later one"
    )]
    NewerSchema {
        /// The data directory.
        directory: String,
        /// Version found.
        found: u32,
        /// Latest version known.
        known: u32,
    },
    /// The bytes handed in ended with an error of their own.
    #[error("the bytes stopped coming: {0}")]
    Source(#[source] SourceError),
    /// The bytes are not those of the digest.
    #[error("the bytes have digest `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// There are more or fewer bytes than were announced.
    #[error("{actual} bytes came, expected {expected}")]
    SizeMismatch {
        /// What was announced.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// The upload session is not there, or not in this repository.
    #[error("upload session `{0}` is not known")]
    UploadUnknown(UploadId),
    /// Another request is writing to the upload session.
    #[error("another request is writing to upload session `{0}`")]
    UploadBusy(UploadId),
    /// Bytes were offered for another place than where the upload session stands.
    #[error("the upload stands at {current}, but bytes came for {offered}")]
    WrongOffset {
        /// Bytes received so far.
        current: u64,
        /// Where the new bytes were meant to go.
        offered: u64,
    },
    /// A document refers to things that the repository does not hold.
    #[error("{}", describe(.0))]
    References(Vec<ReferenceProblem>),
    /// The tag was not where the caller said it would be.
    #[error("tag `{tag}` {}", match .current {
        Some(digest) => format!("points to `{digest}`"),
        None => "does not exist".to_owned(),
    })]
    TagMoved {
        /// The tag.
        tag: Tag,
        /// Where it points.
        current: Option<Digest>,
    },
    /// Other documents need it, and the caller wanted those to stay whole.
    #[error("`{digest}` is part of {}", .parents.iter().map(|parent| format!("`{parent}`")).collect::<Vec<_>>().join(", "))]
    StillReferenced {
        /// The document or blob.
        digest: Digest,
        /// Some of those who need it: `digest (tag, tag)`.
        parents: Vec<String>,
    },
    /// Metadata that cannot have been written by this program.
    #[error("the metadata of {what} is damaged: {reason}; run a check of the data directory")]
    Damaged {
        /// Of what.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A blob that the metadata knows is gone from the blob store, or has another size.
    #[error("blob `{digest}` is recorded but its bytes are not there: {reason}")]
    BlobLost {
        /// The blob.
        digest: Digest,
        /// What was found.
        reason: String,
    },
}

/// One thing that a document refers to and that is not as it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceProblem {
    /// What the document refers to.
    pub digest: Digest,
    /// What is wrong with it.
    pub reason: ReferenceReason,
}

/// What is wrong with a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReferenceReason {
    /// The repository does not hold the blob.
    MissingBlob,
    /// The repository does not hold the document.
    MissingDocument,
    /// It is there, but has another size than its descriptor states.
    WrongSize {
        /// What the descriptor states.
        stated: u64,
        /// What it has.
        actual: u64,
    },
}

impl std::fmt::Display for ReferenceProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digest = &self.digest;
        match self.reason {
            ReferenceReason::MissingBlob => write!(f, "blob `{digest}` is not in the repository"),
            ReferenceReason::MissingDocument => write!(f, "manifest `{digest}` is not in the repository"),
            ReferenceReason::WrongSize { stated, actual } => {
                write!(f, "the descriptor of `{digest}` states size {stated}, but it has {actual} bytes")
            }
        }
    }
}

fn describe(problems: &[ReferenceProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ContentError {
    /// A failure of the disk; a full one is told apart.
    pub(crate) fn io(action: impl Into<String>, source: io::Error) -> Self {
        let action = action.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace { action },
            _ => Self::Io { action, source },
        }
    }

    /// Metadata of `what` that this program cannot have written.
    pub(crate) fn damaged(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), reason: reason.into() }
    }
}
