//! Documents, their edges, and tags.

use std::collections::BTreeSet;

use bytes::Bytes;
use image::{Descriptor, Digest, Document, MediaKind, MediaType, Tag, Target, View};
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::garbage::{refer, remove_document};
use super::{find_repository, history, make_repository, now, registry_of};
use crate::metadata_store::{
    DeleteOptions, DocumentRecord, PutOptions, PutOutcome, ReferencePolicy, StoredDocument, TagCondition,
};
use crate::{ContentError, ReferenceProblem, ReferenceReason, RepositoryId};

/// From a repository and a tag or digest to a document: three look-ups in indexes, however many tags there are. The last
/// column tells whether it is condemned.
macro_rules! select {
    ($columns:literal, $target:expr) => {
        match $target {
            Target::Tag(_) => concat!(
                "SELECT ",
                $columns,
                ", EXISTS (SELECT 1 FROM condemned_documents c WHERE c.document = d.id)
                  FROM repositories r JOIN tags t ON t.repository = r.id AND t.name = ?3
                  JOIN documents d ON d.id = t.document WHERE r.registry = ?1 AND r.name = ?2"
            ),
            Target::Digest(_) => concat!(
                "SELECT ",
                $columns,
                ", EXISTS (SELECT 1 FROM condemned_documents c WHERE c.document = d.id)
                  FROM repositories r JOIN documents d ON d.repository = r.id AND d.digest = ?3
                  WHERE r.registry = ?1 AND r.name = ?2"
            ),
        }
    };
}

fn text(target: &Target) -> &str {
    match target {
        Target::Tag(tag) => tag.as_str(),
        Target::Digest(digest) => digest.as_str(),
    }
}

