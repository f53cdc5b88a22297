//! Where tags pointed before.

use std::time::SystemTime;

use image::{Digest, Tag};

use crate::metadata_store::{DocumentRecord, Page};
use crate::{ContentError, ContentStore, RepositoryId};

/// One move of a tag, written in the transaction that moved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMove {
    /// Its number: a later move has a higher one.
    pub number: u64,
    /// Where the tag pointed before. `None`: it did not exist.
    pub from: Option<Digest>,
    /// Where it points since. `None`: it was deleted.
    pub to: Option<Digest>,
    /// When.
    pub at: SystemTime,
    /// Who did it, if that was said.
    pub actor: Option<String>,
}

impl ContentStore {
    /// The same store, that writes down `actor` as who moves tags by it.
    #[must_use]
    pub fn acting_for(&self, actor: &str) -> Self {
        Self { actor: Some(actor.into()), ..self.clone() }
    }

    /// Moves of a tag, the last one first; from the one before `before` on, which is the number of a move.
    pub async fn history(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<TagMove>, ContentError> {
        self.metadata.history(repository, tag, before, limit).await
    }

    /// What a tag pointed to at an instant. `None`: it did not exist then, or what it pointed to is gone.
    pub async fn resolve_at(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        at: SystemTime,
    ) -> Result<Option<DocumentRecord>, ContentError> {
        match self.metadata.tag_at(repository, tag, at).await? {
            Some(digest) => self.metadata.resolve(repository, &digest.into()).await,
            None => Ok(None),
        }
    }

    /// Moves a tag back to where it pointed before. `false`: it never did, or what it pointed to is gone.
    pub async fn restore(&self, repository: &RepositoryId, tag: &Tag, digest: &Digest) -> Result<bool, ContentError> {
        self.metadata.restore_tag(repository, tag, digest, self.actor.as_deref()).await
    }
}
