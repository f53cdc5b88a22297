//! An OCI image layout directory (image-spec, `image-layout.md`).

mod beneath;
mod blobs;
mod error;
mod files;
mod index;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use image::{Descriptor, Digest, Document, MediaKind, RepositoryName, Tag, Target};

pub use error::LayoutError;

use self::files::Files;
use crate::error::StoreError;
use crate::location::Location;
use crate::traits::{
    BlobOrigin, BlobPlacement, BlobReader, DeleteDocuments, ImageStore, ListReferrers, ListTags, Medium, PutReport,
};

/// An [`ImageStore`] over an OCI image layout directory.
///
/// Tags are `org.opencontainers.image.ref.name` annotations of `index.json`; a document that is put without a tag is
/// listed there only if it has a subject, since nothing else would lead to it. The directory is made at the first write.
#[derive(Clone, Debug)]
pub struct LayoutStore {
    /// As it was named.
    directory: PathBuf,
    files: Files,
    sole: bool,
    /// Whether the directory is known to be a layout, so that not every blob that is placed looks again.
    made: Arc<OnceLock<()>>,
}

impl LayoutStore {
    /// The layout in `directory`, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        // Two spellings of one directory are one medium; what does not exist yet has at least one absolute name.
        let root = std::fs::canonicalize(&directory).or_else(|_| std::path::absolute(&directory));
        let files = Files::new(root.unwrap_or_else(|_| directory.clone()));
        Self { directory, files, sole: false, made: Arc::default() }
    }

    /// Takes the only image of the layout for `latest`, if nothing has that tag.
    #[must_use]
    pub fn sole_entry_as_latest(mut self) -> Self {
        self.sole = true;
        self
    }

    /// The directory, as it was named.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn action(&self, verb: &str, target: &Target) -> String {
        format!("{verb} `{}`", self.spell(target))
    }

    fn blob_action(&self, verb: &str, digest: &Digest) -> String {
        self.action(verb, &Target::Digest(digest.clone()))
    }

    /// Whether a tag that is not there may be the only image instead.
    fn sole_for(&self, tag: &Tag) -> bool {
        self.sole && tag.as_str() == "latest"
    }

    /// Sees to it that there is a layout.
    fn make(&self) -> Result<(), LayoutError> {
        if self.made.get().is_none() {
            index::create(&self.files)?;
            let _ = self.made.set(());
        }
        Ok(())
    }

    /// The document at `target`, by way of `index.json` for a tag. `None`: it is not there.
    async fn find(&self, target: &Target, action: String) -> Result<Option<Document>, StoreError> {
        let (files, target) = (self.files.clone(), target.clone());
        let sole = matches!(&target, Target::Tag(tag) if self.sole_for(tag));
        blocking(action, move || {
            let Some(listing) = index::read(&files)? else { return Ok(None) };
            match &target {
                Target::Digest(digest) => {
                    let listed = listing.index().and_then(|view| view.manifests.iter().find(|e| e.digest == *digest));
                    index::document(&files, digest, listed.map(|entry| &entry.media_type))
                }
                Target::Tag(tag) => {
                    let Some(entry) = index::tagged(&listing, tag, sole)? else { return Ok(None) };
                    let found = index::document(&files, &entry.digest, Some(&entry.media_type))?;
                    let document = found.ok_or_else(|| LayoutError::Lost(entry.digest.clone()))?;
                    if document.size() != entry.size {
                        return Err(LayoutError::Size {
                            digest: entry.digest,
                            expected: entry.size,
                            actual: document.size(),
                        });
                    }
                    Ok(Some(document))
                }
            }
        })
        .await
    }
}

/// Does `work` on a thread that may wait.
async fn blocking<T: Send + 'static>(
    action: String,
    work: impl FnOnce() -> Result<T, LayoutError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or(Err(LayoutError::Interrupted)).map_err(|error| error.during(action))
}

/// What of a document's references is not there. Foreign layers need not be.
fn missing(files: &Files, document: &Document) -> Result<Vec<Digest>, LayoutError> {
    let mut missing = Vec::new();
    for child in document.children() {
        if child.media_type.kind() == MediaKind::ForeignLayer {
            continue;
        }
        if files.blob_size(&child.digest)? != Some(child.size) {
            missing.push(child.digest.clone());
        }
    }
    Ok(missing)
}

