//! The drafts on disk: docker's own store of manifest lists that are being made.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use image::Reference;

use crate::entry::Entry;
use crate::error::ListError;
use crate::file_name::file_name;

/// What our temporary files and directories begin with. No name that docker makes begins with a dot.
const TEMPORARY: &str = ".polyarch-";
/// Most bytes of an entry's file: a manifest of 4 MiB in base64, and once more as JSON in which all is escaped.
const LONGEST: u64 = 32 << 20;
/// After this long a temporary file belongs to a process that was killed.
const STALE: Duration = Duration::from_secs(3600);

/// Docker's store of lists in the making, `<config directory>/manifests/<list>/<image>`. Docker and polyarch can
/// take turns on one list.
///
/// A list is created as a whole or not at all, and an entry is replaced in one step, so a reader never sees half a
/// file, whenever a process is killed. Nothing is synced to the disk: a draft is made again in a second, and every
/// reader copes with a damaged one.
#[derive(Clone, Debug)]
pub struct Drafts {
    root: PathBuf,
}

/// A list in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The list's name.
    pub reference: Reference,
    /// Its images in the order of their file names, which is the order in which they are pushed.
    pub entries: Vec<StoredEntry>,
}

/// An entry and the file that it was read from.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// Name of the file within the list's directory.
    pub file_name: OsString,
    /// What is in it.
    pub entry: Entry,
}

/// A directory of the store, which may or may not be readable as a list.
#[derive(Clone, Debug)]
pub struct DraftDirectory {
    /// Its name, docker's encoding of the list's reference.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Drafts {
    /// The store below docker's configuration directory.
    pub fn new(config_directory: impl AsRef<Path>) -> Self {
        Self { root: config_directory.as_ref().join("manifests") }
    }

    /// The directory of a list.
    pub fn path(&self, list: &Reference) -> PathBuf {
        self.root.join(file_name(list))
    }

    /// Whether there is a list of that name, readable or not.
    pub fn exists(&self, list: &Reference) -> Result<bool, ListError> {
        let path = self.path(list);
        match fs::symlink_metadata(&path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(ListError::io("look for", &path, error)),
        }
    }