/// A document, and whether it is condemned.
pub(super) fn document(
    connection: &Connection,
    repository: &RepositoryId,
    target: &Target,
) -> Result<Option<(StoredDocument, bool)>, Failure> {
    let row = connection
        .prepare_cached(select!("d.digest, d.media_type, d.bytes", target))?
        .query_row(params![registry_of(repository), repository.name.as_str(), text(target)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((digest, media_type, bytes, condemned)) = row else { return Ok(None) };
    let digest = Digest::parse(&digest)?;
    let document = StoredDocument { digest, media_type: MediaType::new(media_type), bytes: Bytes::from(bytes) };
    Ok(Some((document, condemned)))
}

/// What is known of a document, and whether it is condemned.
pub(super) fn resolve(
    connection: &Connection,
    repository: &RepositoryId,
    target: &Target,
) -> Result<Option<(DocumentRecord, bool)>, Failure> {
    let row = connection
        .prepare_cached(select!("d.digest, d.media_type, d.size", target))?
        .query_row(params![registry_of(repository), repository.name.as_str(), text(target)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, u64>(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((digest, media_type, size, condemned)) = row else { return Ok(None) };
    let record = DocumentRecord { digest: Digest::parse(&digest)?, media_type: MediaType::new(media_type), size };
    Ok(Some((record, condemned)))
}

/// What a document's references lead to.
#[derive(Default)]
struct Edges {
    children: BTreeSet<Digest>,
    blobs: BTreeSet<i64>,
    awaited: BTreeSet<Digest>,
    problems: Vec<ReferenceProblem>,
    troubled: BTreeSet<Digest>,
}

impl Edges {
    fn problem(&mut self, digest: &Digest, reason: ReferenceReason) {
        let problem = ReferenceProblem { digest: digest.clone(), reason };
        // One is enough of each; a digest that is new needs no comparison with all before it.
        if self.troubled.insert(digest.clone()) || !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn check_size(&mut self, descriptor: &Descriptor, actual: u64) {
        if descriptor.size != actual {
            self.problem(&descriptor.digest, ReferenceReason::WrongSize { stated: descriptor.size, actual });
        }
    }

    /// A blob that the repository holds.
    fn blob(&mut self, connection: &Connection, repository: i64, descriptor: &Descriptor) -> rusqlite::Result<bool> {
        let found = connection
            .prepare_cached(
                "SELECT b.id, b.size FROM blobs b JOIN repository_blobs h ON h.blob = b.id AND h.repository = ?1
                 WHERE b.digest = ?2",
            )?
            .query_row(params![repository, descriptor.digest.as_str()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?))
            })
            .optional()?;
        let Some((id, size)) = found else { return Ok(false) };
        self.check_size(descriptor, size);
        self.blobs.insert(id);
        Ok(true)
    }

    /// A document that the repository holds.
    fn child(&mut self, connection: &Connection, repository: i64, descriptor: &Descriptor) -> rusqlite::Result<bool> {
        let found = connection
            .prepare_cached("SELECT size FROM documents WHERE repository = ?1 AND digest = ?2")?
            .query_row(params![repository, descriptor.digest.as_str()], |row| row.get::<_, u64>(0))
            .optional()?;
        let Some(size) = found else { return Ok(false) };
        self.check_size(descriptor, size);
        Ok(true)
    }

    fn of(
        connection: &Connection,
        repository: i64,
        document: &Document,
        policy: &ReferencePolicy,
    ) -> rusqlite::Result<Self> {
        let mut edges = Self::default();
        match document.view() {
            View::Manifest(manifest) => {
                for descriptor in std::iter::once(&manifest.config).chain(&manifest.layers) {
                    let held = edges.blob(connection, repository, descriptor)?;
                    // Registries need not hold layers that must not be distributed.
                    let foreign = descriptor.media_type.kind() == MediaKind::ForeignLayer;
                    if !held && (foreign || *policy == ReferencePolicy::Sparse) {
                        edges.awaited.insert(descriptor.digest.clone());
                    } else if !held {
                        edges.problem(&descriptor.digest, ReferenceReason::MissingBlob);
                    }
                }
            }
            View::Index(index) => {
                for descriptor in &index.manifests {
                    edges.children.insert(descriptor.digest.clone());
                    let held = edges.child(connection, repository, descriptor)?
                        || edges.blob(connection, repository, descriptor)?;
                    if held {
                        continue;
                    }
                    match (policy.needs(descriptor), is_document(descriptor)) {
                        (true, true) => edges.problem(&descriptor.digest, ReferenceReason::MissingDocument),
                        (true, false) => edges.problem(&descriptor.digest, ReferenceReason::MissingBlob),
                        // An edge to a document is there before its end is.
                        (false, true) => {}
                        (false, false) => drop(edges.awaited.insert(descriptor.digest.clone())),
                    }
                }
            }
        }
        Ok(edges)
    }
}

/// Whether what an entry of an index names is a document, by its media type; else it is a blob.
pub(super) fn is_document(entry: &Descriptor) -> bool {
    matches!(entry.media_type.kind(), MediaKind::Index | MediaKind::Manifest)
}

pub(super) fn put(
    connection: &Connection,
    repository: &RepositoryId,
    document: &Document,
    options: &PutOptions,
    actor: Option<&str>,
) -> Result<PutOutcome, Failure> {
    let id = make_repository(connection, repository)?;
    let edges = Edges::of(connection, id, document, &options.references)?;
    if !edges.problems.is_empty() {
        return Err(ContentError::References(edges.problems).into());
    }
    let mut moved = Vec::with_capacity(options.tags.len());
    for tag in &options.tags {
        let current = tagged(connection, id, tag)?;
        if !options.condition.holds(current.as_ref()) {
            return Err(ContentError::TagMoved { tag: tag.clone(), current }.into());
        }
        moved.push((tag.clone(), current));
    }
    let (row, created) = insert(connection, id, document)?;
    for child in &edges.children {
        connection
            .prepare_cached("INSERT OR IGNORE INTO child_edges (parent, repository, child) VALUES (?1, ?2, ?3)")?
            .execute(params![row, id, child.as_str()])?;
        refer(connection, id, child)?;
    }
    if let Some(subject) = document.subject() {
        refer(connection, id, &subject.digest)?;
    }
    for blob in &edges.blobs {
        connection
            .prepare_cached("DELETE FROM condemned_blobs WHERE repository = ?1 AND blob = ?2")?
            .execute(params![id, blob])?;
        connection
            .prepare_cached("INSERT OR IGNORE INTO blob_edges (document, blob, repository) VALUES (?1, ?2, ?3)")?
            .execute(params![row, blob, id])?;
    }
    for digest in &edges.awaited {
        connection
            .prepare_cached("INSERT OR IGNORE INTO awaited_blobs (repository, digest, document) VALUES (?1, ?2, ?3)")?
            .execute(params![id, digest.as_str(), row])?;
    }
    for tag in &options.tags {
        set_tag(connection, id, tag, (row, document.digest()), actor)?;
    }
    Ok(PutOutcome { created, moved })
}

/// Writes the document's row, and returns its number and whether it is new.
fn insert(connection: &Connection, repository: i64, document: &Document) -> Result<(i64, bool), Failure> {
    let digest = document.digest().as_str();
    let (artifact_type, annotations) = match document.view() {
        View::Index(index) => (index.artifact_type.as_deref(), &index.annotations),
        View::Manifest(manifest) => {
            let stated = manifest.artifact_type.as_deref().filter(|stated| !stated.is_empty());
            (stated.or(Some(manifest.config.media_type.as_str())), &manifest.annotations)
        }
    };
    let annotations = if annotations.is_empty() {
        None
    } else {
        Some(serde_json::to_string(annotations).map_err(|error| Failure::Row(error.to_string()))?)
    };
    let now = now();
    let before: Option<i64> = connection
        .prepare_cached("SELECT id FROM documents WHERE repository = ?1 AND digest = ?2")?
        .query_row(params![repository, digest], |row| row.get(0))
        .optional()?;
    if let Some(row) = before {
        connection
            .prepare_cached("UPDATE documents SET media_type = ?2, referenced_at = ?3 WHERE id = ?1")?
            .execute(params![row, document.media_type().as_str(), now])?;
        refer(connection, repository, document.digest())?;
        return Ok((row, false));
    }
    connection
        .prepare_cached(
            "INSERT INTO documents (repository, digest, media_type, size, subject, artifact_type, annotations,
                                    created_at, referenced_at, bytes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)",
        )?
        .execute(params![
            repository,
            digest,
            document.media_type().as_str(),
            document.size(),
            document.subject().map(|subject| subject.digest.as_str()),
            artifact_type.filter(|stated| !stated.is_empty()),
            annotations,
            now,
            &document.bytes()[..],
        ])?;
    Ok((connection.last_insert_rowid(), true))
}

/// Where a tag points.
fn tagged(connection: &Connection, repository: i64, tag: &Tag) -> Result<Option<Digest>, Failure> {
    let digest: Option<String> = connection
        .prepare_cached(
            "SELECT d.digest FROM tags t JOIN documents d ON d.id = t.document WHERE t.repository = ?1 AND t.name = ?2",
        )?
        .query_row(params![repository, tag.as_str()], |row| row.get(0))
        .optional()?;
    Ok(digest.as_deref().map(Digest::parse).transpose()?)
}

/// The tag's document, if it has one, was referred to until now.
fn leave_tag(connection: &Connection, repository: i64, tag: &Tag) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE documents SET referenced_at = ?3
             WHERE id = (SELECT document FROM tags WHERE repository = ?1 AND name = ?2)",
        )?
        .execute(params![repository, tag.as_str(), now()])?;
    Ok(())
}

fn set_tag(
    connection: &Connection,
    repository: i64,
    tag: &Tag,
    (document, digest): (i64, &Digest),
    actor: Option<&str>,
) -> rusqlite::Result<()> {
    history::record(connection, repository, tag, Some(digest), actor)?;
    leave_tag(connection, repository, tag)?;
    connection.prepare_cached("DELETE FROM condemned_documents WHERE document = ?1")?.execute([document])?;
    connection
        .prepare_cached(
            "INSERT INTO tags (repository, name, document, updated_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (repository, name) DO UPDATE SET document = excluded.document, updated_at = excluded.updated_at",
        )?
        .execute(params![repository, tag.as_str(), document, now()])?;
    Ok(())
}

fn row_of(connection: &Connection, repository: &RepositoryId, digest: &Digest) -> rusqlite::Result<Option<(i64, i64)>> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(None) };
    connection
        .prepare_cached("SELECT id FROM documents WHERE repository = ?1 AND digest = ?2")?
        .query_row(params![id, digest.as_str()], |row| Ok((id, row.get(0)?)))
        .optional()
}