#[async_trait]
impl ImageStore for LayoutStore {
    fn medium(&self) -> Medium {
        Medium::Layout(self.files.root().to_owned())
    }

    fn repository(&self) -> Option<&RepositoryName> {
        None
    }

    fn spell(&self, target: &Target) -> String {
        Location::Layout { directory: self.directory.clone(), target: Some(target.clone()) }.to_string()
    }

    async fn resolve(&self, target: &Target) -> Result<Option<Descriptor>, StoreError> {
        let found = self.find(target, self.action("look up", target)).await?;
        Ok(found.map(|document| document.descriptor()))
    }

    async fn document(&self, target: &Target) -> Result<Document, StoreError> {
        let action = self.action("read", target);
        match self.find(target, action.clone()).await? {
            Some(document) => Ok(document),
            None if self.files.root().exists() => Err(LayoutError::Absent.during(action)),
            None => Err(LayoutError::NoLayout(self.directory.clone()).during(action)),
        }
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError> {
        blobs::read(self.files.clone(), descriptor, self.blob_action("read", &descriptor.digest)).await
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        let (files, digest, size) = (self.files.clone(), descriptor.digest.clone(), descriptor.size);
        // A file of another size is no blob: what wrote it was cut off.
        blocking(self.blob_action("look up", &digest), move || Ok(files.blob_size(&digest)? == Some(size))).await
    }

    async fn place_blob(&self, descriptor: &Descriptor, origin: &dyn BlobOrigin) -> Result<BlobPlacement, StoreError> {
        if self.has_blob(descriptor).await? {
            return Ok(BlobPlacement::AlreadyThere);
        }
        let action = self.blob_action("write", &descriptor.digest);
        let store = self.clone();
        blocking(action.clone(), move || store.make()).await?;
        let reader = origin.open().await?;
        blobs::write(self.files.clone(), descriptor, reader, action).await?;
        Ok(BlobPlacement::Copied)
    }

    async fn put_document(&self, document: &Document, tag: Option<&Tag>) -> Result<PutReport, StoreError> {
        let target = tag.map_or_else(|| Target::Digest(document.digest().clone()), |tag| Target::Tag(tag.clone()));
        let (store, document, tag) = (self.clone(), document.clone(), tag.cloned());
        let reported_digest = Some(document.digest().clone());
        blocking(self.action("write", &target), move || {
            store.make()?;
            let files = store.files;
            let missing = missing(&files, &document)?;
            if !missing.is_empty() {
                return Err(LayoutError::Missing(missing));
            }
            if files.blob_size(document.digest())? != Some(document.size()) {
                let mut staged = files.stage()?;
                staged.write(document.bytes()).map_err(LayoutError::io(files.root()))?;
                files.place_blob(staged, document.digest())?;
            }
            if tag.is_some() || document.subject().is_some() {
                index::list(&files, &document, tag.as_ref())?;
            }
            Ok(())
        })
        .await?;
        Ok(PutReport { reported_digest })
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
impl ListTags for LayoutStore {
    async fn list_tags(&self) -> Result<Vec<Tag>, StoreError> {
        let (files, directory) = (self.files.clone(), self.directory.clone());
        blocking(format!("list tags of `oci:{}`", directory.display()), move || match index::read(&files)? {
            Some(listing) => Ok(index::tags(&listing)),
            None => Err(LayoutError::NoLayout(directory)),
        })
        .await
    }
}

#[async_trait]
impl ListReferrers for LayoutStore {
    async fn list_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, StoreError> {
        let action = format!("list referrers of `{}`", self.spell(&Target::Digest(subject.clone())));
        let (files, subject) = (self.files.clone(), subject.clone());
        blocking(action, move || match index::read(&files)? {
            Some(listing) => index::referrers(&files, &listing, &subject),
            None => Ok(Vec::new()),
        })
        .await
    }
}

#[async_trait]
impl DeleteDocuments for LayoutStore {
    async fn delete_document(&self, target: &Target) -> Result<(), StoreError> {
        let (files, target) = (self.files.clone(), target.clone());
        blocking(self.action("delete", &target), move || {
            if index::read(&files)?.is_none() {
                return Err(LayoutError::NoLayout(files.root().to_owned()));
            }
            index::delete(&files, &target)
        })
        .await
    }
}
