//! Moves of tags.

use std::time::{Duration, UNIX_EPOCH};

use image::{Digest, Tag};
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::{find_repository, now};
use crate::RepositoryId;
use crate::history::TagMove;
use crate::metadata_store::Page;

/// Writes a move down, unless the tag stays where it is.
pub(super) fn record(
    connection: &Connection,
    repository: i64,
    tag: &Tag,
    to: Option<&Digest>,
    actor: Option<&str>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO tag_history (repository, tag, from_digest, to_digest, at, actor)
             SELECT ?1, ?2, p.digest, ?3, ?4, ?5 FROM (
                 SELECT (SELECT d.digest FROM tags t JOIN documents d ON d.id = t.document
                         WHERE t.repository = ?1 AND t.name = ?2) AS digest
             ) p WHERE p.digest IS NOT ?3",
        )?
        .execute(params![repository, tag.as_str(), to.map(Digest::as_str), now(), actor])?;
    Ok(())
}

/// Writes down that all tags of a document end.
pub(super) fn record_end(connection: &Connection, document: i64, actor: Option<&str>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO tag_history (repository, tag, from_digest, to_digest, at, actor)
             SELECT t.repository, t.name, d.digest, NULL, ?2, ?3 FROM tags t JOIN documents d ON d.id = t.document
             WHERE t.document = ?1",
        )?
        .execute(params![document, now(), actor])?;
    Ok(())
}

pub(super) fn list(
    connection: &Connection,
    repository: &RepositoryId,
    tag: &Tag,
    before: Option<u64>,
    limit: usize,
) -> Result<Page<TagMove>, Failure> {
    let mut items = Vec::new();
    let Some(id) = find_repository(connection, repository)? else { return Ok(Page { items, more: false }) };
    let mut statement = connection.prepare_cached(
        "SELECT h.id, h.from_digest, h.to_digest, h.at, h.actor,
                EXISTS (SELECT 1 FROM documents d WHERE d.repository = h.repository AND d.digest = h.to_digest)
         FROM tag_history h
         WHERE h.repository = ?1 AND h.tag = ?2 AND h.id < ?3 ORDER BY h.id DESC LIMIT ?4",
    )?;
    let probe = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    // No move has a number that is too large for the database: all are before it.
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![id, tag.as_str(), before, probe])?;
    let digest = |text: Option<String>| text.as_deref().map(Digest::parse).transpose();
    while let Some(row) = rows.next()? {
        items.push(TagMove {
            number: row.get(0)?,
            from: digest(row.get(1)?)?,
            to: digest(row.get(2)?)?,
            at: UNIX_EPOCH + Duration::from_millis(row.get(3)?),
            actor: row.get(4)?,
            kept: row.get(5)?,
        });
    }
    let more = items.len() > limit;
    items.truncate(limit);
    Ok(Page { items, more })
}

/// Where a tag pointed at an instant.
pub(super) fn at(
    connection: &Connection,
    repository: &RepositoryId,
    tag: &Tag,
    instant: i64,
) -> Result<Option<Digest>, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(None) };
    let digest: Option<Option<String>> = connection
        .prepare_cached(
            "SELECT to_digest FROM tag_history WHERE repository = ?1 AND tag = ?2 AND at <= ?3 ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![id, tag.as_str(), instant], |row| row.get(0))
        .optional()?;
    Ok(digest.flatten().as_deref().map(Digest::parse).transpose()?)
}

/// Whether a tag ever pointed to a document.
pub(super) fn pointed_to(
    connection: &Connection,
    repository: &RepositoryId,
    tag: &Tag,
    digest: &Digest,
) -> Result<bool, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(false) };
    Ok(connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM tag_history WHERE repository = ?1 AND tag = ?2 AND to_digest = ?3)",
        )?
        .query_row(params![id, tag.as_str(), digest.as_str()], |row| row.get(0))?)
}
