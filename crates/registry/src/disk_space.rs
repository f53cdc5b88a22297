//! How much room the disk has, and what is taken when there is little.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use content::{ContentStore, Space};
use http::StatusCode;
use serde_json::json;

use crate::refusal::Refusal;

/// How often the disk is asked how much room it has. What came in since is counted in between.
const LOOK: Duration = Duration::from_secs(1);

/// What is done when the disk gets full. 0 turns a threshold off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// With fewer free bytes than this, the log warns.
    pub warn_below: u64,
    /// What would leave fewer free bytes than this is refused with 507, and `/readyz` says so. Reads and deletions go
    /// on, and writes too as soon as there is room.
    pub refuse_below: u64,
}

/// What is known of the disk.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: DiskSpace,
    /// `u64::MAX`: nobody can tell.
    free: AtomicU64,
    total: AtomicU64,
    /// Bytes that came since the disk was asked last.
    came: AtomicU64,
    level: AtomicU8,
}

impl Watch {
    pub(crate) fn new(limits: DiskSpace) -> Self {
        Self {
            limits,
            free: AtomicU64::new(u64::MAX),
            total: AtomicU64::new(u64::MAX),
            came: AtomicU64::new(0),
            level: AtomicU8::new(0),
        }
    }

    /// What the disk said last.
    pub(crate) fn last(&self) -> Option<Space> {
        let free = self.free.load(Ordering::Relaxed);
        (free != u64::MAX).then(|| Space { free, total: self.total.load(Ordering::Relaxed) })
    }

    /// Whether so many bytes more can be taken.
    fn has_room_for(&self, bytes: u64) -> bool {
        let free = self.free.load(Ordering::Relaxed);
        let taken = self.came.load(Ordering::Relaxed).saturating_add(bytes);
        free == u64::MAX || self.limits.refuse_below == 0 || free.saturating_sub(taken) >= self.limits.refuse_below
    }

    /// Whether nothing is taken now.
    pub(crate) fn is_full(&self) -> bool {
        !self.has_room_for(0)
    }

    /// Bytes came. `false`: no more of them can be taken.
    pub(crate) fn took(&self, bytes: u64) -> bool {
        self.came.fetch_add(bytes, Ordering::Relaxed);
        self.has_room_for(0)
    }

    /// Refuses what there is no room for.
    pub(crate) fn check(&self, announced: Option<u64>) -> Result<(), Refusal> {
        if self.has_room_for(announced.unwrap_or_default()) { Ok(()) } else { Err(full()) }
    }

    /// Asks the disk, and says in the log when it gets full, or is no longer.
    async fn look(&self, content: &ContentStore) {
        // What comes while the disk is asked may count twice, but never not at all.
        let came = self.came.load(Ordering::Relaxed);
        match content.space().await {
            Ok(Some(space)) => {
                self.came.fetch_sub(came, Ordering::Relaxed);
                self.free.store(space.free, Ordering::Relaxed);
                self.total.store(space.total, Ordering::Relaxed);
                self.tell(space.free);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "could not ask the disk how much room it has"),
        }
    }

    fn tell(&self, free: u64) {
        let level = if free < self.limits.refuse_below { 2 } else { u8::from(free < self.limits.warn_below) };
        let before = self.level.swap(level, Ordering::Relaxed);
        match level {
            _ if level == before => {}
            2 => tracing::error!(free, "the disk is full: pushes are refused until there is room"),
            1 if before == 2 => tracing::warn!(free, "the disk has room again, but little: pushes are taken"),
            1 => tracing::warn!(free, "the disk is getting full"),
            _ => tracing::info!(free, "the disk has room again"),
        }
    }
}

/// What is said when there is no room: 507, whose name the clients that show no more of a 5xx show too.
pub(crate) fn full() -> Refusal {
    Refusal::new(
        StatusCode::INSUFFICIENT_STORAGE,
        "UNAVAILABLE",
        "the registry's disk is full: nothing can be pushed until there is room; what is there can be pulled and deleted",
    )
    .detail(json!({ "reason": "no space left" }))
}

/// Looks at the disk again and again.
pub(crate) async fn watch(disk: Arc<Watch>, content: ContentStore) {
    loop {
        disk.look(&content).await;
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_since_the_last_look_counts() {
        let watch = Watch::new(DiskSpace { warn_below: 0, refuse_below: 100 });
        assert!(watch.took(1 << 40), "nobody knows how much room there is");
        watch.came.store(0, Ordering::Relaxed);
        watch.free.store(200, Ordering::Relaxed);
        assert!(watch.check(Some(100)).is_ok() && watch.check(Some(101)).is_err() && watch.check(None).is_ok());
        assert!(watch.took(60) && watch.took(40));
        assert!(!watch.took(1) && watch.is_full());
        let never = Watch::new(DiskSpace::default());
        never.free.store(0, Ordering::Relaxed);
        assert!(never.took(1000) && !never.is_full());
    }
}
