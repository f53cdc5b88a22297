//! A repository of the local store.

use std::path::PathBuf;

use async_trait::async_trait;
use content::{ContentError, ContentStore, DeleteOptions, PutOptions, Referrer, RepositoryId, Scope, SourceError};
use futures_util::StreamExt;
use image::{Descriptor, Digest, Document, Reference, RegistryHost, RepositoryName, Tag, Target};

use crate::error::{StoreError, StoreErrorKind};
use crate::location::Location;
use crate::reader::verified;
use crate::traits::{
    BlobOrigin, BlobPlacement, BlobReader, DeleteDocuments, ImageStore, ListReferrers, ListTags, Medium, PutReport,
};

/// How many entries of a listing are read at once.
const PAGE: usize = 1000;

/// An [`ImageStore`] over one repository of the local store.
///
/// All repositories share their blobs: placing one that any of them holds moves no bytes.
#[derive(Clone, Debug)]
pub struct LocalStore {
    content: ContentStore,
    data_dir: PathBuf,
    registry: RegistryHost,
    id: RepositoryId,
}

impl LocalStore {
    /// The repository of that name, in the content store at `data_dir`.
    pub fn new(content: ContentStore, data_dir: PathBuf, registry: RegistryHost, name: RepositoryName) -> Self {
        let id = RepositoryId::local(registry.clone(), name);
        Self { content, data_dir, registry, id }
    }

    /// The content store behind it.
    pub fn content(&self) -> &ContentStore {
        &self.content
    }

    /// The repository's name in the content store.
    pub fn id(&self) -> &RepositoryId {
        &self.id
    }

    fn name(&self) -> String {
        format!("local:{}", self.id)
    }

    fn failed(&self, verb: &str, target: &Target) -> impl FnOnce(ContentError) -> StoreError + use<> {
        let action = format!("{verb} `{}`", self.spell(target));
        move |error| failure(action, error)
    }

    fn blob_failed(&self, verb: &str, digest: &Digest) -> impl FnOnce(ContentError) -> StoreError + use<> {
        self.failed(verb, &Target::Digest(digest.clone()))
    }

    fn absent(&self, verb: &str, target: &Target) -> StoreError {
        StoreError::new(StoreErrorKind::NotFound, format!("{verb} `{}`", self.spell(target)))
            .because("it is not in the local store")
    }
}

/// What an error of the content store is to every store.
pub(crate) fn failure(action: String, error: ContentError) -> StoreError {
    let failed = match &error {
        ContentError::NoSpace { .. } => {
            StoreError::new(StoreErrorKind::Io, action).hint("free some space, then try again")
        }
        ContentError::Io { .. } | ContentError::Metadata { .. } | ContentError::NewerSchema { .. } => {
            StoreError::new(StoreErrorKind::Io, action)
        }
        ContentError::Source(source) => match source.downcast_ref::<StoreError>() {
            Some(origin) => StoreError { hint: origin.hint.clone(), ..StoreError::new(origin.kind, action) },
            None => StoreError::new(StoreErrorKind::Other, action),
        },
        ContentError::DigestMismatch { .. }
        | ContentError::SizeMismatch { .. }
        | ContentError::References(_)
        | ContentError::Damaged { .. }
        | ContentError::BlobLost { .. } => StoreError::new(StoreErrorKind::Invalid, action),
        ContentError::StillReferenced { .. } => {
            StoreError::new(StoreErrorKind::Denied, action).hint("remove what it is part of first")
        }
        _ => StoreError::new(StoreErrorKind::Other, action),
    };
    failed.because(error)
}

#[async_trait]
impl ImageStore for LocalStore {
    fn medium(&self) -> Medium {
        Medium::Local(self.data_dir.clone())
    }

    fn repository(&self) -> Option<&RepositoryName> {
        Some(&self.id.name)
    }

    fn spell(&self, target: &Target) -> String {
        Location::Local(Reference::new(self.registry.clone(), self.id.name.clone(), target.clone())).to_string()
    }

    async fn resolve(&self, target: &Target) -> Result<Option<Descriptor>, StoreError> {
        let found = self.content.resolve(&self.id, target).await.map_err(self.failed("look up", target))?;
        Ok(found.map(|record| Descriptor::new(record.media_type, record.digest, record.size)))
    }

