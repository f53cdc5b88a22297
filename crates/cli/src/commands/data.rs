//! The data directory, for commands that look after it.

use std::path::Path;

use content::{ContentError, ContentStore, Options};

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Opens a data directory that is there. Without `recover` nothing is cleared away first.
pub(super) async fn open(data: &Path, recover: bool) -> Outcome<ContentStore> {
    let shown = data.display();
    // Looking after a directory must not make one.
    if !data.join("metadata.sqlite3").exists() {
        let message = format!("failed to open the data directory `{shown}`: there is none");
        return Err(Failure::new(Exit::NotFound, message).hint("name another one with `--data`".to_owned()));
    }
    let mut options = Options::default();
    options.recover = recover;
    ContentStore::open(data, options).await.map_err(|error| {
        let exit = if matches!(error, ContentError::Damaged { .. }) { Exit::Invalid } else { Exit::Failure };
        Failure::new(exit, error.to_string())
    })
}
