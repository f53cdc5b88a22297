//! A plan: documents, the blobs that they need, and tags, on their way to one repository.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock};

use image::{Descriptor, Digest, Document, MediaKind, MediaType, Tag, Target};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use store::ImageStore;

use crate::build::Built;
use crate::error::unknown;
use crate::step::Step;

/// What a repository shall hold, added piece by piece; then printed, or run, or both.
///
/// `Display` is one line a step; the serialised form is `{"target":…,"steps":[…]}`.
pub struct Plan {
    pub(crate) target: Arc<dyn ImageStore>,
    pub(crate) documents: Vec<Planned>,
    pub(crate) document_of: HashMap<Digest, usize>,
    pub(crate) blobs: Vec<PlannedBlob>,
    pub(crate) blob_of: HashMap<Digest, usize>,
    /// Which document, under which tag.
    pub(crate) tags: Vec<(usize, Tag)>,
    /// Made when it is first looked at; every addition drops it.
    built: OnceLock<Built>,
}

/// One document of a plan.
pub(crate) struct Planned {
    pub(crate) document: Document,
    pub(crate) place: Place,
    /// Blobs that it needs at the target, by index.
    pub(crate) blobs: Vec<usize>,
    /// The target was asked for it and does not have it.
    pub(crate) absent: bool,
    /// The target was asked for it and has it.
    pub(crate) found: bool,
}

impl Planned {
    fn new(document: Document, place: Place, blobs: Vec<usize>) -> Self {
        Self { document, place, blobs, absent: false, found: false }
    }
}

/// Where a document or blob comes from, seen from the target. Later is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Another medium: bytes have to move.
    Elsewhere,
    /// Another repository of the same medium: blobs can be mounted.
    SameMedium,
    /// The target's own repository.
    Here,
}

/// One blob of a plan.
pub(crate) struct PlannedBlob {
    pub(crate) descriptor: Descriptor,
    pub(crate) place: Place,
    /// Who has it, unless it is here.
    pub(crate) origin: Option<Arc<dyn ImageStore>>,
}

/// Why something cannot be part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// An image was expected.
    #[error("`{digest}` is not an image but `{media_type}`")]
    NotAnImage {
        /// The document.
        digest: Digest,
        /// What it is.
        media_type: MediaType,
    },
    /// An index was expected.
    #[error("`{digest}` is not an index but `{media_type}`")]
    NotAnIndex {
        /// The document.
        digest: Digest,
        /// What it is.
        media_type: MediaType,
    },
    /// A tag for a document that the plan does not have.
    #[error("`{digest}` is not part of the plan")]
    UnknownDocument {
        /// The digest.
        digest: Digest,
    },
    /// Two documents state different sizes for one blob: at least one of them lies.
    #[error("blob `{digest}` has {first} bytes in one document and {second} in another")]
    SizeConflict {
        /// The blob.
        digest: Digest,
        /// The size that was stated first.
        first: u64,
        /// The other one.
        second: u64,
    },
}

impl Plan {
    /// A plan with nothing to do at `target`.
    pub fn new(target: Arc<dyn ImageStore>) -> Self {
        Self {
            target,
            documents: Vec::new(),
            document_of: HashMap::new(),
            blobs: Vec::new(),
            blob_of: HashMap::new(),
            tags: Vec::new(),
            built: OnceLock::new(),
        }
    }

    /// Adds an image: its blobs (but not foreign layers), then itself by digest.
    ///
    /// Blobs are mounted if `origin` is another repository of the target's medium and copied if it is of another
    /// medium. If `origin` *is* the target's repository, nothing is done and nothing asked.
    pub fn add_image(&mut self, document: Document, origin: Arc<dyn ImageStore>) -> Result<(), PlanError> {
        let place = place_of(&*origin, &*self.target, document.digest());
        self.add_manifest(document, place, move |_| Arc::clone(&origin))
    }

    /// Adds an image that is in no repository yet: its blobs, each from where `origin` says, then itself by digest.
    pub fn add_new_image(
        &mut self,
        document: Document,
        origin: impl Fn(&Descriptor) -> Arc<dyn ImageStore>,
    ) -> Result<(), PlanError> {
        self.add_manifest(document, Place::Elsewhere, origin)
    }

