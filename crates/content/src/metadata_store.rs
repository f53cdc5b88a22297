//! The seam for metadata: SQLite on one machine, PostgreSQL on several.
//!
//! Each method is one transaction. What it says was done is durable when it returns, unless its text says otherwise.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use image::{Algorithm, Descriptor, Digest, Document, DocumentError, MediaType, Platform, Tag, Target};

use crate::garbage::{CollectionPhase, CollectionPosition, CollectionStep, Doomed, GcItem, GcOptions, GcReport};
use crate::history::TagMove;
use crate::upkeep::MetadataUpkeep;
use crate::{Claim, ContentError, Placement, RepositoryId, Scope, StageId, UploadId};

/// A blob that a repository holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRecord {
    /// Digest.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Where its bytes are.
    pub content: BlobContent,
}

/// Where the bytes of a blob are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobContent {
    /// In the metadata itself: small blobs cost one fsync less each, and no file.
    Inline(Bytes),
    /// In the blob store.
    Stored(Placement),
}

/// A document as it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDocument {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Media type it was put with.
    pub media_type: MediaType,
    /// The bytes, exactly as they came.
    pub bytes: Bytes,
}

impl StoredDocument {
    /// Reads it. A document that was accepted once is accepted again, unless the metadata is damaged.
    pub fn to_document(&self) -> Result<Document, DocumentError> {
        let limits = image::Limits { length: self.bytes.len(), ..image::Limits::default() };
        Document::with_limits(Some(&self.media_type), self.bytes.clone(), limits, self.digest.algorithm())
    }
}

/// What is known of a document without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRecord {
    /// Digest of the bytes.
    pub digest: Digest,
    /// Media type it was put with.
    pub media_type: MediaType,
    /// Size in bytes.
    pub size: u64,
}

/// A document that refers to a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Digest of the referring document.
    pub digest: Digest,
    /// Its media type.
    pub media_type: MediaType,
    /// Its size in bytes.
    pub size: u64,
    /// `artifactType`, or the config's media type for an image manifest without one.
    pub artifact_type: Option<String>,
    /// Its annotations, as the text of a JSON object, if it has any.
    pub annotations: Option<String>,
}

/// What of a document's references must be there.
///
/// A subject, and layers that registries need not hold, need never be there. What is there must have the size that is
/// stated.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ReferencePolicy {
    /// All blobs, and all children of an index.
    #[default]
    Strict,
    /// Nothing: children of an index may come later, or never, and blobs too.
    Sparse,
    /// All blobs, and the children of an index for these platforms or for none. Others may come later, or never.
    Platforms(Arc<[Platform]>),
}

impl ReferencePolicy {
    /// Whether a child of an index must be there.
    pub fn needs(&self, child: &Descriptor) -> bool {
        match self {
            Self::Strict => true,
            Self::Sparse => false,
            Self::Platforms(needed) => child.platform.as_ref().is_none_or(|stated| {
                let of = |platform: &Platform| {
                    let platform = platform.normalized();
                    (platform.os, platform.architecture, platform.variant)
                };
                needed.iter().any(|platform| of(platform) == of(stated))
            }),
        }
    }
}

/// Where a tag must be before it is moved or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TagCondition {
    /// Anywhere.
    #[default]
    Any,
    /// It must not exist.
    Absent,
    /// It must exist.
    Present,
    /// It must point to one of these.
    OneOf(Vec<Digest>),
}

impl TagCondition {
    /// Whether it is so where a tag points to this. `None`: it does not exist.
    pub fn holds(&self, current: Option<&Digest>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Present => current.is_some(),
            Self::OneOf(digests) => current.is_some_and(|current| digests.contains(current)),
        }
    }
}

/// How a document is to be put.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// Tags that are to point to it, moved in the same transaction.
    pub tags: Vec<Tag>,
    /// What of its references must be there.
    pub references: ReferencePolicy,
    /// Where each of the tags must be before.
    pub condition: TagCondition,
}

impl PutOptions {
    /// Under its digest and one tag, if there is one; strict.
    pub fn tagged(tag: Option<&Tag>) -> Self {
        Self { tags: tag.cloned().into_iter().collect(), ..Self::default() }
    }
}

