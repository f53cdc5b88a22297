//! What stands where in a layer, gathered from the files of this machine.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::error::PackError;
use crate::request::{FileSpec, ImagePath};

/// The entries of a layer by their path without leading slash; a directory sorts before what is in it.
#[derive(Debug, Default)]
pub(crate) struct Tree(BTreeMap<Vec<u8>, Entry>);

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub(crate) mode: u32,
    /// Where it came from, for messages.
    pub(crate) from: PathBuf,
}

/// What an entry is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    /// A regular file, whose bytes are read when the layer is written.
    File {
        size: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
}

impl Tree {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_slice(), entry))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what a `SRC:DST` names. `SRC` itself may be a link to what is meant; links below it stay links.
    pub(crate) fn add(&mut self, spec: &FileSpec) -> Result<(), PackError> {
        let metadata = read(&spec.source, fs::metadata(&spec.source))?;
        let mut open = vec![(spec.source.clone(), spec.destination.in_archive().as_bytes().to_vec(), metadata)];
        while let Some((source, place, metadata)) = open.pop() {
            let kind = if metadata.is_dir() {
                for child in read(&source, fs::read_dir(&source))? {
                    let child = read(&source, child)?.path();
                    let metadata = read(&child, fs::symlink_metadata(&child))?;
                    let name = bytes(child.file_name().unwrap_or_default(), &child)?;
                    let place = if place.is_empty() { name } else { [place.as_slice(), &name].join(&b'/') };
                    open.push((child, place, metadata));
                }
                Kind::Directory
            } else if metadata.is_symlink() {
                let target = read(&source, fs::read_link(&source))?;
                Kind::Symlink { target: bytes(target.as_os_str(), &source)? }
            } else if metadata.is_file() {
                Kind::File { size: metadata.len() }
            } else {
                return Err(PackError::SpecialFile { what: special(&metadata), path: source });
            };
            let mode = if metadata.is_symlink() { 0o777 } else { mode(&metadata) };
            self.insert(place, Entry { kind, mode, from: source })?;
        }
        Ok(())
    }

    /// Adds a program: mode 0755, whatever the file's is.
    pub(crate) fn add_program(&mut self, source: &Path, place: &ImagePath) -> Result<u64, PackError> {
        let metadata = read(source, fs::metadata(source))?;
        if !metadata.is_file() {
            return Err(PackError::SpecialFile { path: source.to_owned(), what: special(&metadata) });
        }
        let entry = Entry { kind: Kind::File { size: metadata.len() }, mode: 0o755, from: source.to_owned() };
        self.insert(place.in_archive().as_bytes().to_vec(), entry)?;
        Ok(metadata.len())
    }

    /// Adds the directories above each entry that are not entries themselves.
    ///
    /// Only where there is no base: in a base they may exist, and an entry would overwrite their modes.
    pub(crate) fn add_parents(&mut self) {
        let mut missing = Vec::new();
        for path in self.0.keys() {
            for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                if !self.0.contains_key(&path[..at]) {
                    missing.push(path[..at].to_vec());
                }
            }
        }
        for path in missing {
            self.0.insert(path, Entry { kind: Kind::Directory, mode: 0o755, from: PathBuf::new() });
        }
    }

    /// Two directories for one place are one, with the mode of the later; anything else twice is a mistake.
    fn insert(&mut self, place: Vec<u8>, entry: Entry) -> Result<(), PackError> {
        if place.is_empty() {
            // The root is there in every image, as its engine makes it.
            return if entry.kind == Kind::Directory { Ok(()) } else { Err(PackError::Root { path: entry.from }) };
        }
        match self.0.get(&place) {
            Some(known) if known.kind != Kind::Directory || entry.kind != Kind::Directory => {
                Err(PackError::SamePlace { place: shown(&place), first: known.from.clone(), second: entry.from })
            }
            _ => {
                self.0.insert(place, entry);
                Ok(())
            }
        }
    }

    /// The first place that both trees have and that is not a directory in both.
    pub(crate) fn clash(&self, other: &Self) -> Option<PackError> {
        self.0.iter().find_map(|(place, entry)| {
            let theirs = other.0.get(place)?;
            if entry.kind == Kind::Directory && theirs.kind == Kind::Directory {
                return None;
            }
            let (first, second) = (entry.from.clone(), theirs.from.clone());
            Some(PackError::SamePlace { place: shown(place), first, second })
        })
    }
}

/// A path in an archive, for messages.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    format!("/{}", text.chars().flat_map(char::escape_debug).collect::<String>())
}

/// A name as it stands in an archive.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn bytes(name: &OsStr, _: &Path) -> Result<Vec<u8>, PackError> {
    Ok(std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec())
}

