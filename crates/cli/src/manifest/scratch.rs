//! A copy of one draft to try a command on: what `--dry-run` prints is made by the code that would do it.

use image::Reference;
use lists::Drafts;
use tempfile::TempDir;

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// The copy. It goes away with the value.
pub(super) struct Scratch {
    _directory: TempDir,
    /// A store that has the copy and nothing else.
    pub(super) drafts: Drafts,
}

impl Scratch {
    /// Copies the draft of a list, if it is there. `list` is what was typed: if it is no reference, whatever is tried on
    /// the copy will say so.
    pub(super) fn of(list: &str, drafts: &Drafts) -> Outcome<Self> {
        let failed = |error: std::io::Error| {
            Failure::chain(Exit::Failure, &error).context(format!("failed to copy the draft `{list}` for a dry run"))
        };
        let directory = tempfile::Builder::new().prefix("polyarch-dry-run-").tempdir().map_err(failed)?;
        let copy = Drafts::new(directory.path());
        if let Ok(list) = Reference::parse(list)
            && drafts.exists(&list)?
        {
            let (from, to) = (drafts.path(&list), copy.path(&list));
            std::fs::create_dir_all(&to).map_err(failed)?;
            for entry in std::fs::read_dir(from).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
            }
        }
        Ok(Self { _directory: directory, drafts: copy })
    }
}
