//! Moves of tags that are too old to go back by.
//!
//! Of the moves before a line in the past the last one of each tag stays, because it tells where the tag pointed at that
//! line; of a tag that was deleted by then, none does.

use rusqlite::{Connection, params};

use super::{Candidates, Done, LOOKED_AT, Rules};
use crate::garbage::CollectionPosition;
use crate::sqlite::failure::Failure;

/// Whether there is a later move of the same tag, also before the line.
const SUPERSEDED: &str = "EXISTS (SELECT 1 FROM tag_history n
    WHERE n.repository = h.repository AND n.tag = h.tag AND n.id > h.id AND n.at <= ?2)";

/// Moves that may go, and those that may when others have.
pub(crate) fn old_moves(
    connection: &Connection,
    rules: &Rules,
    after: CollectionPosition,
) -> Result<Candidates<i64>, Failure> {
    let mut found = Candidates::new();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT h.id, h.at <= ?2, h.at <= ?2 AND (h.to_digest IS NULL OR {SUPERSEDED}) FROM tag_history h
         WHERE h.id > ?1 ORDER BY h.id LIMIT ?3"
    ))?;
    let mut rows = statement.query(params![after.0, rules.moved_until, LOOKED_AT])?;
    let (mut seen, mut last, mut old) = (0, after, false);
    while let Some(row) = rows.next()? {
        last = CollectionPosition(row.get(0)?, 0);
        seen += 1;
        old |= row.get::<_, bool>(1)?;
        if row.get(2)? {
            found.found.push(last.0);
            if found.found.len() >= rules.batch {
                found.step.next = Some(last);
                break;
            }
        }
    }
    // Later moves have higher numbers, but for clocks that jump: after so many young ones no old one is looked for.
    if found.step.next.is_none() && old {
        found.end(seen, last);
    }
    Ok(found)
}

/// Deletes those of `moves` that may go now, the oldest first: a [`super::Change`].
pub(crate) fn prune_moves(connection: &Connection, rules: &Rules, moves: &[i64]) -> Result<(usize, Done), Failure> {
    let mut done = Done::default();
    // The end of a tag is only forgotten with all that was before it, or the tag would seem to be there again.
    let mut statement = connection.prepare_cached(&format!(
        "DELETE FROM tag_history AS h WHERE h.id = ?1 AND h.at <= ?2 AND ({SUPERSEDED} OR (h.to_digest IS NULL
             AND NOT EXISTS (SELECT 1 FROM tag_history o
                             WHERE o.repository = h.repository AND o.tag = h.tag AND o.id < h.id)))"
    ))?;
    for number in moves {
        done.report.pruned_moves += statement.execute(params![number, rules.moved_until])? as u64;
    }
    Ok((moves.len(), done))
}

/// How many of `moves` would go.
pub(super) fn count(connection: &Connection, rules: &Rules, moves: &[i64]) -> Result<u64, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {SUPERSEDED} OR NOT EXISTS (SELECT 1 FROM tag_history o
             WHERE o.repository = h.repository AND o.tag = h.tag AND o.id < h.id AND o.at > ?2)
         FROM tag_history h WHERE h.id = ?1"
    ))?;
    let mut count = 0;
    for number in moves {
        count += u64::from(statement.query_row(params![number, rules.moved_until], |row| row.get::<_, bool>(0))?);
    }
    Ok(count)
}
