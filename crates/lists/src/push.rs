//! `push`: the list, and whatever of its images the target repository does not have.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Digest, Document, Reference, Tag, Target};
use store::{ImageStore, Location, Stores};
use transfer::{Options, Plan, Progress, Report, Step};

use crate::drafts::{Draft, Drafts};
use crate::entry::{Entry, EntryError};
use crate::error::ListError;
use crate::inspect::draft_document;
use crate::source::{Source, is_not_in_a_registry, published};

/// Manifests that are read at once, where a draft does not hold them.
const MANIFESTS_AT_ONCE: usize = 64;

/// Which list to push.
#[derive(Clone, Debug, Default)]
pub struct PushRequest {
    /// The list as it was typed.
    pub list: String,
    /// `--tag`: more tags of the same repository for it.
    pub tags: Vec<Tag>,
    /// `--purge`: remove the local list after it was pushed.
    pub purge: bool,
}

/// A push that can be looked at before it is run.
#[derive(Debug)]
pub struct PushPlan {
    list: Reference,
    document: Document,
    tags: Vec<Tag>,
    children: Vec<Digest>,
    plan: Plan,
    purge: bool,
    drafts: Drafts,
    notes: Vec<String>,
}

/// An image that was not in the target repository's registry path before, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedChild {
    /// Where it is now: docker prints `Pushed ref`, this, …
    pub reference: Reference,
    /// … `with digest:` and this.
    pub digest: Digest,
}

/// What was pushed.
#[derive(Clone, Debug)]
pub struct PushReport {
    /// The list.
    pub list: Reference,
    /// Images from other repositories, in the order of the list. Docker prints a line for each.
    pub children: Vec<PushedChild>,
    /// Digest of the list. Docker prints it alone on the last line.
    pub digest: Digest,
    /// Where the list is now, a name for each tag.
    pub references: Vec<Reference>,
    /// Whether the local list was removed.
    pub purged: bool,
    /// What the transfer did, in full.
    pub transfer: Report,
    /// What a person may want to know.
    pub notes: Vec<String>,
}

/// Reads a local list and plans its push. Nothing is written; there is network only if the list was made by a docker
/// so old that it kept no manifests.
///
/// # Errors
/// [`ListError::NoSuchLocal`], [`ListError::Empty`], [`ListError::NoPlatform`], all before any network.
pub async fn plan_push(request: &PushRequest, drafts: &Drafts, stores: &Stores) -> Result<PushPlan, ListError> {
    let list =
        Reference::parse(&request.list).map_err(|source| ListError::Name { text: request.list.clone(), source })?;
    let draft = drafts.read(&list)?.ok_or_else(|| ListError::NoSuchLocal(list.to_string()))?;
    if draft.entries.is_empty() {
        return Err(ListError::Empty(list));
    }
    let entries = || draft.entries.iter().map(|stored| &stored.entry);
    if let Some(entry) = entries().find(|entry| !has_platform(entry)) {
        return Err(ListError::NoPlatform(entry.reference().clone()));
    }
    let document = list_document(&draft)?;

    let target = stores.open_for_writing(&Location::Registry(list.clone())).await;
    let target = target.map_err(|error| ListError::source(&list.to_string(), error))?;
    let mut origins: HashMap<String, Arc<dyn ImageStore>> = HashMap::new();
    let mut moving: Vec<(&Entry, Arc<dyn ImageStore>)> = Vec::new();
    for entry in entries().filter(|entry| comes_from_elsewhere(entry, &list)) {
        let source = origin(entry)?;
        let repository = source.repository();
        let store = if let Some(store) = origins.get(&repository) {
            Arc::clone(store)
        } else {
            let store = stores.open(&source.location).await;
            let store = store.map_err(|error| ListError::source(source.name(), error))?;
            origins.insert(repository, Arc::clone(&store));
            store
        };
        moving.push((entry, store));
    }
    let documents: Vec<Document> = stream::iter(&moving)
        .map(|(entry, store)| manifest(entry, store))
        .buffered(MANIFESTS_AT_ONCE)
        .try_collect()
        .await?;

    let planned = |source| ListError::Plan { list: list.to_string(), source };
    let mut plan = Plan::new(target);
    let mut children = Vec::new();
    for ((entry, store), document) in moving.into_iter().zip(documents) {
        plan.add_image(document, store).map_err(planned)?;
        children.push(entry.descriptor().digest.clone());
    }
    plan.add_index(document.clone()).map_err(planned)?;
    let mut tags: Vec<Tag> = Vec::new();
    for tag in list.tag().into_iter().chain(&request.tags) {
        if !tags.contains(tag) {
            plan.tag(document.digest(), tag.clone()).map_err(planned)?;
            tags.push(tag.clone());
        }
    }
    let notes = annotation_notes(&document);
    Ok(PushPlan { list, document, tags, children, plan, purge: request.purge, drafts: drafts.clone(), notes })
}

