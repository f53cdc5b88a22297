//! A check of the whole store: does everything that a row speaks of exist, and is it what it should be?

use std::collections::HashSet;

use image::Digest;

use crate::blob_store::Leftover;
use crate::metadata_store::BlobContent;
use crate::{ContentError, ContentStore};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// A line for each thing that is wrong: something acknowledged was lost or damaged.
    pub problems: Vec<String>,
    /// What no row speaks of: harmless, it only takes room.
    pub leftovers: Vec<Leftover>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

impl ContentStore {
    /// Hashes every blob and every document, follows every edge and tag, and looks for leftovers. Reads everything.
    pub async fn verify(&self) -> Result<VerifyReport, ContentError> {
        let mut report = VerifyReport { problems: self.metadata.inconsistencies().await?, ..VerifyReport::default() };
        let mut known = HashSet::new();
        let mut stages_named = Vec::new();
        let mut after: Option<Digest> = None;
        loop {
            let page = self.metadata.all_blobs(after.as_ref(), 1000).await?;
            for blob in &page.items {
                report.blobs += 1;
                let found = match &blob.content {
                    BlobContent::Inline(bytes) => Ok((Digest::of(blob.digest.algorithm(), bytes), bytes.len() as u64)),
                    BlobContent::Stored(placement) => {
                        known.insert(blob.digest.clone());
                        stages_named.extend(placement.0.clone());
                        self.blobs.digest(blob).await
                    }
                };
                match found {
                    Ok((digest, size)) => {
                        report.bytes += size;
                        if digest != blob.digest {
                            report.problems.push(format!("blob `{}` has the bytes of `{digest}`", blob.digest));
                        } else if size != blob.size {
                            report.problems.push(format!(
                                "blob `{}` has {size} bytes, but its row says {}",
                                blob.digest, blob.size
                            ));
                        }
                    }
                    Err(error) => report.problems.push(error.to_string()),
                }
            }
            match page.items.last() {
                Some(last) if page.more => after = Some(last.digest.clone()),
                _ => break,
            }
        }
        let inventory = self.blobs.inventory().await?;
        let stages: Vec<_> = inventory
            .iter()
            .filter(|item| item.digest.is_none())
            .map(|item| crate::StageId::new(item.name.as_str()))
            .collect();
        let used: HashSet<_> = self.metadata.stages_in_use(&stages).await?.into_iter().collect();
        report.leftovers = inventory
            .into_iter()
            .filter(|item| match &item.digest {
                Some(digest) => !known.contains(digest),
                None => !used.contains(&crate::StageId::new(item.name.as_str())),
            })
            .collect();
        Ok(report)
    }
}