    async fn document(&self, target: &Target) -> Result<Document, StoreError> {
        let found = self.content.document(&self.id, target).await.map_err(self.failed("read", target))?;
        let stored = found.ok_or_else(|| self.absent("read", target))?;
        let invalid = || StoreError::new(StoreErrorKind::Invalid, format!("read `{}`", self.spell(target)));
        let document = stored.to_document().map_err(|error| invalid().because(error))?;
        if *document.digest() != stored.digest {
            let found = format!("its bytes have digest `{}`, expected `{}`", document.digest(), stored.digest);
            return Err(invalid().because(found).hint("the data directory is damaged: pull or build the image again"));
        }
        Ok(document)
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError> {
        let digest = &descriptor.digest;
        let found = self.content.blob(&self.id, digest).await.map_err(self.blob_failed("read", digest))?;
        let record = found.ok_or_else(|| self.absent("read", &Target::Digest(digest.clone())))?;
        let stream = self.content.read_blob(&record, None).await.map_err(self.blob_failed("read", digest))?;
        let store = self.clone();
        let action = format!("read `{}`", self.spell(&Target::Digest(digest.clone())));
        let key = digest.clone();
        let stream = stream.map(move |piece| piece.map_err(store.blob_failed("read", &key)));
        Ok(verified(Box::pin(stream), descriptor, action))
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let digest = &descriptor.digest;
        let found = self.content.blob(&self.id, digest).await.map_err(self.blob_failed("look up", digest))?;
        Ok(found.is_some())
    }

    async fn place_blob(&self, descriptor: &Descriptor, origin: &dyn BlobOrigin) -> Result<BlobPlacement, StoreError> {
        let digest = &descriptor.digest;
        if self.has_blob(descriptor).await? {
            return Ok(BlobPlacement::AlreadyThere);
        }
        // Whatever repository holds it will do: `mount_from` cannot say the registry that is part of a name here.
        for scope in [Scope::Local, Scope::Served] {
            let holders = self.content.holders(scope, digest, 1).await.map_err(self.blob_failed("look up", digest))?;
            for holder in holders {
                let mounted = self.content.mount_blob(&self.id, digest, &holder).await;
                if mounted.map_err(self.blob_failed("share", digest))?.is_some() {
                    return Ok(BlobPlacement::Mounted);
                }
            }
        }
        let source = origin.open().await?.map(|piece| piece.map_err(SourceError::from));
        let put = self.content.put_blob(&self.id, digest, Some(descriptor.size), Box::pin(source)).await;
        put.map_err(self.blob_failed("write", digest))?;
        Ok(BlobPlacement::Copied)
    }

    async fn put_document(&self, document: &Document, tag: Option<&Tag>) -> Result<PutReport, StoreError> {
        let target = tag.map_or_else(|| Target::Digest(document.digest().clone()), |tag| Target::Tag(tag.clone()));
        let put = self.content.put_document(&self.id, document, &PutOptions::tagged(tag)).await;
        put.map_err(self.failed("write", &target))?;
        Ok(PutReport { reported_digest: Some(document.digest().clone()) })
    }

    fn tags(&self) -> Option<&dyn ListTags> {
        Some(self)
    }

    fn referrers(&self) -> Option<&dyn ListReferrers> {
        Some(self)
    }

    fn delete(&self) -> Option<&dyn DeleteDocuments> {
        Some(self)
    }
}

#[async_trait]
impl ListTags for LocalStore {
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError> {
        let action = || format!("list tags of `{}`", self.name());
        let mut tags: Vec<Tag> = Vec::new();
        loop {
            let after = tags.last().map(Tag::as_str);
            let page = self.content.tags(&self.id, after, PAGE).await.map_err(|error| failure(action(), error))?;
            let Some(page) = page else {
                return Err(StoreError::new(StoreErrorKind::NotFound, action()).because("it is not in the local store"));
            };
            let more = page.more && !page.items.is_empty();
            tags.extend(page.items);
            if !more {
                return Ok(tags);
            }
        }
    }
}

#[async_trait]
impl ListReferrers for LocalStore {
    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let action = || format!("list referrers of `{}`", self.spell(&Target::Digest(subject.clone())));
        let mut found: Vec<Descriptor> = Vec::new();
        loop {
            let after = found.last().map(|descriptor| descriptor.digest.clone());
            let page = self.content.referrers(&self.id, subject, None, after.as_ref(), PAGE).await;
            let page = page.map_err(|error| failure(action(), error))?;
            let more = page.more && !page.items.is_empty();
            for referrer in page.items {
                found.push(
                    descriptor(referrer)
                        .map_err(|error| StoreError::new(StoreErrorKind::Invalid, action()).because(error))?,
                );
            }
            if !more {
                return Ok(found);
            }
        }
    }
}

fn descriptor(referrer: Referrer) -> Result<Descriptor, serde_json::Error> {
    let annotations = referrer.annotations.as_deref().map(serde_json::from_str).transpose()?.unwrap_or_default();
    let plain = Descriptor::new(referrer.media_type, referrer.digest, referrer.size);
    Ok(Descriptor { artifact_type: referrer.artifact_type, annotations, ..plain })
}

#[async_trait]
impl DeleteDocuments for LocalStore {
    async fn delete_document(&self, target: &Target) -> Result<(), StoreError> {
        let deleted = match target {
            Target::Tag(tag) => self.content.delete_tag(&self.id, tag).await.map(|before| before.is_some()),
            // Never a hole in an index that a tag leads to.
            Target::Digest(digest) => {
                let deleted = self.content.delete_document(&self.id, digest, DeleteOptions::careful()).await;
                deleted.map(|tags| tags.is_some())
            }
        };
        if deleted.map_err(self.failed("delete", target))? { Ok(()) } else { Err(self.absent("delete", target)) }
    }
}
