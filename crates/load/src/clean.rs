//! What was pushed is deleted again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use image::Digest;

use crate::crew::Crew;
use crate::error::LoadError;
use crate::fault::Fault;
use crate::report::Cleanup;
use crate::shared::Pushed;

/// How many clients delete at once.
const CLIENTS: usize = 8;

impl Crew {
    /// Deletes manifests, then blobs. What the registry does not allow is not asked for again.
    pub(crate) async fn clean(&self, pushed: Pushed) -> Result<Cleanup, LoadError> {
        let mut report = Cleanup { manifests: pushed.manifests.len(), blobs: pushed.blobs.len(), ..Cleanup::default() };
        let allowed = self.shared.prepared.get().map(|prepared| prepared.deletes);
        if allowed.is_none_or(|deletes| deletes.manifests) {
            report.manifests_deleted =
                self.delete(pushed.manifests.into_iter().collect(), true, &mut report.refused).await?;
        }
        if allowed.is_none_or(|deletes| deletes.blobs) {
            report.blobs_deleted = self.delete(pushed.blobs.into_iter().collect(), false, &mut report.refused).await?;
        }
        Ok(report)
    }

    async fn delete(
        &self,
        digests: Vec<Digest>,
        manifests: bool,
        refused: &mut BTreeMap<String, u64>,
    ) -> Result<usize, LoadError> {
        let wanted = digests.len();
        if wanted == 0 {
            return Ok(0);
        }
        let queue = Arc::new(Mutex::new(digests));
        let left = Arc::new(Mutex::new(BTreeMap::new()));
        let (from, failures) = (queue.clone(), left.clone());
        self.work(
            CLIENTS.min(wanted),
            false,
            async move |client| {
                loop {
                    let next = from.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(digest) = next else { return };
                    let done = if manifests {
                        client.delete_manifest(&digest).await
                    } else {
                        client.delete_blob(&digest).await
                    };
                    match done {
                        // Somebody else may have: a collection, or the registry together with something else.
                        Ok(()) => {}
                        Err(failed) if failed.fault == Fault::Status(404) => {}
                        Err(failed) => {
                            let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                            *failures.entry(failed.to_string()).or_insert(0_u64) += 1;
                        }
                    }
                }
            },
            &mut || {},
        )
        .await?;
        let left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let failures: u64 = left.values().sum();
        for (what, count) in left.iter() {
            *refused.entry(what.clone()).or_default() += count;
        }
        Ok(wanted.saturating_sub(failures as usize))
    }
}
