//! What a collection would do, without doing it: the same look-ups, over what is there without what is planned so far.

use std::collections::{BTreeSet, HashSet};

use image::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use super::blobs::Holding;
use super::{Candidates, Done, Rules, above, blobs, documents, moves};
use crate::garbage::{CollectionPosition, GcAction, GcItem, GcKind, GcReport};
use crate::sqlite::failure::Failure;

/// What is planned so far.
#[derive(Default)]
pub(super) struct Planned {
    deleted_documents: HashSet<i64>,
    rescued_documents: HashSet<i64>,
    deleted_blobs: HashSet<Holding>,
    rescued_blobs: HashSet<Holding>,
}

impl Planned {
    pub(super) fn deletes_no_document(&self) -> bool {
        self.deleted_documents.is_empty()
    }

    pub(super) fn deletes_document(&self, document: i64) -> bool {
        self.deleted_documents.contains(&document)
    }

    pub(super) fn rescues_document(&self, document: i64) -> bool {
        self.rescued_documents.contains(&document)
    }

    pub(super) fn deletes_blob(&self, holding: Holding) -> bool {
        self.deleted_blobs.contains(&holding)
    }

    pub(super) fn rescues_blob(&self, holding: Holding) -> bool {
        self.rescued_blobs.contains(&holding)
    }
}

/// Goes through a phase, step by step.
fn phase<T>(
    report: &mut GcReport,
    mut step: impl FnMut(CollectionPosition) -> Result<Candidates<T>, Failure>,
    mut take: impl FnMut(T, &mut GcReport) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut position = Some(CollectionPosition::default());
    while let Some(after) = position {
        let found = step(after)?;
        report.add(&found.step.done);
        position = found.step.next;
        for candidate in found.found {
            take(candidate, report)?;
        }
    }
    Ok(())
}

/// All phases of a collection, in their order, at one moment.
pub(crate) fn plan(connection: &Connection, rules: &Rules) -> Result<Done, Failure> {
    // All reads see the same state. Nobody waits for a reader.
    let _moment = connection.unchecked_transaction()?;
    let mut report = GcReport { epoch: rules.epoch, ..GcReport::default() };
    let mut items = Vec::new();
    let mut planned = Planned::default();
    phase(
        &mut report,
        |after| documents::ripe_documents(connection, rules, after),
        |document, report| {
            if planned.deletes_document(document) {
                return Ok(());
            }
            let above = above(connection, document, rules)?;
            if above.root.is_some() {
                planned.rescued_documents.insert(document);
                report.rescued += 1;
            } else if above.ripe {
                for row in above.rows {
                    if planned.deleted_documents.insert(row) {
                        if rules.list {
                            items.extend(documents::item(connection, row, GcAction::Delete)?);
                        }
                        report.swept_documents += 1;
                        report.swept_bytes += documents::size_of_document(connection, row)?;
                    }
                }
            }
            Ok(())
        },
    )?;
    phase(
        &mut report,
        |after| blobs::ripe_blobs(connection, rules, after),
        |holding, report| {
            let needed = blobs::is_used_but(connection, holding, &planned)?
                || blobs::is_recent(connection, holding, rules)? == Some(true);
            if needed {
                planned.rescued_blobs.insert(holding);
                report.rescued += 1;
            } else {
                planned.deleted_blobs.insert(holding);
                if rules.list {
                    items.extend(blobs::item(connection, holding, GcAction::Delete)?);
                }
                report.swept_blobs += 1;
            }
            Ok(())
        },
    )?;
    phase(
        &mut report,
        |after| documents::unneeded_but(connection, rules, after, &planned),
        |document, report| {
            if rules.list {
                items.extend(documents::item(connection, document, GcAction::Condemn)?);
            }
            report.condemned_documents += 1;
            Ok(())
        },
    )?;
    phase(
        &mut report,
        |after| blobs::unused_but(connection, rules, after, &planned),
        |holding, report| {
            if rules.list {
                items.extend(blobs::item(connection, holding, GcAction::Condemn)?);
            }
            report.condemned_blobs += 1;
            Ok(())
        },
    )?;
    phase(
        &mut report,
        |after| moves::old_moves(connection, rules, after),
        |number, report| {
            report.pruned_moves += moves::count(connection, rules, &[number])?;
            Ok(())
        },
    )?;
    bytes(connection, rules, &planned, &mut report, &mut items)?;
    Ok(Done { report, items })
}

/// Bytes that nobody holds any more when all that is done.
fn bytes(
    connection: &Connection,
    rules: &Rules,
    planned: &Planned,
    report: &mut GcReport,
    items: &mut Vec<GcItem>,
) -> Result<(), Failure> {
    let mut touched: BTreeSet<i64> = planned.deleted_blobs.iter().map(|holding| holding.1).collect();
    let mut edges = connection.prepare_cached("SELECT blob FROM blob_edges WHERE document = ?1")?;
    for document in &planned.deleted_documents {
        let mut rows = edges.query([document])?;
        while let Some(row) = rows.next()? {
            touched.insert(row.get(0)?);
        }
    }
    let mut remove = |digest: Digest, size: u64, report: &mut GcReport| {
        report.removed_blobs += 1;
        report.removed_bytes += size;
        if rules.list {
            let (action, kind) = (GcAction::Delete, GcKind::Bytes);
            items.push(GcItem { action, kind, repository: None, digest, size, since: None });
        }
    };
    let mut gone = HashSet::new();
    for blob in touched {
        if is_held_but(connection, blob, planned)? {
            continue;
        }
        let found = connection
            .prepare_cached("SELECT digest, size, bytes IS NULL FROM blobs WHERE id = ?1")?
            .query_row([blob], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?, row.get::<_, bool>(2)?)))
            .optional()?;
        let Some((digest, size, stored)) = found else { continue };
        report.swept_bytes += size;
        if stored {
            let digest = Digest::parse(&digest)?;
            gone.insert(digest.clone());
            remove(digest, size, report);
        }
    }
    let mut after = 0;
    loop {
        let page = blobs::doomed(connection, after, 256)?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.number;
        for doomed in page {
            if gone.contains(&doomed.blob.digest) || !blobs::is_stored(connection, &doomed.blob.digest)? {
                remove(doomed.blob.digest, doomed.blob.size, report);
            }
        }
    }
}

/// Whether a repository holds a blob, or a document needs it, when what is planned has been done.
fn is_held_but(connection: &Connection, blob: i64, planned: &Planned) -> rusqlite::Result<bool> {
    let mut holders = connection.prepare_cached("SELECT repository FROM repository_blobs WHERE blob = ?1")?;
    let mut rows = holders.query(params![blob])?;
    while let Some(row) = rows.next()? {
        if !planned.deletes_blob((row.get(0)?, blob)) {
            return Ok(true);
        }
    }
    let mut users = connection.prepare_cached("SELECT document FROM blob_edges WHERE blob = ?1")?;
    let mut rows = users.query(params![blob])?;
    while let Some(row) = rows.next()? {
        if !planned.deletes_document(row.get(0)?) {
            return Ok(true);
        }
    }
    Ok(false)
}
