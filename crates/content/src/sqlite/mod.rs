//! [`MetadataStore`] on SQLite.
//!
//! ```text
//!   writes ──▶ one thread ──▶ BEGIN · savepoint per operation · COMMIT ──▶ one fsync ──▶ all answers
//!   reads  ──▶ pooled connections, each sees the last commit of any process (`connections.rs`)
//! ```
//!
//! Write-ahead log, `synchronous=FULL`: a commit is on disk when it returns. Operations on upload sessions commit
//! without waiting for the disk; the next durable commit takes them along.

mod blobs;
mod check;
mod connections;
mod documents;
mod failure;
mod garbage;
mod history;
mod listing;
mod mend;
mod schema;
mod uploads;
mod writer;

#[cfg(test)]
mod costs;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use image::{Algorithm, Digest, Document, Tag, Target};
use rusqlite::{Connection, OptionalExtension, params};

use self::connections::{Readers, connect, until_free};
use self::failure::Failure;
use self::garbage::{Candidates, Change, Rules};
use self::writer::{Durability, Writer};
use crate::garbage::{CollectionPhase, CollectionPosition, CollectionStep, Doomed, GcItem, GcOptions, GcReport};
use crate::history::TagMove;
use crate::metadata_store::{
    BlobContent, BlobRecord, DeleteOptions, DocumentRecord, MetadataStore, Page, PutOptions, PutOutcome, Referrer,
    StoredDocument, TagCondition, Upload, UploadContent,
};
use crate::{Claim, ContentError, RepositoryId, Scope, StageId, UploadId};

/// Metadata in one SQLite database. Cloning is cheap, and several processes may open the same one.
#[derive(Clone, Debug)]
pub struct SqliteMetadataStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readers: Readers,
    writer: Writer,
}

/// Milliseconds since 1970.
fn now() -> i64 {
    milliseconds(SystemTime::now())
}

fn milliseconds(instant: SystemTime) -> i64 {
    instant.duration_since(UNIX_EPOCH).map_or(0, |passed| i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
}

/// The `registry` column.
fn registry_of(repository: &RepositoryId) -> &str {
    repository.registry.as_ref().map_or("", |registry| registry.as_str())
}

fn find_repository(connection: &Connection, repository: &RepositoryId) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM repositories WHERE registry = ?1 AND name = ?2")?
        .query_row(params![registry_of(repository), repository.name.as_str()], |row| row.get(0))
        .optional()
}

fn make_repository(connection: &Connection, repository: &RepositoryId) -> rusqlite::Result<i64> {
    if let Some(id) = find_repository(connection, repository)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO repositories (registry, name, created_at) VALUES (?1, ?2, ?3)")?
        .execute(params![registry_of(repository), repository.name.as_str(), now()])?;
    Ok(connection.last_insert_rowid())
}

impl SqliteMetadataStore {
    /// Opens the database at `path`, making it or taking it to the latest schema. Waits for the disk.
    ///
    /// # Errors
    /// [`ContentError::NewerSchema`] if a later version of this program wrote it.
    pub fn open(path: &Path, busy_timeout: Duration) -> Result<Self, ContentError> {
        let action = format!("open the metadata in `{}`", path.display());
        let failed = |error: rusqlite::Error| Failure::from(error).into_error(&action);
        let mut connection = connect(path, busy_timeout).map_err(failed)?;
        let found = until_free(busy_timeout, || schema::version(&connection)).map_err(failed)?;
        if found > schema::KNOWN {
            let directory = path.parent().unwrap_or(path).display().to_string();
            return Err(ContentError::NewerSchema { directory, found, known: schema::KNOWN });
        }
        until_free(busy_timeout, || connection.pragma_update(None, "journal_mode", "WAL")).map_err(failed)?;
        until_free(busy_timeout, || schema::migrate(&mut connection)).map_err(failed)?;
        let writer = Writer::start(connection).map_err(|error| ContentError::io(action, error))?;
        Ok(Self { inner: Arc::new(Inner { readers: Readers::new(path, busy_timeout), writer }) })
    }

