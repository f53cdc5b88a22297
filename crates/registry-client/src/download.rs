//! Blobs as they come: verified while they stream, taken up again where a connection was lost.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use http::header::{CONTENT_RANGE, HeaderValue, RANGE};
use http::{Method, StatusCode};
use image::{Descriptor, Digest, Hasher};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::call::Answer;
use crate::error::{ClientError, ErrorKind, Failure, Verb};
use crate::lanes::{Lane, Permit};
use crate::manifests::{compressed, wrong_digest};
use crate::pause;
use crate::registry::Registry;
use crate::repository::{BlobInfo, Repository};
use crate::scope::Access;
use crate::wire::{Context, Incoming};

/// From this size on a blob is hashed on a thread beside the reactor. Below it the hand-over costs more than it wins.
const HASH_ELSEWHERE: u64 = 256 << 10;
/// Chunks that may wait to be hashed: enough to keep both sides busy, too few to fill memory.
const WAITING_CHUNKS: usize = 4;

impl Repository {
    /// Asks for a blob; `None` if it is not there.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Option<BlobInfo>, ClientError> {
        let call = self.call(Verb::HeadBlob, Method::HEAD, &format!("blobs/{digest}"), Access::Pull);
        match self.registry().exchange(&call).await {
            Ok(answer) => {
                let size = answer.head.header(http::header::CONTENT_LENGTH).and_then(|size| size.parse().ok());
                Ok(Some(BlobInfo { size }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a blob. A connection that is lost is taken up again where it ended.
    pub async fn get_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, ClientError> {
        let mut download = Download {
            repository: self.clone(),
            registry: self.registry(),
            digest: descriptor.digest.clone(),
            size: descriptor.size,
            received: 0,
            skip: 0,
            failures: 0,
            open: None,
            last: None,
            verify: Some(Verify::new(descriptor)),
        };
        download.reopen().await?;
        let stream = futures_util::stream::try_unfold(download, |mut download| async move {
            Ok(download.next().await?.map(|bytes| (bytes, download)))
        });
        Ok(BlobStream { inner: Box::pin(stream) })
    }

    /// Reads a blob of at most `limit` bytes into memory.
    pub async fn read_blob(&self, descriptor: &Descriptor, limit: usize) -> Result<Bytes, ClientError> {
        if descriptor.size > limit as u64 {
            let call = self.call(Verb::GetBlob, Method::GET, &format!("blobs/{}", descriptor.digest), Access::Pull);
            let context = self.registry().context(&call)?;
            let detail = format!("{} bytes, more than {limit}", descriptor.size);
            return Err(context.failure(ErrorKind::TooLarge).detail(detail).into());
        }
        let mut stream = self.get_blob(descriptor).await?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes.freeze())
    }

    /// Deletes a blob.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), ClientError> {
        self.delete(Verb::DeleteBlob, &format!("blobs/{digest}")).await
    }
}

/// The bytes of a blob as they arrive. It ends with an error unless they have the digest and size of the descriptor,
/// so whoever saw the end saw the right bytes.
pub struct BlobStream {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>,
}

impl Stream for BlobStream {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").finish_non_exhaustive()
    }
}

/// An answer that bytes come from.
struct Open {
    context: Context,
    body: Incoming,
    /// The length of the body is known, or its end is marked: an early end is no accident.
    framed: bool,
    encoding: Option<String>,
    _permit: Permit,
}

struct Download {
    repository: Repository,
    registry: Arc<Registry>,
    digest: Digest,
    size: u64,
    received: u64,
    /// Bytes to throw away, where the registry began again from the start.
    skip: u64,
    /// Failures since the last byte.
    failures: u32,
    open: Option<Open>,
    /// The last bytes, which are handed on only when all of them were found right: whoever passes them on could not take
    /// them back.
    last: Option<Bytes>,
    verify: Option<Verify>,
}

impl Download {
    /// Asks for what is missing.
    async fn reopen(&mut self) -> Result<(), ClientError> {
        let rest = format!("blobs/{}", self.digest);
        let mut call = self.repository.call(Verb::GetBlob, Method::GET, &rest, Access::Pull);
        if self.size > self.registry.wire.options.pacing.big {
            call.lane = Lane::Download;
        }
        if self.received > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.received))
        {
            call.headers.insert(RANGE, range);
        }
        let Answer { context, head, permit } = self.registry.exchange(&call).await?;
        let left = match head.status {
            StatusCode::PARTIAL_CONTENT if self.received > 0 => {
                let start = head.header(CONTENT_RANGE).and_then(range_start);
                if start != Some(self.received) {
                    let detail = format!("asked for bytes from {} on, got others", self.received);
                    return Err(context.failure(ErrorKind::InvalidResponse).detail(detail).into());
                }
                self.skip = 0;
                self.size - self.received
            }
            StatusCode::OK => {
                self.skip = self.received;
                self.size
            }
            status => {
                let mut failure = context.failure(ErrorKind::InvalidResponse).detail("that is no answer to this");
                failure.status = Some(status);
                return Err(failure.into());
            }
        };
        let encoding = head.encoding();
        let length = head.body.length();
        if length.is_some_and(|length| length != left) {
            if let Some(encoding) = &encoding {
                return Err(compressed(&context, encoding));
            }
            return Err(self.wrong_length(&context, length.unwrap_or(0)));
        }
        let framed =
            length.is_some() || head.headers.contains_key(http::header::TRANSFER_ENCODING) || head.body.is_http2();
        self.open = Some(Open { context, body: head.body, framed, encoding, _permit: permit });
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let Some(open) = &mut self.open else {
                if self.verify.is_none() {
                    return Ok(None);
                }
                self.reopen().await?;
                continue;
            };
            let failure = match open.body.chunk(&self.registry.wire).await {
                Ok(Some(mut bytes)) => {
                    let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
                    self.skip -= skip as u64;
                    bytes = bytes.split_off(skip);
                    if bytes.is_empty() {
                        continue;
                    }
                    let received = self.received + bytes.len() as u64;
                    if received > self.size {
                        let context = open.context.clone();
                        return Err(match &open.encoding {
                            Some(encoding) => compressed(&context, encoding),
                            None => self.wrong_length(&context, received),
                        });
                    }
                    self.received = received;
                    self.failures = 0;
                    if let Some(verify) = &mut self.verify {
                        verify.update(&bytes).await;
                    }
                    if received == self.size {
                        self.last = Some(bytes);
                        continue;
                    }
                    return Ok(Some(bytes));
                }
                Ok(None) if self.received < self.size && !open.framed => None,
                Ok(None) => return self.finish().await,
                // The end was lost, but nothing of the content was.
                Err(_) if self.received == self.size => return self.finish().await,
                Err(error) => Some(error),
            };
            self.failures += 1;
            let policy = &self.registry.wire.options.retry;
            let context = open.context.clone();
            self.open = None;
            if self.failures >= policy.attempts || failure.as_ref().is_some_and(|error| !error.is_transient()) {
                let early = || ClientError::from(context.failure(ErrorKind::Network).detail("the body ends early"));
                return Err(failure.unwrap_or_else(early));
            }
            tracing::debug!(
                received = self.received,
                size = self.size,
                failures = self.failures,
                "taking up a blob again"
            );
            tokio::time::sleep(pause::before(self.failures + 1, policy)).await;
        }
    }

    async fn finish(&mut self) -> Result<Option<Bytes>, ClientError> {
        let (Some(open), Some(verify)) = (self.open.take(), self.verify.take()) else { return Ok(None) };
        let error = if self.received == self.size {
            match verify.finish().await {
                Ok(digest) if digest == self.digest => return Ok(self.last.take()),
                Ok(digest) => wrong_digest(&open.context, &self.digest, &digest),
                Err(failure) => open.context.failure(ErrorKind::Source).source(failure).into(),
            }
        } else {
            self.wrong_length(&open.context, self.received)
        };
        match &open.encoding {
            Some(encoding) => Err(compressed(&open.context, encoding)),
            None => Err(error),
        }
    }

    fn wrong_length(&self, context: &Context, got: u64) -> ClientError {
        let failure: Failure = context.failure(ErrorKind::LengthMismatch);
        failure.detail(format!("expected {} bytes, got {got}", self.size)).into()
    }
}

