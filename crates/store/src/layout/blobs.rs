//! Bytes of blobs between the disk and a stream. Hashing, reading and writing happen on threads that may wait.

use std::io::Read;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{Descriptor, Digest, Hasher};
use tokio::sync::mpsc;

use super::error::LayoutError;
use super::files::Files;
use crate::error::StoreError;
use crate::traits::BlobReader;

/// How many bytes are read at once.
const PIECE: usize = 256 << 10;
/// How many pieces wait between the disk and the network.
const AHEAD: usize = 4;

/// Opens a blob. Its size is checked now, its digest when the end is read.
pub(crate) async fn read(files: Files, descriptor: &Descriptor, action: String) -> Result<BlobReader, StoreError> {
    let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
    let opened = super::blocking(action.clone(), {
        let digest = digest.clone();
        move || files.open_blob(&digest)?.ok_or(LayoutError::Absent)
    });
    let (file, actual) = opened.await?;
    if actual != expected {
        return Err(LayoutError::Size { digest, expected, actual }.during(action));
    }
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let outcome = pump(file, &digest, expected, |piece| sender.blocking_send(Ok(piece)).is_ok());
        if let Err(error) = outcome {
            let _ = sender.blocking_send(Err(error.during(action)));
        }
    });
    Ok(Box::pin(stream::unfold(receiver, |mut receiver| async { receiver.recv().await.map(|item| (item, receiver)) })))
}

/// Reads all of `file` and hands it on; the last piece only after the digest was found right.
fn pump(
    mut file: std::fs::File,
    digest: &Digest,
    expected: u64,
    mut hand_on: impl FnMut(Bytes) -> bool,
) -> Result<(), LayoutError> {
    let mut hasher = Hasher::new(digest.algorithm());
    loop {
        let mut piece = Vec::new();
        (&mut file).take(PIECE as u64).read_to_end(&mut piece).map_err(LayoutError::io(digest.as_str()))?;
        hasher.update(&piece);
        let last = piece.is_empty() || hasher.length() >= expected;
        if last {
            let actual = hasher.length();
            if actual != expected {
                return Err(LayoutError::Size { digest: digest.clone(), expected, actual });
            }
            let actual = hasher.finish();
            if actual != *digest {
                return Err(LayoutError::Content { expected: digest.clone(), actual });
            }
            if !piece.is_empty() {
                hand_on(piece.into());
            }
            return Ok(());
        }
        if !hand_on(piece.into()) {
            return Ok(());
        }
    }
}

/// What goes to the thread that writes. If it ends without `End`, nothing is kept.
enum Message {
    Piece(Bytes),
    End,
}

/// Writes a blob, checking size and digest on the way.
pub(crate) async fn write(
    files: Files,
    descriptor: &Descriptor,
    mut reader: BlobReader,
    action: String,
) -> Result<(), StoreError> {
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    let (digest, expected) = (descriptor.digest.clone(), descriptor.size);
    let writing = super::blocking(action, move || {
        let mut staged = files.stage()?;
        let mut hasher = Hasher::new(digest.algorithm());
        while let Some(message) = receiver.blocking_recv() {
            match message {
                Message::Piece(piece) => {
                    hasher.update(&piece);
                    let actual = hasher.length();
                    if actual > expected {
                        return Err(LayoutError::Size { digest, expected, actual });
                    }
                    staged.write(&piece).map_err(LayoutError::io(digest.as_str()))?;
                }
                Message::End => {
                    let actual = hasher.length();
                    if actual != expected {
                        return Err(LayoutError::Size { digest, expected, actual });
                    }
                    let actual = hasher.finish();
                    if actual != digest {
                        return Err(LayoutError::Content { expected: digest, actual });
                    }
                    return files.place_blob(staged, &digest);
                }
            }
        }
        Err(LayoutError::Interrupted)
    });
    let sending = async move {
        while let Some(piece) = reader.next().await {
            if sender.send(Message::Piece(piece?)).await.is_err() {
                // The writer has failed and says why.
                return Ok(());
            }
        }
        let _ = sender.send(Message::End).await;
        Ok::<(), StoreError>(())
    };
    let (sent, written) = futures_util::future::join(sending, writing).await;
    // A source that failed is the cause; that the writer was cut off is what follows.
    sent?;
    written
}