    /// How many commits waited for the disk so far: each is one fsync.
    pub fn durable_commits(&self) -> u64 {
        self.inner.writer.commits().durable.load(Ordering::Relaxed)
    }

    /// How many commits there were so far.
    pub fn commits(&self) -> u64 {
        self.inner.writer.commits().all.load(Ordering::Relaxed)
    }
}

impl SqliteMetadataStore {
    async fn rescue_document(&self, repository: &RepositoryId, digest: &Digest) -> Result<bool, ContentError> {
        let action = format!("keep manifest `{digest}` in `{repository}`");
        let (id, wanted) = (repository.clone(), digest.clone());
        let kept = self
            .write(Durability::Full, 0, action, move |connection| garbage::rescue_document(connection, &id, &wanted))
            .await;
        read_all_the_same(kept)
    }

    /// Condemns or sweeps what was found, in as many transactions as it takes.
    async fn act<T: Clone + Send + Sync + 'static>(
        &self,
        candidates: Candidates<T>,
        rules: Rules,
        change: Change<T>,
    ) -> Result<CollectionStep, ContentError> {
        let Candidates { mut found, mut step } = candidates;
        while !found.is_empty() {
            let batch = found.clone();
            let action = "collect what nothing needs".to_owned();
            let (looked_at, done) =
                self.write(Durability::Full, 0, action, move |connection| change(connection, &rules, &batch)).await?;
            found.drain(..looked_at);
            step.done.add(&done.report);
            step.items.extend(done.items);
        }
        Ok(step)
    }

    async fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        payload: usize,
        action: String,
        operation: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, ContentError> {
        self.inner.writer.write(durability, payload, action, operation).await
    }
}

/// A full disk takes no note that something condemned is to be kept. It is there, and is read; who writes something that
/// needs it looks for it again in the transaction of that write.
fn read_all_the_same(kept: Result<bool, ContentError>) -> Result<bool, ContentError> {
    match kept {
        Err(ContentError::NoSpace { .. }) => Ok(true),
        kept => kept,
    }
}

#[async_trait]
impl MetadataStore for SqliteMetadataStore {
    async fn document(
        &self,
        repository: &RepositoryId,
        target: &Target,
    ) -> Result<Option<StoredDocument>, ContentError> {
        let found = self
            .quick(
                || format!("look up manifest `{target}` in `{repository}`"),
                |connection| documents::document(connection, repository, target),
            )
            .await?;
        match found {
            Some((document, true)) => Ok(self.rescue_document(repository, &document.digest).await?.then_some(document)),
            found => Ok(found.map(|(document, _)| document)),
        }
    }

    async fn resolve(
        &self,
        repository: &RepositoryId,
        target: &Target,
    ) -> Result<Option<DocumentRecord>, ContentError> {
        let found = self
            .quick(
                || format!("look up manifest `{target}` in `{repository}`"),
                |connection| documents::resolve(connection, repository, target),
            )
            .await?;
        match found {
            Some((record, true)) => Ok(self.rescue_document(repository, &record.digest).await?.then_some(record)),
            found => Ok(found.map(|(record, _)| record)),
        }
    }

    async fn put_document(
        &self,
        repository: &RepositoryId,
        document: &Document,
        options: &PutOptions,
        actor: Option<&str>,
    ) -> Result<PutOutcome, ContentError> {
        let action = format!("write manifest `{}` to `{repository}`", document.digest());
        let (id, document, options) = (repository.clone(), document.clone(), options.clone());
        let actor = actor.map(str::to_owned);
        self.write(Durability::Full, document.bytes().len(), action, move |connection| {
            documents::put(connection, &id, &document, &options, actor.as_deref())
        })
        .await
    }

    async fn tag(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        tag: &Tag,
        actor: Option<&str>,
    ) -> Result<bool, ContentError> {
        let action = format!("tag `{digest}` as `{tag}` in `{repository}`");
        let (id, digest, tag) = (repository.clone(), digest.clone(), tag.clone());
        let actor = actor.map(str::to_owned);
        self.write(Durability::Full, 0, action, move |connection| {
            documents::tag(connection, &id, &digest, &tag, actor.as_deref())
        })
        .await
    }

