//! [`ContentStore`]: the two seams put together.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use image::{Digest, Document, Tag, Target};

use crate::blob_store::{BlobBytes, BlobStore, ByteStream, Space};
use crate::metadata_store::{
    BlobContent, BlobRecord, DeleteOptions, DocumentRecord, MetadataStore, Page, PutOptions, PutOutcome, Referrer,
    StoredDocument, TagCondition,
};
use crate::{ContentError, RepositoryId, Scope};

/// So many blobs share the directory fsyncs of at most 256 shards.
const SETTLE_AT: usize = 8192;

/// How a content store behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Blobs of at most this many bytes are kept in the metadata: one fsync instead of several, and no file.
    pub inline_limit: usize,
    /// How long to wait for another process that writes.
    pub busy_timeout: Duration,
    /// An upload session that was not touched for so long is dropped when the store is opened next.
    pub upload_expiry: Duration,
    /// Clear away what dead processes left behind when the store is opened.
    pub recover: bool,
}

impl Default for Options {
    /// 64 KiB, 30 s, one day.
    fn default() -> Self {
        Self {
            inline_limit: 64 << 10,
            busy_timeout: Duration::from_secs(30),
            upload_expiry: Duration::from_secs(24 * 60 * 60),
            recover: true,
        }
    }
}

/// A content store: blobs and their metadata. Cloning is cheap, and several processes may open the same one.
#[derive(Clone, Debug)]
pub struct ContentStore {
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) metadata: Arc<dyn MetadataStore>,
    pub(crate) options: Options,
    pub(crate) actor: Option<Arc<str>>,
}

impl ContentStore {
    /// Opens the data directory, making it if it is not there, and clears away what dead processes left behind,
    /// unless [`Options::recover`] says not to.
    pub async fn open(directory: impl AsRef<Path>, options: Options) -> Result<Self, ContentError> {
        let (blobs, metadata) = crate::directory::open(directory.as_ref(), &options).await?;
        let store = Self::over(blobs, metadata, options);
        if store.options.recover {
            store.recover().await?;
        }
        Ok(store)
    }

    /// Puts a content store together from its two parts.
    pub fn over(blobs: Arc<dyn BlobStore>, metadata: Arc<dyn MetadataStore>, options: Options) -> Self {
        Self { blobs, metadata, options, actor: None }
    }

    /// Clears away what dead processes left behind, and settles what they placed. [`ContentStore::open`] does it.
    pub async fn recover(&self) -> Result<(), ContentError> {
        let expiry = self.options.upload_expiry;
        if let Some(before) = SystemTime::now().checked_sub(expiry) {
            for stage in self.metadata.expire_uploads(before).await? {
                self.blobs.discard(&stage).await?;
            }
        }
        // Few unsettled blobs cost nothing; settling many at once costs few fsyncs for each.
        let unsettled = self.metadata.unsettled_blobs(SETTLE_AT).await?;
        if unsettled.len() == SETTLE_AT {
            self.blobs.settle(&unsettled).await?;
            self.metadata.mark_settled(&unsettled).await?;
        }
        let idle = self.blobs.idle_stages(expiry).await?;
        if !idle.is_empty() {
            let used = self.metadata.stages_in_use(&idle).await?;
            for stage in idle.iter().filter(|stage| !used.contains(stage)) {
                self.blobs.discard(stage).await?;
            }
        }
        Ok(())
    }

    /// How much room the blob store has. `None`: there is no end to it, or nobody can tell.
    pub async fn space(&self) -> Result<Option<Space>, ContentError> {
        self.blobs.space().await
    }

    /// How many upload sessions there are.
    pub async fn count_uploads(&self) -> Result<u64, ContentError> {
        self.metadata.count_uploads().await
    }

    /// A blob, if the repository holds it.
    pub async fn blob(&self, repository: &RepositoryId, digest: &Digest) -> Result<Option<BlobRecord>, ContentError> {
        self.metadata.blob(repository, digest).await
    }

    /// Opens a blob, or a range of it. The range is cut to the blob's size.
    pub async fn open_blob(&self, blob: &BlobRecord, range: Option<Range<u64>>) -> Result<BlobBytes, ContentError> {
        let range = range.unwrap_or(0..blob.size);
        let range = range.start.min(blob.size)..range.end.min(blob.size);
        if range.is_empty() {
            return Ok(BlobBytes::Memory(Bytes::new()));
        }
        match &blob.content {
            BlobContent::Inline(bytes) => Ok(BlobBytes::Memory(bytes.slice(range.start as usize..range.end as usize))),
            BlobContent::Stored(_) => self.blobs.read(blob, range).await,
        }
    }

