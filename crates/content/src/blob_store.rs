//! The seam for bytes: files on one machine, object storage on several.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, stream};
use image::{Algorithm, Digest};

use crate::disk::BlobFile;
use crate::upkeep::BlobUpkeep;
use crate::{BlobRecord, ContentError, SourceError, StageId};

/// Bytes that come out of the content store.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ContentError>> + Send>>;

/// Bytes that go into the content store.
pub type ByteSource = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// Bytes of a blob on their way out.
pub enum BlobBytes {
    /// All of them.
    Memory(Bytes),
    /// A part of a file: to be read, or sent by the kernel.
    File(BlobFile),
    /// As they come.
    Stream(ByteStream),
}

impl BlobBytes {
    /// As they come, wherever they are.
    pub fn into_stream(self) -> ByteStream {
        match self {
            Self::Memory(bytes) if bytes.is_empty() => Box::pin(stream::empty()),
            Self::Memory(bytes) => Box::pin(stream::iter([Ok(bytes)])),
            Self::File(file) => file.into_stream(),
            Self::Stream(stream) => stream,
        }
    }
}

/// Where a blob store put a blob, in words that only this store reads; kept in the blob's row.
///
/// The disk store writes here under which name the bytes are durable while the rename to their final name may not be
/// yet; an object store can write a key.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Placement(pub Option<Box<str>>);

/// A claim on the bytes of a digest, in all processes, for as long as it lives; a process that dies lets go.
///
/// Whoever places bytes shares the claim with others who do, until a row that speaks of the bytes is committed. Whoever
/// removes them has it alone, from its look for such a row to the removal. So one comes wholly before the other.
#[derive(Default)]
pub struct Claim(Option<Box<dyn Any + Send + Sync>>);

impl Claim {
    /// A claim that ends when `held` is dropped.
    pub fn holding(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }

    /// For bytes that no removal can hit: they are in the row itself, or under a name that is never used again.
    pub fn unneeded() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.0.is_some()).finish()
    }
}

/// A blob whose bytes are durable and that a row may now be written for.
#[derive(Debug)]
pub struct Placed {
    /// Size in bytes.
    pub size: u64,
    /// Where it is.
    pub placement: Placement,
    /// Keeps the bytes from removal until the row is there.
    pub claim: Claim,
}

/// Room for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free: u64,
    /// Bytes that there are.
    pub total: u64,
}

/// Keeps bytes by digest. Knows nothing of repositories; which blobs *count* is the metadata store's to say.
///
/// A blob is first durable here, then a row is written: a crash in between leaves bytes that nobody refers to, never a
/// reference to bytes that are not there.
#[async_trait]
pub trait BlobStore: BlobUpkeep + Send + Sync + fmt::Debug {
    /// Opens a new stage for bytes that arrive, hashing them as `algorithm`.
    async fn stage(&self, algorithm: Algorithm) -> Result<Box<dyn BlobWriter>, ContentError>;

    /// Opens a stage again in order to append at `offset`. Bytes past `offset` do not count, and are as they were until
    /// others are written there; those before it are hashed again, unless this process still knows their hash.
    async fn resume(&self, stage: &StageId, offset: u64, algorithm: Algorithm) -> Result<Resumed, ContentError>;

    /// Drops a stage. It is no error if it is gone.
    async fn discard(&self, stage: &StageId) -> Result<(), ContentError>;

    /// Drops a stage whose writer is going away in the middle, without waiting. One that stays is cleared away later.
    fn abandon(&self, _stage: &StageId) {}

    /// Reads `range` of a blob, which lies within its size.
    async fn read(&self, blob: &BlobRecord, range: Range<u64>) -> Result<BlobBytes, ContentError>;

    /// Claims the bytes of a digest in order to remove them. `None`: somebody is placing them, or removing them.
    async fn claim(&self, digest: &Digest) -> Result<Option<Claim>, ContentError>;

    /// Removes the bytes of a blob, which no row speaks of since `claim` was taken. It is no error if they are gone.
    ///
    /// The claim is let go when they are removed, even if nobody waits for that any more.
    async fn remove(&self, blob: &BlobRecord, claim: Claim) -> Result<(), ContentError>;

    /// Reads a blob whole and returns its true digest and size.
    async fn digest(&self, blob: &BlobRecord) -> Result<(Digest, u64), ContentError>;

    /// Makes the final names of `blobs` durable, so that their rows need no [`Placement`] any more.
    async fn settle(&self, blobs: &[BlobRecord]) -> Result<(), ContentError>;

    /// How much room there is. `None`: there is no end to it, or nobody can tell.
    async fn space(&self) -> Result<Option<Space>, ContentError> {
        Ok(None)
    }

    /// Stages that no writer has open and that were last written more than `age` ago.
    async fn idle_stages(&self, age: std::time::Duration) -> Result<Vec<StageId>, ContentError>;
}

/// What came of opening a stage again.
pub enum Resumed {
    /// It is open.
    Open(Box<dyn BlobWriter>),
    /// Another writer has it open, in this process or another.
    Busy,
    /// It is gone, or holds fewer bytes than it should: a power cut took them.
    Gone,
}

/// A stage that is open. Whoever holds it is the only writer, in all processes.
#[async_trait]
pub trait BlobWriter: Send {
    /// The stage's name.
    fn stage(&self) -> &StageId;

    /// Adds bytes. Returns before they are hashed and written.
    async fn write(&mut self, bytes: Bytes) -> Result<(), ContentError>;

    /// Waits until all bytes are written (a process crash does not lose them, a power cut may), and returns how many
    /// the stage has.
    async fn flush(&mut self) -> Result<u64, ContentError>;

    /// Closes the stage for now; what was flushed stays for a later [`BlobStore::resume`].
    async fn release(self: Box<Self>);

    /// Closes the stage after a failure, and takes back the room of the bytes past `length` if that can be done.
    async fn cut(self: Box<Self>, length: u64);

    /// Makes the bytes durable as the blob `expected`. With another digest, or if that fails for good, the stage is
    /// dropped.
    async fn commit(self: Box<Self>, expected: &Digest) -> Result<Placed, ContentError>;

    /// Drops the stage.
    async fn abort(self: Box<Self>);
}
