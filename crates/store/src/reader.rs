//! Bytes that are hashed on their way.

use futures_util::{StreamExt, stream};
use image::{Descriptor, Hasher};

use crate::error::{StoreError, StoreErrorKind};
use crate::traits::BlobReader;

/// Pieces over this size are hashed off the reactor: they take it more than 100 µs.
const INLINE: usize = 32 << 10;

/// Ends `reader` with an error unless its bytes have the digest and the size of `descriptor`.
pub(crate) fn verified(reader: BlobReader, descriptor: &Descriptor, action: String) -> BlobReader {
    struct State {
        reader: BlobReader,
        hasher: Option<Hasher>,
        descriptor: Descriptor,
        action: String,
    }
    let hasher = Some(Hasher::new(descriptor.digest.algorithm()));
    let state = State { reader, hasher, descriptor: descriptor.clone(), action };
    Box::pin(stream::unfold(state, |mut state| async move {
        let mut hasher = state.hasher.take()?;
        let wrong = |what: String| StoreError::new(StoreErrorKind::Invalid, state.action.clone()).because(what);
        let wanted = &state.descriptor;
        let item = match state.reader.next().await {
            Some(Ok(piece)) if hasher.length() + piece.len() as u64 > wanted.size => {
                Err(wrong(format!("it has more than the {} bytes that were expected", wanted.size)))
            }
            Some(Ok(piece)) if piece.len() <= INLINE => {
                hasher.update(&piece);
                state.hasher = Some(hasher);
                Ok(piece)
            }
            Some(Ok(piece)) => {
                let bytes = piece.clone();
                let hashed = tokio::task::spawn_blocking(move || {
                    hasher.update(&bytes);
                    hasher
                });
                match hashed.await {
                    Ok(hasher) => {
                        state.hasher = Some(hasher);
                        Ok(piece)
                    }
                    Err(error) => Err(StoreError::new(StoreErrorKind::Other, state.action.clone()).because(error)),
                }
            }
            Some(Err(error)) => Err(error),
            None if hasher.length() != wanted.size => {
                Err(wrong(format!("it has {} bytes, expected {}", hasher.length(), wanted.size)))
            }
            None => {
                let actual = hasher.finish();
                if actual == wanted.digest {
                    return None;
                }
                Err(wrong(format!("its bytes have digest `{actual}`, expected `{}`", wanted.digest)))
            }
        };
        Some((item, state))
    }))
}
