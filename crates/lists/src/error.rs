//! What can go wrong with lists, in docker's words where docker has words for it.

use std::io;
use std::path::{Path, PathBuf};

use image::{Digest, DocumentError, Reference, ReferenceError};
use store::{LocationError, StoreError, StoreErrorKind};
use transfer::{PlanError, TransferError};

use crate::wording;

/// Why a list could not be made, changed, shown, pushed or removed.
///
/// `Display` is what `docker manifest` prints where it would fail too, so scripts that look for it find it.
/// [`ListError::hint`] is what docker leaves unsaid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The name of an image, or of a list where docker says no more about it.
    #[error("{source}")]
    Name {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The name of a list that is to be made.
    #[error("error parsing name for manifest list {text}: {source}")]
    NewListName {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The name of the list that is to be annotated.
    #[error("annotate: error parsing name for manifest list {text}: {source}")]
    AnnotatedListName {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The name of the image that is to be annotated.
    #[error("annotate: error parsing name for manifest {text}: {source}")]
    AnnotatedImageName {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// A source that is neither a reference nor `local:…` nor `oci:…`.
    #[error("{text}: {source}")]
    Location {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        source: LocationError,
    },
    /// The list is there and `--amend` was not given.
    #[error("refusing to amend an existing manifest list with no --amend flag")]
    Exists,
    /// There is no local list, or no image in a local list, of that name.
    #[error("No such manifest: {0}")]
    NoSuchLocal(String),
    /// The local list has no entries.
    #[error("{0} not found")]
    Empty(Reference),
    /// The local list has no entry of that name.
    #[error("manifest for image {image} does not exist in {list}")]
    NotInList {
        /// The image as it was typed.
        image: String,
        /// The list as it was typed.
        list: String,
        /// Names that would have been found.
        known: Vec<String>,
    },
    /// A name that stands for several entries of a list.
    #[error("{image} stands for {} entries of {list}", .entries.len())]
    Ambiguous {
        /// The image as it was typed.
        image: String,
        /// The list as it was typed.
        list: String,
        /// The entries.
        entries: Vec<Reference>,
    },
    /// `annotate` would leave an entry with a platform that nobody knows.
    #[error("manifest entry for image has unsupported os/arch combination: {os}/{architecture}")]
    UnsupportedPlatform {
        /// The operating system that was asked for; empty if none was.
        os: String,
        /// The architecture that was asked for; empty if none was.
        architecture: String,
    },
    /// A list cannot be pushed with an entry that has no platform.
    #[error("manifest {0} must have an OS and Architecture to be pushed to a registry")]
    NoPlatform(Reference),
    /// A source is an index, and only images are wanted.
    #[error("{0} is a manifest list")]
    IsList(String),
    /// Docker's store has one file name for two references.
    #[error("`{first}` and `{second}` have one name in docker's store, `{file_name}`: one of them would be lost")]
    Collision {
        /// One of them.
        first: String,
        /// The other.
        second: String,
        /// The name.
        file_name: String,
    },
    /// A local list has a file that cannot be used.
    #[error("the local list `{list}` is damaged: `{}`: {reason}", .path.display())]
    Damaged {
        /// The list.
        list: Reference,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest in an entry is not the one that its descriptor is about.
    #[error("internal digest mismatch for {reference}: expected {expected}, got {actual}")]
    DigestMismatch {
        /// The entry.
        reference: String,
        /// What its descriptor says.
        expected: Digest,
        /// What its manifest has.
        actual: Digest,
    },
    /// A manifest that is not acceptable.
    #[error("{}", wording::document_error(.source))]
    Document {
        /// Where it stands.
        at: String,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The config of an image does not tell the platform.
    #[error("cannot tell the platform of {image}: {reason}")]
    Config {
        /// The image.
        image: String,
        /// Why.
        reason: String,
    },
    /// The config of an image cannot be read.
    #[error("cannot tell the platform of {image}: its config {digest}: {}", wording::blob_error(.source))]
    ConfigUnreadable {
        /// The image.
        image: String,
        /// The config.
        digest: Digest,
        /// What came back.
        source: Box<StoreError>,
    },
    /// A source could not be read.
    #[error("{}", wording::source_error(.reference, .source))]
    Source {
        /// What was being read, as docker would write it.
        reference: String,
        /// What came back.
        source: StoreError,
    },
    /// The documents below an index could not be read.
    #[error("{}", wording::transfer_error(.source))]
    Collect {
        /// What came back.
        source: Box<TransferError>,
    },
    /// The images of a list do not go together.
    #[error("cannot push {list}: {source}")]
    Plan {
        /// The list.
        list: String,
        /// Why.
        source: PlanError,
    },
    /// The push failed. The text begins with docker's `failed to put manifest …` if it was a manifest that failed.
    #[error("{}", wording::push_error(.source))]
    Push {
        /// What came back.
        source: Box<TransferError>,
    },
    /// The local store of lists could not be read or written.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
}

impl ListError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(list: &Reference, path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { list: list.clone(), path: path.to_owned(), reason: reason.into() }
    }

    pub(crate) fn source(reference: &str, source: StoreError) -> Self {
        Self::Source { reference: reference.to_owned(), source }
    }

    /// What a person can try, if there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists => Some("add to it with `--amend`, or remove it first with `manifest rm`".to_owned()),
            Self::NoSuchLocal(reference) => {
                Some(format!("`manifest ls` shows the local lists; `manifest create {reference} …` makes one"))
            }
            Self::Empty(reference) => Some(format!("add an image with `manifest create --amend {reference} …`")),
            Self::NotInList { known, .. } if known.is_empty() => {
                Some("there is no such list here: `manifest ls` shows those that are".to_owned())
            }
            Self::NotInList { known, .. } => Some(format!("the list has {}", join(known))),
            Self::Ambiguous { entries, .. } => Some(format!("name one of {}", join(entries))),
            Self::UnsupportedPlatform { .. } => {
                Some("operating systems and architectures are spelt as by Go: linux/arm64, windows/amd64".to_owned())
            }
            Self::NoPlatform(reference) => Some(format!(
                "set it with `manifest annotate LIST {reference} --platform OS/ARCH`, or remove the entry with \
                 `manifest rm LIST --entry {reference}`"
            )),
            Self::IsList(reference) => Some(format!(
                "leave out `--strict` to take the images of {reference} one by one, or name one of them by digest"
            )),
            Self::Collision { .. } => Some("name one of them by digest too: `REPOSITORY:TAG@sha256:…`".to_owned()),
            Self::Damaged { list, .. } => Some(format!("remove it with `manifest rm {list}` and create it again")),
            Self::Source { source, .. } => wording::hint(source),
            Self::ConfigUnreadable { source, .. } => wording::hint(source),
            Self::Collect { source } => source.hint(),
            Self::Push { source } => wording::push_hint(source),
            _ => None,
        }
    }

    /// Of which class a failed read or write of a store was, if that is what failed.
    pub fn store_kind(&self) -> Option<StoreErrorKind> {
        match self {
            Self::Source { source, .. } => Some(source.kind),
            Self::ConfigUnreadable { source, .. } => Some(source.kind),
            Self::Collect { source } | Self::Push { source } => source.store_error().map(|error| error.kind),
            _ => None,
        }
    }
}

fn join<T: std::fmt::Display>(items: &[T]) -> String {
    const MOST: usize = 8;
    let mut text = items.iter().take(MOST).map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    if items.len() > MOST {
        text.push_str(" …");
    }
    text
}
