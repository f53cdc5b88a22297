//! A repository of a registry.

use async_trait::async_trait;
use futures_util::StreamExt;
use image::{Descriptor, Digest, Document, Reference, RepositoryName, Tag, Target};
use registry_client::{Access, BlobSource, ClientError, ErrorKind, Placement, Repository, SourceError, SourceStream};

use crate::error::{StoreError, StoreErrorKind};
use crate::referrer::describe;
use crate::traits::{
    BlobOrigin, BlobPlacement, BlobReader, DeleteDocuments, ImageStore, ListReferrers, ListTags, Medium, PutReport,
};

/// An [`ImageStore`] over one repository of a registry.
///
/// Every [`StoreError`] of it that comes from the registry has the [`ClientError`] as its source.
#[derive(Clone, Debug)]
pub struct RegistryStore {
    repository: Repository,
}

impl RegistryStore {
    /// Takes a repository of a client. Nothing is sent.
    pub fn new(repository: Repository) -> Self {
        Self { repository }
    }

    /// Says what will be wanted of the repository, so that the first token allows all of it.
    pub fn expect(&self, access: Access) {
        self.repository.expect(access);
    }

    /// The protocol's own verbs, for what is particular to registries.
    pub fn protocol(&self) -> &Repository {
        &self.repository
    }

    fn failed(&self, target: &Target) -> impl FnOnce(ClientError) -> StoreError {
        let name = self.spell(target);
        move |error| failure(&format!("`{name}`"), error)
    }

    fn blob_failed(&self, digest: &Digest) -> impl FnOnce(ClientError) -> StoreError + use<> {
        let name = self.spell(&Target::Digest(digest.clone()));
        move |error| failure(&format!("`{name}`"), error)
    }

    fn repository_failed(&self, error: ClientError) -> StoreError {
        failure(&format!("of `{}/{}`", self.repository.host(), self.repository.name()), error)
    }
}

/// What a client's error is to every store.
fn failure(what: &str, error: ClientError) -> StoreError {
    // What failed may be the other side of a copy, which knows better what it was.
    let causes = std::iter::successors(std::error::Error::source(&error), |cause| cause.source());
    let origin = causes.into_iter().find_map(|cause| cause.downcast_ref::<StoreError>());
    let kind = origin.map_or_else(|| kind_of(&error), |origin| origin.kind);
    let hint = error.hint().map(str::to_owned).or_else(|| origin.and_then(|origin| origin.hint.clone()));
    let mut failed = StoreError::new(kind, format!("{} {what}", error.verb()));
    failed.hint = hint;
    failed.because(error)
}

fn kind_of(error: &ClientError) -> StoreErrorKind {
    match error.kind() {
        ErrorKind::NotFound => StoreErrorKind::NotFound,
        ErrorKind::Unauthorized | ErrorKind::NoCredentials => StoreErrorKind::Unauthorized,
        ErrorKind::Denied => StoreErrorKind::Denied,
        ErrorKind::TokenServer => match error.status() {
            Some(401) => StoreErrorKind::Unauthorized,
            Some(403) => StoreErrorKind::Denied,
            Some(429) => StoreErrorKind::RateLimited,
            _ => StoreErrorKind::Other,
        },
        ErrorKind::RateLimited => StoreErrorKind::RateLimited,
        ErrorKind::Unsupported => StoreErrorKind::Unsupported,
        ErrorKind::HttpInsteadOfHttps
        | ErrorKind::NotTls
        | ErrorKind::UnknownCa
        | ErrorKind::WrongHostName
        | ErrorKind::CertificateExpired
        | ErrorKind::Tls
        | ErrorKind::ConnectionRefused
        | ErrorKind::Dns
        | ErrorKind::Timeout
        | ErrorKind::Network => StoreErrorKind::Network,
        ErrorKind::DigestMismatch
        | ErrorKind::LengthMismatch
        | ErrorKind::TooLarge
        | ErrorKind::InvalidDocument
        | ErrorKind::InvalidResponse
        | ErrorKind::Redirect => StoreErrorKind::Invalid,
        ErrorKind::Credentials | ErrorKind::Configuration => StoreErrorKind::Io,
        _ => StoreErrorKind::Other,
    }
}

