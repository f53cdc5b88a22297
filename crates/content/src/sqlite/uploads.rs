//! Upload sessions.

use bytes::Bytes;
use image::Algorithm;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::failure::Failure;
use super::{make_repository, now, registry_of};
use crate::metadata_store::{Upload, UploadContent};
use crate::{RepositoryId, StageId, UploadId};

pub(super) fn start(
    connection: &Connection,
    repository: &RepositoryId,
    id: &UploadId,
    algorithm: Algorithm,
) -> Result<Upload, Failure> {
    let row = make_repository(connection, repository)?;
    connection
        .prepare_cached(
            "INSERT INTO uploads (id, repository, algorithm, received, created_at, updated_at, bytes)
             VALUES (?1, ?2, ?3, 0, ?4, ?4, x'')",
        )?
        .execute(params![id.as_str(), row, algorithm.as_str(), now()])?;
    Ok(Upload {
        repository: repository.clone(),
        id: id.clone(),
        offset: 0,
        algorithm,
        content: UploadContent::Inline(Bytes::new()),
    })
}

type Columns = (String, u64, Option<String>, Option<Vec<u8>>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryId,
    id: &UploadId,
) -> Result<Option<Upload>, Failure> {
    let row = connection
        .prepare_cached(
            "SELECT u.algorithm, u.received, u.stage, u.bytes FROM uploads u JOIN repositories r ON r.id = u.repository
             WHERE u.id = ?1 AND r.registry = ?2 AND r.name = ?3",
        )?
        .query_row(params![id.as_str(), registry_of(repository), repository.name.as_str()], columns)
        .optional()?;
    let Some((algorithm, offset, stage, bytes)) = row else { return Ok(None) };
    let content = match (stage, bytes) {
        (Some(stage), _) => UploadContent::Staged(StageId::new(stage)),
        (None, Some(bytes)) if bytes.len() as u64 == offset => UploadContent::Inline(bytes.into()),
        (None, _) => return Err(Failure::Row("an upload session without its bytes".to_owned())),
    };
    let algorithm = algorithm.parse::<Algorithm>()?;
    Ok(Some(Upload { repository: repository.clone(), id: id.clone(), offset, algorithm, content }))
}

pub(super) fn advance(
    connection: &Connection,
    from: &Upload,
    offset: u64,
    content: &UploadContent,
) -> Result<bool, Failure> {
    let staged = |content: &UploadContent| match content {
        UploadContent::Inline(_) => None,
        UploadContent::Staged(stage) => Some(stage.as_str().to_owned()),
    };
    let bytes = match content {
        UploadContent::Inline(bytes) => Some(&bytes[..]),
        UploadContent::Staged(_) => None,
    };
    let changed = connection
        .prepare_cached(
            "UPDATE uploads SET received = ?2, stage = ?3, bytes = ?4, updated_at = ?5
             WHERE id = ?1 AND received = ?6 AND stage IS ?7",
        )?
        .execute(params![
            from.id.as_str(),
            offset,
            staged(content),
            bytes,
            now(),
            from.offset,
            staged(&from.content)
        ])?;
    Ok(changed > 0)
}

pub(super) fn end(
    connection: &Connection,
    repository: &RepositoryId,
    id: &UploadId,
) -> Result<Option<Upload>, Failure> {
    let found = find(connection, repository, id)?;
    if found.is_some() {
        connection.prepare_cached("DELETE FROM uploads WHERE id = ?1")?.execute([id.as_str()])?;
    }
    Ok(found)
}

pub(super) fn count(connection: &Connection) -> Result<u64, Failure> {
    Ok(connection.prepare_cached("SELECT COUNT(*) FROM uploads")?.query_row([], |row| row.get(0))?)
}

/// Whether there are sessions older than `before`: asked first, so that nobody waits for the lock in vain.
pub(super) fn any_older(connection: &Connection, before: i64) -> Result<bool, Failure> {
    Ok(connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM uploads WHERE updated_at < ?1)")?
        .query_row([before], |row| row.get(0))?)
}

pub(super) fn expire(connection: &Connection, before: i64) -> Result<Vec<StageId>, Failure> {
    let stages: Vec<Option<String>> = connection
        .prepare_cached("DELETE FROM uploads WHERE updated_at < ?1 RETURNING stage")?
        .query_map([before], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(stages.into_iter().flatten().map(StageId::new).collect())
}
