//! What can be wrong with a layout.

use std::io;
use std::path::PathBuf;

use image::{Digest, DocumentError, EditError, Tag};

use crate::error::{StoreError, StoreErrorKind};

/// Why an operation on an OCI image layout failed: the source of the [`StoreError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// There is nothing of that name.
    #[error("the layout has no such image")]
    Absent,
    /// There is no directory, or an empty one.
    #[error("there is no OCI image layout in `{}`", .0.display())]
    NoLayout(PathBuf),
    /// The directory holds something else.
    #[error("the directory `{}` is not an OCI image layout: it has no file `oci-layout`, but other files", .0.display())]
    OtherContent(PathBuf),
    /// A version that this program does not know.
    #[error("`oci-layout` states version `{0}`, expected `1.0.0`")]
    Version(String),
    /// `oci-layout` or `index.json` is not what it should be.
    #[error("`{file}` is damaged: {reason}")]
    Damaged {
        /// Which file.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A symbolic link where a layout has files and directories: it could lead anywhere.
    #[error("`{}` is a symbolic link, which is not followed", .0.display())]
    Link(PathBuf),
    /// Neither file nor directory, or one where the other should be.
    #[error("`{}` is not a {expected}", .path.display())]
    NotA {
        /// What is there.
        path: PathBuf,
        /// What should be.
        expected: &'static str,
    },
    /// `index.json` names something whose file is not there.
    #[error("blob `{0}` is named but its file is not there")]
    Lost(Digest),
    /// A blob of another size.
    #[error("blob `{digest}` has {actual} bytes, expected {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// What the descriptor says.
        expected: u64,
        /// What there is.
        actual: u64,
    },
    /// A blob of another digest.
    #[error("blob `{expected}` has digest `{actual}`")]
    Content {
        /// What was expected.
        expected: Digest,
        /// What its bytes have.
        actual: Digest,
    },
    /// The document is not acceptable.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// `index.json` cannot be changed.
    #[error("{0}")]
    Edit(#[from] EditError),
    /// Several different images have the tag.
    #[error("tag `{tag}` is given to {} images: {}", .digests.len(), list(.digests))]
    Ambiguous {
        /// The tag.
        tag: Tag,
        /// The images.
        digests: Vec<Digest>,
    },
    /// The document refers to what is not there.
    #[error("the document refers to what the layout does not hold: {}", list(.0))]
    Missing(Vec<Digest>),
    /// An index has it.
    #[error("it is part of an index of the layout")]
    PartOfIndex,
    /// The disk.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// The task that did the work was ended.
    #[error("the work was interrupted")]
    Interrupted,
}

fn list(digests: &[Digest]) -> String {
    digests.iter().map(|digest| format!("`{digest}`")).collect::<Vec<_>>().join(", ")
}

impl LayoutError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The same as every store says it; `action` is what was being done.
    pub(crate) fn during(self, action: impl Into<String>) -> StoreError {
        let (kind, hint) = match &self {
            Self::Absent | Self::NoLayout(_) => (StoreErrorKind::NotFound, None),
            Self::OtherContent(_) => {
                (StoreErrorKind::Invalid, Some("name a directory that is empty, or that does not exist yet"))
            }
            Self::Version(_) => (StoreErrorKind::Unsupported, None),
            Self::Ambiguous { .. } => (StoreErrorKind::Invalid, Some("name one of them: `oci:DIR@DIGEST`")),
            Self::PartOfIndex => (StoreErrorKind::Denied, Some("delete the index first")),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                (StoreErrorKind::Io, Some("free some space, then try again"))
            }
            Self::Io { .. } | Self::Interrupted => (StoreErrorKind::Io, None),
            Self::Damaged { .. }
            | Self::Link(_)
            | Self::NotA { .. }
            | Self::Lost(_)
            | Self::Size { .. }
            | Self::Content { .. }
            | Self::Document(_)
            | Self::Edit(_)
            | Self::Missing(_) => (StoreErrorKind::Invalid, None),
        };
        let mut failed = StoreError::new(kind, action);
        failed.hint = hint.map(str::to_owned);
        failed.because(self)
    }
}
