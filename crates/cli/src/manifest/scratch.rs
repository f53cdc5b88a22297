//! A copy of one draft to try a command on: what `--dry-run` prints is made by the code that would do it.

use image::Reference;
use lists::Drafts;
use tempfile::TempDir;

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// Most bytes of a file that is copied: more than any entry has.
const LONGEST: u64 = 64 << 20;

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
                // Neither a pipe nor a device, which would not end, nor more than any entry has.
                let metadata = std::fs::metadata(entry.path()).map_err(failed)?;
                if !metadata.is_file() || metadata.len() > LONGEST {
                    let path = entry.path();
                    let message = format!("`{}` is not an entry of a draft", path.display());
                    return Err(Failure::new(Exit::Failure, message).hint(format!("`manifest rm {list}` removes it")));
                }
                std::fs::copy(entry.path(), to.join(entry.file_name())).map_err(failed)?;
            }
        }
        Ok(Self { _directory: directory, drafts: copy })
    }
}