/// The origin of a blob as the client wants it.
struct Origin<'a>(&'a dyn BlobOrigin);

#[async_trait]
impl BlobSource for Origin<'_> {
    async fn open(&self) -> Result<SourceStream, SourceError> {
        let reader = self.0.open().await?;
        Ok(Box::pin(reader.map(|piece| piece.map_err(SourceError::from))))
    }
}

#[async_trait]
impl ImageStore for RegistryStore {
    fn medium(&self) -> Medium {
        Medium::Registry(self.repository.host().clone())
    }

    fn repository(&self) -> Option<&RepositoryName> {
        Some(self.repository.name())
    }

    fn spell(&self, target: &Target) -> String {
        Reference::new(self.repository.host().clone(), self.repository.name().clone(), target.clone()).to_string()
    }

    async fn resolve(&self, target: &Target) -> Result<Option<Descriptor>, StoreError> {
        self.repository.head_manifest(target).await.map_err(self.failed(target))
    }

    async fn document(&self, target: &Target) -> Result<Document, StoreError> {
        self.repository.get_manifest(target).await.map_err(self.failed(target))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError> {
        let stream = self.repository.get_blob(descriptor).await.map_err(self.blob_failed(&descriptor.digest))?;
        let (store, digest) = (self.clone(), descriptor.digest.clone());
        Ok(Box::pin(stream.map(move |piece| piece.map_err(store.blob_failed(&digest)))))
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let found = self.repository.head_blob(&descriptor.digest).await;
        Ok(found.map_err(self.blob_failed(&descriptor.digest))?.is_some())
    }

    async fn place_blob(&self, descriptor: &Descriptor, origin: &dyn BlobOrigin) -> Result<BlobPlacement, StoreError> {
        let from = origin.mount_from();
        if let Some(from) = from {
            // A token that allows the target alone would be thrown away at the first mount.
            self.repository.client().expect(self.repository.host(), from, Access::Pull);
        }
        let placed = self.repository.push_blob(descriptor, from, &Origin(origin)).await;
        match placed.map_err(self.blob_failed(&descriptor.digest))? {
            Placement::AlreadyThere => Ok(BlobPlacement::AlreadyThere),
            Placement::Mounted => Ok(BlobPlacement::Mounted),
            Placement::Uploaded => Ok(BlobPlacement::Copied),
        }
    }

    async fn put_document(&self, document: &Document, tag: Option<&Tag>) -> Result<PutReport, StoreError> {
        let target = tag.map_or_else(|| Target::Digest(document.digest().clone()), |tag| Target::Tag(tag.clone()));
        let put = self.repository.put_manifest(document, tag).await.map_err(self.failed(&target))?;
        // A registry that keeps referrers itself says so; else it is the client's to write them down
        // (distribution-spec, "Pushing Manifests with Subject").
        if let Some(subject) = document.subject().filter(|_| put.subject.is_none()) {
            let referrer = describe(document);
            let noted = self.repository.add_fallback_referrer(&subject.digest, &referrer).await;
            noted.map_err(self.failed(&target))?;
        }
        Ok(PutReport { reported_digest: put.digest })
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
impl ListTags for RegistryStore {
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError> {
        let mut tags = self.repository.list_tags().await.map_err(|error| self.repository_failed(error))?;
        tags.sort();
        tags.dedup();
        Ok(tags)
    }
}

#[async_trait]
impl ListReferrers for RegistryStore {
    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let found = self.repository.referrers(subject, None).await;
        found.map_err(|error| failure(&format!("of `{}`", self.spell(&subject.clone().into())), error))
    }
}

#[async_trait]
impl DeleteDocuments for RegistryStore {
    async fn delete_document(&self, target: &Target) -> Result<(), StoreError> {
        self.repository.delete_manifest(target).await.map_err(self.failed(target))
    }
}
