//! Whether the metadata agrees with itself.

use image::Digest;
use rusqlite::Connection;

use super::failure::Failure;

pub(super) fn inconsistencies(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" {
            found.push(format!("the database is damaged: {line}"));
        }
    }
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        found.push(format!("a row of `{table}` refers to one of `{parent}` that is not there"));
    }
    let mut statement = connection.prepare(
        "SELECT CASE r.registry WHEN '' THEN r.name ELSE r.registry || '/' || r.name END, d.digest, d.size, d.bytes
         FROM documents d JOIN repositories r ON r.id = d.repository",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (repository, text, size): (String, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let bytes = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        match Digest::parse(&text) {
            Ok(digest) if Digest::of(digest.algorithm(), bytes) != digest => {
                found.push(format!("manifest `{text}` in `{repository}` has other bytes than its digest says"));
            }
            Ok(_) if bytes.len() as u64 != size => {
                found.push(format!("manifest `{text}` in `{repository}` has another size than its row says"));
            }
            Ok(_) => {}
            Err(error) => found.push(format!("a manifest in `{repository}` has no digest: {error}")),
        }
    }
    let mut statement = connection.prepare(
        "SELECT CASE r.registry WHEN '' THEN r.name ELSE r.registry || '/' || r.name END, d.digest, b.digest
         FROM blob_edges e JOIN documents d ON d.id = e.document JOIN repositories r ON r.id = d.repository
         JOIN blobs b ON b.id = e.blob
         WHERE NOT EXISTS (SELECT 1 FROM repository_blobs h WHERE h.repository = r.id AND h.blob = b.id)",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (repository, document, blob): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        found.push(format!("manifest `{document}` in `{repository}` needs blob `{blob}`, which was deleted there"));
    }
    Ok(found)
}
