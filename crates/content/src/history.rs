//! Where tags pointed before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use image::{Digest, Tag};
use jiff::Timestamp;

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
    /// Whether the repository still holds what the tag points to since, so that it can point there again.
    pub kept: bool,
}

/// Reads an instant as people and programs write it: RFC 3339, or seconds since 1970. `None`: it is neither, or before
/// 1970.
///
/// ```
/// use polyarch_content::{instant, instant_text};
/// let noon = instant("2026-03-01T13:00:00.5+01:00").unwrap();
/// assert_eq!(instant_text(noon), "2026-03-01T12:00:00.500Z");
/// assert_eq!(instant("1772366400").map(instant_text).as_deref(), Some("2026-03-01T12:00:00.000Z"));
/// assert_eq!(instant("yesterday"), None);
/// ```
pub fn instant(text: &str) -> Option<SystemTime> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().ok()?;
        Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
        return UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    }
    // RFC 3339 begins with a year of four digits, and says at its end how far from UTC it is.
    let plain = text.len() <= 40 && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let instant: Timestamp = text.parse().ok().filter(|_| plain)?;
    SystemTime::from(instant).duration_since(UNIX_EPOCH).ok().map(|passed| UNIX_EPOCH + passed)
}

/// An instant in RFC 3339, in UTC, to the millisecond that moves are told apart by.
pub fn instant_text(instant: SystemTime) -> String {
    match Timestamp::try_from(instant) {
        Ok(instant) => format!("{instant:.3}"),
        // Further away than four digits of years reach.
        Err(_) => format!("{:.3}", Timestamp::MAX),
    }
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

    /// Where a tag pointed at an instant, whether or not that is still there. `None`: it did not exist then, or the
    /// history does not go back so far.
    pub async fn tag_at(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        at: SystemTime,
    ) -> Result<Option<Digest>, ContentError> {
        self.metadata.tag_at(repository, tag, at).await
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
