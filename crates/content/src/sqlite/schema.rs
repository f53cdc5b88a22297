//! The tables, and how an older database becomes a newer one.

use rusqlite::Connection;

/// Each step takes the schema from its position to the next version. A step that was released is never changed.
const STEPS: [&str; 4] = [VERSION_1, VERSION_2, VERSION_3, VERSION_4];

/// Instants are milliseconds since 1970. Digests are text, so that a person with `sqlite3` can read them.
const VERSION_1: &str = "
-- `registry` is empty for repositories that the server serves.
CREATE TABLE repositories (
    id          INTEGER PRIMARY KEY,
    registry    TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (registry, name)
);

-- `bytes` for small ones; the others are in the blob store, and `placement` is its word on where.
CREATE TABLE blobs (
    id          INTEGER PRIMARY KEY,
    digest      TEXT NOT NULL UNIQUE,
    size        INTEGER NOT NULL,
    placement   TEXT,
    created_at  INTEGER NOT NULL,
    bytes       BLOB
);
CREATE INDEX blobs_unsettled ON blobs (placement) WHERE placement IS NOT NULL;

-- Which repository holds which blob.
CREATE TABLE repository_blobs (
    repository  INTEGER NOT NULL REFERENCES repositories (id),
    blob        INTEGER NOT NULL REFERENCES blobs (id),
    added_at    INTEGER NOT NULL,
    PRIMARY KEY (repository, blob)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_by_blob ON repository_blobs (blob, repository);

-- `artifact_type` and `annotations` are what a list of referrers shows.
CREATE TABLE documents (
    id             INTEGER PRIMARY KEY,
    repository     INTEGER NOT NULL REFERENCES repositories (id),
    digest         TEXT NOT NULL,
    media_type     TEXT NOT NULL,
    size           INTEGER NOT NULL,
    subject        TEXT,
    artifact_type  TEXT,
    annotations    TEXT,
    created_at     INTEGER NOT NULL,
    referenced_at  INTEGER NOT NULL,
    bytes          BLOB NOT NULL,
    UNIQUE (repository, digest)
);
CREATE INDEX documents_by_subject ON documents (repository, subject, digest) WHERE subject IS NOT NULL;

CREATE TABLE tags (
    repository  INTEGER NOT NULL REFERENCES repositories (id),
    name        TEXT NOT NULL,
    document    INTEGER NOT NULL REFERENCES documents (id),
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE INDEX tags_by_document ON tags (document);

-- From an index to its children, in the same repository. The child need not be there.
CREATE TABLE child_edges (
    parent      INTEGER NOT NULL REFERENCES documents (id),
    repository  INTEGER NOT NULL,
    child       TEXT NOT NULL,
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;
CREATE INDEX child_edges_by_child ON child_edges (repository, child);

-- From a document to the blobs it needs.
CREATE TABLE blob_edges (
    document  INTEGER NOT NULL REFERENCES documents (id),
    blob      INTEGER NOT NULL REFERENCES blobs (id),
    PRIMARY KEY (document, blob)
) WITHOUT ROWID;
CREATE INDEX blob_edges_by_blob ON blob_edges (blob);

-- Blobs that a document names and its repository does not hold; each becomes an edge when it comes.
CREATE TABLE awaited_blobs (
    repository  INTEGER NOT NULL REFERENCES repositories (id),
    digest      TEXT NOT NULL,
    document    INTEGER NOT NULL REFERENCES documents (id),
    PRIMARY KEY (repository, digest, document)
) WITHOUT ROWID;
CREATE INDEX awaited_blobs_by_document ON awaited_blobs (document);

-- Upload sessions: their bytes are here as long as they are few, else in a stage of the blob store.
CREATE TABLE uploads (
    id          TEXT PRIMARY KEY,
    repository  INTEGER NOT NULL REFERENCES repositories (id),
    algorithm   TEXT NOT NULL,
    received    INTEGER NOT NULL,
    stage       TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    bytes       BLOB
) WITHOUT ROWID;
CREATE INDEX uploads_by_age ON uploads (updated_at);
CREATE INDEX uploads_by_stage ON uploads (stage) WHERE stage IS NOT NULL;
";

/// Garbage collection.
const VERSION_2: &str = "
-- The number of the last collection, whoever ran it.
CREATE TABLE collections (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    epoch  INTEGER NOT NULL
);
INSERT INTO collections (id, epoch) VALUES (1, 0);

-- What a collection found that nothing needs. A later one sweeps it, unless the row is gone by then.
CREATE TABLE condemned_documents (
    document      INTEGER PRIMARY KEY REFERENCES documents (id),
    epoch         INTEGER NOT NULL,
    condemned_at  INTEGER NOT NULL
);
CREATE TABLE condemned_blobs (
    repository    INTEGER NOT NULL,
    blob          INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    condemned_at  INTEGER NOT NULL,
    PRIMARY KEY (repository, blob)
) WITHOUT ROWID;

-- Bytes in the blob store whose rows are gone: removed unless they are pushed again before. A number is not used twice.
CREATE TABLE doomed_bytes (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    digest     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    placement  TEXT
);

CREATE INDEX documents_by_age ON documents (referenced_at);

-- Version 1 left rows of blobs behind that no repository held any more.
INSERT INTO doomed_bytes (digest, size, placement)
    SELECT digest, size, placement FROM blobs b WHERE bytes IS NULL
    AND NOT EXISTS (SELECT 1 FROM repository_blobs h WHERE h.blob = b.id)
    AND NOT EXISTS (SELECT 1 FROM blob_edges e WHERE e.blob = b.id);
DELETE FROM blobs
    WHERE NOT EXISTS (SELECT 1 FROM repository_blobs h WHERE h.blob = blobs.id)
    AND NOT EXISTS (SELECT 1 FROM blob_edges e WHERE e.blob = blobs.id);
";

/// History of tags.
const VERSION_3: &str = "
-- One row for each move of a tag. `from_digest` is empty when it was made, `to_digest` when it was deleted.
CREATE TABLE tag_history (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    repository   INTEGER NOT NULL REFERENCES repositories (id),
    tag          TEXT NOT NULL,
    from_digest  TEXT,
    to_digest    TEXT,
    at           INTEGER NOT NULL,
    actor        TEXT
);
CREATE INDEX tag_history_by_tag ON tag_history (repository, tag, id);
CREATE INDEX tag_history_by_left ON tag_history (repository, from_digest, at) WHERE from_digest IS NOT NULL;
INSERT INTO tag_history (repository, tag, from_digest, to_digest, at)
    SELECT t.repository, t.name, NULL, d.digest, t.updated_at FROM tags t JOIN documents d ON d.id = t.document;
";

/// Who needs a blob in one repository is found however many documents of others need it, as they all do an empty config.
const VERSION_4: &str = "
ALTER TABLE blob_edges ADD COLUMN repository INTEGER NOT NULL DEFAULT 0;
-- An edge from nowhere, in a database that is damaged, keeps 0 until it is repaired.
UPDATE blob_edges SET repository = d.repository FROM documents d WHERE d.id = blob_edges.document;
DROP INDEX blob_edges_by_blob;
CREATE INDEX blob_edges_by_blob ON blob_edges (blob, repository, document);
-- A server of an earlier version may be running when a later program opens its directory: it writes no repository.
CREATE TRIGGER blob_edges_repository AFTER INSERT ON blob_edges WHEN new.repository = 0 BEGIN
    UPDATE blob_edges SET repository = d.repository FROM documents d
        WHERE d.id = new.document AND blob_edges.document = new.document AND blob_edges.blob = new.blob;
END;
";

/// The latest version that this program knows.
pub(super) const KNOWN: u32 = STEPS.len() as u32;

/// Which version a database has; 0 is an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Takes a database to the latest version. The caller has looked that it is not a later one.
///
/// All steps are one transaction: a crash leaves the old schema or the new one.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if version(connection)? == KNOWN {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have done it while this one waited for the lock.
    let found = version(&transaction)?;
    for step in STEPS.iter().skip(found as usize) {
        transaction.execute_batch(step)?;
    }
    if found < KNOWN {
        transaction.pragma_update(None, "user_version", KNOWN)?;
    }
    transaction.commit()
}
