//! Which documents and blobs nothing needs; condemning, sweeping and rescuing them.
//!
//! A document is needed if it, or something above it, is a root: has a tag, lost one of late, or was pushed or referred to of late. Above
//! it are the indexes that name it, and its own subject. All of that is looked up anew in the transaction that condemns
//! or sweeps, so it does not matter what was read before it, or who else collects.

use image::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::failure::Failure;
use super::{find_repository, now};
use crate::RepositoryId;
use crate::blob_store::Placement;
use crate::garbage::{CollectionPosition, CollectionStep, Doomed, GcOptions, GcReport};
use crate::metadata_store::{BlobContent, BlobRecord};

/// Rows that one step of a phase looks at outside of a transaction.
const LOOKED_AT: i64 = 4096;
/// Rows above its candidates that one transaction looks at, about: some tens of milliseconds.
const WALKED: usize = 10_000;
/// A document that is referred to again within this time is not written again.
const REFERENCE_RESOLUTION: i64 = 60_000;

/// The instants and the number that a collection goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    epoch: u64,
    untagged_since: i64,
    unused_since: i64,
    left_since: i64,
    condemned_until: i64,
    batch: usize,
    dry_run: bool,
}

impl Rules {
    pub(super) fn new(epoch: u64, options: &GcOptions) -> Self {
        let now = now();
        let before = |passed: std::time::Duration| now - i64::try_from(passed.as_millis()).unwrap_or(i64::MAX / 2);
        Self {
            epoch,
            // Nothing is recent if nothing is to be kept for being so, not even what came this millisecond.
            untagged_since: before(options.keep_untagged) + i64::from(options.keep_untagged.is_zero()),
            unused_since: before(options.keep_unused_blobs) + i64::from(options.keep_unused_blobs.is_zero()),
            left_since: before(options.keep_history) + i64::from(options.keep_history.is_zero()),
            condemned_until: before(options.sweep_after),
            batch: options.batch.max(1),
            dry_run: options.dry_run,
        }
    }
}

pub(super) fn begin(connection: &Connection) -> Result<u64, Failure> {
    connection.prepare_cached("UPDATE collections SET epoch = epoch + 1")?.execute([])?;
    Ok(connection.prepare_cached("SELECT epoch FROM collections")?.query_row([], |row| row.get(0))?)
}

pub(super) fn next(connection: &Connection) -> Result<u64, Failure> {
    Ok(connection.prepare_cached("SELECT epoch + 1 FROM collections")?.query_row([], |row| row.get(0))?)
}

/// Why a document is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Tagged,
    Recent,
    History,
    Needed,
}

/// A document and all that is above it.
struct Above {
    /// Why it is kept; `None` if it is not, and then `rows` are all.
    root: Option<Root>,
    rows: Vec<i64>,
    /// Whether the time of all of them has come.
    ripe: bool,
}

/// Walks upwards from a document until it finds a reason to keep it.
fn above(connection: &Connection, document: i64, rules: &Rules) -> rusqlite::Result<Above> {
    // `UNION` visits each document once: an index may name its own subject.
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE above (id, repository, digest, subject, referenced_at) AS (
             SELECT id, repository, digest, subject, referenced_at FROM documents WHERE id = ?1
             UNION
             SELECT d.id, d.repository, d.digest, d.subject, d.referenced_at FROM above a
                 JOIN child_edges e ON e.repository = a.repository AND e.child = a.digest
                 JOIN documents d ON d.id = e.parent
             UNION
             SELECT d.id, d.repository, d.digest, d.subject, d.referenced_at FROM above a
                 JOIN documents d ON d.repository = a.repository AND d.digest = a.subject
         )
         SELECT a.id, EXISTS (SELECT 1 FROM tags t WHERE t.document = a.id), a.referenced_at >= ?2,
                EXISTS (SELECT 1 FROM condemned_documents c
                        WHERE c.document = a.id AND c.epoch < ?3 AND c.condemned_at <= ?4),
                EXISTS (SELECT 1 FROM tag_history h
                        WHERE h.repository = a.repository AND h.from_digest = a.digest AND h.at >= ?5)
         FROM above a",
    )?;
    let mut rows = statement.query(params![
        document,
        rules.untagged_since,
        rules.epoch,
        rules.condemned_until,
        rules.left_since
    ])?;
    let mut found = Above { root: None, rows: Vec::new(), ripe: true };
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let root = match (row.get(1)?, row.get(2)?, row.get(4)?) {
            (true, _, _) => Some(Root::Tagged),
            (false, true, _) => Some(Root::Recent),
            (false, false, true) => Some(Root::History),
            (false, false, false) => None,
        };
        found.ripe &= row.get::<_, bool>(3)?;
        found.rows.push(id);
        if root.is_some() {
            found.root = if id == document { root } else { Some(Root::Needed) };
            break;
        }
    }
    Ok(found)
}

