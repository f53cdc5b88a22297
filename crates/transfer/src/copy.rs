//! One image or index from one store to another.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::{join, try_join, try_join_all};
use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Digest, Document, IndexEditor, MediaKind, Tag, Target};
use serde::Serialize;
use store::ImageStore;

use crate::collect::{Collection, Node, Selection, WalkLimits, collect_below, read_error};
use crate::error::TransferError;
use crate::plan::{Place, Plan, PlanError, place_of, repository_name};
use crate::progress::Progress;
use crate::report::Report;
use crate::run::{Options, ask, is_there};

/// What to copy, and where to.
#[derive(Clone, Debug)]
pub struct CopyRequest {
    /// Where it is.
    pub source: Arc<dyn ImageStore>,
    /// Which document.
    pub from: Target,
    /// Where it shall be; the same store as the source gives it tags and moves nothing.
    pub target: Arc<dyn ImageStore>,
    /// Tags that it shall have there; none: it can be had by its digest.
    pub tags: Vec<Tag>,
    /// What to take of an index.
    pub selection: Selection,
    /// Bounds of the walk through an index.
    pub limits: WalkLimits,
    /// Look for each blob and put each document, even if the target has the documents: it may have lost blobs of theirs.
    pub again: bool,
}

/// A copy that has been planned: print `plan` or run it.
#[derive(Debug)]
pub struct CopyPlan {
    /// What has to be done.
    pub plan: Plan,
    /// The document that is copied.
    pub root: Document,
}

/// What a copy did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyReport {
    /// Digest of the document that was copied.
    pub digest: Digest,
    /// What was done for it.
    #[serde(flatten)]
    pub report: Report,
}

impl CopyRequest {
    /// A request for everything at `from`.
    pub fn new(source: Arc<dyn ImageStore>, from: Target, target: Arc<dyn ImageStore>, tags: Vec<Tag>) -> Self {
        let (selection, limits) = (Selection::all(), WalkLimits::default());
        Self { source, from, target, tags, selection, limits, again: false }
    }

    /// Reads the source, and asks the target for the first tag meanwhile: if that is in order, nothing below the root is
    /// read. Else reads what the index lists, and asks the target for that meanwhile if it is another medium.
    pub async fn plan(&self) -> Result<CopyPlan, TransferError> {
        let same_repository = place_of(&*self.source, &*self.target, &Digest::sha256(b"")) == Place::Here;
        let first = self.tags.first().filter(|_| !same_repository && !self.again).map(|tag| Target::Tag(tag.clone()));
        let asking = async {
            match &first {
                Some(tag) => ask(&*self.target, tag).await.map_err(|source| read_error(&*self.target, tag, source)),
                None => Ok(None),
            }
        };
        let (root, there) = join(self.source.document(&self.from), asking).await;
        let root = root.map_err(|source| read_error(&*self.source, &self.from, source))?;
        let there = there?;

        let everything = self.selection == Selection::all();
        let mut nodes = Vec::new();
        let mut asked = HashMap::new();
        let mut root = root;
        if !everything || (!same_repository && there.as_ref() != Some(root.digest())) {
            let children = self.ask_for_children(&root);
            let collected = collect_below(&*self.source, root.clone(), &self.selection, &self.limits);
            let (collection, answers) = try_join(collected, children).await?;
            (root, nodes) = self.part(collection)?;
            asked = answers;
        }
        let first_in_order = there.as_ref() == Some(root.digest());

        let mut plan = Plan::new(Arc::clone(&self.target));
        let mut tags: Vec<&Tag> = self.tags.iter().collect();
        if same_repository {
            plan.add_present(root.clone());
        } else if first_in_order {
            plan.add_found(root.clone());
            tags = self.tags_to_write(&root).await?;
        } else if asked.get(root.digest()) == Some(&true) {
            plan.add_found(root.clone());
        } else {
            if first.is_some() {
                asked.insert(root.digest().clone(), false);
            }
            for node in nodes {
                let digest = node.document.digest().clone();
                match asked.get(&digest).copied().or(self.again.then_some(false)) {
                    Some(true) => plan.add_found(node.document),
                    Some(false) => {
                        self.add(&mut plan, node.document)?;
                        plan.assume_absent(&digest).map_err(|error| self.plan_error(error))?;
                    }
                    None => self.add(&mut plan, node.document)?,
                }
            }
        }
        for tag in tags {
            plan.tag(root.digest(), tag.clone()).map_err(|error| self.plan_error(error))?;
        }
        Ok(CopyPlan { plan, root })
    }

