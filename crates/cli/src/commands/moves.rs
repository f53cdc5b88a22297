//! Where a tag pointed: from a registry, or from the local store.

use std::time::SystemTime;

use content::{ContentStore, RepositoryId};
use image::{Digest, Reference, Tag, Target};
use registry_client::Repository;
use serde::Serialize;
use store::{Location, Stores};

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Moves that are asked for at once.
const PAGE: usize = 1000;

/// One move of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) number: u64,
    /// `None`: the tag did not exist.
    pub(super) from: Option<Digest>,
    /// `None`: it was deleted.
    pub(super) to: Option<Digest>,
    pub(super) at: SystemTime,
    pub(super) actor: Option<String>,
    /// Whether what it points to since is still there.
    pub(super) kept: bool,
}

/// A move as it stands in a report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MoveReport<'a> {
    at: String,
    from: Option<&'a Digest>,
    to: Option<&'a Digest>,
    actor: Option<&'a str>,
    kept: bool,
}

impl<'a> From<&'a Move> for MoveReport<'a> {
    fn from(step: &'a Move) -> Self {
        Self {
            at: content::instant_text(step.at),
            from: step.from.as_ref(),
            to: step.to.as_ref(),
            actor: step.actor.as_deref(),
            kept: step.kept,
        }
    }
}

/// A tag, and what knows its moves.
pub(super) struct Tagged {
    pub(super) reference: Reference,
    pub(super) tag: Tag,
    pub(super) place: Place,
}

/// Where a tag is.
pub(super) enum Place {
    Registry(Repository),
    Local(ContentStore, RepositoryId),
}

impl Tagged {
    /// Opens what knows the moves. Nothing is sent.
    pub(super) async fn open(stores: &Stores, location: &Location) -> Outcome<Self> {
        let (reference, place) = match location {
            Location::Registry(reference) => {
                let repository = stores.client().repository(reference.registry(), reference.repository());
                (reference, Place::Registry(repository))
            }
            Location::Local(reference) => {
                let content = stores.content().await?.clone();
                (reference, Place::Local(content, RepositoryId::from(reference)))
            }
            Location::Layout { .. } => return Err(Failure::usage("an image layout keeps no history")),
        };
        match reference.target() {
            Target::Tag(tag) => Ok(Self { reference: reference.clone(), tag, place }),
            Target::Digest(_) => Err(Failure::usage("a tag is needed: a digest never moves")),
        }
    }

    /// The name as it is shown.
    pub(super) fn name(&self) -> String {
        match self.place {
            Place::Registry(_) => self.reference.to_string(),
            Place::Local(..) => format!("local:{}", self.reference),
        }
    }

    /// Moves, the last one first: at most `limit` of those before `before`. Whether there are more.
    async fn page(&self, before: Option<u64>, limit: usize) -> Outcome<(Vec<Move>, bool)> {
        match &self.place {
            Place::Registry(repository) => {
                let page = repository.tag_history(&self.tag, before, limit).await?;
                let moves = page.moves.into_iter().map(|step| Move {
                    number: step.number,
                    from: step.from,
                    to: step.to,
                    at: step.at,
                    actor: step.actor,
                    kept: step.kept,
                });
                Ok((moves.collect(), page.more))
            }
            Place::Local(content, id) => {
                let page = content.history(id, &self.tag, before, limit).await.map_err(|error| {
                    Failure::new(Exit::Failure, error.to_string())
                        .context(format_args!("failed to read where `{}` pointed", self.name()))
                })?;
                let moves = page.items.into_iter().map(|step| Move {
                    number: step.number,
                    from: step.from,
                    to: step.to,
                    at: step.at,
                    actor: step.actor,
                    kept: step.kept,
                });
                Ok((moves.collect(), page.more))
            }
        }
    }

    /// Moves, the last one first, until `enough` says so or there are no more. An error where it never was a tag.
    pub(super) async fn moves(&self, mut enough: impl FnMut(&[Move]) -> bool, limit: usize) -> Outcome<Vec<Move>> {
        let mut found: Vec<Move> = Vec::new();
        loop {
            let before = found.last().map(|step| step.number);
            let (page, more) = self.page(before, limit.saturating_sub(found.len()).min(PAGE)).await?;
            let ended = page.is_empty() || !more;
            found.extend(page);
            if ended || found.len() >= limit || enough(&found) {
                break;
            }
        }
        if found.is_empty() {
            let message = format!("failed to read where `{}` pointed: it never was a tag here", self.name());
            return Err(Failure::new(Exit::NotFound, message));
        }
        Ok(found)
    }
}
