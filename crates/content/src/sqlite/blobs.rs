//! Blobs, and which repository holds which.

use bytes::Bytes;
use image::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::Failure;
use super::garbage::{remove_unheld, uncondemn_blob};
use super::listing::read_repository;
use super::{find_repository, make_repository, now, registry_of};
use crate::blob_store::Placement;
use crate::metadata_store::{BlobContent, BlobRecord, DeleteOptions, Page};
use crate::{ContentError, RepositoryId, Scope, StageId, UploadId};

/// Reads `size, placement, bytes` from three columns on.
fn read_blob(row: &Row<'_>, first: usize, digest: Digest) -> rusqlite::Result<BlobRecord> {
    let content = match row.get::<_, Option<Vec<u8>>>(first + 2)? {
        Some(bytes) => BlobContent::Inline(Bytes::from(bytes)),
        None => BlobContent::Stored(Placement(row.get::<_, Option<String>>(first + 1)?.map(Into::into))),
    };
    Ok(BlobRecord { digest, size: row.get(first)?, content })
}

/// A blob that a repository holds, and whether it is condemned there.
pub(super) fn blob(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
) -> Result<Option<(BlobRecord, bool)>, Failure> {
    let found = connection
        .prepare_cached(
            "SELECT b.size, b.placement, b.bytes,
                    EXISTS (SELECT 1 FROM condemned_blobs c WHERE c.repository = r.id AND c.blob = b.id) FROM repositories r
             JOIN blobs b ON b.digest = ?3
             JOIN repository_blobs h ON h.repository = r.id AND h.blob = b.id
             WHERE r.registry = ?1 AND r.name = ?2",
        )?
        .query_row(params![registry_of(repository), repository.name.as_str(), digest.as_str()], |row| {
            Ok((read_blob(row, 0, digest.clone())?, row.get(3)?))
        })
        .optional()?;
    Ok(found)
}

pub(super) fn add(
    connection: &Connection,
    repository: &RepositoryId,
    blob: &BlobRecord,
    upload: Option<&UploadId>,
) -> Result<(), Failure> {
    let id = make_repository(connection, repository)?;
    let (placement, bytes) = match &blob.content {
        BlobContent::Inline(bytes) => (None, Some(&bytes[..])),
        BlobContent::Stored(placement) => (placement.0.as_deref(), None),
    };
    // A blob that is there already gets its bytes anew: should they have been lost, a push repairs it.
    connection
        .prepare_cached(
            "INSERT INTO blobs (digest, size, placement, created_at, bytes) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (digest) DO UPDATE SET placement = excluded.placement, bytes = excluded.bytes
             WHERE blobs.bytes IS NULL",
        )?
        .execute(params![blob.digest.as_str(), blob.size, placement, now(), bytes])?;
    hold(connection, id, &blob.digest)?;
    if let Some(upload) = upload {
        connection.prepare_cached("DELETE FROM uploads WHERE id = ?1")?.execute([upload.as_str()])?;
    }
    Ok(())
}

fn hold(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO repository_blobs (repository, blob, added_at) SELECT ?1, id, ?3 FROM blobs WHERE digest = ?2
             ON CONFLICT (repository, blob) DO UPDATE SET added_at = excluded.added_at",
        )?
        .execute(params![repository, digest.as_str(), now()])?;
    uncondemn_blob(connection, repository, digest)?;
    let awaited = connection
        .prepare_cached(
            "INSERT OR IGNORE INTO blob_edges (document, blob, repository)
             SELECT a.document, b.id, a.repository FROM awaited_blobs a JOIN blobs b ON b.digest = a.digest
             WHERE a.repository = ?1 AND a.digest = ?2",
        )?
        .execute(params![repository, digest.as_str()])?;
    if awaited > 0 {
        connection
            .prepare_cached("DELETE FROM awaited_blobs WHERE repository = ?1 AND digest = ?2")?
            .execute(params![repository, digest.as_str()])?;
    }
    Ok(())
}

pub(super) fn mount(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
    from: &RepositoryId,
) -> Result<Option<BlobRecord>, Failure> {
    let Some((record, _)) = blob(connection, from, digest)? else { return Ok(None) };
    let id = make_repository(connection, repository)?;
    hold(connection, id, digest)?;
    Ok(Some(record))
}

