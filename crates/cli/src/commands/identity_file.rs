//! Files of users and tokens, changed while a server reads them.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is new.
    Added,
    /// It took the place of one.
    Replaced,
}

/// Puts a user's line where theirs was, or at the end.
pub(super) fn put(file: &Path, name: &str, line: &str) -> Outcome<Kept> {
    change(file, |text| {
        let mut kept = Kept::Added;
        let mut lines: Vec<&str> = Vec::new();
        for old in text.lines() {
            if old.trim().split_once(':').is_some_and(|(owner, _)| owner == name) {
                if kept == Kept::Added {
                    lines.push(line);
                }
                kept = Kept::Replaced;
            } else {
                lines.push(old);
            }
        }
        if kept == Kept::Added {
            lines.push(line);
        }
        (lines.join("\n") + "\n", kept)
    })
}

/// Puts a line at the end.
pub(super) fn add(file: &Path, line: &str) -> Outcome {
    change(file, |text| {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        (format!("{text}{end}{line}\n"), ())
    })
}

fn change<T>(file: &Path, make: impl FnOnce(&str) -> (String, T)) -> Outcome<T> {
    let work = || -> io::Result<T> {
        // Through a link, so that it stays one.
        let file = match file.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => file.to_owned(),
            found => found?,
        };
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Two at once both count. The lock is on the directory, so that no file of it stays behind; a file system without
        // locks has none.
        let lock = File::open(directory).ok().filter(|directory| directory.lock().is_ok());
        let before = match std::fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            text => Some(text?),
        };
        let (text, made) = make(before.as_deref().unwrap_or_default());
        // Whole or not at all: a server may read it at any time. A new one only its owner can read.
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        new.write_all(text.as_bytes())?;
        if before.is_some() {
            let metadata = std::fs::metadata(&file)?;
            new.as_file().set_permissions(metadata.permissions())?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::{MetadataExt as _, fchown};
                // It belongs to the server's user perhaps; whoever may not give it away owns it already.
                let _ = fchown(new.as_file(), Some(metadata.uid()), Some(metadata.gid()));
            }
        }
        new.as_file().sync_all()?;
        new.persist(&file).map_err(|error| error.error)?;
        if let Some(directory) = lock {
            // What was said to be there is there after a power cut. Where directories cannot be synced, no more can be done.
            let _ = directory.sync_all();
        }
        Ok(made)
    };
    work().map_err(|error| {
        Failure::chain(Exit::Failure, &error).context(format_args!("failed to change `{}`", file.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_line_takes_the_place_of_theirs_and_no_other_changes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("users");
        assert_eq!(put(&file, "bob", "bob:1").unwrap(), Kept::Added);
        std::fs::write(&file, "# people\nbobby:0\nbob:1\n\nbob:2").unwrap();
        assert_eq!(put(&file, "bob", "bob:3").unwrap(), Kept::Replaced);
        add(&file, "ci:4").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "# people\nbobby:0\nbob:3\n\nci:4\n");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn lines_that_are_added_at_once_are_all_there() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        std::thread::scope(|scope| {
            for at in 0..8 {
                let file = &file;
                scope.spawn(move || add(file, &format!("ci:{at}")).unwrap());
            }
        });
        let text = std::fs::read_to_string(&file).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["ci:0", "ci:1", "ci:2", "ci:3", "ci:4", "ci:5", "ci:6", "ci:7"]);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_a_new_file_and_one_that_is_there_keeps_its_mode() {
        use std::os::unix::fs::PermissionsExt as _;

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        add(&file, "ci:1").unwrap();
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        add(&link, "ci:2").unwrap();
        assert_eq!(mode(), 0o640);
        assert!(link.is_symlink());
    }
}
