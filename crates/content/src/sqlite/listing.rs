//! Listings, page by page: each page begins after the last key of the one before, so that none gets slower than the
//! first.

use image::{Digest, MediaType, RegistryHost, RepositoryName, Tag};
use rusqlite::{Connection, params};

use super::failure::Failure;
use super::find_repository;
use crate::metadata_store::{Page, Referrer};
use crate::{RepositoryId, Scope};

/// One more than the page holds tells whether there are more.
fn probe(limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)
}

fn page<T>(mut items: Vec<T>, limit: usize) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    Page { items, more }
}

pub(super) fn tags(
    connection: &Connection,
    repository: &RepositoryId,
    after: Option<&str>,
    limit: usize,
) -> Result<Option<Page<Tag>>, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(None) };
    let mut statement = connection
        .prepare_cached("SELECT name FROM tags WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3")?;
    let mut rows = statement.query(params![id, after.unwrap_or_default(), probe(limit)])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(Tag::parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?);
    }
    Ok(Some(page(items, limit)))
}

pub(super) fn repositories(
    connection: &Connection,
    scope: Scope,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<RepositoryId>, Failure> {
    let after = after.unwrap_or_default();
    let (statement, registry, name) = match scope {
        Scope::Served => (
            "SELECT registry, name FROM repositories r WHERE registry = ?1 AND name > ?2
             AND EXISTS (SELECT 1 FROM documents d WHERE d.repository = r.id) ORDER BY name LIMIT ?3",
            "",
            after,
        ),
        Scope::Local => {
            let (registry, name) = after.split_once('/').unwrap_or((after, ""));
            (
                "SELECT registry, name FROM repositories r WHERE registry > '' AND (registry, name) > (?1, ?2)
                 AND EXISTS (SELECT 1 FROM documents d WHERE d.repository = r.id) ORDER BY registry, name LIMIT ?3",
                registry,
                name,
            )
        }
    };
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(params![registry, name, probe(limit)])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(read_repository(row)?);
    }
    Ok(page(items, limit))
}

/// Reads `registry, name` from the first two columns.
pub(super) fn read_repository(row: &rusqlite::Row<'_>) -> Result<RepositoryId, Failure> {
    let registry: String = row.get(0)?;
    let name: String = row.get(1)?;
    let registry = if registry.is_empty() { None } else { Some(RegistryHost::parse(&registry)?) };
    Ok(RepositoryId { registry, name: RepositoryName::parse(&name)? })
}

pub(super) fn referrers(
    connection: &Connection,
    repository: &RepositoryId,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Page<Referrer>, Failure> {
    let Some(id) = find_repository(connection, repository)? else { return Ok(page(Vec::new(), limit)) };
    let mut statement = connection.prepare_cached(
        "SELECT digest, media_type, size, artifact_type, annotations FROM documents
         WHERE repository = ?1 AND subject = ?2 AND digest > ?3 AND (?4 IS NULL OR artifact_type = ?4)
         ORDER BY digest LIMIT ?5",
    )?;
    let after = after.map_or("", Digest::as_str);
    let mut rows = statement.query(params![id, subject.as_str(), after, artifact_type, probe(limit)])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(Referrer {
            digest: Digest::parse(&row.get::<_, String>(0)?)?,
            media_type: MediaType::new(row.get::<_, String>(1)?),
            size: row.get(2)?,
            artifact_type: row.get(3)?,
            annotations: row.get(4)?,
        });
    }
    Ok(page(items, limit))
}