    fn add_manifest(
        &mut self,
        document: Document,
        place: Place,
        origin: impl Fn(&Descriptor) -> Arc<dyn ImageStore>,
    ) -> Result<(), PlanError> {
        let Some(manifest) = document.manifest() else {
            return Err(PlanError::NotAnImage {
                digest: document.digest().clone(),
                media_type: document.media_type().clone(),
            });
        };
        let (mut blobs, mut seen) = (Vec::new(), HashSet::new());
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if descriptor.media_type.kind() == MediaKind::ForeignLayer {
                continue;
            }
            let blob = self.add_blob(descriptor, origin(descriptor))?;
            if seen.insert(blob) {
                blobs.push(blob);
            }
        }
        self.add(Planned::new(document, place, blobs));
        Ok(())
    }

    /// Adds an index. Its children must be added too, before or after, or be at the target already.
    pub fn add_index(&mut self, document: Document) -> Result<(), PlanError> {
        if document.index().is_none() {
            return Err(PlanError::NotAnIndex {
                digest: document.digest().clone(),
                media_type: document.media_type().clone(),
            });
        }
        self.add(Planned::new(document, Place::Elsewhere, Vec::new()));
        Ok(())
    }

    /// Adds a document, image or index, that is known to be in the target repository with all that it refers to; it
    /// can then get a tag, or be a child.
    pub fn add_present(&mut self, document: Document) {
        self.blobs_are_here(&document);
        self.add(Planned::new(document, Place::Here, Vec::new()));
    }

    /// As [`Plan::add_present`], of a document that the target was asked for.
    pub(crate) fn add_found(&mut self, document: Document) {
        self.blobs_are_here(&document);
        self.add(Planned { found: true, ..Planned::new(document, Place::Here, Vec::new()) });
    }

    /// Writes a document of the plan under `tag`, after everything else.
    pub fn tag(&mut self, document: &Digest, tag: Tag) -> Result<(), PlanError> {
        let index = *self.document_of.get(document).ok_or_else(|| unknown(document))?;
        if !self.tags.contains(&(index, tag.clone())) {
            self.tags.push((index, tag));
        }
        self.built.take();
        Ok(())
    }

    /// Says that the target was asked for a document of the plan and does not have it, so that it is not asked again.
    pub fn assume_absent(&mut self, document: &Digest) -> Result<(), PlanError> {
        let index = *self.document_of.get(document).ok_or_else(|| unknown(document))?;
        self.documents[index].absent = true;
        self.built.take();
        Ok(())
    }

    /// All that will be done, in an order in which it could be done one by one.
    pub fn steps(&self) -> &[Step] {
        &self.built().steps
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps().is_empty()
    }

    /// The repository that the plan is for.
    pub fn target(&self) -> &Arc<dyn ImageStore> {
        &self.target
    }

    pub(crate) fn built(&self) -> &Built {
        self.built.get_or_init(|| Built::of(self))
    }

    /// The target repository, spelt without tag and digest.
    pub(crate) fn target_name(&self) -> String {
        repository_name(&*self.target)
    }

    /// A repository that has an image has its blobs, which then need not be moved for other images either.
    fn blobs_are_here(&mut self, document: &Document) {
        let Some(manifest) = document.manifest() else { return };
        for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
            if let Some(&index) = self.blob_of.get(&descriptor.digest) {
                self.blobs[index].place = Place::Here;
                continue;
            }
            self.blob_of.insert(descriptor.digest.clone(), self.blobs.len());
            self.blobs.push(PlannedBlob { descriptor: descriptor.clone(), place: Place::Here, origin: None });
        }
    }

    fn add(&mut self, planned: Planned) {
        self.built.take();
        let digest = planned.document.digest().clone();
        match self.document_of.get(&digest) {
            // The same document from two places: the better place wins, its position in the report stays.
            Some(&index) if self.documents[index].place < planned.place => self.documents[index] = planned,
            Some(_) => {}
            None => {
                self.document_of.insert(digest, self.documents.len());
                self.documents.push(planned);
            }
        }
    }

    fn add_blob(&mut self, descriptor: &Descriptor, origin: Arc<dyn ImageStore>) -> Result<usize, PlanError> {
        let place = place_of(&*origin, &*self.target, &descriptor.digest);
        if let Some(&index) = self.blob_of.get(&descriptor.digest) {
            let known = &mut self.blobs[index];
            if known.descriptor.size != descriptor.size {
                return Err(PlanError::SizeConflict {
                    digest: descriptor.digest.clone(),
                    first: known.descriptor.size,
                    second: descriptor.size,
                });
            }
            if known.place < place {
                (known.place, known.origin) = (place, Some(origin));
            }
            return Ok(index);
        }
        let index = self.blobs.len();
        self.blob_of.insert(descriptor.digest.clone(), index);
        self.blobs.push(PlannedBlob { descriptor: descriptor.clone(), place, origin: Some(origin) });
        Ok(index)
    }
}

/// A store's repository as a person would write it, without tag and digest.
pub fn repository_name(store: &dyn ImageStore) -> String {
    let nothing = Target::Digest(Digest::sha256(b""));
    let spelt = store.spell(&nothing);
    let suffix = format!("@{nothing}");
    spelt.strip_suffix(&suffix).map_or(spelt.clone(), str::to_owned)
}

/// Where `origin` is, seen from `target`.
pub(crate) fn place_of(origin: &dyn ImageStore, target: &dyn ImageStore, digest: &Digest) -> Place {
    if origin.medium() != target.medium() {
        return Place::Elsewhere;
    }
    // Local repositories carry a registry in their identity that `repository()` leaves out, the spelling does not.
    let at = Target::Digest(digest.clone());
    if origin.repository() == target.repository() && origin.spell(&at) == target.spell(&at) {
        return Place::Here;
    }
    Place::SameMedium
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.steps();
        if steps.is_empty() {
            return writeln!(f, "nothing to do");
        }
        let width = steps.len().to_string().len();
        for step in steps {
            writeln!(f, "{step:width$}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("target", &self.target).field("steps", &self.steps()).finish_non_exhaustive()
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut plan = serializer.serialize_struct("Plan", 2)?;
        plan.serialize_field("target", &self.target_name())?;
        plan.serialize_field("steps", self.steps())?;
        plan.end()
    }
}