    async fn delete_document(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        options: DeleteOptions,
        actor: Option<&str>,
    ) -> Result<Option<Vec<Tag>>, ContentError> {
        let action = format!("delete manifest `{digest}` from `{repository}`");
        let (id, digest, actor) = (repository.clone(), digest.clone(), actor.map(str::to_owned));
        self.write(Durability::Full, 0, action, move |connection| {
            documents::delete(connection, &id, &digest, options, actor.as_deref())
        })
        .await
    }

    async fn delete_tag(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        condition: &TagCondition,
        actor: Option<&str>,
    ) -> Result<Option<Digest>, ContentError> {
        let action = format!("delete tag `{tag}` from `{repository}`");
        let (id, tag, actor) = (repository.clone(), tag.clone(), actor.map(str::to_owned));
        let condition = condition.clone();
        self.write(Durability::Full, 0, action, move |connection| {
            documents::delete_tag(connection, &id, &tag, &condition, actor.as_deref())
        })
        .await
    }

    async fn restore_tag(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        digest: &Digest,
        actor: Option<&str>,
    ) -> Result<bool, ContentError> {
        let action = format!("move tag `{tag}` of `{repository}` back to `{digest}`");
        let (id, digest, tag) = (repository.clone(), digest.clone(), tag.clone());
        let actor = actor.map(str::to_owned);
        self.write(Durability::Full, 0, action, move |connection| {
            Ok(history::pointed_to(connection, &id, &tag, &digest)?
                && documents::tag(connection, &id, &digest, &tag, actor.as_deref())?)
        })
        .await
    }