pub(super) fn tag(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
    tag: &Tag,
    actor: Option<&str>,
) -> Result<bool, Failure> {
    let Some((id, row)) = row_of(connection, repository, digest)? else { return Ok(false) };
    set_tag(connection, id, tag, (row, digest), actor)?;
    Ok(true)
}

pub(super) fn delete(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
    options: DeleteOptions,
    actor: Option<&str>,
) -> Result<Option<Vec<Tag>>, Failure> {
    let Some((id, row)) = row_of(connection, repository, digest)? else { return Ok(None) };
    if options.keep_whole {
        let parents = tagged_ancestors(connection, id, digest)?;
        if !parents.is_empty() {
            return Err(ContentError::StillReferenced { digest: digest.clone(), parents }.into());
        }
    }
    // Its children were referred to until now.
    connection
        .prepare_cached(
            "UPDATE documents SET referenced_at = ?3
             WHERE repository = ?1 AND digest IN (SELECT child FROM child_edges WHERE parent = ?2)",
        )?
        .execute(params![id, row, now()])?;
    let tags = tags_of(connection, row)?;
    history::record_end(connection, row, actor)?;
    remove_document(connection, row)?;
    Ok(Some(tags))
}

/// The tags that point to a document.
fn tags_of(connection: &Connection, document: i64) -> Result<Vec<Tag>, Failure> {
    connection
        .prepare_cached("SELECT name FROM tags WHERE document = ?1 ORDER BY name")?
        .query_map([document], |row| row.get::<_, String>(0))?
        .map(|name| Ok(Tag::parse(&name?)?))
        .collect()
}

