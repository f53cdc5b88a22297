//! How bytes come in: at once, or by an upload session.
//!
//! Few bytes go into the metadata and cost one commit; many go through a stage of the blob store, and their row is
//! written when they are durable.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use image::{Algorithm, Digest};

use crate::blob_store::{BlobStore, BlobWriter, ByteSource, Claim, Placed, Resumed};
use crate::metadata_store::{BlobContent, BlobRecord, Upload, UploadContent};
use crate::{ContentError, ContentStore, RepositoryId, StageId, UploadId};

/// What was read of a source while it might still be small.
enum Beginning {
    /// All of it.
    Whole(Bytes),
    /// The first part of it; the rest has not been read.
    Part(Bytes, ByteSource),
    /// The source failed after these bytes.
    Broken(Bytes, ContentError),
}

async fn beginning(mut source: ByteSource, limit: usize) -> Beginning {
    let mut first = Bytes::new();
    let mut joined = BytesMut::new();
    loop {
        let length = first.len() + joined.len();
        let whole = |first: Bytes, joined: BytesMut| if joined.is_empty() { first } else { joined.freeze() };
        match source.next().await {
            None => return Beginning::Whole(whole(first, joined)),
            Some(Err(error)) => return Beginning::Broken(whole(first, joined), ContentError::Source(error)),
            Some(Ok(chunk)) if length == 0 => first = chunk,
            Some(Ok(chunk)) => {
                if joined.is_empty() {
                    joined.extend_from_slice(&first);
                    first = Bytes::new();
                }
                joined.extend_from_slice(&chunk);
            }
        }
        if first.len() + joined.len() > limit {
            return Beginning::Part(whole(first, joined), source);
        }
    }
}

/// Writes all of `source`; on its failure says so, with everything before it written.
async fn pour(writer: &mut dyn BlobWriter, source: &mut ByteSource) -> Result<(), ContentError> {
    while let Some(chunk) = source.next().await {
        writer.write(chunk.map_err(ContentError::Source)?).await?;
    }
    Ok(())
}

/// A stage that goes away with the future that fills it, if that is dropped in the middle: a transfer whose other half
/// failed, or Ctrl-C. Stages of upload sessions stay, their clients come back.
struct Unfinished<'a> {
    blobs: &'a dyn BlobStore,
    stage: Option<StageId>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(stage) = &self.stage {
            self.blobs.abandon(stage);
        }
    }
}

impl ContentStore {
    /// Writes a blob whose digest is known, and makes `repository` hold it. Durable when it returns.
    ///
    /// If only its row cannot be written, its bytes stay under the name of the digest, and no repository holds them: nobody
    /// is told that they are there, the next who puts the same blob replaces them, [`ContentStore::verify`] lists them, and
    /// [`ContentStore::repair`] removes them.
    ///
    /// # Errors
    /// [`ContentError::DigestMismatch`], [`ContentError::SizeMismatch`], [`ContentError::Source`] if `source` failed.
    pub async fn put_blob(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        size: Option<u64>,
        source: ByteSource,
    ) -> Result<BlobRecord, ContentError> {
        let (record, claim) = match beginning(source, self.options.inline_limit).await {
            Beginning::Broken(_, error) => return Err(error),
            Beginning::Whole(bytes) => {
                check_size(size, bytes.len() as u64)?;
                (inline(digest, bytes)?, Claim::unneeded())
            }
            Beginning::Part(first, mut rest) => {
                let mut writer = self.blobs.stage(digest.algorithm()).await?;
                let mut unfinished = Unfinished { blobs: &*self.blobs, stage: Some(writer.stage().clone()) };
                let poured = async {
                    writer.write(first).await?;
                    pour(&mut *writer, &mut rest).await?;
                    check_size(size, writer.flush().await?)
                };
                if let Err(error) = poured.await {
                    writer.abort().await;
                    return Err(error);
                }
                let placed = writer.commit(digest).await?;
                unfinished.stage = None;
                stored(digest, placed)
            }
        };
        self.metadata.add_blob(repository, &record, None, claim).await?;
        Ok(record)
    }