/// Condemns or sweeps some of what a phase found, in a transaction; returns how many it looked at before it had done
/// enough for one.
pub(super) type Change<T> = fn(&Connection, &Rules, &[T]) -> Result<(usize, GcReport), Failure>;

/// What a phase found outside of a transaction, to be looked at again within one.
pub(super) struct Candidates<T> {
    pub(super) found: Vec<T>,
    pub(super) step: CollectionStep,
}

impl<T> Candidates<T> {
    fn new() -> Self {
        Self { found: Vec::new(), step: CollectionStep { next: None, done: GcReport::default() } }
    }

    fn end(&mut self, seen: i64, last: CollectionPosition) {
        self.step.next = (seen == LOOKED_AT).then_some(last);
    }
}

/// Documents to condemn.
pub(super) fn unneeded_documents(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
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
        let kept = &mut found.step.done.kept;
        if row.get(2)? {
            kept.tagged += 1;
        } else if last.0 >= rules.untagged_since {
            kept.recent += 1;
        } else if row.get(3)? {
            kept.waiting += 1;
        } else {
            let above = above(connection, last.1, rules)?;
            walked += above.rows.len();
            match above.root {
                Some(Root::Tagged) => kept.tagged += 1,
                Some(Root::Recent) => kept.recent += 1,
                Some(Root::History) => kept.history += 1,
                Some(Root::Needed) => kept.needed += 1,
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
    if rules.dry_run {
        found.step.done.condemned_documents = found.found.len() as u64;
    }
    Ok(found)
}

/// Condemns those of `documents` that nothing needs now: a [`Change`].
pub(super) fn condemn_documents(
    connection: &Connection,
    rules: &Rules,
    documents: &[i64],
) -> Result<(usize, GcReport), Failure> {
    let mut done = GcReport::default();
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
            done.condemned_documents += written as u64;
        }
        if walked > WALKED {
            break;
        }
    }
    Ok((looked_at, done))
}

/// Documents whose time has come.
pub(super) fn ripe_documents(
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
    if rules.dry_run {
        for document in &found.found {
            let above = above(connection, *document, rules)?;
            found.step.done.rescued += u64::from(above.root.is_some());
            if above.root.is_none() && above.ripe {
                found.step.done.swept_documents += 1;
                found.step.done.swept_bytes += size_of_document(connection, *document)?;
            }
        }
    }
    Ok(found)
}

fn size_of_document(connection: &Connection, document: i64) -> rusqlite::Result<u64> {
    let size = connection
        .prepare_cached("SELECT size FROM documents WHERE id = ?1")?
        .query_row([document], |row| row.get(0))
        .optional()?;
    Ok(size.unwrap_or(0))
}

