//! A check of the whole store: does everything that a row speaks of exist, and is it what it should be?
//!
//! It may run while others write. Whatever looks wrong is looked at again before it is called so: a blob may have been
//! deleted since its row was read, bytes that have no row may be about to get one.

use std::collections::HashSet;

use image::Digest;

use crate::blob_store::Claim;
use crate::metadata_store::{BlobContent, BlobRecord};
use crate::problem::Problem;
use crate::upkeep::{Leftover, LeftoverKind};
use crate::{ContentError, ContentStore};

/// Blobs whose rows are read at once.
const PAGE: usize = 1000;
/// How often a blob is looked at before it is called damaged or lost.
const LOOKS: usize = 3;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Documents looked at.
    pub documents: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// What is wrong: something acknowledged was lost or damaged, or would be.
    pub problems: Vec<Problem>,
    /// What no row speaks of: harmless, it only takes room.
    pub leftovers: Vec<Leftover>,
    /// Bytes of blobs that were deleted: nothing is left over of them once the next collection is done.
    pub deleted: DeletedBytes,
}

/// Bytes whose rows are gone, which the next collection removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeletedBytes {
    /// How many files they are.
    pub files: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Digests of bytes that a collection is to remove, as far as they were read.
#[derive(Default)]
struct Doomed {
    digests: HashSet<Digest>,
    /// The number of the last one. Later ones have higher numbers.
    last: u64,
}

impl ContentStore {
    /// Hashes every blob and every document, follows every edge and tag, and looks for leftovers. Reads everything, and
    /// changes nothing.
    pub async fn verify(&self) -> Result<VerifyReport, ContentError> {
        let metadata = self.metadata.check_metadata().await?;
        let mut report = VerifyReport {
            documents: metadata.documents,
            bytes: metadata.bytes,
            problems: metadata.problems,
            ..VerifyReport::default()
        };
        let mut known = HashSet::new();
        let mut after: Option<Digest> = None;
        loop {
            let page = self.metadata.all_blobs(after.as_ref(), PAGE).await?;
            let last = page.items.last().map(|blob| blob.digest.clone());
            for blob in page.items {
                report.blobs += 1;
                report.bytes += blob.size;
                if let BlobContent::Stored(_) = &blob.content {
                    known.insert(blob.digest.clone());
                }
                report.problems.extend(self.examine(blob).await?);
            }
            if !page.more || last.is_none() {
                break;
            }
            after = last;
        }
        let mut doomed = Doomed::default();
        for item in self.blobs.inventory().await? {
            if matches!(&item.kind, LeftoverKind::Blob(digest) if known.contains(digest)) {
                continue;
            }
            // While it is claimed no collection removes it and forgets that it had to.
            let Some(_claim) = self.claim_leftover(&item).await? else { continue };
            match &item.kind {
                LeftoverKind::Blob(digest) if self.is_doomed(digest, &mut doomed).await? => {
                    report.deleted.files += 1;
                    report.deleted.bytes += item.size;
                }
                _ => report.leftovers.push(item),
            }
        }
        Ok(report)
    }

    /// Whether a collection is to remove the bytes of a digest. Reads on only if it is not among those that were read.
    async fn is_doomed(&self, digest: &Digest, doomed: &mut Doomed) -> Result<bool, ContentError> {
        while !doomed.digests.contains(digest) {
            let page = self.metadata.doomed(doomed.last, PAGE).await?;
            let Some(last) = page.last() else { return Ok(false) };
            doomed.last = last.number;
            doomed.digests.extend(page.into_iter().map(|doomed| doomed.blob.digest));
        }
        Ok(true)
    }

    /// What is wrong with a blob, if anything is and stays so.
    pub(crate) async fn examine(&self, mut blob: BlobRecord) -> Result<Option<Problem>, ContentError> {
        let mut found = None;
        for _ in 0..LOOKS {
            found = self.look_at(&blob).await;
            if found.is_none() {
                return Ok(None);
            }
            match self.metadata.recorded_blob(&blob.digest).await? {
                Some(now) => blob = now,
                // It was deleted meanwhile.
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    /// What is wrong with a blob at this moment.
    async fn look_at(&self, blob: &BlobRecord) -> Option<Problem> {
        let digest = blob.digest.clone();
        let found = match &blob.content {
            BlobContent::Inline(bytes) => Ok((Digest::of(digest.algorithm(), bytes), bytes.len() as u64)),
            BlobContent::Stored(_) => self.blobs.digest(blob).await,
        };
        match found {
            Ok((actual, size)) if actual != digest => Some(Problem::BlobDamaged { digest, actual, size }),
            Ok((_, actual)) if actual != blob.size => Some(Problem::BlobSize { digest, stated: blob.size, actual }),
            Ok(_) => None,
            Err(ContentError::BlobLost { .. }) => Some(Problem::BlobMissing { digest }),
            Err(error) => Some(Problem::BlobUnreadable { digest, reason: error.to_string() }),
        }
    }

    /// Claims something that no row speaks of. `None`: one does, or will, or it is gone.
    pub(crate) async fn claim_leftover(&self, item: &Leftover) -> Result<Option<Claim>, ContentError> {
        let claim = match &item.kind {
            LeftoverKind::Unknown => Some(Claim::unneeded()),
            // Who places bytes shares the claim until their row is there.
            LeftoverKind::Blob(digest) => match self.blobs.claim(digest).await? {
                Some(claim) if !self.metadata.is_stored(digest).await? => Some(claim),
                _ => None,
            },
            // A stage of a session is never locked from here: its client would find it busy.
            LeftoverKind::Stage(stage) => {
                let used = async || self.metadata.stages_in_use(std::slice::from_ref(stage)).await;
                if used().await?.is_empty() {
                    match self.blobs.claim_stage(stage).await? {
                        Some(claim) if used().await?.is_empty() => Some(claim),
                        _ => None,
                    }
                } else {
                    None
                }
            }
        };
        Ok(if self.blobs.is_there(item).await? { claim } else { None })
    }
}
