//! What a check finds wrong, and what can be done about it.

use std::fmt;

use image::Digest;

/// Something that is not as it should be: something acknowledged was lost or damaged, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The metadata database itself.
    Database(String),
    /// Rows that refer to rows that are not there.
    Dangling {
        /// The table that they are in.
        table: String,
        /// The table that they refer to.
        parent: String,
    },
    /// A blob has other bytes than its digest says.
    BlobDamaged {
        /// The blob.
        digest: Digest,
        /// What its bytes are.
        actual: Digest,
        /// How many there are.
        size: u64,
    },
    /// A blob's row says another size than its bytes have, which are right.
    BlobSize {
        /// The blob.
        digest: Digest,
        /// What its row says.
        stated: u64,
        /// What it has.
        actual: u64,
    },
    /// A blob is recorded, but its bytes are not there.
    BlobMissing {
        /// The blob.
        digest: Digest,
    },
    /// The bytes of a blob cannot be read, whatever they are.
    BlobUnreadable {
        /// The blob.
        digest: Digest,
        /// What came back.
        reason: String,
    },
    /// A document has other bytes than its digest says.
    DocumentDamaged {
        /// The repository, as it is displayed.
        repository: String,
        /// The document, as its row names it.
        digest: String,
    },
    /// A document has the bytes of its digest, but they are none that this program takes: its edges cannot be checked.
    DocumentUnreadable {
        /// The repository, as it is displayed.
        repository: String,
        /// The document.
        digest: Digest,
    },
    /// A document's row says another size than its bytes have, which are right.
    DocumentSize {
        /// The repository, as it is displayed.
        repository: String,
        /// The document.
        digest: Digest,
    },
    /// A document refers to something, but no edge says so: a collection could take that away.
    EdgeMissing {
        /// The repository, as it is displayed.
        repository: String,
        /// The document.
        digest: Digest,
        /// What it refers to.
        to: Digest,
    },
    /// An edge leads from a document to something that it does not refer to.
    EdgeExtra {
        /// The repository, as it is displayed.
        repository: String,
        /// The document.
        digest: Digest,
        /// What it does not refer to.
        to: String,
    },
    /// A document needs a blob that its repository does not hold any more.
    NotHeld {
        /// The repository, as it is displayed.
        repository: String,
        /// The document.
        digest: Digest,
        /// The blob.
        blob: Digest,
    },
}

impl Problem {
    /// What kind it is, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Database(_) => "database",
            Self::Dangling { .. } => "dangling",
            Self::BlobDamaged { .. } => "blobDamaged",
            Self::BlobSize { .. } => "blobSize",
            Self::BlobMissing { .. } => "blobMissing",
            Self::BlobUnreadable { .. } => "blobUnreadable",
            Self::DocumentDamaged { .. } => "manifestDamaged",
            Self::DocumentUnreadable { .. } => "manifestUnreadable",
            Self::DocumentSize { .. } => "manifestSize",
            Self::EdgeMissing { .. } => "edgeMissing",
            Self::EdgeExtra { .. } => "edgeExtra",
            Self::NotHeld { .. } => "notHeld",
        }
    }

    /// What a repair does about it, in the imperative.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Database(_) => "nothing: put back a copy of the database, or push all again into a new directory",
            Self::Dangling { .. } => "remove these rows",
            Self::BlobDamaged { .. } => {
                "move the bytes to `quarantine/` and forget the blob, so that a push brings it back"
            }
            Self::BlobSize { .. } | Self::DocumentSize { .. } => "write the true size down",
            Self::BlobMissing { .. } => "forget the blob, so that a push brings it back",
            Self::DocumentUnreadable { .. } => "nothing: delete the manifest, or use the program that took it",
            Self::BlobUnreadable { .. } => "nothing: see to the disk and to the rights of the file first",
            Self::DocumentDamaged { .. } => {
                "move the bytes to `quarantine/` and delete the manifest with its tags, so that a push brings it back"
            }
            Self::EdgeMissing { .. } | Self::EdgeExtra { .. } => "write the edges of the manifest down anew",
            Self::NotHeld { .. } => "give the repository the blob back",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database(reason) => write!(f, "the database is damaged: {reason}"),
            Self::Dangling { table, parent } => {
                write!(f, "a row of `{table}` refers to one of `{parent}` that is not there")
            }
            Self::BlobDamaged { digest, actual, size } => {
                write!(f, "blob `{digest}` has the bytes of `{actual}` ({size} bytes)")
            }
            Self::BlobSize { digest, stated, actual } => {
                write!(f, "blob `{digest}` has {actual} bytes, but its row says {stated}")
            }
            Self::BlobMissing { digest } => write!(f, "blob `{digest}` is recorded but its bytes are not there"),
            Self::BlobUnreadable { digest, reason } => write!(f, "blob `{digest}` cannot be read: {reason}"),
            Self::DocumentDamaged { repository, digest } => {
                write!(f, "manifest `{digest}` in `{repository}` has other bytes than its digest says")
            }
            Self::DocumentUnreadable { repository, digest } => {
                write!(f, "manifest `{digest}` in `{repository}` is none that can be read")
            }
            Self::DocumentSize { repository, digest } => {
                write!(f, "manifest `{digest}` in `{repository}` has another size than its row says")
            }
            Self::EdgeMissing { repository, digest, to } => {
                write!(f, "manifest `{digest}` in `{repository}` refers to `{to}`, but no edge says so")
            }
            Self::EdgeExtra { repository, digest, to } => {
                write!(f, "manifest `{digest}` in `{repository}` does not refer to `{to}`, but an edge says so")
            }
            Self::NotHeld { repository, digest, blob } => {
                write!(
                    f,
                    "manifest `{digest}` in `{repository}` needs blob `{blob}`, which the repository does not hold"
                )
            }
        }
    }
}