#[cfg(not(unix))]
fn bytes(name: &OsStr, path: &Path) -> Result<Vec<u8>, PackError> {
    let text = name.to_str().ok_or_else(|| PackError::Name { path: path.to_owned() })?;
    Ok(text.replace('\\', "/").into_bytes())
}

pub(crate) fn read<T>(path: &Path, result: std::io::Result<T>) -> Result<T, PackError> {
    result.map_err(|source| PackError::Read { path: path.to_owned(), source })
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o7777
}

/// Systems without modes get those that a checkout has elsewhere.
#[cfg(not(unix))]
fn mode(metadata: &Metadata) -> u32 {
    if metadata.is_dir() { 0o755 } else { 0o644 }
}

#[cfg(unix)]
fn special(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_fifo() {
        "a pipe"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn special(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() { "a directory" } else { "not a regular file" }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn listing(tree: &Tree) -> Vec<String> {
        let line = |(path, entry): (&[u8], &Entry)| {
            let path = String::from_utf8_lossy(path);
            match &entry.kind {
                Kind::Directory => format!("{:o} {path}/", entry.mode),
                Kind::File { size } => format!("{:o} {path} {size}", entry.mode),
                Kind::Symlink { target } => format!("{path} -> {}", String::from_utf8_lossy(target)),
            }
        };
        tree.iter().map(line).collect()
    }

    fn spec(source: &Path, destination: &str) -> FileSpec {
        FileSpec { source: source.to_owned(), destination: ImagePath::parse(destination).unwrap() }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn directories_modes_and_links_are_kept_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let www = dir.path().join("www");
        fs::create_dir_all(www.join("b")).unwrap();
        fs::write(www.join("b/x"), "xyz").unwrap();
        fs::write(www.join("a"), "").unwrap();
        symlink("b/x", www.join("link")).unwrap();
        symlink("/nowhere", www.join("dangling")).unwrap();
        symlink("www", dir.path().join("alias")).unwrap();
        set_mode(&www, 0o750);
        set_mode(&www.join("b"), 0o1777);
        set_mode(&www.join("b/x"), 0o4755);
        set_mode(&www.join("a"), 0o600);
        let want = ["750 srv/www/", "600 srv/www/a 0", "1777 srv/www/b/", "4755 srv/www/b/x 3"]
            .into_iter()
            .chain(["srv/www/dangling -> /nowhere", "srv/www/link -> b/x"]);
        let mut tree = Tree::default();
        tree.add(&spec(&dir.path().join("alias"), "/srv/www")).unwrap();
        assert_eq!(listing(&tree), want.clone().collect::<Vec<_>>());
        tree.add_parents();
        assert_eq!(listing(&tree), ["755 srv/"].into_iter().chain(want).collect::<Vec<_>>());
    }

    #[test]
    fn a_directory_can_fill_the_image_from_the_root_on() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        fs::write(dir.path().join("etc/x"), "x").unwrap();
        set_mode(&dir.path().join("etc"), 0o755);
        set_mode(&dir.path().join("etc/x"), 0o644);
        let mut tree = Tree::default();
        tree.add(&spec(dir.path(), "/")).unwrap();
        assert_eq!(listing(&tree), ["755 etc/", "644 etc/x 1"]);
        let error = Tree::default().add(&spec(&dir.path().join("etc/x"), "/")).unwrap_err();
        assert!(error.to_string().ends_with("at `/`: that is the root of the image"), "{error}");
    }

    #[test]
    fn two_files_for_one_place_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut tree = Tree::default();
        tree.add(&spec(&a, "/etc/x")).unwrap();
        let error = tree.add(&spec(&b, "/etc/x")).unwrap_err();
        assert_eq!(error.to_string(), format!("put both `{}` and `{}` at `/etc/x`", a.display(), b.display()));
        let mut other = Tree::default();
        other.add_program(&b, &ImagePath::parse("/etc/x").unwrap()).unwrap();
        assert!(matches!(tree.clash(&other), Some(PackError::SamePlace { .. })));
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let error = Tree::default().add(&spec(dir.path(), "/x")).unwrap_err();
        assert_eq!(error.to_string(), format!("pack `{}`: it is a socket", socket.display()));
        let error = Tree::default().add_program(dir.path(), &ImagePath::parse("/x").unwrap()).unwrap_err();
        assert!(error.to_string().ends_with("it is a directory"));
        let error = Tree::default().add(&spec(&dir.path().join("none"), "/x")).unwrap_err();
        assert_eq!(error.to_string(), format!("read `{}`", dir.path().join("none").display()));
    }
}