/// What came of putting a document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutOutcome {
    /// Whether the repository did not hold it before.
    pub created: bool,
    /// For each tag, where it pointed before.
    pub moved: Vec<(Tag, Option<Digest>)>,
}

/// How something is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// Refuse to take a document from an index that a tag leads to, or a blob from a document.
    pub keep_whole: bool,
}

impl DeleteOptions {
    /// Refuses to break what remains.
    pub fn careful() -> Self {
        Self { keep_whole: true }
    }
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in order.
    pub items: Vec<T>,
    /// Whether there are more after the last one.
    pub more: bool,
}

/// An upload session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The repository that the bytes are for.
    pub repository: RepositoryId,
    /// Its name.
    pub id: UploadId,
    /// Bytes received so far.
    pub offset: u64,
    /// What they are hashed as.
    pub algorithm: Algorithm,
    /// Where they are.
    pub content: UploadContent,
}

/// Where the bytes of an upload session are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UploadContent {
    /// In the metadata itself, as long as they are few.
    Inline(Bytes),
    /// In a stage of the blob store.
    Staged(StageId),
}

/// Keeps everything but the bytes of large blobs.
#[async_trait]
pub trait MetadataStore: MetadataUpkeep + Send + Sync + fmt::Debug {
    /// A document with its bytes. Rescues it if it is condemned, as all do that answer with a document or a blob: who
    /// is told that something is there may rely on it.
    async fn document(
        &self,
        repository: &RepositoryId,
        target: &Target,
    ) -> Result<Option<StoredDocument>, ContentError>;

    /// A document without its bytes.
    async fn resolve(&self, repository: &RepositoryId, target: &Target)
    -> Result<Option<DocumentRecord>, ContentError>;

    /// Checks a document's references and the tags' condition, then writes the document, its edges, and the tags. As all
    /// that move a tag, it writes down the move with its time and `actor`.
    async fn put_document(
        &self,
        repository: &RepositoryId,
        document: &Document,
        options: &PutOptions,
        actor: Option<&str>,
    ) -> Result<PutOutcome, ContentError>;

    /// Points a tag to a document that is there. `false`: it is not.
    async fn tag(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        tag: &Tag,
        actor: Option<&str>,
    ) -> Result<bool, ContentError>;

    /// Deletes a document and all tags that point to it, and says which those were. `None`: it was not there.
    async fn delete_document(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        options: DeleteOptions,
        actor: Option<&str>,
    ) -> Result<Option<Vec<Tag>>, ContentError>;

    /// Deletes a tag and nothing else, and says where it pointed. `None`: it was not there, whatever the condition.
    async fn delete_tag(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        condition: &TagCondition,
        actor: Option<&str>,
    ) -> Result<Option<Digest>, ContentError>;

    /// Points a tag to a document that it pointed to before. `false`: it never did, or the document is gone.
    async fn restore_tag(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        digest: &Digest,
        actor: Option<&str>,
    ) -> Result<bool, ContentError>;

