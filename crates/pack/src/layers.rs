//! Trees to layers, on threads of their own: reading, hashing and compressing are no work for the reactor.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use layer::{Compression, Entry, LayerWriter, TarWriter, WriteError};

use crate::error::PackError;
use crate::packed::NewLayer;
use crate::tree::{Kind, Tree};

/// Where and how layers are written.
#[derive(Clone)]
pub(crate) struct Terms {
    /// Directory for files without a name.
    pub(crate) scratch: PathBuf,
    pub(crate) compression: Compression,
    /// Seconds since 1970, for every entry.
    pub(crate) time: i64,
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

/// Writes the layer of a tree, which is called `what`, to an unnamed file.
pub(crate) fn write(what: &str, tree: &Tree, terms: &Terms, watch: &Watch) -> Result<(NewLayer, File), PackError> {
    let spool = |source: WriteError| PackError::Layer { what: what.to_owned(), source: Box::new(source) };
    let io = |error: io::Error| spool(WriteError::Sink(error));
    let file = tempfile::tempfile_in(&terms.scratch).map_err(io)?;
    let sink = LayerWriter::new(BufWriter::with_capacity(256 << 10, file), terms.compression).map_err(io)?;
    let mut archive = TarWriter::in_order(sink);
    for (path, entry) in tree.iter() {
        let member = match &entry.kind {
            Kind::Directory => Entry::directory(path),
            Kind::Symlink { target } => Entry::symlink(path, target.as_slice()),
            Kind::File { size } => Entry::file(path, *size),
        };
        let member = member.with_mode(entry.mode).with_mtime(terms.time);
        if let Kind::File { .. } = entry.kind {
            let fail = |source| PackError::Read { path: entry.from.clone(), source };
            let content = Watched { file: File::open(&entry.from).map_err(fail)?, watch };
            archive.append(&member, content).map_err(|error| match error {
                WriteError::Content { source, .. } => fail(source),
                WriteError::Length { .. } => PackError::Changed { path: entry.from.clone() },
                error => spool(error),
            })?;
        } else {
            archive.append(&member, io::empty()).map_err(spool)?;
        }
    }
    let (sink, layer) = archive.finish().map_err(spool)?.finish().map_err(io)?;
    let file = sink.into_inner().map_err(|error| io(error.into_error()))?;
    Ok((NewLayer { descriptor: layer.descriptor(), diff_id: layer.diff_id }, file))
}

/// A file that is read until nobody wants it any more.
struct Watched<'a> {
    file: File,
    watch: &'a Watch,
}

impl Read for Watched<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.watch.0.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        self.file.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::request::ImagePath;

    use super::*;

    fn prepared(size: usize) -> (tempfile::TempDir, Tree, Terms) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("app"), vec![7; size]).unwrap();
        let mut tree = Tree::default();
        tree.add_program(&dir.path().join("app"), &ImagePath::parse("/app").unwrap()).unwrap();
        let terms = Terms { scratch: dir.path().to_owned(), compression: Compression::Gzip, time: 0 };
        (dir, tree, terms)
    }

    #[test]
    fn a_file_that_grew_or_shrank_is_not_packed() {
        for size in [99, 101] {
            let (dir, tree, terms) = prepared(100);
            fs::write(dir.path().join("app"), vec![7; size]).unwrap();
            let error = write("x", &tree, &terms, &Stop::new().watch()).unwrap_err();
            assert!(error.to_string().ends_with("it changed while it was read"), "{error}");
        }
    }

    #[test]
    fn nobody_waits_any_more_and_the_thread_ends() {
        let (_dir, tree, terms) = prepared(100);
        let stop = Stop::new();
        let watch = stop.watch();
        drop(stop);
        let error = write("x", &tree, &terms, &watch).unwrap_err();
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "stopped");
    }
}
