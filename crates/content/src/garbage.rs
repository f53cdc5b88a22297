//! Garbage collection while the store is used, by any number of processes at once.
//!
//! ```text
//!                    a collection            a later one
//!   not needed ──────▶ condemned ─────────────▶ swept: the row goes ──▶ bytes doomed ──▶ bytes removed
//!                         │   push, mount, HEAD, GET,  ▲ looked at again in the same          ▲ claimed, and no row
//!                         ▼   or a reference           │ transaction                          │ speaks of them
//!                        kept ◀────────────────────────┘
//! ```

use std::time::{Duration, SystemTime};

use image::Digest;

use crate::metadata_store::BlobRecord;
use crate::{ContentError, ContentStore, RepositoryId};

/// Rows of doomed bytes that are read at once.
const DOOMED_PAGE: usize = 256;

/// What a collection keeps, and how it goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcOptions {
    /// Only look at what would be condemned and swept.
    pub dry_run: bool,
    /// Tell of each document and blob, and not only how many they are.
    pub list: bool,
    /// A document without a tag is kept for so long after it was pushed, tagged or referred to last.
    pub keep_untagged: Duration,
    /// A document of the local image store is kept without a tag, however old it is: somebody may have pulled it by its
    /// digest. Repositories of the server are not meant.
    pub keep_untagged_local: bool,
    /// A document that a tag pointed to is kept for so long after the tag left it, so that the tag can be moved back.
    pub keep_history: Duration,
    /// A blob that no document needs is kept for so long after it was pushed or mounted last.
    pub keep_unused_blobs: Duration,
    /// What is condemned is swept after so long at the earliest, and by a later collection.
    pub sweep_after: Duration,
    /// Most items in one transaction: a bound on how long a push waits for a collection.
    pub batch: usize,
}

impl Default for GcOptions {
    /// One day for what nobody needs, a week for what a tag left, then one hour from condemned to swept; 100 items at a time. Of
    /// the local image store, only what has no use for anybody any more.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 60 * 60);
        Self {
            dry_run: false,
            list: false,
            keep_untagged: day,
            keep_untagged_local: true,
            keep_history: 7 * day,
            keep_unused_blobs: day,
            sweep_after: Duration::from_secs(60 * 60),
            batch: 100,
        }
    }
}

/// Why documents and blobs that a collection looked at are kept. A document counts for the first reason that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Kept {
    /// Documents with a tag.
    pub tagged: u64,
    /// Documents without one that were pushed or referred to of late.
    pub recent: u64,
    /// Documents that a tag left of late.
    pub history: u64,
    /// Documents of the local image store without a tag.
    pub untagged_local: u64,
    /// Documents that a kept one needs: children of an index, referrers of a subject.
    pub needed: u64,
    /// Blobs of repositories that a document there needs.
    pub used_blobs: u64,
    /// Blobs of repositories that no document needs yet, pushed or mounted of late.
    pub recent_blobs: u64,
    /// Documents and blobs that are condemned, whose time has not come.
    pub waiting: u64,
}

/// What a collection did, or with [`GcOptions::dry_run`] what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct GcReport {
    /// The collection's number.
    pub epoch: u64,
    /// Documents condemned.
    pub condemned_documents: u64,
    /// Blobs condemned, counted once for each repository that holds them.
    pub condemned_blobs: u64,
    /// What was condemned before and turned out to be needed when its time had come.
    pub rescued: u64,
    /// Documents deleted.
    pub swept_documents: u64,
    /// Blobs deleted, counted once for each repository that held them.
    pub swept_blobs: u64,
    /// Bytes of blobs that no repository holds any more, and of documents.
    pub swept_bytes: u64,
    /// Blobs whose bytes were removed from the blob store.
    pub removed_blobs: u64,
    /// Bytes that this made free.
    pub removed_bytes: u64,
    /// Moves of tags that were forgotten, because they are too old to go back by.
    pub pruned_moves: u64,
    /// Why the others are kept.
    pub kept: Kept,
}

impl GcReport {
    pub(crate) fn add(&mut self, step: &Self) {
        self.condemned_documents += step.condemned_documents;
        self.condemned_blobs += step.condemned_blobs;
        self.rescued += step.rescued;
        self.swept_documents += step.swept_documents;
        self.swept_blobs += step.swept_blobs;
        self.swept_bytes += step.swept_bytes;
        self.pruned_moves += step.pruned_moves;
        self.kept.tagged += step.kept.tagged;
        self.kept.recent += step.kept.recent;
        self.kept.history += step.kept.history;
        self.kept.untagged_local += step.kept.untagged_local;
        self.kept.needed += step.kept.needed;
        self.kept.used_blobs += step.kept.used_blobs;
        self.kept.recent_blobs += step.kept.recent_blobs;
        self.kept.waiting += step.kept.waiting;
    }
}

/// What is done to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum GcAction {
    /// A later collection deletes it, unless it is needed by then.
    Condemn,
    /// It is deleted.
    Delete,
}

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum GcKind {
    /// A document of a repository.
    Manifest,
    /// A blob of a repository; others may hold it too.
    Blob,
    /// The bytes of a blob that no repository holds any more.
    Bytes,
}