/// Deletes those of `documents` that nothing needs now, each together with all that is above it: nothing that stays
/// refers to something that went. A [`Change`].
pub(super) fn sweep_documents(
    connection: &Connection,
    rules: &Rules,
    documents: &[i64],
) -> Result<(usize, GcReport), Failure> {
    let mut done = GcReport::default();
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
            done.rescued += 1;
        } else if above.ripe {
            for row in above.rows {
                done.swept_bytes += size_of_document(connection, row)?;
                done.swept_bytes += remove_document(connection, row)?;
                done.swept_documents += 1;
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
pub(super) fn remove_document(connection: &Connection, document: i64) -> Result<u64, Failure> {
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

/// Deletes a blob's row if no repository holds it and no document needs it, and dooms its bytes in the same
/// transaction. Returns its size if it went.
pub(super) fn remove_unheld(connection: &Connection, blob: i64) -> Result<u64, Failure> {
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
pub(super) type Holding = (i64, i64);

/// Whether a document of the repository needs the blob.
fn is_used(connection: &Connection, (repository, blob): Holding) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM blob_edges e JOIN documents d ON d.id = e.document
                            WHERE e.blob = ?2 AND d.repository = ?1)",
        )?
        .query_row(params![repository, blob], |row| row.get(0))
}

/// Whether the blob was pushed or mounted of late. `None`: the repository does not hold it.
fn is_recent(connection: &Connection, (repository, blob): Holding, rules: &Rules) -> rusqlite::Result<Option<bool>> {
    connection
        .prepare_cached("SELECT added_at >= ?3 FROM repository_blobs WHERE repository = ?1 AND blob = ?2")?
        .query_row(params![repository, blob, rules.unused_since], |row| row.get(0))
        .optional()
}

/// Blobs to condemn.
pub(super) fn unused_blobs(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
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
        let kept = &mut found.step.done.kept;
        if is_used(connection, (last.0, last.1))? {
            kept.used_blobs += 1;
        } else if row.get(2)? {
            kept.recent_blobs += 1;
        } else if row.get(3)? {
            kept.waiting += 1;
        } else {
            found.found.push((last.0, last.1));
            if found.found.len() >= rules.batch {
                found.step.next = Some(last);
                break;
            }
        }
    }
    if found.step.next.is_none() {
        found.end(seen, last);
    }
    if rules.dry_run {
        found.step.done.condemned_blobs = found.found.len() as u64;
    }
    Ok(found)
}

pub(super) fn condemn_blobs(
    connection: &Connection,
    rules: &Rules,
    blobs: &[Holding],
) -> Result<(usize, GcReport), Failure> {
    let mut done = GcReport::default();
    for holding in blobs {
        if is_recent(connection, *holding, rules)? == Some(false) && !is_used(connection, *holding)? {
            let written = connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO condemned_blobs (repository, blob, epoch, condemned_at)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![holding.0, holding.1, rules.epoch, now()])?;
            done.condemned_blobs += written as u64;
        }
    }
    Ok((blobs.len(), done))
}

/// Blobs whose time has come.
pub(super) fn ripe_blobs(
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
    if rules.dry_run {
        for holding in &found.found {
            let needed = is_used(connection, *holding)? || is_recent(connection, *holding, rules)? == Some(true);
            found.step.done.rescued += u64::from(needed);
            found.step.done.swept_blobs += u64::from(!needed);
        }
    }
    Ok(found)
}

pub(super) fn sweep_blobs(
    connection: &Connection,
    rules: &Rules,
    blobs: &[Holding],
) -> Result<(usize, GcReport), Failure> {
    let mut done = GcReport::default();
    for holding in blobs {
        let condemned = connection
            .prepare_cached("DELETE FROM condemned_blobs WHERE repository = ?1 AND blob = ?2")?
            .execute(params![holding.0, holding.1])?;
        if condemned == 0 {
            continue;
        }
        if is_used(connection, *holding)? || is_recent(connection, *holding, rules)? == Some(true) {
            done.rescued += 1;
            continue;
        }
        let gone = connection
            .prepare_cached("DELETE FROM repository_blobs WHERE repository = ?1 AND blob = ?2")?
            .execute(params![holding.0, holding.1])?;
        done.swept_blobs += gone as u64;
        done.swept_bytes += remove_unheld(connection, holding.1)?;
    }
    Ok((blobs.len(), done))
}

pub(super) fn doomed(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Doomed>, Failure> {
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

pub(super) fn is_stored(connection: &Connection, digest: &Digest) -> Result<bool, Failure> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM blobs WHERE digest = ?1 AND bytes IS NULL)")?
        .query_row([digest.as_str()], |row| row.get(0))?)
}

pub(super) fn forget_doomed(connection: &Connection, doomed: &[Doomed]) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached("DELETE FROM doomed_bytes WHERE id = ?1")?;
    for doomed in doomed {
        statement.execute([doomed.number])?;
    }
    Ok(())
}

/// Makes a document's time begin anew: something referred to it.
pub(super) fn refer(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<()> {
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
pub(super) fn rescue_document(
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
pub(super) fn rescue_blob(
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

pub(super) fn uncondemn_blob(connection: &Connection, repository: i64, digest: &Digest) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM condemned_blobs
             WHERE repository = ?1 AND blob = (SELECT id FROM blobs WHERE digest = ?2)",
        )?
        .execute(params![repository, digest.as_str()])?;
    Ok(())
}
