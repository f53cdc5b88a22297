//! What a person names as an image of a list, and how it is called in docker's store.

use image::{Digest, Reference, Target};
use store::{Location, LocationError};

use crate::error::ListError;

/// A source of images: an image or an index in a registry, in the local store or in a layout.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) location: Location,
    /// In full: two texts for the same source have one.
    name: String,
}

impl Source {
    /// Reads what was typed.
    ///
    /// # Errors
    /// [`ListError::Name`], with docker's text, for references; [`ListError::Location`] for the others.
    pub(crate) fn parse(text: &str) -> Result<Self, ListError> {
        let mut location = Location::parse(text).map_err(|error| match error {
            LocationError::Reference(source) => ListError::Name { text: text.to_owned(), source },
            source => ListError::Location { text: text.to_owned(), source },
        })?;
        // The list may be pushed from another directory than it was created in.
        if let Location::Layout { directory, .. } = &mut location
            && let Ok(absolute) = std::path::absolute(&*directory)
        {
            *directory = absolute;
        }
        let name = location.to_string();
        Ok(Self { location, name })
    }

    /// The source in full, as it is noted in entries that came from it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its reference, if it is in a registry.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        match &self.location {
            Location::Registry(reference) => Some(reference),
            _ => None,
        }
    }

    /// The repository that it is in: one for all its tags.
    pub(crate) fn repository(&self) -> String {
        match &self.location {
            Location::Registry(reference) => reference.name(),
            Location::Local(reference) => format!("local:{}", reference.name()),
            Location::Layout { directory, .. } => format!("oci:{}", directory.display()),
        }
    }

    /// The reference under which an image of this source stands in a list, and whether the source has to be noted
    /// beside it because the reference does not say it.
    ///
    /// Docker knows nothing but registries, so an image from elsewhere gets the name that it will have once it was
    /// pushed: the list's repository and its digest. With that docker can show and annotate the list, and push it too
    /// as soon as the image is there.
    pub(crate) fn entry_reference(&self, list: &Reference, digest: &Digest, of_an_index: bool) -> (Reference, bool) {
        match &self.location {
            Location::Registry(reference) if of_an_index => (reference.with_digest(digest.clone()), true),
            Location::Registry(reference) => (reference.clone(), false),
            _ => (published(list, digest), true),
        }
    }
}

/// `registry/repository@digest`.
pub(crate) fn published(list: &Reference, digest: &Digest) -> Reference {
    Reference::new(list.registry().clone(), list.repository().clone(), Target::Digest(digest.clone()))
}

/// Whether a text names something in the local store or in a layout.
pub(crate) fn is_not_in_a_registry(text: &str) -> bool {
    text.starts_with("local:") || text.starts_with("oci:")
}