    /// Reads a list. `None`: there is none of that name.
    ///
    /// # Errors
    /// [`ListError::Damaged`] if one of its files cannot be used.
    pub fn read(&self, list: &Reference) -> Result<Option<Draft>, ListError> {
        let path = self.path(list);
        let Some(names) = Self::entry_names(list, &path)? else { return Ok(None) };
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            if let Some(entry) = read_entry(list, &path.join(&name))? {
                entries.push(StoredEntry { file_name: name, entry });
            }
        }
        Ok(Some(Draft { reference: list.clone(), entries }))
    }

    /// Reads the entry that was made for `image`, however many others of the list are damaged.
    pub fn entry(&self, list: &Reference, image: &Reference) -> Result<Option<StoredEntry>, ListError> {
        let file_name = OsString::from(file_name(image));
        let entry = read_entry(list, &self.path(list).join(&file_name))?;
        Ok(entry.map(|entry| StoredEntry { file_name, entry }))
    }

    /// Names of the files of a list, sorted as docker sorts them: by bytes.
    fn entry_names(list: &Reference, path: &Path) -> Result<Option<Vec<OsString>>, ListError> {
        let directory = match fs::read_dir(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(ListError::damaged(list, path, "it is not a directory"));
            }
            Err(error) => return Err(ListError::io("read", path, error)),
        };
        let mut names = Vec::new();
        for item in directory {
            let name = item.map_err(|error| ListError::io("read", path, error))?.file_name();
            // What begins with a dot is an editor's or a file manager's: no reference does.
            if !name.as_encoded_bytes().starts_with(b".") {
                names.push(name);
            }
        }
        names.sort_unstable_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        Ok(Some(names))
    }

    /// Writes a new list with all its entries, or nothing.
    ///
    /// # Errors
    /// [`ListError::Exists`] if there is a list of that name by now.
    pub fn create<'a>(&self, list: &Reference, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), ListError> {
        self.make_root()?;
        self.sweep();
        let path = self.path(list);
        let temporary = tempfile_builder(0o755)
            .tempdir_in(&self.root)
            .map_err(|error| ListError::io("create a directory in", &self.root, error))?;
        for entry in entries {
            let path = temporary.path().join(file_name(entry.reference()));
            write_new(&path, &entry.to_json()).map_err(|error| ListError::io("write", &path, error))?;
        }
        match fs::rename(temporary.path(), &path) {
            Ok(()) => {
                // It is no longer there to be cleaned up.
                let _ = temporary.keep();
                Ok(())
            }
            Err(_) if path.symlink_metadata().is_ok() => Err(ListError::Exists),
            Err(error) => Err(ListError::io("create", &path, error)),
        }
    }

    /// Writes entries into a list that exists, each in place of the one of that name if there is one. All are on the disk
    /// before the first of them gets its name: without room nothing is changed.
    pub fn save_all(&self, list: &Reference, entries: &[Entry]) -> Result<(), ListError> {
        let directory = self.path(list);
        let mut staged = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = directory.join(file_name(entry.reference()));
            let temporary = self.stage(entry).map_err(|error| ListError::io("write", &path, error))?;
            staged.push((temporary, path));
        }
        for (temporary, path) in staged {
            temporary.persist(&path).map_err(|error| ListError::io("write", &path, error.error))?;
        }
        Ok(())
    }

    /// Writes an entry into a list that exists, in place of the one of that name if there is one.
    pub fn save(&self, list: &Reference, entry: &Entry) -> Result<(), ListError> {
        self.save_as(list, OsStr::new(&file_name(entry.reference())), entry)
    }

    /// Writes an entry to a file that has not got its name yet.
    fn stage(&self, entry: &Entry) -> io::Result<tempfile::TempPath> {
        // Beside the lists, not within: docker takes every file there for an entry.
        let mut temporary = tempfile_builder(0o644).tempfile_in(&self.root)?;
        // The file itself: its wrapper adds a path to errors, which stands in ours already.
        temporary.as_file_mut().write_all(&entry.to_json())?;
        Ok(temporary.into_temp_path())
    }

    /// As [`Drafts::save`], to the file that the entry was read from.
    pub fn save_as(&self, list: &Reference, file_name: &OsStr, entry: &Entry) -> Result<(), ListError> {
        let path = self.path(list).join(file_name);
        let written = self.stage(entry).and_then(|temporary| temporary.persist(&path).map_err(|error| error.error));
        written.map_err(|error| ListError::io("write", &path, error))
    }

    /// Removes entries of a list, and the list with the last of them.
    pub fn remove_entries(&self, list: &Reference, names: &[OsString]) -> Result<(), ListError> {
        let path = self.path(list);
        for name in names {
            let path = path.join(name);
            fs::remove_file(&path).map_err(|error| ListError::io("remove", &path, error))?;
        }
        // Fails if there is still an entry, which is as it should be.
        let _ = fs::remove_dir(&path);
        Ok(())
    }

    /// Removes a list, damaged or not. `false`: there was none.
    pub fn remove(&self, list: &Reference) -> Result<bool, ListError> {
        self.remove_directory(&self.path(list))
    }

    fn remove_directory(&self, path: &Path) -> Result<bool, ListError> {
        let failed = |error| ListError::io("remove", path, error);
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                fs::remove_file(path).map_err(failed)?;
                return Ok(true);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
        // Moved away first, so that a kill does not leave half a list.
        let grave = tempfile_builder(0o755).tempdir_in(&self.root).map_err(failed)?;
        fs::rename(path, grave.path().join("list")).map_err(failed)?;
        grave.close().map_err(failed)?;
        Ok(true)
    }

    /// All lists, sorted by the names of their directories.
    pub fn directories(&self) -> Result<Vec<DraftDirectory>, ListError> {
        let failed = |error| ListError::io("read", &self.root, error);
        let directory = match fs::read_dir(&self.root) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for item in directory {
            let item = item.map_err(failed)?;
            let name = item.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                found.push(DraftDirectory { name, path: item.path() });
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// Keeps other polyarch processes from changing the list until the guard is dropped. Docker knows no lock.
    pub(crate) fn lock(&self, list: &Reference) -> Option<File> {
        // Where directories cannot be opened or locked, two processes that change one entry race, as docker's do.
        let path = self.path(list);
        // To open a pipe that stands in its place would wait for a writer.
        if !path.is_dir() {
            return None;
        }
        let directory = File::open(path).ok()?;
        directory.lock().ok()?;
        Some(directory)
    }

    fn make_root(&self) -> Result<(), ListError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
        builder.create(&self.root).map_err(|error| ListError::io("create", &self.root, error))
    }

    /// Removes what killed processes left. Failing at it is no reason to fail.
    fn sweep(&self) {
        let Ok(directory) = fs::read_dir(&self.root) else { return };
        for item in directory.flatten() {
            let age = || SystemTime::now().duration_since(item.metadata().ok()?.modified().ok()?).ok();
            if !item.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes())
                || age().is_none_or(|age| age < STALE)
            {
                continue;
            }
            let _ = fs::remove_dir_all(item.path()).or_else(|_| fs::remove_file(item.path()));
        }
    }
}

