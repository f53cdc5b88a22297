//! Blobs of repositories, and the bytes that no repository holds any more.

use image::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::plan::Planned;
use super::{Candidates, Done, LOOKED_AT, Rules, instant};
use crate::blob_store::Placement;
use crate::garbage::{CollectionPosition, Doomed, GcAction, GcItem, GcKind};
use crate::metadata_store::{BlobContent, BlobRecord};
use crate::sqlite::failure::Failure;
use crate::sqlite::listing::read_repository;
use crate::sqlite::now;

/// Deletes a blob's row if no repository holds it and no document needs it, and dooms its bytes in the same
/// transaction. Returns its size if it went.
pub(crate) fn remove_unheld(connection: &Connection, blob: i64) -> Result<u64, Failure> {
    let size: Option<u64> = connection
        .prepare_cached(
            "SELECT size FROM blobs b WHERE id = ?1
             AND NOT EXISTS (SELECT 1 FROM repository_blobs h WHERE h.blob = b.id)
             AND NOT EXISTS (SELECT 1 FROM blob_edges e WHERE e.blob = b.id)",
        )?
        .query_row([blob], |row| row.get(0))
        .optional()?;
    let Some(size) = size else { return Ok(0) };
    connection
        .prepare_cached(
            "INSERT INTO doomed_bytes (digest, size, placement)
             SELECT digest, size, placement FROM blobs WHERE id = ?1 AND bytes IS NULL",
        )?
        .execute([blob])?;
    connection.prepare_cached("DELETE FROM blobs WHERE id = ?1")?.execute([blob])?;
    Ok(size)
}

/// A blob of a repository, by the numbers of both.
pub(crate) type Holding = (i64, i64);

/// Whether a document of the repository needs the blob.
fn is_used(connection: &Connection, (repository, blob): Holding) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM blob_edges WHERE blob = ?2 AND repository = ?1)")?
        .query_row(params![repository, blob], |row| row.get(0))
}

