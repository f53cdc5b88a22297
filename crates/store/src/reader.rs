//! Bytes that are hashed on their way.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{Descriptor, Hasher};

use crate::error::{StoreError, StoreErrorKind};
use crate::traits::BlobReader;

/// Pieces over this size are hashed off the reactor: they take it more than 100 µs.
const INLINE: usize = 32 << 10;

/// Ends `reader` with an error unless its bytes have the digest and the size of `descriptor`. The last piece is handed on
/// only when all of them were found right: whoever passes them on could not take them back.
pub(crate) fn verified(reader: BlobReader, descriptor: &Descriptor, action: String) -> BlobReader {
    let hasher = Some(Hasher::new(descriptor.digest.algorithm()));
    let state = Verified { reader, hasher, descriptor: descriptor.clone(), action };
    Box::pin(stream::unfold(state, |mut state| async move {
        let item = state.next().await.transpose()?;
        Some((item, state))
    }))
}

struct Verified {
    reader: BlobReader,
    /// None when all was said.
    hasher: Option<Hasher>,
    descriptor: Descriptor,
    action: String,
}

impl Verified {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(hasher) = self.hasher.take() else { return Ok(None) };
        let wanted = self.descriptor.size;
        let Some(piece) = self.piece().await? else {
            if hasher.length() != wanted {
                return Err(self.wrong(format!("it has {} bytes, expected {wanted}", hasher.length())));
            }
            // Nothing but an empty blob gets here.
            self.check(hasher)?;
            return Ok(None);
        };
        let length = hasher.length() + piece.len() as u64;
        if length > wanted {
            return Err(self.too_long());
        }
        let hashed = hash(hasher, &piece).await;
        let hasher =
            hashed.map_err(|error| StoreError::new(StoreErrorKind::Other, self.action.clone()).because(error))?;
        if length < wanted {
            self.hasher = Some(hasher);
            return Ok(Some(piece));
        }
        if self.piece().await?.is_some() {
            return Err(self.too_long());
        }
        self.check(hasher)?;
        Ok(Some(piece))
    }

    /// The next piece that has bytes.
    async fn piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            match self.reader.next().await.transpose()? {
                Some(piece) if piece.is_empty() => {}
                other => return Ok(other),
            }
        }
    }

    fn check(&self, hasher: Hasher) -> Result<(), StoreError> {
        let (actual, wanted) = (hasher.finish(), &self.descriptor.digest);
        if actual == *wanted {
            return Ok(());
        }
        Err(self.wrong(format!("its bytes have digest `{actual}`, expected `{wanted}`")))
    }

    fn too_long(&self) -> StoreError {
        self.wrong(format!("it has more than the {} bytes that were expected", self.descriptor.size))
    }

    fn wrong(&self, what: String) -> StoreError {
        StoreError::new(StoreErrorKind::Invalid, self.action.clone()).because(what)
    }
}

async fn hash(mut hasher: Hasher, piece: &Bytes) -> Result<Hasher, tokio::task::JoinError> {
    if piece.len() <= INLINE {
        hasher.update(piece);
        return Ok(hasher);
    }
    let bytes = piece.clone();
    let hashed = tokio::task::spawn_blocking(move || {
        hasher.update(&bytes);
        hasher
    });
    hashed.await
}
