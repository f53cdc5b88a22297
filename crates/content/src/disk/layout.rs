//! Where things stand in a data directory. A path is only ever made from a digest or a stage's name.

use std::path::{Path, PathBuf};

use image::{Algorithm, Digest};

use crate::StageId;

/// Paths below a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The data directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// `metadata.sqlite3`
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("metadata.sqlite3")
    }

    /// `uploads`: bytes that arrive.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(crate) fn stage(&self, stage: &StageId) -> PathBuf {
        self.uploads().join(stage.as_str())
    }

    /// `locks`
    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// `locks/<2 hex>`: empty, and never removed. Locked, it stands for all blobs that begin so.
    pub(crate) fn lock(&self, digest: &Digest) -> PathBuf {
        self.locks().join(&digest.hex()[..2])
    }

    /// `blobs`
    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// `blobs/<algorithm>`
    pub(crate) fn algorithm(&self, algorithm: Algorithm) -> PathBuf {
        self.blobs().join(algorithm.as_str())
    }

    /// `blobs/<algorithm>/<2 hex>`: 256 directories, so that none gets too long.
    pub(crate) fn shard(&self, digest: &Digest) -> PathBuf {
        self.algorithm(digest.algorithm()).join(&digest.hex()[..2])
    }

    /// `blobs/<algorithm>/<2 hex>/<hex>`
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.shard(digest).join(digest.hex())
    }
}

/// Whether a name that came out of a database or a directory can be a stage's: never a way out of `uploads`.
pub(crate) fn is_stage_name(name: &str) -> bool {
    crate::UploadId::parse(name).is_some()
}
