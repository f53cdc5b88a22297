//! Rows put right. Each repair looks first whether it is still needed: others write meanwhile.

use bytes::Bytes;
use image::{Digest, Document, MediaType, View};
use rusqlite::{Connection, OptionalExtension, params};

use super::check::{NAME, is_only_a_blob};
use super::documents::is_document;
use super::failure::Failure;
use super::garbage::{remove_document, remove_unheld};
use super::{blobs, history, now};
use crate::metadata_store::{BlobRecord, StoredDocument};
use crate::problem::Problem;

/// Who is said to have ended the tags of a document that is damaged.
const ACTOR: &str = "fsck";

/// What refers to what: a column of a table, and the table that has its numbers.
const REFERENCES: [(&str, &str, &str); 13] = [
    ("repository_blobs", "repository", "repositories"),
    ("repository_blobs", "blob", "blobs"),
    ("documents", "repository", "repositories"),
    ("tags", "repository", "repositories"),
    ("tags", "document", "documents"),
    ("child_edges", "parent", "documents"),
    ("blob_edges", "document", "documents"),
    ("blob_edges", "blob", "blobs"),
    ("awaited_blobs", "repository", "repositories"),
    ("awaited_blobs", "document", "documents"),
    ("uploads", "repository", "repositories"),
    ("condemned_documents", "document", "documents"),
    ("tag_history", "repository", "repositories"),
];

pub(super) fn mend(connection: &Connection, problem: &Problem) -> Result<bool, Failure> {
    match problem {
        Problem::Dangling { table, .. } => {
            let mut removed = 0;
            for (_, column, parent) in REFERENCES.iter().filter(|(name, _, _)| name == table) {
                removed += connection.execute(
                    &format!(
                        "DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM {parent} p WHERE p.id = {table}.{column})"
                    ),
                    [],
                )?;
            }
            Ok(removed > 0)
        }
        Problem::BlobSize { digest, stated, actual } => Ok(connection
            .prepare_cached("UPDATE blobs SET size = ?3 WHERE digest = ?1 AND size = ?2")?
            .execute(params![digest.as_str(), stated, actual])?
            > 0),
        Problem::DocumentSize { repository, digest } => {
            let Some(found) = find(connection, repository, digest.as_str())? else { return Ok(false) };
            Ok(connection
                .prepare_cached("UPDATE documents SET size = length(bytes) WHERE id = ?1 AND size <> length(bytes)")?
                .execute([found.id])?
                > 0)
        }
        Problem::DocumentDamaged { repository, digest } => {
            let Some(found) = find(connection, repository, digest)?.filter(Found::is_damaged) else {
                return Ok(false);
            };
            history::record_end(connection, found.id, Some(ACTOR))?;
            remove_document(connection, found.id)?;
            Ok(true)
        }
        Problem::EdgeMissing { repository, digest, .. } | Problem::EdgeExtra { repository, digest, .. } => {
            let Some(found) = find(connection, repository, digest.as_str())? else { return Ok(false) };
            let Some(document) = found.read() else { return Ok(false) };
            write_edges(connection, &found, &document)?;
            Ok(true)
        }
        Problem::NotHeld { repository, digest, blob } => {
            let Some(found) = find(connection, repository, digest.as_str())? else { return Ok(false) };
            Ok(connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO repository_blobs (repository, blob, added_at)
                     SELECT ?1, b.id, ?4 FROM blobs b JOIN blob_edges e ON e.blob = b.id AND e.document = ?2
                     WHERE b.digest = ?3",
                )?
                .execute(params![found.holder, found.id, blob.as_str(), now()])?
                > 0)
        }
        Problem::Database(_)
        | Problem::BlobDamaged { .. }
        | Problem::BlobMissing { .. }
        | Problem::BlobUnreadable { .. }
        | Problem::DocumentUnreadable { .. } => Ok(false),
    }
}

/// The row of a document.
struct Found {
    id: i64,
    holder: i64,
    digest: String,
    media_type: String,
    bytes: Vec<u8>,
}

impl Found {
    fn is_damaged(&self) -> bool {
        !Digest::parse(&self.digest).is_ok_and(|digest| Digest::of(digest.algorithm(), &self.bytes) == digest)
    }

    /// `None`: its bytes are not what they should be, or none that can be read.
    fn read(&self) -> Option<Document> {
        let digest = Digest::parse(&self.digest).ok().filter(|_| !self.is_damaged())?;
        let media_type = MediaType::new(self.media_type.clone());
        StoredDocument { digest, media_type, bytes: Bytes::from(self.bytes.clone()) }.to_document().ok()
    }
}

