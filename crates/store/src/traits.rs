//! The seam between commands and media.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use image::{Descriptor, Digest, Document, RegistryHost, RepositoryName, Tag, Target};

use crate::error::StoreError;

/// The bytes of a blob as they arrive. The stream ends with an error if they do not have the digest and the size that
/// were asked for, so a consumer that saw the end saw the right bytes.
pub type BlobReader = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// Where a repository is kept. Two stores of the same medium share blobs, so a mount between them can work.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Medium {
    /// A registry.
    Registry(RegistryHost),
    /// A data directory of polyarch.
    Local(PathBuf),
    /// An OCI image layout directory.
    Layout(PathBuf),
}

/// Where a blob can be had if the store does not have it yet: asked only then.
#[async_trait]
pub trait BlobOrigin: Send + Sync {
    /// The repository of the *same medium* that holds the blob, if there is one: the store mounts from there.
    fn mount_from(&self) -> Option<&RepositoryName>;
    /// Opens the blob. May be called again for a retry.
    async fn open(&self) -> Result<BlobReader, StoreError>;
}

/// How a blob came to be in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlobPlacement {
    /// It was there before.
    AlreadyThere,
    /// Mounted from another repository; no bytes moved.
    Mounted,
    /// Its bytes were written.
    Copied,
}

/// What a store said of a document that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// The digest that the store reported, if it did. It has been compared with the document's.
    pub reported_digest: Option<Digest>,
}

/// One repository in one medium.
#[async_trait]
pub trait ImageStore: Send + Sync + fmt::Debug {
    /// Where it is kept.
    fn medium(&self) -> Medium;

    /// The repository's name within its medium, if media of this kind have several.
    fn repository(&self) -> Option<&RepositoryName>;

    /// How a person would write the document at `target` here: `r.io/app:v1`, `local:app:v1`, `oci:dir:v1`.
    fn spell(&self, target: &Target) -> String;

    /// Digest, size and media type of a document, without reading it if that can be avoided. `None`: it is not there.
    async fn resolve(&self, target: &Target) -> Result<Option<Descriptor>, StoreError>;

    /// A document. Asked for by digest, its digest has been verified.
    async fn document(&self, target: &Target) -> Result<Document, StoreError>;

    /// Opens a blob.
    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError>;

    /// Whether a blob is there.
    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError>;

    /// Sees to it that a blob is there, at the least cost: already there, mounted, or copied from `origin`.
    async fn place_blob(&self, descriptor: &Descriptor, origin: &dyn BlobOrigin) -> Result<BlobPlacement, StoreError>;

    /// Writes a document under its digest (`tag` is `None`) or under a tag. All that it refers to must be there.
    async fn put_document(&self, document: &Document, tag: Option<&Tag>) -> Result<PutReport, StoreError>;

    /// Listing of tags, where the store can.
    fn tags(&self) -> Option<&dyn ListTags> {
        None
    }

    /// Listing of referrers, where the store can.
    fn referrers(&self) -> Option<&dyn ListReferrers> {
        None
    }

    /// Deletion, where the store can.
    fn delete(&self) -> Option<&dyn DeleteDocuments> {
        None
    }
}

/// A store that can list its tags.
#[async_trait]
pub trait ListTags: Send + Sync {
    /// All tags, sorted.
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError>;
}

/// A store that can list what refers to a document (distribution-spec, "Listing Referrers").
#[async_trait]
pub trait ListReferrers: Send + Sync {
    /// Descriptors of documents whose `subject` is `subject`.
    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError>;
}

/// A store that can delete.
#[async_trait]
pub trait DeleteDocuments: Send + Sync {
    /// Removes a tag, or a document with all tags that point to it.
    async fn delete_document(&self, target: &Target) -> Result<(), StoreError>;
}
