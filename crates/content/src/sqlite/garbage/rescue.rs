//! Whatever refers to something, or tells somebody of it, keeps it.

use image::Digest;
use rusqlite::{Connection, params};

use crate::RepositoryId;
use crate::sqlite::failure::Failure;
use crate::sqlite::{find_repository, now};

/// A document that is referred to again within this time is not written again.
const REFERENCE_RESOLUTION: i64 = 60_000;

/// Makes a document's time begin anew: something referred to it.
pub(crate) fn refer(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<()> {
    let now = now();
    connection
        .prepare_cached(
            "UPDATE documents SET referenced_at = ?3 WHERE repository = ?1 AND digest = ?2 AND referenced_at < ?4",
        )?
        .execute(params![repository, digest.as_str(), now, now - REFERENCE_RESOLUTION])?;
    connection
        .prepare_cached(
            "DELETE FROM condemned_documents
             WHERE document = (SELECT id FROM documents WHERE repository = ?1 AND digest = ?2)",
        )?
        .execute(params![repository, digest.as_str()])?;
    Ok(())
}

/// Takes a document back that somebody was told of. `false`: it went before.
pub(crate) fn rescue_document(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
) -> Result<bool, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(false) };
    let there = connection
        .prepare_cached("UPDATE documents SET referenced_at = ?3 WHERE repository = ?1 AND digest = ?2")?
        .execute(params![id, digest.as_str(), now()])?;
    refer(connection, id, digest)?;
    Ok(there > 0)
}

/// Takes a blob back that somebody was told of. `false`: it went before.
pub(crate) fn rescue_blob(
    connection: &Connection,
    repository: &RepositoryId,
    digest: &Digest,
) -> Result<bool, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(false) };
    let there = connection
        .prepare_cached(
            "UPDATE repository_blobs SET added_at = ?3
             WHERE repository = ?1 AND blob = (SELECT id FROM blobs WHERE digest = ?2)",
        )?
        .execute(params![id, digest.as_str(), now()])?;
    uncondemn_blob(connection, id, digest)?;
    Ok(there > 0)
}

pub(crate) fn uncondemn_blob(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM condemned_blobs
             WHERE repository = ?1 AND blob = (SELECT id FROM blobs WHERE digest = ?2)",
        )?
        .execute(params![repository, digest.as_str()])?;
    Ok(())
}