/// The first position of `Content-Range: bytes 10-99/100`.
fn range_start(value: &str) -> Option<u64> {
    value.trim().strip_prefix("bytes")?.trim_start().split('-').next()?.parse().ok()
}

/// The one hash of a blob's bytes.
enum Verify {
    Here(Hasher),
    /// On a blocking thread, which ends when the sender is dropped.
    Elsewhere(mpsc::Sender<Bytes>, JoinHandle<Digest>),
}

impl Verify {
    fn new(descriptor: &Descriptor) -> Self {
        let mut hasher = Hasher::new(descriptor.digest.algorithm());
        if descriptor.size < HASH_ELSEWHERE {
            return Self::Here(hasher);
        }
        let (sender, mut chunks) = mpsc::channel::<Bytes>(WAITING_CHUNKS);
        let digest = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = chunks.blocking_recv() {
                hasher.update(&chunk);
            }
            hasher.finish()
        });
        Self::Elsewhere(sender, digest)
    }

    async fn update(&mut self, bytes: &Bytes) {
        match self {
            Self::Here(hasher) => hasher.update(bytes),
            // The receiver is gone only if the thread died, and then `finish` says so.
            Self::Elsewhere(sender, _) => {
                let _ = sender.send(bytes.clone()).await;
            }
        }
    }

    async fn finish(self) -> Result<Digest, tokio::task::JoinError> {
        match self {
            Self::Here(hasher) => Ok(hasher.finish()),
            Self::Elsewhere(sender, digest) => {
                drop(sender);
                digest.await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(range_start("bytes 10-99/100"), Some(10));
        assert_eq!(range_start("bytes 10-99/*"), Some(10));
        assert_eq!(range_start("bytes */100"), None);
        assert_eq!(range_start("10-99"), None);
        assert_eq!(range_start(""), None);
    }
}
