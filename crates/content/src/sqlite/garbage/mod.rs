//! Which documents and blobs nothing needs; condemning, sweeping and rescuing them.
//!
//! A document is needed if it, or something above it, is a root: has a tag, lost one of late, was pushed or referred to
//! of late, or is an image of the local store that somebody may have pulled by digest. Above it are the indexes that name
//! it, and its own subject. All of that is looked up anew in the transaction that condemns or sweeps, so it does not
//! matter what was read before it, or who else collects.

mod blobs;
mod documents;
mod moves;
mod plan;
mod rescue;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, params};

pub(super) use self::blobs::{
    condemn_blobs, doomed, forget_doomed, is_stored, remove_unheld, ripe_blobs, sweep_blobs, unused_blobs,
};
pub(super) use self::documents::{
    condemn_documents, remove_document, ripe_documents, sweep_documents, unneeded_documents,
};
pub(super) use self::moves::{old_moves, prune_moves};
pub(super) use self::plan::plan;
pub(super) use self::rescue::{refer, rescue_blob, rescue_document, uncondemn_blob};
use super::failure::Failure;
use super::now;
use crate::garbage::{CollectionPosition, CollectionStep, GcItem, GcOptions, GcReport};

/// Rows that one step of a phase looks at outside of a transaction.
const LOOKED_AT: i64 = 4096;
/// Rows above its candidates that one transaction looks at, about: some tens of milliseconds.
const WALKED: usize = 10_000;
/// So much longer than what a tag left is kept, the move itself is: to be told in a history that it is gone is more than
/// to be told nothing.
const HISTORY_MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The instants and the number that a collection goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    epoch: u64,
    untagged_since: i64,
    unused_since: i64,
    left_since: i64,
    moved_until: i64,
    condemned_until: i64,
    keep_untagged_local: bool,
    batch: usize,
    list: bool,
}

impl Rules {
    pub(super) fn new(epoch: u64, options: &GcOptions) -> Self {
        let now = now();
        let before = |passed: Duration| now - i64::try_from(passed.as_millis()).unwrap_or(i64::MAX / 2);
        Self {
            epoch,
            // Nothing is recent if nothing is to be kept for being so, not even what came this millisecond.
            untagged_since: before(options.keep_untagged) + i64::from(options.keep_untagged.is_zero()),
            unused_since: before(options.keep_unused_blobs) + i64::from(options.keep_unused_blobs.is_zero()),
            left_since: before(options.keep_history) + i64::from(options.keep_history.is_zero()),
            moved_until: before(options.keep_history.saturating_add(HISTORY_MARGIN)),
            condemned_until: before(options.sweep_after),
            keep_untagged_local: options.keep_untagged_local,
            batch: options.batch.max(1),
            list: options.list,
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
    Local,
    Needed,
}

impl Root {
    fn count(self, report: &mut GcReport) {
        let kept = &mut report.kept;
        *match self {
            Self::Tagged => &mut kept.tagged,
            Self::Recent => &mut kept.recent,
            Self::History => &mut kept.history,
            Self::Local => &mut kept.untagged_local,
            Self::Needed => &mut kept.needed,
        } += 1;
    }
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
                        WHERE h.repository = a.repository AND h.from_digest = a.digest AND h.at >= ?5),
                ?6 AND (SELECT r.registry <> '' FROM repositories r WHERE r.id = a.repository)
         FROM above a",
    )?;
    let mut rows = statement.query(params![
        document,
        rules.untagged_since,
        rules.epoch,
        rules.condemned_until,
        rules.left_since,
        rules.keep_untagged_local
    ])?;
    let mut found = Above { root: None, rows: Vec::new(), ripe: true };
    let mut local = false;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let root = match (row.get(1)?, row.get(2)?, row.get(4)?) {
            (true, _, _) => Some(Root::Tagged),
            (false, true, _) => Some(Root::Recent),
            (false, false, true) => Some(Root::History),
            (false, false, false) => None,
        };
        // The weakest reason: one that has another above it is kept for that.
        local |= row.get::<_, bool>(5)?;
        found.ripe &= row.get::<_, bool>(3)?;
        found.rows.push(id);
        if root.is_some() {
            found.root = if id == document { root } else { Some(Root::Needed) };
            break;
        }
    }
    if local && found.root.is_none() {
        found.root = Some(Root::Local);
    }
    Ok(found)
}

/// What a transaction of a collection did.
#[derive(Default)]
pub(super) struct Done {
    pub(super) report: GcReport,
    /// Each thing, if that is asked for.
    pub(super) items: Vec<GcItem>,
}

/// Condemns or sweeps some of what a phase found, in a transaction; returns how many it looked at before it had done
/// enough for one.
pub(super) type Change<T> = fn(&Connection, &Rules, &[T]) -> Result<(usize, Done), Failure>;

/// What a phase found outside of a transaction, to be looked at again within one.
pub(super) struct Candidates<T> {
    pub(super) found: Vec<T>,
    pub(super) step: CollectionStep,
}

impl<T> Candidates<T> {
    fn new() -> Self {
        Self { found: Vec::new(), step: CollectionStep { next: None, done: GcReport::default(), items: Vec::new() } }
    }

    fn end(&mut self, seen: i64, last: CollectionPosition) {
        self.step.next = (seen == LOOKED_AT).then_some(last);
    }
}

/// An instant of a row. One before 1970 is 1970.
fn instant(milliseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