impl PushPlan {
    /// The list that will be written.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// What will be done, in order. For `--dry-run`.
    pub fn steps(&self) -> &[Step] {
        self.plan.steps()
    }

    /// The plan itself: it can be printed and serialised.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What a person may want to know before.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Does it. The local list is removed after success only, and only if that was asked for.
    ///
    /// # Errors
    /// [`ListError::Push`], whose hint says what was pushed; a second run goes on from there.
    pub async fn run(self, options: &Options, progress: &dyn Progress) -> Result<PushReport, ListError> {
        let transfer =
            self.plan.run(options, progress).await.map_err(|error| ListError::Push { source: Box::new(error) })?;
        let reported = |digest: &Digest| {
            let reported = transfer.document(digest).and_then(|document| document.reported_digest());
            reported.unwrap_or(digest).clone()
        };
        let children = self
            .children
            .iter()
            .map(|digest| PushedChild { reference: published(&self.list, digest), digest: reported(digest) });
        let references = if self.tags.is_empty() {
            vec![published(&self.list, self.document.digest())]
        } else {
            self.tags.iter().map(|tag| self.list.with_tag(tag.clone())).collect()
        };
        let purged = self.purge && self.drafts.remove(&self.list)?;
        Ok(PushReport {
            children: children.collect(),
            digest: reported(self.document.digest()),
            references,
            purged,
            notes: self.notes,
            transfer,
            list: self.list,
        })
    }
}

/// Plans and runs.
pub async fn push(
    request: &PushRequest,
    drafts: &Drafts,
    stores: &Stores,
    options: &Options,
    progress: &dyn Progress,
) -> Result<PushReport, ListError> {
    plan_push(request, drafts, stores).await?.run(options, progress).await
}

fn has_platform(entry: &Entry) -> bool {
    entry
        .descriptor()
        .platform
        .as_ref()
        .is_some_and(|platform| !platform.os.is_empty() && !platform.architecture.is_empty())
}

fn list_document(draft: &Draft) -> Result<Document, ListError> {
    let (media_type, bytes) = draft_document(draft);
    Document::new(Some(&media_type), bytes)
        .map_err(|source| ListError::Document { at: draft.reference.to_string(), source })
}

/// Whether an image is to be brought to the list's repository. What is there already is not even looked at.
fn comes_from_elsewhere(entry: &Entry, list: &Reference) -> bool {
    entry.source().is_some_and(is_not_in_a_registry)
        || entry.reference().registry() != list.registry()
        || entry.reference().repository() != list.repository()
}

/// Where the image of an entry is.
fn origin(entry: &Entry) -> Result<Source, ListError> {
    match entry.source().filter(|source| is_not_in_a_registry(source)) {
        Some(source) => Source::parse(source),
        None => Source::parse(&entry.reference().to_string()),
    }
}

/// The manifest of an entry: from the draft, or from where the image is.
async fn manifest(entry: &Entry, store: &Arc<dyn ImageStore>) -> Result<Document, ListError> {
    let at = || entry.reference().to_string();
    match entry.document() {
        Ok(Some(document)) => document.map_err(|source| ListError::Document { at: at(), source }),
        Ok(None) => store
            .document(&Target::Digest(entry.descriptor().digest.clone()))
            .await
            .map_err(|error| ListError::source(&at(), error)),
        Err(EntryError::Digest { expected, actual }) => {
            Err(ListError::DigestMismatch { reference: at(), expected, actual })
        }
        Err(error) => Err(ListError::Config { image: at(), reason: error.to_string() }),
    }
}

/// Docker's own list type has no annotations; clients that insist on its schema ignore them.
fn annotation_notes(document: &Document) -> Vec<String> {
    let annotated =
        document.index().is_some_and(|index| index.manifests.iter().any(|entry| !entry.annotations.is_empty()));
    if annotated && document.media_type().is_docker() {
        vec![format!(
            "the list is of type {}, whose entries have no annotations of their own: some clients ignore them",
            document.media_type()
        )]
    } else {
        Vec::new()
    }
}
