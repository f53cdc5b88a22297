//! `polyarch restore`.

use std::collections::BTreeSet;

use content::{ContentError, ContentStore, PutOptions, ReferencePolicy, RepositoryId, TagCondition};
use image::{Digest, Document, Target};
use registry_client::{ErrorKind, Repository, TagWas};
use serde::Serialize;

use super::moves::{Move, Place, Tagged};
use crate::args::{Restore, Wanted};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Most images below an index that are looked for.
const MOST: usize = 10_000;

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    reference: String,
    /// Where the tag pointed until now; `None`: it did not exist.
    from: Option<Digest>,
    to: Digest,
    moved: bool,
    dry_run: bool,
}

/// Moves a tag back.
pub(crate) fn run(arguments: &Restore, context: &mut Context) -> Outcome {
    let stores = context.stores(arguments.insecure)?;
    let report = context.block_on(async {
        let tagged = Tagged::open(&stores, &arguments.image).await?;
        restore(arguments, &tagged).await
    })??;
    if arguments.json {
        return context.output.json(&report);
    }
    let Report { reference, from, to, moved, dry_run } = &report;
    let was = from.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    match (moved, dry_run) {
        (true, true) => context.output.line(format_args!("would move {reference} from {was} to {to}")),
        (true, false) => {
            context.output.note(format_args!("moved {reference} from {was}"));
            context.output.line(format_args!("{reference}@{to}"));
        }
        (false, _) => {
            context.output.note(format_args!("{reference} points there already"));
            context.output.line(format_args!("{reference}@{to}"));
        }
    }
    Ok(())
}

async fn restore(arguments: &Restore, tagged: &Tagged) -> Outcome<Report> {
    let store = Side { tagged };
    let from = store.current().await?;
    let to = choose(arguments, tagged).await?;
    let reference = tagged.name();
    let moved = from.as_ref() != Some(&to);
    if moved {
        let document = store.document(&to).await?;
        if !arguments.sparse {
            store.check_children(&document).await?;
        }
        if !arguments.dry_run {
            store.put(&document, from.as_ref(), arguments.sparse).await?;
        }
    }
    Ok(Report { reference, from, to, moved, dry_run: arguments.dry_run })
}

/// Where the tag is to point.
async fn choose(arguments: &Restore, tagged: &Tagged) -> Outcome<Digest> {
    let nothing = |why: String| Failure::new(Exit::NotFound, format!("failed to restore `{}`: {why}", tagged.name()));
    let look = format!("`polyarch history {}` shows where it pointed", tagged.name());
    if let Some(at) = arguments.at {
        let reached = |moves: &[Move]| moves.last().is_some_and(|step| step.at <= at);
        let moves = tagged.moves(reached, usize::MAX).await?;
        let then = moves.iter().find(|step| step.at <= at);
        return then.and_then(|step| step.to.clone()).ok_or_else(|| {
            let why = match then {
                Some(_) => "it had been deleted by",
                None => "there is no move of it at or before",
            };
            nothing(format!("{why} {}", content::instant_text(at))).hint(look)
        });
    }
    match &arguments.to {
        Some(Wanted::Digest(digest)) => {
            // A registry that keeps no history also moves no tag on a condition.
            tagged.moves(|_| true, 1).await?;
            Ok(digest.clone())
        }
        Some(Wanted::Beginning(hex)) => {
            let moves = tagged.moves(|_| false, usize::MAX).await?;
            let ends = moves.iter().flat_map(|step| [&step.to, &step.from]).flatten();
            let found: BTreeSet<&Digest> = ends.filter(|digest| digest.hex().starts_with(hex.as_str())).collect();
            let mut found = found.into_iter();
            match (found.next(), found.next()) {
                (Some(digest), None) => Ok(digest.clone()),
                (None, _) => {
                    Err(nothing(format!("it never pointed to a manifest that begins with `{hex}`")).hint(look))
                }
                (Some(_), Some(_)) => Err(nothing(format!("it pointed to several manifests that begin with `{hex}`"))
                    .hint("name it with more of its digest".to_owned())),
            }
        }
        None => {
            let moves = tagged.moves(|_| true, 1).await?;
            moves.first().and_then(|last| last.from.clone()).ok_or_else(|| {
                nothing("its last move is its first, so there is nothing to go back to".to_owned()).hint(look)
            })
        }
    }
}

/// The registry or the local store that the tag is in.
struct Side<'a> {
    tagged: &'a Tagged,
}

