//! The cheapest way to get a blob into a repository.
//!
//! `POST ?mount=` is look-up, mount and opened session in one request, so nothing is asked for before it.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Method;
use image::{Descriptor, RepositoryName};

use crate::error::{ClientError, ErrorKind, Verb};
use crate::pause;
use crate::repository::{BlobSource, Mount, Placement, Repository, SinglePost, UploadSession};
use crate::scope::Access;
use crate::uploads::IN_MEMORY;

/// From this size on it is worth a request to find out whether the blob is there: some registries open a session
/// without looking.
const LOOK_FIRST: u64 = 8 << 20;
/// Lengths of chunks to try, one after the other, where a front end refuses the whole as too large.
const CHUNKS: [u64; 3] = [50 << 20, 5 << 20, 512 << 10];

/// What an opening request led to.
enum Opened {
    Placed(Placement),
    Session(UploadSession),
}

impl Repository {
    /// Sees to it that a blob is here, at the least cost: mounts it from `from`, a repository of the same registry, or
    /// wherever the registry finds it; else sends the bytes of `source` in the session that the mount opened. Blobs of
    /// up to 64 KiB that have no `from` are sent with the first request.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        from: Option<&RepositoryName>,
        source: &dyn BlobSource,
    ) -> Result<Placement, ClientError> {
        let policy = self.client().options().retry;
        let mut chunks = CHUNKS.iter().copied().filter(|chunk| *chunk < descriptor.size);
        let mut chunk = None;
        let mut attempt = 1;
        loop {
            let session = match self.open(descriptor, from, source).await? {
                Opened::Placed(placement) => return Ok(placement),
                Opened::Session(session) => session,
            };
            let sent = match chunk {
                None => self.upload_monolithic(session, descriptor, source).await,
                Some(chunk) => self.upload_chunked(session, descriptor, source, chunk).await,
            };
            let Err(error) = sent else { return Ok(Placement::Uploaded) };
            if error.kind() == ErrorKind::RefusedAsTooLarge
                && let Some(smaller) = chunks.next()
            {
                chunk = Some(smaller);
                continue;
            }
            attempt += 1;
            // A session that is gone, or that has more or less than we sent, is as good as a lost connection.
            let lost = error.kind() == ErrorKind::NotFound || error.status() == Some(416);
            let wait = error.retry_after().unwrap_or_else(|| pause::before(attempt, &policy));
            if !(lost || error.is_transient()) || attempt > policy.attempts || wait > policy.longest_retry_after {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, attempt, "beginning the upload again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn open(
        &self,
        descriptor: &Descriptor,
        from: Option<&RepositoryName>,
        source: &dyn BlobSource,
    ) -> Result<Opened, ClientError> {
        let registry = self.registry();
        if from.is_some() {
            return self.open_by_mount(descriptor, from).await;
        }
        if descriptor.size <= IN_MEMORY && !registry.no_single_post.load(Ordering::Relaxed) {
            let call = self.call(Verb::UploadBlob, Method::POST, "blobs/uploads/", Access::Push);
            let bytes: Bytes = self.collect(&call, source, descriptor.size).await?;
            let session = match self.upload_single_post(descriptor, bytes).await {
                Ok(SinglePost::Done) => return Ok(Opened::Placed(Placement::Uploaded)),
                Ok(SinglePost::Session(session)) => session,
                Err(error) if is_misunderstood(&error) => self.start_upload().await?,
                Err(error) => return Err(error),
            };
            registry.no_single_post.store(true, Ordering::Relaxed);
            return Ok(Opened::Session(session));
        }
        if descriptor.size >= LOOK_FIRST && self.head_blob(&descriptor.digest).await?.is_some() {
            return Ok(Opened::Placed(Placement::AlreadyThere));
        }
        if registry.no_discovery.load(Ordering::Relaxed) {
            return Ok(Opened::Session(self.start_upload().await?));
        }
        self.open_by_mount(descriptor, None).await
    }

    async fn open_by_mount(
        &self,
        descriptor: &Descriptor,
        from: Option<&RepositoryName>,
    ) -> Result<Opened, ClientError> {
        match self.mount_blob(&descriptor.digest, from).await {
            Ok(Mount::Mounted) => Ok(Opened::Placed(Placement::Mounted)),
            Ok(Mount::Session(session)) => Ok(Opened::Session(session)),
            // The specification wants a session where a mount is not possible; some front ends refuse instead. If the
            // repository itself is what is refused, the plain request will say so.
            Err(error) if is_misunderstood(&error) || from.is_some() && is_forbidden(&error) => {
                if from.is_none() {
                    self.registry().no_discovery.store(true, Ordering::Relaxed);
                }
                Ok(Opened::Session(self.start_upload().await?))
            }
            Err(error) => Err(error),
        }
    }
}

fn is_misunderstood(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Rejected | ErrorKind::Unsupported | ErrorKind::NotFound | ErrorKind::RefusedAsTooLarge
    )
}

/// Whether it may be the source that is out of bounds, not the target.
fn is_forbidden(error: &ClientError) -> bool {
    matches!(error.kind(), ErrorKind::Denied | ErrorKind::Unauthorized)
}
