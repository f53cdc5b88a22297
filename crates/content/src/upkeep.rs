//! What both halves of a store can do for a check and a repair, beside their daily work.

use async_trait::async_trait;
use bytes::Bytes;
use image::Digest;

use crate::problem::Problem;
use crate::{BlobRecord, Claim, ContentError, StageId};

/// Something in the blob store, or something that no row speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// The store's own name for it.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is by its name.
    pub kind: LeftoverKind,
}

/// What something is by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeftoverKind {
    /// Bytes that arrived, or did until their writer died.
    Stage(StageId),
    /// Bytes under the name of a digest.
    Blob(Digest),
    /// Not from here.
    Unknown,
}

/// The part of a [`crate::BlobStore`] that checks and repairs need.
#[async_trait]
pub trait BlobUpkeep {
    /// All that the store holds: named blobs, stages that are not empty, and what is not from here.
    async fn inventory(&self) -> Result<Vec<Leftover>, ContentError>;

    /// Whether something of the inventory is still there.
    async fn is_there(&self, item: &Leftover) -> Result<bool, ContentError>;

    /// Claims a stage that no session speaks of. `None`: somebody writes to it, or it is gone.
    async fn claim_stage(&self, stage: &StageId) -> Result<Option<Claim>, ContentError>;

    /// Moves something of the inventory out of the way, durably, and says where to. Nothing is ever deleted there.
    ///
    /// A claim that is given is given back when that is done, even if nobody waits for it any more.
    async fn quarantine(&self, item: &Leftover, claim: Claim) -> Result<(String, Claim), ContentError>;

    /// Keeps damaged bytes that are in no file of their own, durably, and says where.
    async fn quarantine_bytes(&self, digest: &str, bytes: Bytes) -> Result<String, ContentError>;

    /// A blob as the inventory has it.
    fn as_item(&self, blob: &BlobRecord) -> Leftover;
}

/// What a check of the metadata found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MetadataCheck {
    /// Documents looked at.
    pub documents: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// The part of a [`crate::MetadataStore`] that checks and repairs need. Each method is one transaction, but for the
/// check, which looks at some documents at a time.
#[async_trait]
pub trait MetadataUpkeep {
    /// Looks for documents whose bytes do not have their digest, for edges that are missing or too many, and for rows
    /// that lead nowhere.
    async fn check_metadata(&self) -> Result<MetadataCheck, ContentError>;

    /// A blob, whichever repository holds it.
    async fn recorded_blob(&self, digest: &Digest) -> Result<Option<BlobRecord>, ContentError>;

    /// Forgets a blob whose bytes are lost, if its row still is `blob`: documents that need it wait for it. Returns how
    /// many, or `None` if the row is another one by now.
    async fn forget_blob(&self, blob: &BlobRecord) -> Result<Option<u64>, ContentError>;

    /// The bytes of a document, if they are damaged.
    async fn damaged_document(&self, repository: &str, digest: &str) -> Result<Option<Bytes>, ContentError>;

    /// Repairs what can be repaired by rows alone, if it is still wrong. `false`: it is not, or this cannot repair it.
    async fn mend(&self, problem: &Problem) -> Result<bool, ContentError>;
}
