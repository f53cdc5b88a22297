//! What a run did.

use image::{Digest, MediaType, Tag};
use serde::Serialize;

/// What a run did, or had done when it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// One entry per document, in the order in which they were added to the plan.
    pub documents: Vec<DocumentReport>,
    /// Blobs, in sum.
    pub blobs: BlobTotals,
}

/// What became of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentReport {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: MediaType,
    /// What became of it.
    pub outcome: DocumentOutcome,
    /// The writes that were done, by digest first, then tags in the order in which they were asked for.
    pub puts: Vec<Put>,
}

/// One write of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Put {
    /// Where to, as a person would write it: `r.io/app:v1`, `r.io/app@sha256:…`.
    pub to: String,
    /// The tag; `None`: by digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// The digest that the target reported, if it did; never another one than the document's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_digest: Option<Digest>,
}

/// What became of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentOutcome {
    /// It was written under its digest or a tag, or both.
    Pushed,
    /// The target was asked and had it.
    AlreadyThere,
    /// It came from the target's own repository, so nothing was asked and nothing done.
    InPlace,
    /// The run ended before its turn.
    NotReached,
}

/// Blobs of a run, in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobTotals {
    /// How many the plan had steps for.
    pub planned: usize,
    /// How many needed nothing: the target said that it has them, or a document that refers to them.
    pub already_there: usize,
    /// How many were mounted.
    pub mounted: usize,
    /// How many were copied.
    pub copied: usize,
    /// Bytes that were copied.
    pub copied_bytes: u64,
}

impl Report {
    /// What became of the document with `digest`.
    pub fn document(&self, digest: &Digest) -> Option<&DocumentReport> {
        self.documents.iter().find(|document| document.digest == *digest)
    }

    /// How many documents need nothing more.
    pub fn documents_done(&self) -> usize {
        self.documents.iter().filter(|document| document.outcome != DocumentOutcome::NotReached).count()
    }

    /// How many blobs need nothing more.
    pub fn blobs_done(&self) -> usize {
        self.blobs.already_there + self.blobs.mounted + self.blobs.copied
    }
}

impl DocumentReport {
    /// The digest that the target reported at the last write, if any.
    pub fn reported_digest(&self) -> Option<&Digest> {
        self.puts.iter().rev().find_map(|put| put.reported_digest.as_ref())
    }
}
