//! The data directory of one machine.

use std::path::Path;
use std::sync::Arc;

use crate::{BlobStore, ContentError, MetadataStore, Options};

/// Opens both halves of a data directory.
pub(crate) async fn open(
    directory: &Path,
    _options: &Options,
) -> Result<(Arc<dyn BlobStore>, Arc<dyn MetadataStore>), ContentError> {
    Err(ContentError::io(
        format!("open the data directory `{}`", directory.display()),
        std::io::ErrorKind::Unsupported.into(),
    ))
}
