//! The file system calls that the disk store makes, behind a trait: so that a test can count them, and fail each.

use std::any::Any;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
#[cfg(target_os = "linux")]
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use crate::blob_store::Space;

/// A file that is open.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Takes the lock that tells other processes that a writer is at work. `false`: somebody has it.
    fn try_lock(&self) -> io::Result<bool>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Reads up to `length` bytes at `offset` into `buffer`, in place of what it held; fewer only at the end of the
    /// file.
    fn read_at(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<()>;
    /// The file itself, if it is one of this machine's.
    fn as_file(&self) -> Option<&File> {
        None
    }
    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Lets the system begin to write `length` bytes at `offset` to the disk, so that [`DiskFile::sync`] has less to wait
    /// for. Nothing is durable by that, and nothing is lost where it does nothing.
    fn begin_sync(&self, _offset: u64, _length: u64) {}
    /// Makes its bytes survive a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// An entry of a directory.
#[derive(Clone, Debug)]
pub struct DiskEntry {
    /// Its name, if it is text.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// When it was written last.
    pub modified: SystemTime,
}

/// A file system.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a file that did not exist, for its owner alone, to write and read.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Takes the lock that a file stands for until the answer is dropped, making the file if it is not there: alone, or
    /// with others who share it. Other processes see it; the end of the process ends it. `None`: somebody has it.
    fn lock(&self, path: &Path, alone: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
    /// Opens a file to write and read.
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file to read.
    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and those above it, for their owner alone. `false`: it was there.
    fn create_directory(&self, path: &Path) -> io::Result<bool>;
    /// Makes the names in a directory survive a power cut.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// The files in a directory. One that is not there has none.
    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>>;
    /// How much room there is where a directory is. `None`: nobody can tell.
    fn space(&self, _path: &Path) -> io::Result<Option<Space>> {
        Ok(None)
    }
}

/// The file system of this machine, with a count of what is costly.
#[derive(Clone, Debug, Default)]
pub struct RealDisk {
    file_syncs: Arc<AtomicU64>,
    directory_syncs: Arc<AtomicU64>,
}

impl RealDisk {
    /// How many times bytes of a file were made durable.
    pub fn file_syncs(&self) -> u64 {
        self.file_syncs.load(Ordering::Relaxed)
    }

    /// How many times the names in a directory were made durable.
    pub fn directory_syncs(&self) -> u64 {
        self.directory_syncs.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    locked: AtomicBool,
    syncs: Arc<AtomicU64>,
}

impl Drop for RealFile {
    fn drop(&mut self) {
        // A process that is being started holds copies of all open files for a moment, and closing one of several
        // copies does not unlock.
        if *self.locked.get_mut() {
            let _ = self.file.unlock();
        }
    }
}

impl RealDisk {
    fn wrap(&self, file: File) -> Box<dyn DiskFile> {
        Box::new(RealFile { file, locked: AtomicBool::new(false), syncs: self.file_syncs.clone() })
    }
}

#[cfg(unix)]
fn read_some(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn read_some(mut file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read(buffer)
}

impl DiskFile for RealFile {
    fn try_lock(&self) -> io::Result<bool> {
        match self.file.try_lock() {
            Ok(()) => {
                self.locked.store(true, Ordering::Relaxed);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::io::{Seek, SeekFrom, Write};
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    fn read_at(&self, offset: u64, length: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        // Nothing is cleared in a buffer that is used again.
        buffer.resize(length, 0);
        let mut done = 0;
        while done < length {
            match read_some(&self.file, offset + done as u64, &mut buffer[done..]) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(done);
        Ok(())
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(target_os = "linux")]
    fn begin_sync(&self, offset: u64, length: u64) {
        // Pages of which nobody has need are dropped, but dirty ones are written first, without waiting for the disk; and
        // while they are being written they stay. `sync_file_range` would say it more plainly, and has no safe call.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(length), rustix::fs::Advice::DontNeed);
    }

    fn sync(&self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(self.wrap(options.open(path)?))
    }

    fn lock(&self, path: &Path, alone: bool) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        match if alone { file.try_lock() } else { file.try_lock_shared() } {
            Ok(()) => {
                let held = RealFile { file, locked: AtomicBool::new(true), syncs: self.file_syncs.clone() };
                Ok(Some(Box::new(held)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(OpenOptions::new().read(true).write(true).open(path)?))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(self.wrap(File::open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<bool> {
        if path.is_dir() {
            return Ok(false);
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        Ok(true)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.directory_syncs.fetch_add(1, Ordering::Relaxed);
        // Elsewhere a directory cannot be opened, and names are durable with the journal of the file system.
        if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DiskEntry>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Another process may have removed it since.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                let modified = metadata.modified().unwrap_or_else(|_| SystemTime::now());
                found.push(DiskEntry { name, length: metadata.len(), modified });
            }
        }
        Ok(found)
    }

    #[cfg(unix)]
    fn space(&self, path: &Path) -> io::Result<Option<Space>> {
        let found = rustix::fs::statvfs(path)?;
        // What is kept for the superuser is not there for us.
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Some(Space { free: bytes(found.f_bavail), total: bytes(found.f_blocks) }))
    }
}