/// Whether a document of the repository needs the blob when what is planned has been done.
pub(super) fn is_used_but(
    connection: &Connection,
    (repository, blob): Holding,
    planned: &Planned,
) -> rusqlite::Result<bool> {
    if planned.deletes_no_document() {
        return is_used(connection, (repository, blob));
    }
    let mut statement =
        connection.prepare_cached("SELECT document FROM blob_edges WHERE blob = ?2 AND repository = ?1")?;
    let mut rows = statement.query(params![repository, blob])?;
    while let Some(row) = rows.next()? {
        if !planned.deletes_document(row.get(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the blob was pushed or mounted of late. `None`: the repository does not hold it.
pub(super) fn is_recent(
    connection: &Connection,
    (repository, blob): Holding,
    rules: &Rules,
) -> rusqlite::Result<Option<bool>> {
    connection
        .prepare_cached("SELECT added_at >= ?3 FROM repository_blobs WHERE repository = ?1 AND blob = ?2")?
        .query_row(params![repository, blob, rules.unused_since], |row| row.get(0))
        .optional()
}

/// A blob of a repository as it is told of.
pub(super) fn item(
    connection: &Connection,
    (repository, blob): Holding,
    action: GcAction,
) -> Result<Option<GcItem>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT r.registry, r.name, b.digest, b.size, h.added_at FROM repository_blobs h
         JOIN repositories r ON r.id = h.repository JOIN blobs b ON b.id = h.blob
         WHERE h.repository = ?1 AND h.blob = ?2",
    )?;
    let mut rows = statement.query(params![repository, blob])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(GcItem {
        action,
        kind: GcKind::Blob,
        repository: Some(read_repository(row)?),
        digest: Digest::parse(&row.get::<_, String>(2)?)?,
        size: row.get(3)?,
        since: Some(instant(row.get(4)?)),
    }))
}

/// Blobs to condemn.
pub(crate) fn unused_blobs(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
) -> Result<Candidates<Holding>, Failure> {
    unused_but(connection, rules, after, &Planned::default())
}

/// Blobs to condemn when what is planned has been done.
pub(super) fn unused_but(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
    planned: &Planned,
) -> Result<Candidates<Holding>, Failure> {
    let mut found = Candidates::new();
    let mut statement = connection.prepare_cached(
        "SELECT h.repository, h.blob, h.added_at >= ?3,
                EXISTS (SELECT 1 FROM condemned_blobs c WHERE c.repository = h.repository AND c.blob = h.blob)
         FROM repository_blobs h WHERE (h.repository, h.blob) > (?1, ?2) ORDER BY h.repository, h.blob LIMIT ?4",
    )?;
    let mut rows = statement.query(params![after.0, after.1, rules.unused_since, LOOKED_AT])?;
    let (mut seen, mut last) = (0, after);
    while let Some(row) = rows.next()? {
        last = CollectionPosition(row.get(0)?, row.get(1)?);
        seen += 1;
        let holding = (last.0, last.1);
        if planned.deletes_blob(holding) {
            continue;
        }
        let kept = &mut found.step.done.kept;
        if is_used_but(connection, holding, planned)? {
            kept.used_blobs += 1;
        } else if row.get(2)? {
            kept.recent_blobs += 1;
        } else if row.get(3)? && !planned.rescues_blob(holding) {
            kept.waiting += 1;
        } else {
            found.found.push(holding);
            if found.found.len() >= rules.batch {
                found.step.next = Some(last);
                break;
            }
        }
    }
    if found.step.next.is_none() {
        found.end(seen, last);
    }
    Ok(found)
}

pub(crate) fn condemn_blobs(
    connection: &Connection,
    rules: &Rules,
    blobs: &[Holding],
) -> Result<(usize, Done), Failure> {
    let mut done = Done::default();
    for holding in blobs {
        if is_recent(connection, *holding, rules)? == Some(false) && !is_used(connection, *holding)? {
            let written = connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO condemned_blobs (repository, blob, epoch, condemned_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![holding.0, holding.1, rules.epoch, now()])?;
            done.report.condemned_blobs += written as u64;
            if rules.list && written > 0 {
                done.items.extend(item(connection, *holding, GcAction::Condemn)?);
            }
        }
    }
    Ok((blobs.len(), done))
}

/// Blobs whose time has come.
pub(crate) fn ripe_blobs(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
) -> Result<Candidates<Holding>, Failure> {
    let mut found = Candidates::new();
    let mut statement = connection.prepare_cached(
        "SELECT repository, blob FROM condemned_blobs
         WHERE (repository, blob) > (?1, ?2) AND epoch < ?3 AND condemned_at <= ?4
         ORDER BY repository, blob LIMIT ?5",
    )?;
    let limit = i64::try_from(rules.batch).unwrap_or(LOOKED_AT).min(LOOKED_AT);
    found.found = statement
        .query_map(params![after.0, after.1, rules.epoch, rules.condemned_until, limit], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<Result<_, _>>()?;
    found.step.next = found.found.last().map(|last| CollectionPosition(last.0, last.1));
    Ok(found)
}

pub(crate) fn sweep_blobs(connection: &Connection, rules: &Rules, blobs: &[Holding]) -> Result<(usize, Done), Failure> {
    let mut done = Done::default();
    for holding in blobs {
        let condemned = connection
            .prepare_cached("DELETE FROM condemned_blobs WHERE repository = ?1 AND blob = ?2")?
            .execute(params![holding.0, holding.1])?;
        if condemned == 0 {
            continue;
        }
        if is_used(connection, *holding)? || is_recent(connection, *holding, rules)? == Some(true) {
            done.report.rescued += 1;
            continue;
        }
        if rules.list {
            done.items.extend(item(connection, *holding, GcAction::Delete)?);
        }
        let gone = connection
            .prepare_cached("DELETE FROM repository_blobs WHERE repository = ?1 AND blob = ?2")?
            .execute(params![holding.0, holding.1])?;
        done.report.swept_blobs += gone as u64;
        done.report.swept_bytes += remove_unheld(connection, holding.1)?;
    }
    Ok((blobs.len(), done))
}

pub(crate) fn doomed(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Doomed>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT id, digest, size, placement FROM doomed_bytes WHERE id > ?1 ORDER BY id LIMIT ?2")?;
    let mut rows = statement.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let placement = Placement(row.get::<_, Option<String>>(3)?.map(Into::into));
        let digest = Digest::parse(&row.get::<_, String>(1)?)?;
        let blob = BlobRecord { digest, size: row.get(2)?, content: BlobContent::Stored(placement) };
        found.push(Doomed { number: row.get(0)?, blob });
    }
    Ok(found)
}

pub(crate) fn is_stored(connection: &Connection, digest: &Digest) -> Result<bool, Failure> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1 AND bytes IS NULL)")?
        .query_row([digest.as_str()], |row| row.get(0))?)
}

pub(crate) fn forget_doomed(connection: &Connection, doomed: &[Doomed]) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached("DELETE FROM doomed_bytes WHERE id = ?1")?;
    for doomed in doomed {
        statement.execute([doomed.number])?;
    }
    Ok(())
}
