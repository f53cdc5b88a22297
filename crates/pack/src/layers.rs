//! Trees to layers, on threads of their own: reading, hashing and compressing are no work for the reactor.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::{Algorithm, Descriptor, Hasher, MediaType};

use crate::error::PackError;
use crate::packed::NewLayer;
use crate::tree::{Kind, Tree};

/// Why a layer was not written.
pub(crate) enum WriteError {
    /// A file could not be read.
    Read { path: PathBuf, source: io::Error },
    /// A file has another length than a moment ago.
    Changed { path: PathBuf },
    /// The layer could not be spooled.
    Spool(io::Error),
}

impl WriteError {
    /// The error of a layer that is called `what`.
    pub(crate) fn of(self, what: String) -> PackError {
        match self {
            Self::Read { path, source } => PackError::Read { path, source },
            Self::Changed { path } => PackError::Changed { path },
            Self::Spool(source) => PackError::Layer { what, source },
        }
    }
}

/// Stops the threads that watch it when it is dropped.
pub(crate) struct Stop(Arc<AtomicBool>);

/// The other end of [`Stop`].
#[derive(Clone)]
pub(crate) struct Watch(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    pub(crate) fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.0))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs work that would block. A panic in it goes on here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// Writes the layer of a tree to an unnamed file in `scratch`.
pub(crate) fn write(tree: &Tree, scratch: &Path, time: u64, watch: &Watch) -> Result<(NewLayer, File), WriteError> {
    let file = tempfile::tempfile_in(scratch).map_err(WriteError::Spool)?;
    let compressed = Hashing::new(BufWriter::with_capacity(256 << 10, file));
    let gzip = flate2::GzBuilder::new().mtime(0).write(compressed, flate2::Compression::default());
    let mut archive = tar::Builder::new(Hashing::new(gzip));
    for (path, entry) in tree.iter() {
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        match &entry.kind {
            Kind::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, format!("{path}/"), io::empty()).map_err(WriteError::Spool)?;
            }
            Kind::Symlink { target } => {
                header.set_entry_type(tar::EntryType::Symlink);
                archive.append_link(&mut header, path, target).map_err(WriteError::Spool)?;
            }
            Kind::File { size } => {
                header.set_size(*size);
                let source = Source::open(&entry.from, *size, watch)?;
                archive.append_data(&mut header, path, source).map_err(WriteError::Spool)?;
            }
        }
    }
    let finish = || {
        let plain = archive.into_inner()?;
        let diff_id = plain.hasher.finish();
        let compressed = plain.inner.finish()?;
        let size = compressed.hasher.length();
        let descriptor = Descriptor::new(MediaType::from(MediaType::OCI_LAYER_GZIP), compressed.hasher.finish(), size);
        let file = compressed.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok((NewLayer { descriptor, diff_id }, file))
    };
    finish().map_err(WriteError::Spool)
}

struct Hashing<W> {
    inner: W,
    hasher: Hasher,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hasher: Hasher::new(Algorithm::Sha256) }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file that is read to the length that it had, and no further.
struct Source<'a> {
    file: File,
    watch: &'a Watch,
}

impl<'a> Source<'a> {
    fn open(path: &Path, size: u64, watch: &'a Watch) -> Result<Self, WriteError> {
        let fail = |source| WriteError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() != size {
            return Err(WriteError::Changed { path: path.to_owned() });
        }
        Ok(Self { file, watch })
    }
}

impl Read for Source<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.watch.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        self.file.read(bytes)
    }
}