    /// Writes a blob that is in memory, and makes `repository` hold it. Durable when it returns.
    pub async fn put_blob_bytes(
        &self,
        repository: &RepositoryId,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<BlobRecord, ContentError> {
        self.put_blob(repository, digest, None, Box::pin(stream::iter([Ok(bytes)]))).await
    }

    /// Begins an upload session. It survives a restart of the process.
    pub async fn start_upload(
        &self,
        repository: &RepositoryId,
        algorithm: Option<Algorithm>,
    ) -> Result<Upload, ContentError> {
        let id = UploadId::random()?;
        self.metadata.start_upload(repository, &id, algorithm.unwrap_or(Algorithm::Sha256)).await
    }

    /// An upload session of this repository.
    ///
    /// # Errors
    /// [`ContentError::UploadUnknown`].
    pub async fn upload(&self, repository: &RepositoryId, id: &UploadId) -> Result<Upload, ContentError> {
        self.metadata.upload(repository, id).await?.ok_or_else(|| ContentError::UploadUnknown(id.clone()))
    }

    /// Adds bytes to an upload session. With `at`, they must belong there. If `source` fails, what came before is kept
    /// and the session can go on from its new offset.
    ///
    /// # Errors
    /// [`ContentError::UploadUnknown`], [`ContentError::UploadBusy`], [`ContentError::WrongOffset`].
    pub async fn append_upload(
        &self,
        repository: &RepositoryId,
        id: &UploadId,
        at: Option<u64>,
        source: ByteSource,
    ) -> Result<Upload, ContentError> {
        let upload = self.upload(repository, id).await?;
        check_offset(&upload, at)?;
        let room = match &upload.content {
            UploadContent::Inline(bytes) => self.options.inline_limit.saturating_sub(bytes.len()),
            UploadContent::Staged(_) => 0,
        };
        let (first, mut rest, broken) = match beginning(source, room).await {
            Beginning::Whole(bytes) => (bytes, None, None),
            Beginning::Part(bytes, rest) => (bytes, Some(rest), None),
            Beginning::Broken(bytes, error) => (bytes, None, Some(error)),
        };
        let (offset, content, writer) = match &upload.content {
            UploadContent::Inline(before) if rest.is_none() => {
                let bytes = join(before, &first);
                (bytes.len() as u64, UploadContent::Inline(bytes), None)
            }
            content => {
                let mut writer = self.open_stage(&upload, content, upload.algorithm).await?;
                let poured = match writer.write(first).await {
                    Ok(()) => match &mut rest {
                        Some(rest) => pour(&mut *writer, rest).await,
                        None => Ok(()),
                    },
                    failed => failed,
                };
                let flushed = match poured {
                    Ok(()) => writer.flush().await.map(|offset| (offset, broken)),
                    Err(error @ ContentError::Source(_)) => writer.flush().await.map(|offset| (offset, Some(error))),
                    Err(error) => Err(error),
                };
                let (offset, broken) = match flushed {
                    Ok(flushed) => flushed,
                    Err(error) => {
                        go_back(&upload, writer).await;
                        return Err(error);
                    }
                };
                let content = UploadContent::Staged(writer.stage().clone());
                return self.advance(upload, offset, content, Some(writer), broken).await;
            }
        };
        self.advance(upload, offset, content, writer, broken).await
    }

    /// Writes down how far a session came; the stage stays locked until that is done.
    async fn advance(
        &self,
        upload: Upload,
        offset: u64,
        content: UploadContent,
        writer: Option<Box<dyn BlobWriter>>,
        broken: Option<ContentError>,
    ) -> Result<Upload, ContentError> {
        let moved = self.metadata.advance_upload(&upload, offset, content.clone()).await;
        if let Some(writer) = writer {
            match (&moved, &upload.content) {
                (Ok(true), _) => writer.release().await,
                // Whether the row speaks of these bytes is not known.
                (_, UploadContent::Staged(_)) => drop(writer),
                (_, UploadContent::Inline(_)) => writer.abort().await,
            }
        }
        match (moved?, broken) {
            (true, None) => Ok(Upload { offset, content, ..upload }),
            (true, Some(error)) => Err(error),
            (false, _) => Err(ContentError::UploadBusy(upload.id)),
        }
    }

    /// Ends an upload session with its last bytes, if there are any: the whole must be `digest`, and `repository` then
    /// holds it. Durable when it returns. With another digest the session is gone.
    ///
    /// # Errors
    /// As [`ContentStore::append_upload`], and [`ContentError::DigestMismatch`].
    pub async fn finish_upload(
        &self,
        repository: &RepositoryId,
        id: &UploadId,
        at: Option<u64>,
        source: Option<ByteSource>,
        digest: &Digest,
    ) -> Result<BlobRecord, ContentError> {
        let upload = self.upload(repository, id).await?;
        check_offset(&upload, at)?;
        let source = source.unwrap_or_else(|| Box::pin(stream::empty()));
        let room = match &upload.content {
            UploadContent::Inline(bytes) => self.options.inline_limit.saturating_sub(bytes.len()),
            UploadContent::Staged(_) => 0,
        };
        let (first, mut rest) = match beginning(source, room).await {
            Beginning::Whole(bytes) => (bytes, None),
            Beginning::Part(bytes, rest) => (bytes, Some(rest)),
            // The session stays where it was: the client can ask for its offset and send the rest again.
            Beginning::Broken(_, error) => return Err(error),
        };
        let made = match &upload.content {
            UploadContent::Inline(before) if rest.is_none() => {
                self.look_again(&upload).await?;
                inline(digest, join(before, &first)).map(|record| (record, Claim::unneeded()))
            }
            content => {
                // Nothing hashed yet: hash as what the digest will be.
                let algorithm = if upload.offset == 0 { digest.algorithm() } else { upload.algorithm };
                let mut writer = self.open_stage(&upload, content, algorithm).await?;
                let poured = async {
                    writer.write(first).await?;
                    if let Some(rest) = &mut rest {
                        pour(&mut *writer, rest).await?;
                    }
                    writer.flush().await
                };
                if let Err(error) = poured.await {
                    go_back(&upload, writer).await;
                    return Err(error);
                }
                let stage = writer.stage().clone();
                let placed = writer.commit(digest).await;
                if placed.is_err() && matches!(content, UploadContent::Inline(_)) {
                    // No row speaks of it. One that stays is cleared away later.
                    let _ = self.blobs.discard(&stage).await;
                }
                placed.map(|placed| stored(digest, placed))
            }
        };
        match made {
            Ok((record, claim)) => {
                self.metadata.add_blob(repository, &record, Some(id), claim).await?;
                Ok(record)
            }
            Err(error) => {
                if matches!(error, ContentError::DigestMismatch { .. }) {
                    self.cancel_upload(repository, id).await?;
                }
                Err(error)
            }
        }
    }

    /// Drops an upload session. `false`: there was none.
    pub async fn cancel_upload(&self, repository: &RepositoryId, id: &UploadId) -> Result<bool, ContentError> {
        let Some(upload) = self.metadata.end_upload(repository, id).await? else { return Ok(false) };
        if let UploadContent::Staged(stage) = &upload.content {
            self.blobs.discard(stage).await?;
        }
        Ok(true)
    }

    /// Opens the session's stage, or a new one with the bytes that the session has so far.
    async fn open_stage(
        &self,
        upload: &Upload,
        content: &UploadContent,
        algorithm: Algorithm,
    ) -> Result<Box<dyn BlobWriter>, ContentError> {
        match content {
            UploadContent::Inline(before) => {
                let mut writer = self.blobs.stage(algorithm).await?;
                if !before.is_empty()
                    && let Err(error) = writer.write(before.clone()).await
                {
                    writer.abort().await;
                    return Err(error);
                }
                Ok(writer)
            }
            UploadContent::Staged(stage) => match self.blobs.resume(stage, upload.offset, algorithm).await? {
                // From here on nobody moves it on.
                Resumed::Open(writer) => self.look_again(upload).await.map(|()| writer),
                Resumed::Busy => Err(ContentError::UploadBusy(upload.id.clone())),
                Resumed::Gone => {
                    self.cancel_upload(&upload.repository, &upload.id).await?;
                    Err(ContentError::UploadUnknown(upload.id.clone()))
                }
            },
        }
    }

    /// Whether a session still stands where it stood when the request began: the client's first byte may have been long
    /// in coming.
    async fn look_again(&self, upload: &Upload) -> Result<(), ContentError> {
        let now = self.upload(&upload.repository, &upload.id).await?;
        check_offset(&now, Some(upload.offset))
    }
}

/// After a failure: a stage that the session already had goes back to where it stood, a new one goes.
async fn go_back(upload: &Upload, writer: Box<dyn BlobWriter>) {
    match &upload.content {
        UploadContent::Staged(_) => writer.cut(upload.offset).await,
        UploadContent::Inline(_) => writer.abort().await,
    }
}

fn inline(expected: &Digest, bytes: Bytes) -> Result<BlobRecord, ContentError> {
    let actual = Digest::of(expected.algorithm(), &bytes);
    if actual != *expected {
        return Err(ContentError::DigestMismatch { expected: expected.clone(), actual });
    }
    Ok(BlobRecord { digest: actual, size: bytes.len() as u64, content: BlobContent::Inline(bytes) })
}

fn stored(digest: &Digest, placed: Placed) -> (BlobRecord, Claim) {
    let content = BlobContent::Stored(placed.placement);
    (BlobRecord { digest: digest.clone(), size: placed.size, content }, placed.claim)
}

fn join(before: &Bytes, after: &Bytes) -> Bytes {
    match (before.is_empty(), after.is_empty()) {
        (_, true) => before.clone(),
        (true, _) => after.clone(),
        _ => [before.as_ref(), after.as_ref()].concat().into(),
    }
}

fn check_size(expected: Option<u64>, actual: u64) -> Result<(), ContentError> {
    match expected {
        Some(expected) if expected != actual => Err(ContentError::SizeMismatch { expected, actual }),
        _ => Ok(()),
    }
}

fn check_offset(upload: &Upload, at: Option<u64>) -> Result<(), ContentError> {
    match at {
        Some(offered) if offered != upload.offset => Err(ContentError::WrongOffset { current: upload.offset, offered }),
        _ => Ok(()),
    }
}