pub(super) fn holders(
    connection: &Connection,
    scope: Scope,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<RepositoryId>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT r.registry, r.name FROM blobs b JOIN repository_blobs h ON h.blob = b.id
         JOIN repositories r ON r.id = h.repository WHERE b.digest = ?1 AND (r.registry = '') = ?2 LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![digest.as_str(), scope == Scope::Served, limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read_repository(row)?);
    }
    Ok(found)
}

pub(super) fn delete(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
    options: DeleteOptions,
) -> Result<bool, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(false) };
    if options.keep_whole {
        let parents: Vec<String> = connection
            .prepare_cached(
                "SELECT d.digest FROM blobs b CROSS JOIN blob_edges e ON e.blob = b.id AND e.repository = ?1
                 CROSS JOIN documents d ON d.id = e.document WHERE b.digest = ?2 LIMIT 20",
            )?
            .query_map(params![id, digest.as_str()], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        if !parents.is_empty() {
            return Err(ContentError::StillReferenced { digest: digest.clone(), parents }.into());
        }
    }
    // Documents that are left without it wait for it, so that its bytes can go.
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO awaited_blobs (repository, digest, document)
             SELECT e.repository, b.digest, e.document FROM blobs b
             CROSS JOIN blob_edges e ON e.blob = b.id AND e.repository = ?1
             CROSS JOIN documents d ON d.id = e.document WHERE b.digest = ?2",
        )?
        .execute(params![id, digest.as_str()])?;
    connection
        .prepare_cached(
            "DELETE FROM blob_edges WHERE blob = (SELECT id FROM blobs WHERE digest = ?2) AND repository = ?1",
        )?
        .execute(params![id, digest.as_str()])?;
    uncondemn_blob(connection, id, digest)?;
    let held: Option<i64> = connection
        .prepare_cached(
            "DELETE FROM repository_blobs WHERE repository = ?1 AND blob = (SELECT id FROM blobs WHERE digest = ?2)
             RETURNING blob",
        )?
        .query_row(params![id, digest.as_str()], |row| row.get(0))
        .optional()?;
    let Some(blob) = held else { return Ok(false) };
    remove_unheld(connection, blob)?;
    Ok(true)
}

pub(super) fn all(connection: &Connection, after: Option<&Digest>, limit: usize) -> Result<Page<BlobRecord>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT digest, size, placement, bytes FROM blobs WHERE digest > ?1 ORDER BY digest LIMIT ?2",
    )?;
    let probe = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after.map_or("", Digest::as_str), probe])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let digest = Digest::parse(&row.get::<_, String>(0)?)?;
        items.push(read_blob(row, 1, digest)?);
    }
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more })
}

/// A blob, whichever repository holds it.
pub(super) fn recorded(connection: &Connection, digest: &Digest) -> Result<Option<BlobRecord>, Failure> {
    Ok(connection
        .prepare_cached("SELECT size, placement, bytes FROM blobs WHERE digest = ?1")?
        .query_row([digest.as_str()], |row| read_blob(row, 0, digest.clone()))
        .optional()?)
}

pub(super) fn unsettled(connection: &Connection, limit: usize) -> Result<Vec<BlobRecord>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT digest, size, placement, bytes FROM blobs WHERE placement IS NOT NULL LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let digest = Digest::parse(&row.get::<_, String>(0)?)?;
        found.push(read_blob(row, 1, digest)?);
    }
    Ok(found)
}

pub(super) fn mark_settled(connection: &Connection, blobs: &[BlobRecord]) -> Result<(), Failure> {
    // Only the placement that was settled: the blob may have been placed anew since.
    let mut statement =
        connection.prepare_cached("UPDATE blobs SET placement = NULL WHERE digest = ?1 AND placement = ?2")?;
    for blob in blobs {
        if let BlobContent::Stored(Placement(Some(placement))) = &blob.content {
            statement.execute(params![blob.digest.as_str(), &**placement])?;
        }
    }
    Ok(())
}

pub(super) fn stages_in_use(connection: &Connection, stages: &[StageId]) -> Result<Vec<StageId>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM uploads WHERE stage = ?1) OR EXISTS (SELECT 1 FROM blobs WHERE placement = ?1)",
    )?;
    let mut used = Vec::new();
    for stage in stages {
        if statement.query_row([stage.as_str()], |row| row.get(0))? {
            used.push(stage.clone());
        }
    }
    Ok(used)
}