/// Some indexes that have tags and lead to a document, over any number of steps, and some of their tags.
fn tagged_ancestors(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<Vec<String>> {
    // `UNION` visits each document once, whatever circles a hostile set of indexes makes. `CROSS JOIN` keeps SQLite from
    // beginning with all tags that there are.
    connection
        .prepare_cached(
            "WITH RECURSIVE above (id) AS (
                 SELECT parent FROM child_edges WHERE repository = ?1 AND child = ?2
                 UNION
                 SELECT e.parent FROM above a CROSS JOIN documents d ON d.id = a.id
                     CROSS JOIN child_edges e ON e.repository = ?1 AND e.child = d.digest
             )
             SELECT d.digest, (SELECT group_concat(name, ', ')
                               FROM (SELECT name FROM tags WHERE document = d.id AND repository = ?1
                                     ORDER BY name LIMIT 20))
             FROM above a CROSS JOIN documents d ON d.id = a.id
             WHERE EXISTS (SELECT 1 FROM tags WHERE document = d.id) LIMIT 20",
        )?
        .query_map(params![repository, digest.as_str()], |row| {
            Ok(format!("{} ({})", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?
        .collect()
}

pub(super) fn delete_tag(
    connection: &Connection,
    repository: &RepositoryId,
    tag: &Tag,
    condition: &TagCondition,
    actor: Option<&str>,
) -> Result<Option<Digest>, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(None) };
    let Some(before) = tagged(connection, id, tag)? else { return Ok(None) };
    if !condition.holds(Some(&before)) {
        return Err(ContentError::TagMoved { tag: tag.clone(), current: Some(before) }.into());
    }
    history::record(connection, id, tag, None, actor)?;
    leave_tag(connection, id, tag)?;
    connection
        .prepare_cached("DELETE FROM tags WHERE repository = ?1 AND name = ?2")?
        .execute(params![id, tag.as_str()])?;
    Ok(Some(before))
}