fn find(connection: &Connection, repository: &str, digest: &str) -> rusqlite::Result<Option<Found>> {
    connection
        .prepare_cached(&format!(
            "SELECT d.id, d.repository, d.digest, d.media_type, d.bytes FROM documents d
             JOIN repositories r ON r.id = d.repository WHERE {NAME} = ?1 AND d.digest = ?2"
        ))?
        .query_row(params![repository, digest], |row| {
            Ok(Found {
                id: row.get(0)?,
                holder: row.get(1)?,
                digest: row.get(2)?,
                media_type: row.get(3)?,
                bytes: row.get(4)?,
            })
        })
        .optional()
}

pub(super) fn damaged_document(
    connection: &Connection,
    repository: &str,
    digest: &str,
) -> Result<Option<Bytes>, Failure> {
    let found = find(connection, repository, digest)?.filter(Found::is_damaged);
    Ok(found.map(|found| found.bytes.into()))
}

/// Writes the edges of a document as it says them.
fn write_edges(connection: &Connection, found: &Found, document: &Document) -> Result<(), Failure> {
    let before: Vec<i64> = connection
        .prepare_cached("DELETE FROM blob_edges WHERE document = ?1 RETURNING blob")?
        .query_map([found.id], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    connection.prepare_cached("DELETE FROM awaited_blobs WHERE document = ?1")?.execute([found.id])?;
    connection.prepare_cached("DELETE FROM child_edges WHERE parent = ?1")?.execute([found.id])?;
    connection
        .prepare_cached("UPDATE documents SET subject = ?2 WHERE id = ?1")?
        .execute(params![found.id, document.subject().map(|subject| subject.digest.as_str())])?;
    let is_index = matches!(document.view(), View::Index(_));
    for child in document.children() {
        let digest = &child.digest;
        if is_index {
            connection
                .prepare_cached("INSERT OR IGNORE INTO child_edges (parent, repository, child) VALUES (?1, ?2, ?3)")?
                .execute(params![found.id, found.holder, digest.as_str()])?;
            // A blob that is not there is waited for, as a manifest waits for its own.
            if is_document(child) && !is_only_a_blob(connection, found.holder, digest)? {
                continue;
            }
        }
        let edge = connection
            .prepare_cached(
                "INSERT OR IGNORE INTO blob_edges (document, blob, repository)
                 SELECT ?1, b.id, ?2 FROM blobs b JOIN repository_blobs h ON h.blob = b.id AND h.repository = ?2
                 WHERE b.digest = ?3",
            )?
            .execute(params![found.id, found.holder, digest.as_str()])?;
        let has_edge = edge > 0
            || connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM blob_edges e JOIN blobs b ON b.id = e.blob
                                    WHERE e.document = ?1 AND b.digest = ?2)",
                )?
                .query_row(params![found.id, digest.as_str()], |row| row.get::<_, bool>(0))?;
        if !has_edge {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO awaited_blobs (repository, digest, document) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![found.holder, digest.as_str(), found.id])?;
        }
    }
    for blob in before {
        remove_unheld(connection, blob)?;
    }
    Ok(())
}

/// Deletes the row of a blob whose bytes are lost, wherever it is held. Documents that need it wait for it.
pub(super) fn forget_blob(connection: &Connection, blob: &BlobRecord) -> Result<Option<u64>, Failure> {
    if blobs::recorded(connection, &blob.digest)?.as_ref() != Some(blob) {
        return Ok(None);
    }
    let digest = blob.digest.as_str();
    let id: i64 =
        connection.prepare_cached("SELECT id FROM blobs WHERE digest = ?1")?.query_row([digest], |row| row.get(0))?;
    let waiting = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO awaited_blobs (repository, digest, document)
             SELECT d.repository, ?2, d.id FROM blob_edges e JOIN documents d ON d.id = e.document WHERE e.blob = ?1",
        )?
        .execute(params![id, digest])?;
    for statement in [
        "DELETE FROM blob_edges WHERE blob = ?1",
        "DELETE FROM condemned_blobs WHERE blob = ?1",
        "DELETE FROM repository_blobs WHERE blob = ?1",
        "DELETE FROM blobs WHERE id = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([id])?;
    }
    Ok(Some(waiting as u64))
}