    async fn history(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<TagMove>, ContentError> {
        let action = format!("look up where tag `{tag}` of `{repository}` pointed");
        let (id, tag) = (repository.clone(), tag.clone());
        self.scan(|| action, move |connection| history::list(connection, &id, &tag, before, limit)).await
    }

    async fn tag_at(
        &self,
        repository: &RepositoryId,
        tag: &Tag,
        at: SystemTime,
    ) -> Result<Option<Digest>, ContentError> {
        let action = format!("look up where tag `{tag}` of `{repository}` pointed");
        let (id, tag, at) = (repository.clone(), tag.clone(), milliseconds(at));
        self.scan(|| action, move |connection| history::at(connection, &id, &tag, at)).await
    }

    async fn tags(
        &self,
        repository: &RepositoryId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Option<Page<Tag>>, ContentError> {
        let (id, after) = (repository.clone(), after.map(str::to_owned));
        self.scan(
            || format!("list the tags of `{repository}`"),
            move |connection| listing::tags(connection, &id, after.as_deref(), limit),
        )
        .await
    }

    async fn repositories(
        &self,
        scope: Scope,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RepositoryId>, ContentError> {
        let after = after.map(str::to_owned);
        self.scan(
            || "list the repositories".to_owned(),
            move |connection| listing::repositories(connection, scope, after.as_deref(), limit),
        )
        .await
    }

    async fn referrers(
        &self,
        repository: &RepositoryId,
        subject: &Digest,
        artifact_type: Option<&str>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<Page<Referrer>, ContentError> {
        let (id, digest) = (repository.clone(), subject.clone());
        let (artifact_type, after) = (artifact_type.map(str::to_owned), after.cloned());
        self.scan(
            || format!("list the referrers of `{subject}` in `{repository}`"),
            move |connection| {
                listing::referrers(connection, &id, &digest, artifact_type.as_deref(), after.as_ref(), limit)
            },
        )
        .await
    }

    async fn blob(&self, repository: &RepositoryId, digest: &Digest) -> Result<Option<BlobRecord>, ContentError> {
        let found = self
            .quick(
                || format!("look up blob `{digest}` in `{repository}`"),
                |connection| blobs::blob(connection, repository, digest),
            )
            .await?;
        let Some((record, true)) = found else { return Ok(found.map(|(record, _)| record)) };
        let action = format!("keep blob `{digest}` in `{repository}`");
        let (id, wanted) = (repository.clone(), digest.clone());
        let kept = self
            .write(Durability::Full, 0, action, move |connection| garbage::rescue_blob(connection, &id, &wanted))
            .await;
        Ok(read_all_the_same(kept)?.then_some(record))
    }

    async fn add_blob(
        &self,
        repository: &RepositoryId,
        blob: &BlobRecord,
        upload: Option<&UploadId>,
        claim: Claim,
    ) -> Result<(), ContentError> {
        let action = format!("write blob `{}` to `{repository}`", blob.digest);
        let payload = match &blob.content {
            BlobContent::Inline(bytes) => bytes.len(),
            BlobContent::Stored(_) => 0,
        };
        let (id, blob, upload) = (repository.clone(), blob.clone(), upload.cloned());
        self.write(Durability::Full, payload, action, move |connection| {
            blobs::add(connection, &id, &blob, upload.as_ref())?;
            // The answer comes after the commit, and with it the claim ends.
            Ok(claim)
        })
        .await
        .map(drop)
    }

    async fn mount_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        from: &RepositoryId,
    ) -> Result<Option<BlobRecord>, ContentError> {
        // Most mounts of what is not there cost no transaction.
        if self.blob(from, digest).await?.is_none() {
            return Ok(None);
        }
        let action = format!("mount blob `{digest}` from `{from}` to `{repository}`");
        let (id, digest, from) = (repository.clone(), digest.clone(), from.clone());
        self.write(Durability::Full, 0, action, move |connection| blobs::mount(connection, &id, &digest, &from)).await
    }

    async fn holders(&self, scope: Scope, digest: &Digest, limit: usize) -> Result<Vec<RepositoryId>, ContentError> {
        let wanted = digest.clone();
        self.scan(
            || format!("look up who holds blob `{digest}`"),
            move |connection| blobs::holders(connection, scope, &wanted, limit),
        )
        .await
    }

    async fn delete_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        options: DeleteOptions,
    ) -> Result<bool, ContentError> {
        let action = format!("delete blob `{digest}` from `{repository}`");
        let (id, digest) = (repository.clone(), digest.clone());
        self.write(Durability::Full, 0, action, move |connection| blobs::delete(connection, &id, &digest, options))
            .await
    }

    async fn start_upload(
        &self,
        repository: &RepositoryId,
        id: &UploadId,
        algorithm: Algorithm,
    ) -> Result<Upload, ContentError> {
        let action = format!("begin an upload to `{repository}`");
        let (repository, id) = (repository.clone(), id.clone());
        self.write(Durability::Process, 0, action, move |connection| {
            uploads::start(connection, &repository, &id, algorithm)
        })
        .await
    }

    async fn upload(&self, repository: &RepositoryId, id: &UploadId) -> Result<Option<Upload>, ContentError> {
        self.quick(|| format!("look up upload session `{id}`"), |connection| uploads::find(connection, repository, id))
            .await
    }

    async fn advance_upload(&self, from: &Upload, offset: u64, content: UploadContent) -> Result<bool, ContentError> {
        let action = format!("go on with upload session `{}`", from.id);
        let payload = match &content {
            UploadContent::Inline(bytes) => bytes.len(),
            UploadContent::Staged(_) => 0,
        };
        let from = from.clone();
        self.write(Durability::Process, payload, action, move |connection| {
            uploads::advance(connection, &from, offset, &content)
        })
        .await
    }

    async fn end_upload(&self, repository: &RepositoryId, id: &UploadId) -> Result<Option<Upload>, ContentError> {
        let action = format!("drop upload session `{id}`");
        let (repository, id) = (repository.clone(), id.clone());
        self.write(Durability::Process, 0, action, move |connection| uploads::end(connection, &repository, &id)).await
    }

    async fn count_uploads(&self) -> Result<u64, ContentError> {
        self.scan(|| "count upload sessions".to_owned(), uploads::count).await
    }

    async fn expire_uploads(&self, before: SystemTime) -> Result<Vec<StageId>, ContentError> {
        let action = || "drop old upload sessions".to_owned();
        let before = milliseconds(before);
        if !self.quick(action, |connection| uploads::any_older(connection, before)).await? {
            return Ok(Vec::new());
        }
        self.write(Durability::Process, 0, action(), move |connection| uploads::expire(connection, before)).await
    }

    async fn stages_in_use(&self, stages: &[StageId]) -> Result<Vec<StageId>, ContentError> {
        let stages = stages.to_vec();
        self.scan(
            || "look up what needs leftover bytes".to_owned(),
            move |connection| blobs::stages_in_use(connection, &stages),
        )
        .await
    }

    async fn all_blobs(&self, after: Option<&Digest>, limit: usize) -> Result<Page<BlobRecord>, ContentError> {
        let after = after.cloned();
        self.scan(|| "list the blobs".to_owned(), move |connection| blobs::all(connection, after.as_ref(), limit)).await
    }

    async fn unsettled_blobs(&self, limit: usize) -> Result<Vec<BlobRecord>, ContentError> {
        self.scan(|| "list the blobs to settle".to_owned(), move |connection| blobs::unsettled(connection, limit)).await
    }

    async fn mark_settled(&self, blobs: &[BlobRecord]) -> Result<(), ContentError> {
        let blobs = blobs.to_vec();
        let action = "write down settled blobs".to_owned();
        self.write(Durability::Process, 0, action, move |connection| blobs::mark_settled(connection, &blobs)).await
    }

    async fn begin_collection(&self) -> Result<u64, ContentError> {
        self.write(Durability::Full, 0, "begin a collection".to_owned(), garbage::begin).await
    }

    async fn next_collection(&self) -> Result<u64, ContentError> {
        self.quick(|| "look up the last collection".to_owned(), garbage::next).await
    }

    async fn plan_collection(&self, options: &GcOptions) -> Result<(GcReport, Vec<GcItem>), ContentError> {
        let rules = Rules::new(self.next_collection().await?, options);
        let done = self.scan(|| "plan a collection".to_owned(), move |c| garbage::plan(c, &rules)).await?;
        Ok((done.report, done.items))
    }

    async fn collect(
        &self,
        epoch: u64,
        options: &GcOptions,
        phase: CollectionPhase,
        after: CollectionPosition,
    ) -> Result<CollectionStep, ContentError> {
        use CollectionPhase::{CondemnBlobs, CondemnDocuments, PruneHistory, SweepBlobs, SweepDocuments};
        let rules = Rules::new(epoch, options);
        let action = || "look for what nothing needs".to_owned();
        match phase {
            SweepDocuments => {
                let found = self.scan(action, move |c| garbage::ripe_documents(c, &rules, after)).await?;
                self.act(found, rules, garbage::sweep_documents).await
            }
            SweepBlobs => {
                let found = self.scan(action, move |c| garbage::ripe_blobs(c, &rules, after)).await?;
                self.act(found, rules, garbage::sweep_blobs).await
            }
            CondemnDocuments => {
                let found = self.scan(action, move |c| garbage::unneeded_documents(c, &rules, after)).await?;
                self.act(found, rules, garbage::condemn_documents).await
            }
            CondemnBlobs => {
                let found = self.scan(action, move |c| garbage::unused_blobs(c, &rules, after)).await?;
                self.act(found, rules, garbage::condemn_blobs).await
            }
            PruneHistory => {
                let found = self.scan(action, move |c| garbage::old_moves(c, &rules, after)).await?;
                self.act(found, rules, garbage::prune_moves).await
            }
        }
    }

    async fn doomed(&self, after: u64, limit: usize) -> Result<Vec<Doomed>, ContentError> {
        let action = || "look up which bytes are to go".to_owned();
        self.scan(action, move |connection| garbage::doomed(connection, after, limit)).await
    }

    async fn is_stored(&self, digest: &Digest) -> Result<bool, ContentError> {
        self.quick(|| format!("look up blob `{digest}`"), |connection| garbage::is_stored(connection, digest)).await
    }

    async fn forget_doomed(&self, doomed: &[Doomed]) -> Result<(), ContentError> {
        let doomed = doomed.to_vec();
        let action = "write down which bytes are gone".to_owned();
        self.write(Durability::Process, 0, action, move |connection| garbage::forget_doomed(connection, &doomed)).await
    }
}