    /// Reads a blob, or a range of it, as a stream.
    pub async fn read_blob(&self, blob: &BlobRecord, range: Option<Range<u64>>) -> Result<ByteStream, ContentError> {
        Ok(self.open_blob(blob, range).await?.into_stream())
    }

    /// Makes `repository` hold a blob that `from` holds; no bytes move. `None`: `from` does not hold it.
    pub async fn mount_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        from: &RepositoryId,
    ) -> Result<Option<BlobRecord>, ContentError> {
        self.metadata.mount_blob(repository, digest, from).await
    }

    /// Repositories of `scope` that hold a blob, at most `limit` of them: where it could be mounted from.
    pub async fn holders(
        &self,
        scope: Scope,
        digest: &Digest,
        limit: usize,
    ) -> Result<Vec<RepositoryId>, ContentError> {
        self.metadata.holders(scope, digest, limit).await
    }

    /// Makes `repository` hold a blob no longer. `false`: it did not. Other repositories keep it.
    pub async fn delete_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        options: DeleteOptions,
    ) -> Result<bool, ContentError> {
        self.metadata.delete_blob(repository, digest, options).await
    }

    /// A document with its bytes.
    pub async fn document(
        &self,
        repository: &RepositoryId,
        target: &Target,
    ) -> Result<Option<StoredDocument>, ContentError> {
        self.metadata.document(repository, target).await
    }

    /// A document without its bytes.
    pub async fn resolve(
        &self,
        repository: &RepositoryId,
        target: &Target,
    ) -> Result<Option<DocumentRecord>, ContentError> {
        self.metadata.resolve(repository, target).await
    }

    /// Writes a document, its edges and its tags in one transaction, after a check of what it refers to.
    ///
    /// # Errors
    /// [`ContentError::References`] with each thing that is missing, [`ContentError::TagMoved`] if the condition does
    /// not hold; nothing was written then.
    pub async fn put_document(
        &self,
        repository: &RepositoryId,
        document: &Document,
        options: &PutOptions,
    ) -> Result<PutOutcome, ContentError> {
        self.metadata.put_document(repository, document, options, self.actor.as_deref()).await
    }

    /// Points a tag to a document that the repository holds. `false`: it does not hold it.
    pub async fn tag(&self, repository: &RepositoryId, digest: &Digest, tag: &Tag) -> Result<bool, ContentError> {
        self.metadata.tag(repository, digest, tag, self.actor.as_deref()).await
    }

    /// Deletes a document and all tags that point to it, and says which those were. `None`: it was not there.
    pub async fn delete_document(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        options: DeleteOptions,
    ) -> Result<Option<Vec<Tag>>, ContentError> {
        self.metadata.delete_document(repository, digest, options, self.actor.as_deref()).await
    }

    /// Deletes a tag and nothing else, and says where it pointed. `None`: it was not there.
    pub async fn delete_tag(&self, repository: &RepositoryId, tag: &Tag) -> Result<Option<Digest>, ContentError> {
        self.delete_tag_if(repository, tag, &TagCondition::Any).await
    }

    /// Deletes a tag as [`ContentStore::delete_tag`], if it points where it must.
    ///
    /// # Errors
    /// [`ContentError::TagMoved`] if the condition does not hold; then nothing was deleted.
    pub async fn delete_tag_if(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        condition: &TagCondition,
    ) -> Result<Option<Digest>, ContentError> {
        self.metadata.delete_tag(repository, tag, condition, self.actor.as_deref()).await
    }

    /// One page of tags in the order of their bytes. `after` need not exist. `None`: there is no such repository.
    pub async fn tags(
        &self,
        repository: &RepositoryId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Page<Tag>>, ContentError> {
        self.metadata.tags(repository, after, limit).await
    }

    /// One page of the repositories that hold documents. `after` is a text as [`RepositoryId`] displays it.
    pub async fn repositories(
        &self,
        scope: Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryId>, ContentError> {
        self.metadata.repositories(scope, after, limit).await
    }

    /// One page of the documents whose subject is `subject`.
    pub async fn referrers(
        &self,
        repository: &RepositoryId,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Referrer>, ContentError> {
        self.metadata.referrers(repository, subject, artifact_type, after, limit).await
    }
}