/// One thing that a collection does something to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GcItem {
    /// What is done.
    pub action: GcAction,
    /// What it is.
    pub kind: GcKind,
    /// Where. Bytes are in no repository.
    pub repository: Option<RepositoryId>,
    /// Which.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it was pushed, tagged, referred to or mounted last.
    pub since: Option<SystemTime>,
}

/// The parts of a collection, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionPhase {
    /// Delete documents that an earlier collection condemned, unless they are needed again.
    SweepDocuments,
    /// Delete blobs of repositories that an earlier collection condemned, unless they are needed again.
    SweepBlobs,
    /// Condemn documents that nothing needs.
    CondemnDocuments,
    /// Condemn blobs of repositories that nothing needs.
    CondemnBlobs,
    /// Forget moves of tags that are older than what can be restored.
    PruneHistory,
}

/// How far a phase came, in numbers that only the metadata store reads. The default is its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CollectionPosition(pub i64, pub i64);

/// What came of one step of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionStep {
    /// Where the next step begins. `None`: the phase is at its end.
    pub next: Option<CollectionPosition>,
    /// What this step did.
    pub done: GcReport,
    /// What it did it to, with [`GcOptions::list`].
    pub items: Vec<GcItem>,
}

/// Bytes in the blob store whose row is gone. They are removed unless they were pushed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doomed {
    /// Its own number: the same bytes may be doomed again later.
    pub number: u64,
    /// What the row said.
    pub blob: BlobRecord,
}

impl ContentStore {
    /// Deletes what nothing needs, a little at a time, while the store is used. What one collection condemns, a later
    /// one sweeps.
    ///
    /// Kept are: documents with a tag; what they refer to; what refers to a kept document as its subject; documents
    /// that were pushed or referred to of late, or that a tag left of late; images of the local store; blobs that a document
    /// needs; blobs that were pushed or mounted of late.
    /// Any number of processes may collect at once; one that dies leaves nothing behind that the next does not finish.
    pub async fn collect_garbage(&self, options: &GcOptions) -> Result<GcReport, ContentError> {
        self.collect_garbage_telling(options, &mut |_| {}).await
    }

    /// The same, and tells `tell` of each thing as it is done, with [`GcOptions::list`].
    pub async fn collect_garbage_telling(
        &self,
        options: &GcOptions,
        tell: &mut (dyn FnMut(GcItem) + Send),
    ) -> Result<GcReport, ContentError> {
        if options.dry_run {
            let (report, items) = self.metadata.plan_collection(options).await?;
            items.into_iter().for_each(tell);
            return Ok(report);
        }
        let epoch = self.metadata.begin_collection().await?;
        let mut report = GcReport { epoch, ..GcReport::default() };
        for phase in [
            CollectionPhase::SweepDocuments,
            CollectionPhase::SweepBlobs,
            CollectionPhase::CondemnDocuments,
            CollectionPhase::CondemnBlobs,
            CollectionPhase::PruneHistory,
        ] {
            let mut position = Some(CollectionPosition::default());
            while let Some(after) = position {
                let step = self.metadata.collect(epoch, options, phase, after).await?;
                report.add(&step.done);
                step.items.into_iter().for_each(&mut *tell);
                position = step.next;
            }
        }
        self.remove_doomed(options, &mut report, tell).await?;
        Ok(report)
    }

    /// Removes bytes whose rows are gone. What cannot be removed stays for the next collection, and keeps no other.
    pub(crate) async fn remove_doomed(
        &self,
        options: &GcOptions,
        report: &mut GcReport,
        tell: &mut (dyn FnMut(GcItem) + Send),
    ) -> Result<(), ContentError> {
        let mut after = 0;
        let mut failed = None;
        loop {
            let page = self.metadata.doomed(after, DOOMED_PAGE).await?;
            let Some(last) = page.last() else { return failed.map_or(Ok(()), Err) };
            after = last.number;
            let mut done = Vec::new();
            for doomed in page {
                // Somebody is placing these bytes anew, or another collection has them in hand: the next one looks.
                let claim = match self.blobs.claim(&doomed.blob.digest).await {
                    Ok(Some(claim)) => claim,
                    Ok(None) => continue,
                    Err(error) => {
                        failed.get_or_insert(error);
                        continue;
                    }
                };
                if !self.metadata.is_stored(&doomed.blob.digest).await? {
                    if let Err(error) = self.blobs.remove(&doomed.blob, claim).await {
                        failed.get_or_insert(error);
                        continue;
                    }
                    report.removed_blobs += 1;
                    report.removed_bytes += doomed.blob.size;
                    if options.list {
                        let (action, kind) = (GcAction::Delete, GcKind::Bytes);
                        let (digest, size) = (doomed.blob.digest.clone(), doomed.blob.size);
                        tell(GcItem { action, kind, repository: None, digest, size, since: None });
                    }
                }
                done.push(doomed);
            }
            if !done.is_empty() {
                self.metadata.forget_doomed(&done).await?;
            }
        }
    }
}
