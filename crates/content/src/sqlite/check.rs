//! Whether the metadata agrees with itself.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use image::{Digest, Document, MediaType, View};
use rusqlite::{Connection, params};

use super::failure::Failure;
use super::writer::Durability;
use super::{SqliteMetadataStore, blobs, mend};
use crate::ContentError;
use crate::metadata_store::{BlobRecord, StoredDocument};
use crate::problem::Problem;
use crate::upkeep::{MetadataCheck, MetadataUpkeep};

/// Documents that are looked at in one transaction, so that the write-ahead log can be copied in between.
const PAGE: i64 = 500;
/// As [`crate::RepositoryId`] displays it.
pub(super) const NAME: &str = "CASE r.registry WHEN '' THEN r.name ELSE r.registry || '/' || r.name END";

#[async_trait]
impl MetadataUpkeep for SqliteMetadataStore {
    async fn check_metadata(&self) -> Result<MetadataCheck, ContentError> {
        self.scan(|| "check the metadata".to_owned(), check).await
    }

    async fn recorded_blob(&self, digest: &Digest) -> Result<Option<BlobRecord>, ContentError> {
        let wanted = digest.clone();
        self.scan(|| format!("look up blob `{digest}`"), move |connection| blobs::recorded(connection, &wanted)).await
    }

    async fn forget_blob(&self, blob: &BlobRecord) -> Result<Option<u64>, ContentError> {
        let action = format!("forget blob `{}`, whose bytes are lost", blob.digest);
        let blob = blob.clone();
        self.write(Durability::Full, 0, action, move |connection| mend::forget_blob(connection, &blob)).await
    }

    async fn damaged_document(&self, repository: &str, digest: &str) -> Result<Option<Bytes>, ContentError> {
        let action = format!("look up manifest `{digest}` in `{repository}`");
        let (repository, digest) = (repository.to_owned(), digest.to_owned());
        self.scan(|| action, move |connection| mend::damaged_document(connection, &repository, &digest)).await
    }

    async fn mend(&self, problem: &Problem) -> Result<bool, ContentError> {
        let action = format!("repair this: {problem}");
        let problem = problem.clone();
        self.write(Durability::Full, 0, action, move |connection| mend::mend(connection, &problem)).await
    }
}

fn check(connection: &Connection) -> Result<MetadataCheck, Failure> {
    let mut found = MetadataCheck::default();
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            found.problems.push(Problem::Database(line));
        }
    }
    let damaged = !found.problems.is_empty();
    match rest(connection, &mut found) {
        // What cannot be read is part of that damage.
        Err(Failure::Sqlite(error)) if damaged => found.problems.push(Problem::Database(error.to_string())),
        other => other?,
    }
    Ok(found)
}

fn rest(connection: &Connection, found: &mut MetadataCheck) -> Result<(), Failure> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let problem = Problem::Dangling { table: row.get(0)?, parent: row.get(2)? };
        if !found.problems.contains(&problem) {
            found.problems.push(problem);
        }
    }
    drop(rows);
    let mut after = Some(0);
    while let Some(last) = after {
        let _moment = connection.unchecked_transaction()?;
        after = documents(connection, last, found)?;
    }
    let mut statement = connection.prepare(&format!(
        "SELECT {NAME}, d.digest, b.digest
         FROM blob_edges e JOIN documents d ON d.id = e.document JOIN repositories r ON r.id = d.repository
         JOIN blobs b ON b.id = e.blob
         WHERE NOT EXISTS (SELECT 1 FROM repository_blobs h WHERE h.repository = r.id AND h.blob = b.id)"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (digest, blob): (String, String) = (row.get(1)?, row.get(2)?);
        let (digest, blob) = (Digest::parse(&digest)?, Digest::parse(&blob)?);
        found.problems.push(Problem::NotHeld { repository: row.get(0)?, digest, blob });
    }
    Ok(())
}

