//! The data directory of one machine.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Disk, DiskBlobStore, Layout, RealDisk};
use crate::sqlite::SqliteMetadataStore;
use crate::{BlobStore, ContentError, MetadataStore, Options};

/// Opens both halves of a data directory, making what is not there, for its owner alone.
pub(crate) async fn open(
    directory: &Path,
    options: &Options,
) -> Result<(Arc<dyn BlobStore>, Arc<dyn MetadataStore>), ContentError> {
    let directory = directory.to_owned();
    let busy_timeout = options.busy_timeout;
    let opened = tokio::task::spawn_blocking(move || -> Result<_, ContentError> {
        let layout = Layout::new(&directory);
        let disk = RealDisk::default();
        let failed = |error| ContentError::io(format!("open the data directory `{}`", directory.display()), error);
        let new: Vec<&Path> = directory.ancestors().take_while(|path| !path.exists()).collect();
        disk.create_directory(&directory).map_err(failed)?;
        for parent in new.iter().filter_map(|path| path.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            disk.sync_directory(parent).map_err(failed)?;
        }
        // SQLite would make its files readable to all, and gives those beside it the rights of this one.
        match disk.create(&layout.database()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        let metadata = SqliteMetadataStore::open(&layout.database(), busy_timeout)?;
        let blobs = DiskBlobStore::over(&directory, Arc::new(disk))?;
        Ok((Arc::new(blobs) as Arc<dyn BlobStore>, Arc::new(metadata) as Arc<dyn MetadataStore>))
    });
    opened.await.map_err(|error| ContentError::io("open the data directory", io::Error::other(error)))?
}