    /// Which images of an index the target has (and the root, if it is not asked for by tag), asked while they are read from the source: coming from another medium
    /// that saves their blobs, within one medium a mount is as cheap as the question.
    async fn ask_for_children(&self, root: &Document) -> Result<HashMap<Digest, bool>, TransferError> {
        let images = root.index().into_iter().flat_map(|index| &index.manifests);
        let mut images: Vec<Digest> = images
            .filter(|entry| entry.media_type.kind() == MediaKind::Manifest)
            .map(|entry| entry.digest.clone())
            .collect();
        if self.tags.is_empty() {
            images.push(root.digest().clone());
        }
        images.sort();
        images.dedup();
        if self.again || self.source.medium() == self.target.medium() || images.len() > self.limits.entries {
            return Ok(HashMap::new());
        }
        stream::iter(images)
            .map(|digest| async move {
                let at = Target::Digest(digest.clone());
                let there = is_there(&*self.target, &at, &digest).await;
                there.map(|there| (digest, there)).map_err(|source| read_error(&*self.target, &at, source))
            })
            .buffer_unordered(self.limits.concurrency.max(1))
            .try_collect()
            .await
    }

    fn add(&self, plan: &mut Plan, document: Document) -> Result<(), TransferError> {
        let added = if document.index().is_some() {
            plan.add_index(document)
        } else {
            plan.add_image(document, Arc::clone(&self.source))
        };
        added.map_err(|error| self.plan_error(error))
    }

    /// What is written at the root, and all documents. A part of an index that is one image is that image; of another
    /// part it is the index without the other entries, whose bytes stay as they were.
    fn part(&self, mut collection: Collection) -> Result<(Document, Vec<Node>), TransferError> {
        let root = collection.root().clone();
        if collection.is_whole() {
            return Ok((root, collection.nodes));
        }
        let refuse = |reason: String| TransferError::Part {
            what: self.source.spell(&Target::Digest(root.digest().clone())),
            reason,
        };
        collection.nodes.pop();
        if let [image] = collection.nodes.as_slice()
            && image.document.manifest().is_some()
        {
            return Ok((image.document.clone(), collection.nodes));
        }
        if collection.nodes.iter().any(|node| node.depth > 1) {
            return Err(refuse("it has indexes within".to_owned()));
        }
        let entries = root.index().map(|index| index.manifests.as_slice()).unwrap_or_default();
        let mut editor = IndexEditor::new(&root).map_err(|error| refuse(error.to_string()))?;
        for (position, entry) in entries.iter().enumerate().rev() {
            if collection.left_out.contains(entry) {
                editor.remove(position).map_err(|error| refuse(error.to_string()))?;
            }
        }
        let edited = editor.finish().map_err(|error| refuse(error.to_string()))?;
        let descriptor = edited.descriptor();
        collection.nodes.push(Node { document: edited.clone(), descriptor, parent: None, depth: 0 });
        Ok((edited, collection.nodes))
    }

    /// The tags after the first that are not in order yet.
    async fn tags_to_write(&self, root: &Document) -> Result<Vec<&Tag>, TransferError> {
        let asked = self.tags.iter().skip(1).map(|tag| async move {
            let at = Target::Tag(tag.clone());
            let there = is_there(&*self.target, &at, root.digest()).await;
            there.map(|there| (tag, there)).map_err(|source| read_error(&*self.target, &at, source))
        });
        let asked = try_join_all(asked).await?;
        Ok(asked.into_iter().filter(|(_, there)| !there).map(|(tag, _)| tag).collect())
    }

    fn plan_error(&self, source: PlanError) -> TransferError {
        TransferError::Plan { target: repository_name(&*self.target), source }
    }
}

impl CopyPlan {
    /// Runs the plan.
    pub async fn run(&self, options: &Options, progress: &dyn Progress) -> Result<CopyReport, TransferError> {
        let report = self.plan.run(options, progress).await?;
        Ok(CopyReport { digest: self.root.digest().clone(), report })
    }
}

/// Copies an image, or an index with all that it lists, byte for byte.
pub async fn copy(
    request: &CopyRequest,
    options: &Options,
    progress: &dyn Progress,
) -> Result<CopyReport, TransferError> {
    request.plan().await?.run(options, progress).await
}