/// Some documents after the one of that number. Returns the number of the last one.
fn documents(connection: &Connection, after: i64, found: &mut MetadataCheck) -> Result<Option<i64>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT d.id, d.repository, {NAME}, d.digest, d.size, d.bytes, d.media_type, d.subject
         FROM documents d JOIN repositories r ON r.id = d.repository WHERE d.id > ?1 ORDER BY d.id LIMIT {PAGE}"
    ))?;
    let mut rows = statement.query([after])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        last = Some(id);
        let (repository, text, size): (String, String, u64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let bytes = row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?;
        found.documents += 1;
        found.bytes += bytes.len() as u64;
        let digest = match Digest::parse(&text) {
            Ok(digest) if Digest::of(digest.algorithm(), bytes) == digest => digest,
            _ => {
                found.problems.push(Problem::DocumentDamaged { repository, digest: text });
                continue;
            }
        };
        if bytes.len() as u64 != size {
            found.problems.push(Problem::DocumentSize { repository: repository.clone(), digest: digest.clone() });
        }
        let stored = StoredDocument {
            digest: digest.clone(),
            media_type: MediaType::new(row.get::<_, String>(6)?),
            bytes: Bytes::copy_from_slice(bytes),
        };
        let Ok(document) = stored.to_document() else {
            found.problems.push(Problem::DocumentUnreadable { repository, digest });
            continue;
        };
        let subject: Option<String> = row.get(7)?;
        edges(connection, &Node { id, holder: row.get(1)?, repository, document, subject }, found)?;
    }
    Ok(last)
}

/// A document, and what its row says of it.
struct Node {
    id: i64,
    holder: i64,
    repository: String,
    document: Document,
    subject: Option<String>,
}

/// The second column of some rows.
fn texts(connection: &Connection, query: &str, values: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<BTreeSet<String>> {
    connection.prepare_cached(query)?.query_map(values, |row| row.get(0))?.collect()
}

/// Compares the edges of a document with what it says.
fn edges(connection: &Connection, node: &Node, found: &mut MetadataCheck) -> Result<(), Failure> {
    let digest = node.document.digest();
    let blobs = texts(
        connection,
        "SELECT CASE e.repository WHEN ?2 THEN b.digest ELSE b.digest || ' in another repository' END
             FROM blob_edges e JOIN blobs b ON b.id = e.blob WHERE e.document = ?1
         UNION SELECT digest FROM awaited_blobs WHERE document = ?1 AND repository = ?2",
        params![node.id, node.holder],
    )?;
    let children = texts(
        connection,
        "SELECT child FROM child_edges WHERE parent = ?1 AND repository = ?2",
        params![node.id, node.holder],
    )?;
    let named: BTreeSet<&Digest> = node.document.children().iter().map(|child| &child.digest).collect();
    let mut missing: Vec<&Digest> = Vec::new();
    match node.document.view() {
        View::Manifest(_) => missing.extend(named.iter().filter(|to| !blobs.contains(to.as_str()))),
        View::Index(_) => {
            for to in &named {
                let lacks = !children.contains(to.as_str())
                    || (!blobs.contains(to.as_str()) && is_only_a_blob(connection, node.holder, to)?);
                if lacks {
                    missing.push(to);
                }
            }
        }
    }
    let subject = node.document.subject().map(|subject| &subject.digest);
    missing.extend(subject.filter(|subject| node.subject.as_deref() != Some(subject.as_str())));
    let repository = || node.repository.clone();
    for to in missing {
        let (digest, to) = (digest.clone(), to.clone());
        found.problems.push(Problem::EdgeMissing { repository: repository(), digest, to });
    }
    let too_many = blobs.iter().chain(&children).filter(|to| !named.iter().any(|named| named.as_str() == *to));
    let stray = node.subject.iter().filter(|stated| subject.is_none_or(|subject| subject.as_str() != **stated));
    let extra: BTreeSet<&String> = too_many.chain(stray).collect();
    for to in extra {
        let to = to.clone();
        found.problems.push(Problem::EdgeExtra { repository: repository(), digest: digest.clone(), to });
    }
    Ok(())
}

/// Whether a repository holds a blob of that digest, and no document.
pub(super) fn is_only_a_blob(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT NOT EXISTS (SELECT 1 FROM documents WHERE repository = ?1 AND digest = ?2)
                    AND EXISTS (SELECT 1 FROM repository_blobs h JOIN blobs b ON b.id = h.blob
                                WHERE h.repository = ?1 AND b.digest = ?2)",
        )?
        .query_row(params![repository, digest.as_str()], |row| row.get(0))
}
