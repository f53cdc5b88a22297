//! A blob on its way: where it can be had, counted as it is read.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use image::{Descriptor, RepositoryName};
use store::{BlobOrigin, BlobReader, ImageStore, StoreError, StoreErrorKind};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;

/// How many bytes of a step's blob have been read so far.
pub(crate) struct Moved {
    pub(crate) step: usize,
    pub(crate) done: u64,
}

/// A blob in another store, read only if the target asks for it.
pub(crate) struct Origin {
    pub(crate) descriptor: Descriptor,
    pub(crate) store: Arc<dyn ImageStore>,
    /// Whether `store` is another repository of the target's medium.
    pub(crate) mount: bool,
    /// Bounds how many big bodies move at once. Held by the stream, so a refused mount is bounded as well.
    pub(crate) bodies: Option<Arc<Semaphore>>,
    pub(crate) step: usize,
    pub(crate) moved: UnboundedSender<Moved>,
}

#[async_trait]
impl BlobOrigin for Origin {
    fn mount_from(&self) -> Option<&RepositoryName> {
        if self.mount { self.store.repository() } else { None }
    }

    async fn open(&self) -> Result<BlobReader, StoreError> {
        let permit = match &self.bodies {
            Some(bodies) => Some(Arc::clone(bodies).acquire_owned().await.map_err(|closed| {
                StoreError::new(StoreErrorKind::Other, format!("copy blob {}", self.descriptor.digest)).because(closed)
            })?),
            None => None,
        };
        let reader = self.store.blob(&self.descriptor).await?;
        let (step, moved) = (self.step, self.moved.clone());
        let mut done = 0;
        let counted = reader.inspect(move |chunk| {
            let _held = &permit;
            if let Ok(chunk) = chunk {
                done += chunk.len() as u64;
                // Nobody listens any more only when the run is being dropped.
                let _ = moved.send(Moved { step, done });
            }
        });
        Ok(Box::pin(counted))
    }
}
