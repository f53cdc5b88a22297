//! What can go wrong inside a transaction.

use image::{DigestError, ReferenceError};
use rusqlite::ErrorCode;

use crate::ContentError;

/// A failed operation, before it is known what was being done.
#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite's word.
    Sqlite(rusqlite::Error),
    /// An answer that is not SQLite's.
    Content(ContentError),
    /// The transaction that the operation was part of did not come through.
    Lost(Lost),
    /// A row holds what this program does not write.
    Row(String),
}

/// Why a transaction did not come through.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) full: bool,
    pub(super) reason: String,
}

impl Lost {
    pub(super) fn other(reason: &str) -> Self {
        Self { full: false, reason: reason.to_owned() }
    }
}

impl From<&rusqlite::Error> for Lost {
    fn from(error: &rusqlite::Error) -> Self {
        let reason = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                "another process has been writing for too long; try again".to_owned()
            }
            _ => error.to_string(),
        };
        Self { full: error.sqlite_error_code() == Some(ErrorCode::DiskFull), reason }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<ContentError> for Failure {
    fn from(error: ContentError) -> Self {
        Self::Content(error)
    }
}

impl From<DigestError> for Failure {
    fn from(error: DigestError) -> Self {
        Self::Row(error.to_string())
    }
}

impl From<ReferenceError> for Failure {
    fn from(error: ReferenceError) -> Self {
        Self::Row(error.to_string())
    }
}

/// Whether another connection holds a lock.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

impl Failure {
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Self::Sqlite(error) if is_busy(error))
    }

    /// Says what was being done.
    pub(super) fn into_error(self, action: &str) -> ContentError {
        let lost = match self {
            Self::Content(error) => return error,
            Self::Row(reason) => return ContentError::damaged(action, reason),
            Self::Sqlite(error) => Lost::from(&error),
            Self::Lost(lost) => lost,
        };
        let action = action.to_owned();
        if lost.full {
            ContentError::NoSpace { action }
        } else {
            ContentError::Metadata { action, source: lost.reason.into() }
        }
    }
}