    /// Moves of a tag, the last one first, from the one before `before` on.
    async fn history(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<TagMove>, ContentError>;

    /// Where a tag pointed at an instant.
    async fn tag_at(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        at: SystemTime,
    ) -> Result<Option<Digest>, ContentError>;

    /// Tags in the order of their bytes, from the first one after `after`, which need not exist. `None`: there is no
    /// such repository.
    async fn tags(
        &self,
        repository: &RepositoryId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Page<Tag>>, ContentError>;

    /// Repositories that hold documents, in the order of registry and name, from the first one after `after`, a text
    /// as [`RepositoryId`] displays it.
    async fn repositories(
        &self,
        scope: Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryId>, ContentError>;

    /// Documents whose subject is `subject`, in the order of their digests.
    async fn referrers(
        &self,
        repository: &RepositoryId,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Referrer>, ContentError>;

    /// A blob, if the repository holds it.
    async fn blob(&self, repository: &RepositoryId, digest: &Digest) -> Result<Option<BlobRecord>, ContentError>;

    /// Writes that a repository holds a blob, whose bytes are durable, and ends the upload session that they came by.
    /// Lets go of `claim` when the transaction is committed or undone, even if nobody waits for that any more.
    async fn add_blob(
        &self,
        repository: &RepositoryId,
        blob: &BlobRecord,
        upload: Option<&UploadId>,
        claim: Claim,
    ) -> Result<(), ContentError>;

    /// Writes that a repository holds a blob that `from` holds. `None`: it does not.
    async fn mount_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        from: &RepositoryId,
    ) -> Result<Option<BlobRecord>, ContentError>;

    /// Repositories that hold a blob, at most `limit` of them.
    async fn holders(&self, scope: Scope, digest: &Digest, limit: usize) -> Result<Vec<RepositoryId>, ContentError>;

    /// Writes that a repository holds a blob no longer. `false`: it did not. The bytes stay for other repositories.
    async fn delete_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        options: DeleteOptions,
    ) -> Result<bool, ContentError>;

    /// Begins an upload session. It survives a crash of this process, but perhaps not a power cut.
    async fn start_upload(
        &self,
        repository: &RepositoryId,
        id: &UploadId,
        algorithm: Algorithm,
    ) -> Result<Upload, ContentError>;

    /// An upload session of this repository.
    async fn upload(&self, repository: &RepositoryId, id: &UploadId) -> Result<Option<Upload>, ContentError>;

    /// Moves an upload session on from the state `from`: offset and content. As durable as its beginning. `false`:
    /// it was no longer in that state.
    async fn advance_upload(&self, from: &Upload, offset: u64, content: UploadContent) -> Result<bool, ContentError>;

    /// Ends an upload session and returns it.
    async fn end_upload(&self, repository: &RepositoryId, id: &UploadId) -> Result<Option<Upload>, ContentError>;

    /// How many upload sessions there are.
    async fn count_uploads(&self) -> Result<u64, ContentError>;

    /// Ends upload sessions that were last touched before `before`, and returns their stages.
    async fn expire_uploads(&self, before: SystemTime) -> Result<Vec<StageId>, ContentError>;

    /// Which of `stages` an upload session or a blob still needs.
    async fn stages_in_use(&self, stages: &[StageId]) -> Result<Vec<StageId>, ContentError>;

    /// Blobs of all repositories in the order of their digests, from the first one after `after`.
    async fn all_blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Page<BlobRecord>, ContentError>;

    /// Blobs in the blob store whose final name may not be durable yet.
    async fn unsettled_blobs(&self, limit: usize) -> Result<Vec<BlobRecord>, ContentError>;

    /// Writes that these blobs need no [`Placement`] any more.
    async fn mark_settled(&self, blobs: &[BlobRecord]) -> Result<(), ContentError>;

    /// Begins a collection and returns its number; each is later than all before, whoever began them.
    async fn begin_collection(&self) -> Result<u64, ContentError>;

    /// The number that the next collection will have.
    async fn next_collection(&self) -> Result<u64, ContentError>;

    /// What the next collection would do if it ran now, all of it, with each thing if that is asked for. Changes nothing.
    async fn plan_collection(&self, options: &GcOptions) -> Result<(GcReport, Vec<GcItem>), ContentError>;

    /// One step of a collection: looks at some items after `after`, and condemns or sweeps those that its phase is
    /// about. What it changes it looks at again in the transaction that changes it, by the clock of this store.
    async fn collect(
        &self,
        epoch: u64,
        options: &GcOptions,
        phase: CollectionPhase,
        after: CollectionPosition,
    ) -> Result<CollectionStep, ContentError>;

    /// Bytes whose rows are gone, from the first one after `after`.
    async fn doomed(&self, after: u64, limit: usize) -> Result<Vec<Doomed>, ContentError>;

    /// Whether a row speaks of bytes of this digest in the blob store.
    async fn is_stored(&self, digest: &Digest) -> Result<bool, ContentError>;

    /// Writes that these bytes were dealt with.
    async fn forget_doomed(&self, doomed: &[Doomed]) -> Result<(), ContentError>;
}