/// Why a file of the store cannot be read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is a directory")]
    Directory,
    /// A pipe, a device, …: to open it could wait for ever, and to read it might not end.
    #[error("it is not a file")]
    Special,
    #[error("it has more than {LONGEST} bytes")]
    TooLong,
}

/// The bytes of a file of the store, if it is one.
fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    use io::Read as _;

    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(ReadError::Directory);
    }
    if !metadata.is_file() {
        return Err(ReadError::Special);
    }
    if metadata.len() > LONGEST {
        return Err(ReadError::TooLong);
    }
    // It may grow while it is read.
    let mut text = Vec::with_capacity(metadata.len().min(64 << 10) as usize);
    File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LONGEST { Err(ReadError::TooLong) } else { Ok(text) }
}

/// Reads one file. `None`: it is not there (any more).
fn read_entry(list: &Reference, path: &Path) -> Result<Option<Entry>, ListError> {
    let text = match read_file(path) {
        Ok(text) => text,
        Err(ReadError::Io(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(ReadError::Io(error)) => return Err(ListError::io("read", path, error)),
        Err(error) => return Err(ListError::damaged(list, path, error.to_string())),
    };
    Entry::from_json(&text).map(Some).map_err(|error| ListError::damaged(list, path, error.to_string()))
}

/// Reads all that can be read in a directory of the store: entries, and what is wrong with the other files.
pub(crate) fn read_directory(directory: &DraftDirectory) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    let names = fs::read_dir(&directory.path).and_then(|items| {
        let mut names: Vec<_> = items.map(|item| item.map(|item| item.file_name())).collect::<Result<_, _>>()?;
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort_unstable();
        Ok(names)
    });
    match names {
        Err(error) => problems.push(error.to_string()),
        Ok(names) => {
            for name in names {
                let read = read_file(&directory.path.join(&name)).map_err(|error| error.to_string());
                match read.and_then(|text| Entry::from_json(&text).map_err(|error| error.to_string())) {
                    Ok(entry) => entries.push(entry),
                    Err(error) => problems.push(format!("`{}`: {error}", name.to_string_lossy())),
                }
            }
        }
    }
    (entries, problems)
}

/// Names for temporary files, with docker's modes minus the umask.
fn tempfile_builder(mode: u32) -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(mode));
    #[cfg(not(unix))]
    let _ = (mode, None::<Permissions>);
    builder
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
    options.open(path)?.write_all(text)
}
