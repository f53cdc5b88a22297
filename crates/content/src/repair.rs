//! What a check found wrong, put right as far as that is possible.
//!
//! Damaged bytes are moved out of the way and never deleted; a row whose bytes are lost goes, so that clients that ask
//! are told to push them again, and documents that need them wait for that.

use std::time::Duration;

use image::Digest;

use crate::blob_store::Claim;
use crate::metadata_store::BlobContent;
use crate::problem::Problem;
use crate::upkeep::{Leftover, LeftoverKind};
use crate::verify::VerifyReport;
use crate::{BlobRecord, ContentError, ContentStore, Placement};

/// How often, and how long in between, a blob is asked for that somebody is placing.
const CLAIM_TRIES: u32 = 200;
const CLAIM_PAUSE: Duration = Duration::from_millis(20);

/// What became of a problem or of a leftover.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mended {
    /// It is as it should be again, in these words.
    Done(String),
    /// Somebody else saw to it meanwhile.
    Gone,
    /// It stays as it is, for this reason.
    Left(String),
}

/// What a repair found, and what it did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was found before.
    pub found: VerifyReport,
    /// What became of each of its problems, in their order.
    pub problems: Vec<Mended>,
    /// What became of each of its leftovers, in their order.
    pub leftovers: Vec<Mended>,
}

impl RepairReport {
    /// Whether nothing is wrong any more.
    pub fn is_sound(&self) -> bool {
        !self.problems.iter().any(|mended| matches!(mended, Mended::Left(_)))
    }
}

impl ContentStore {
    /// Checks everything, as [`ContentStore::verify`], and puts right what can be. Others may write meanwhile.
    pub async fn repair(&self) -> Result<RepairReport, ContentError> {
        let found = self.verify().await?;
        let mut report = RepairReport { found: found.clone(), ..RepairReport::default() };
        for problem in &found.problems {
            report.problems.push(self.mend(problem).await?);
        }
        for item in &found.leftovers {
            report.leftovers.push(self.clear_away(item).await?);
        }
        Ok(report)
    }

    async fn mend(&self, problem: &Problem) -> Result<Mended, ContentError> {
        match problem {
            Problem::Database(_) | Problem::BlobUnreadable { .. } | Problem::DocumentUnreadable { .. } => {
                Ok(Mended::Left(problem.remedy().to_owned()))
            }
            Problem::BlobDamaged { digest, .. } | Problem::BlobMissing { digest } => self.give_up(digest).await,
            Problem::DocumentDamaged { repository, digest } => {
                let Some(bytes) = self.metadata.damaged_document(repository, digest).await? else {
                    return Ok(Mended::Gone);
                };
                let place = self.blobs.quarantine_bytes(digest, bytes).await?;
                Ok(if self.metadata.mend(problem).await? {
                    Mended::Done(format!("its bytes are in `{place}`; push the image again"))
                } else {
                    Mended::Gone
                })
            }
            Problem::BlobSize { .. }
            | Problem::DocumentSize { .. }
            | Problem::Dangling { .. }
            | Problem::EdgeMissing { .. }
            | Problem::EdgeExtra { .. }
            | Problem::NotHeld { .. } => Ok(if self.metadata.mend(problem).await? {
                Mended::Done(
                    match problem {
                        Problem::BlobSize { .. } | Problem::DocumentSize { .. } => "its size is written down",
                        Problem::Dangling { .. } => "the rows are removed",
                        Problem::NotHeld { .. } => "the repository holds it again",
                        _ => "its edges are written down anew",
                    }
                    .to_owned(),
                )
            } else {
                Mended::Gone
            }),
        }
    }

    /// Forgets a blob whose bytes are damaged or lost. Nobody places or removes them meanwhile.
    async fn give_up(&self, digest: &Digest) -> Result<Mended, ContentError> {
        let Some(claim) = self.claim_patiently(digest).await? else {
            return Ok(Mended::Left("others keep writing it; try again".to_owned()));
        };
        let Some(blob) = self.metadata.recorded_blob(digest).await? else { return Ok(Mended::Gone) };
        let place = match self.examine(blob.clone()).await? {
            None => return Ok(Mended::Gone),
            Some(Problem::BlobMissing { .. }) => None,
            Some(Problem::BlobDamaged { .. }) => Some(match &blob.content {
                BlobContent::Inline(bytes) => {
                    (self.blobs.quarantine_bytes(digest.as_str(), bytes.clone()).await?, claim)
                }
                BlobContent::Stored(_) => self.blobs.quarantine(&self.blobs.as_item(&blob), claim).await?,
            }),
            Some(other) => return Ok(Mended::Left(other.to_string())),
        };
        let Some(waiting) = self.metadata.forget_blob(&blob).await? else { return Ok(Mended::Gone) };
        let kept = place.map(|(place, _claim)| format!("its bytes are in `{place}`; ")).unwrap_or_default();
        let many = if waiting == 1 { "manifest waits" } else { "manifests wait" };
        Ok(Mended::Done(format!("{kept}{waiting} {many} for it: push it again")))
    }

    async fn claim_patiently(&self, digest: &Digest) -> Result<Option<Claim>, ContentError> {
        for _ in 0..CLAIM_TRIES {
            if let Some(claim) = self.blobs.claim(digest).await? {
                return Ok(Some(claim));
            }
            tokio::time::sleep(CLAIM_PAUSE).await;
        }
        Ok(None)
    }

    /// Removes what nobody needs and anybody can make again; the rest is moved out of the way.
    async fn clear_away(&self, item: &Leftover) -> Result<Mended, ContentError> {
        let Some(claim) = self.claim_leftover(item).await? else { return Ok(Mended::Gone) };
        match &item.kind {
            LeftoverKind::Stage(stage) => {
                self.blobs.discard(stage).await?;
                Ok(Mended::Done("removed".to_owned()))
            }
            LeftoverKind::Blob(digest) => {
                let content = BlobContent::Stored(Placement::default());
                let blob = BlobRecord { digest: digest.clone(), size: item.size, content };
                if self.blobs.digest(&blob).await.is_ok_and(|(actual, _)| actual == *digest) {
                    self.blobs.remove(&blob, claim).await?;
                    return Ok(Mended::Done("removed".to_owned()));
                }
                let (place, _claim) = self.blobs.quarantine(item, claim).await?;
                Ok(Mended::Done(format!("it is damaged, and now in `{place}`")))
            }
            LeftoverKind::Unknown => {
                let (place, _claim) = self.blobs.quarantine(item, claim).await?;
                Ok(Mended::Done(format!("it is not from here, and now in `{place}`")))
            }
        }
    }
}
