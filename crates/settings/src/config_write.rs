//! Writing a file that holds secrets: whole or not at all, through symbolic links, readable by its owner alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// What may read the file afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Its owner alone: there is a secret in it.
    Owner,
    /// Whoever could before.
    AsBefore,
}

/// Held while a file is read, edited and written, so that two logins at once both count.
#[derive(Debug)]
pub(crate) struct EditLock {
    // The lock is on the directory, so that no lock file stays behind. Closing it unlocks.
    _directory: Option<File>,
}

impl EditLock {
    /// Makes the directory of `path` if need be, and waits for other edits there. A file system without locks has none.
    pub(crate) fn take(path: &Path) -> io::Result<Self> {
        let directory = parent(path);
        make_private_directory(directory)?;
        let handle = File::open(directory).ok().filter(|handle| handle.lock().is_ok());
        Ok(Self { _directory: handle })
    }
}

/// Puts `bytes` in the place of the file that `path` leads to. After a crash there is the old file or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let target = follow(path)?;
    let directory = parent(&target);
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A temporary file is made for its owner alone.
    let mut temporary = tempfile::Builder::new().prefix(&format!(".{name}.")).tempfile_in(directory)?;
    temporary.write_all(bytes)?;
    if let Ok(before) = fs::metadata(&target) {
        keep_owner(temporary.path(), &before);
        if access == Access::AsBefore {
            temporary.as_file().set_permissions(before.permissions())?;
        }
    }
    temporary.as_file().sync_all()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    // A file system whose directories cannot be synced has done what it can.
    if let Ok(handle) = File::open(directory) {
        let _ = handle.sync_all();
    }
    Ok(())
}

/// The file at the end of the links, which need not exist: people keep `config.json` in a repository of dot files.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = parent(&path).join(next),
            // Not a link, or not there.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(unix)]
fn make_private_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;

    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

/// `sudo polyarch login` in somebody's home must not take the file away from them. As far as it is allowed.
#[cfg(unix)]
fn keep_owner(path: &Path, before: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt as _, chown};

    let _ = chown(path, Some(before.uid()), Some(before.gid()));
}

#[cfg(not(unix))]
fn keep_owner(_path: &Path, _before: &fs::Metadata) {}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_secret_is_for_its_owner_alone_and_other_modes_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/config.json");
        let lock = EditLock::take(&path).unwrap();
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        replace(&path, b"1", Access::AsBefore).unwrap();
        assert_eq!(mode(&path), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, b"2", Access::AsBefore).unwrap();
        assert_eq!(mode(&path), 0o644);
        replace(&path, b"3", Access::Owner).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"3");
        drop(lock);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing stays behind");
    }

    #[test]
    fn links_stay_links() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("dots")).unwrap();
        symlink("dots/second", at("config.json")).unwrap();
        symlink("real.json", at("dots/second")).unwrap();
        // Dangling at first.
        replace(&at("config.json"), b"1", Access::Owner).unwrap();
        assert_eq!(fs::read(at("dots/real.json")).unwrap(), b"1");
        replace(&at("config.json"), b"2", Access::Owner).unwrap();
        assert_eq!(fs::read(at("dots/real.json")).unwrap(), b"2");
        assert!(fs::symlink_metadata(at("config.json")).unwrap().is_symlink());
        assert!(fs::symlink_metadata(at("dots/second")).unwrap().is_symlink());

        symlink("loop", at("loop")).unwrap();
        assert!(replace(&at("loop"), b"3", Access::Owner).is_err());
    }

    #[test]
    fn edits_wait_for_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("count");
        fs::write(&path, "0").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _lock = EditLock::take(&path).unwrap();
                    let count: u32 = fs::read_to_string(&path).unwrap().parse().unwrap();
                    std::thread::yield_now();
                    replace(&path, (count + 1).to_string().as_bytes(), Access::AsBefore).unwrap();
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "8");
    }
}
