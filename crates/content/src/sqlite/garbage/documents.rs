//! Documents: condemned when nothing needs them, deleted with all that is above them.

use image::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::plan::Planned;
use super::{Candidates, Done, LOOKED_AT, Rules, WALKED, above, instant, remove_unheld};
use crate::garbage::{CollectionPosition, GcAction, GcItem, GcKind};
use crate::sqlite::failure::Failure;
use crate::sqlite::listing::read_repository;
use crate::sqlite::now;

/// Documents to condemn.
pub(crate) fn unneeded_documents(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
) -> Result<Candidates<i64>, Failure> {
    unneeded_but(connection, rules, after, &Planned::default())
}

/// Documents to condemn when what is planned has been done.
pub(super) fn unneeded_but(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
    planned: &Planned,
) -> Result<Candidates<i64>, Failure> {
    let mut found = Candidates::new();
    let mut statement = connection.prepare_cached(
        "SELECT d.referenced_at, d.id, EXISTS (SELECT 1 FROM tags t WHERE t.document = d.id),
                EXISTS (SELECT 1 FROM condemned_documents c WHERE c.document = d.id)
         FROM documents d WHERE (d.referenced_at, d.id) > (?1, ?2) ORDER BY d.referenced_at, d.id LIMIT ?3",
    )?;
    let mut rows = statement.query(params![after.0, after.1, LOOKED_AT])?;
    let (mut seen, mut last, mut walked) = (0, after, 0);
    while let Some(row) = rows.next()? {
        last = CollectionPosition(row.get(0)?, row.get(1)?);
        seen += 1;
        if planned.deletes_document(last.1) {
            continue;
        }
        let report = &mut found.step.done;
        if row.get(2)? {
            report.kept.tagged += 1;
        } else if last.0 >= rules.untagged_since {
            report.kept.recent += 1;
        } else if row.get(3)? && !planned.rescues_document(last.1) {
            report.kept.waiting += 1;
        } else {
            let above = above(connection, last.1, rules)?;
            walked += above.rows.len();
            match above.root {
                Some(root) => root.count(report),
                None => found.found.push(last.1),
            }
            if walked > WALKED || found.found.len() >= rules.batch {
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

/// Condemns those of `documents` that nothing needs now: a [`super::Change`].
pub(crate) fn condemn_documents(
    connection: &Connection,
    rules: &Rules,
    documents: &[i64],
) -> Result<(usize, Done), Failure> {
    let mut done = Done::default();
    let (mut looked_at, mut walked) = (0, 0);
    for document in documents {
        looked_at += 1;
        let above = above(connection, *document, rules)?;
        walked += above.rows.len();
        if above.root.is_none() && !above.rows.is_empty() {
            let written = connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO condemned_documents (document, epoch, condemned_at) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![document, rules.epoch, now()])?;
            done.report.condemned_documents += written as u64;
            if rules.list && written > 0 {
                done.items.extend(item(connection, *document, GcAction::Condemn)?);
            }
        }
        if walked > WALKED {
            break;
        }
    }
    Ok((looked_at, done))
}

/// Documents whose time has come.
pub(crate) fn ripe_documents(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
) -> Result<Candidates<i64>, Failure> {
    let mut found = Candidates::new();
    let mut statement = connection.prepare_cached(
        "SELECT document FROM condemned_documents WHERE document > ?1 AND epoch < ?2 AND condemned_at <= ?3
         ORDER BY document LIMIT ?4",
    )?;
    let limit = i64::try_from(rules.batch).unwrap_or(LOOKED_AT).min(LOOKED_AT);
    found.found = statement
        .query_map(params![after.0, rules.epoch, rules.condemned_until, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    found.step.next = found.found.last().map(|last| CollectionPosition(*last, 0));
    Ok(found)
}

pub(super) fn size_of_document(connection: &Connection, document: i64) -> rusqlite::Result<u64> {
    let size = connection
        .prepare_cached("SELECT size FROM documents WHERE id = ?1")?
        .query_row([document], |row| row.get(0))
        .optional()?;
    Ok(size.unwrap_or(0))
}

/// A document as it is told of.
pub(super) fn item(connection: &Connection, document: i64, action: GcAction) -> Result<Option<GcItem>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT r.registry, r.name, d.digest, d.size, d.referenced_at FROM documents d
         JOIN repositories r ON r.id = d.repository WHERE d.id = ?1",
    )?;
    let mut rows = statement.query([document])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(GcItem {
        action,
        kind: GcKind::Manifest,
        repository: Some(read_repository(row)?),
        digest: Digest::parse(&row.get::<_, String>(2)?)?,
        size: row.get(3)?,
        since: Some(instant(row.get(4)?)),
    }))
}

/// Deletes those of `documents` that nothing needs now, each together with all that is above it: nothing that stays
/// refers to something that went. A [`super::Change`].
pub(crate) fn sweep_documents(
    connection: &Connection,
    rules: &Rules,
    documents: &[i64],
) -> Result<(usize, Done), Failure> {
    let mut done = Done::default();
    let (mut looked_at, mut walked) = (0, 0);
    for document in documents {
        looked_at += 1;
        let still: bool = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM condemned_documents WHERE document = ?1)")?
            .query_row([document], |row| row.get(0))?;
        if !still {
            continue;
        }
        let above = above(connection, *document, rules)?;
        walked += above.rows.len();
        if above.root.is_some() {
            connection.prepare_cached("DELETE FROM condemned_documents WHERE document = ?1")?.execute([document])?;
            done.report.rescued += 1;
        } else if above.ripe {
            for row in above.rows {
                if rules.list {
                    done.items.extend(item(connection, row, GcAction::Delete)?);
                }
                done.report.swept_bytes += size_of_document(connection, row)?;
                done.report.swept_bytes += remove_document(connection, row)?;
                done.report.swept_documents += 1;
            }
        }
        // Else something above it was condemned later, and all wait for that.
        if walked > WALKED {
            break;
        }
    }
    Ok((looked_at, done))
}

/// Deletes a document with its edges and tags. Returns the bytes of blobs that went with it.
pub(crate) fn remove_document(connection: &Connection, document: i64) -> Result<u64, Failure> {
    let blobs: Vec<i64> = connection
        .prepare_cached("DELETE FROM blob_edges WHERE document = ?1 RETURNING blob")?
        .query_map([document], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for statement in [
        "DELETE FROM tags WHERE document = ?1",
        "DELETE FROM child_edges WHERE parent = ?1",
        "DELETE FROM awaited_blobs WHERE document = ?1",
        "DELETE FROM condemned_documents WHERE document = ?1",
        "DELETE FROM documents WHERE id = ?1",
    ] {
        connection.prepare_cached(statement)?.execute([document])?;
    }
    let mut freed = 0;
    for blob in blobs {
        freed += remove_unheld(connection, blob)?;
    }
    Ok(freed)
}