impl Side<'_> {
    fn failed(&self, error: &ContentError) -> Failure {
        let exit = match error {
            ContentError::References(_) => Exit::Invalid,
            _ => Exit::Failure,
        };
        Failure::new(exit, error.to_string()).context(format_args!("failed to restore `{}`", self.tagged.name()))
    }

    /// Where the tag points now.
    async fn current(&self) -> Outcome<Option<Digest>> {
        let target = Target::Tag(self.tagged.tag.clone());
        match &self.tagged.place {
            Place::Registry(repository) => Ok(repository.head_manifest(&target).await?.map(|found| found.digest)),
            Place::Local(content, id) => {
                let found = content.resolve(id, &target).await.map_err(|error| self.failed(&error))?;
                Ok(found.map(|record| record.digest))
            }
        }
    }

    /// The manifest that it is to point to.
    async fn document(&self, digest: &Digest) -> Outcome<Document> {
        let gone = || {
            let message = format!("failed to restore `{}`: manifest `{digest}` is gone", self.tagged.name());
            Failure::new(Exit::NotFound, message).hint("push it again, then tag it".to_owned())
        };
        match &self.tagged.place {
            Place::Registry(repository) => match repository.get_manifest(&Target::Digest(digest.clone())).await {
                Err(error) if error.kind() == ErrorKind::NotFound => Err(gone()),
                other => Ok(other?),
            },
            Place::Local(content, id) => {
                let found = content.document(id, &Target::Digest(digest.clone())).await;
                let found = found.map_err(|error| self.failed(&error))?.ok_or_else(gone)?;
                found.to_document().map_err(|error| Failure::chain(Exit::Invalid, &error))
            }
        }
    }

    async fn has(&self, digest: &Digest) -> Outcome<bool> {
        let target = Target::Digest(digest.clone());
        match &self.tagged.place {
            Place::Registry(repository) => Ok(repository.head_manifest(&target).await?.is_some()),
            Place::Local(content, id) => {
                Ok(content.resolve(id, &target).await.map_err(|error| self.failed(&error))?.is_some())
            }
        }
    }

    /// Refuses an index of which something is gone, and names all that is.
    async fn check_children(&self, document: &Document) -> Outcome {
        let mut open = vec![document.clone()];
        let mut seen = BTreeSet::new();
        let mut gone = Vec::new();
        while let Some(document) = open.pop() {
            let Some(index) = document.index() else { continue };
            for child in &index.manifests {
                if seen.len() >= MOST || !seen.insert(child.digest.clone()) {
                    continue;
                }
                // What is no manifest is a blob: the other side looks for that when the index is put.
                let kind = child.media_type.kind();
                if !matches!(kind, image::MediaKind::Index | image::MediaKind::Manifest) {
                    continue;
                }
                if !self.has(&child.digest).await? {
                    let platform = child.platform.as_ref().map(|platform| format!(" ({platform})"));
                    gone.push(format!("`{}`{}", child.digest, platform.unwrap_or_default()));
                } else if kind == image::MediaKind::Index {
                    open.push(self.document(&child.digest).await?);
                }
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let what = if gone.len() == 1 { "an image that it lists is" } else { "images that it lists are" };
        let name = self.tagged.name();
        let message =
            format!("failed to restore `{name}` to `{}`: {what} gone: {}", document.digest(), gone.join(", "));
        Err(Failure::new(Exit::NotFound, message)
            .hint("push them again; `--sparse` restores the index without them".to_owned()))
    }

    /// Points the tag there, if it is still where it was.
    async fn put(&self, document: &Document, was: Option<&Digest>, sparse: bool) -> Outcome {
        match &self.tagged.place {
            Place::Registry(repository) => self.put_in_registry(repository, document, was).await,
            Place::Local(content, id) => self.put_in_store(content, id, document, was, sparse).await,
        }
    }

    async fn put_in_registry(&self, repository: &Repository, document: &Document, was: Option<&Digest>) -> Outcome {
        let condition = was.map_or(TagWas::Absent, |digest| TagWas::At(digest.clone()));
        match repository.put_manifest_if(document, &self.tagged.tag, &condition).await {
            Ok(_) => Ok(()),
            Err(error) if error.status() == Some(412) => {
                let now = self.current().await?;
                // The answer to an earlier attempt may have been lost.
                if now.as_ref() == Some(document.digest()) { Ok(()) } else { Err(self.moved(was, now.as_ref())) }
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn put_in_store(
        &self,
        content: &ContentStore,
        id: &RepositoryId,
        document: &Document,
        was: Option<&Digest>,
        sparse: bool,
    ) -> Outcome {
        let mut options = PutOptions::tagged(Some(&self.tagged.tag));
        options.condition = was.map_or(TagCondition::Absent, |digest| TagCondition::OneOf(vec![digest.clone()]));
        if sparse {
            options.references = ReferencePolicy::Sparse;
        }
        match content.put_document(id, document, &options).await {
            Ok(_) => Ok(()),
            Err(ContentError::TagMoved { current, .. }) => Err(self.moved(was, current.as_ref())),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn moved(&self, was: Option<&Digest>, now: Option<&Digest>) -> Failure {
        let shown =
            |digest: Option<&Digest>| digest.map_or_else(|| "nothing".to_owned(), |digest| format!("`{digest}`"));
        let name = self.tagged.name();
        let message = format!(
            "failed to restore `{name}`: it was moved meanwhile: it pointed to {}, now to {}",
            shown(was),
            shown(now)
        );
        Failure::new(Exit::Failure, message).hint(format!("look at `polyarch history {name}`, then try again"))
    }
}
