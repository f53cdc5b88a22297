//! How much is done at once with one registry, as one user of it.
//!
//! Three lanes, so that a small request never waits behind a big blob, and so that a copy within one registry, which
//! holds an upload while it opens a download, cannot wait for itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::options::Pacing;

/// So many successes in a row win back one place.
const SUCCESSES_PER_PLACE: usize = 4;

/// Which lane a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Documents, small blobs, mounts, listings.
    Small,
    /// The body of a big blob, coming.
    Download,
    /// The body of a blob that is read while it is sent.
    Upload,
}

/// The lanes of one registry, for one user of it: two logins there do not wait for each other.
#[derive(Debug)]
pub(crate) struct Lanes {
    small: Arc<Adaptive>,
    download: Arc<Adaptive>,
    upload: Arc<Adaptive>,
}

impl Lanes {
    pub(crate) fn new(pacing: Pacing) -> Self {
        Self {
            small: Arc::new(Adaptive::new(pacing.requests)),
            download: Arc::new(Adaptive::new(pacing.downloads)),
            upload: Arc::new(Adaptive::new(pacing.uploads)),
        }
    }

    /// Waits for a place. Dropping the permit gives it back.
    pub(crate) async fn enter(&self, lane: Lane) -> Permit {
        let lane = match lane {
            Lane::Small => &self.small,
            Lane::Download => &self.download,
            Lane::Upload => &self.upload,
        };
        let mut permit = lane.clone().enter().await;
        permit.complaints = self.small.size().complaints;
        permit
    }

    /// The registry said to the holder of `permit` that it is too much. Of all that were on their way when it first
    /// complained only one counts: the others are the same complaint.
    pub(crate) fn slow_down(&self, permit: &Permit) {
        self.small.halve(permit.complaints);
    }

    /// The registry answered.
    pub(crate) fn went_well(&self) {
        self.small.grow();
    }
}

/// A semaphore whose number of places follows what the registry can take: halved when it complains, grown one by one.
#[derive(Debug)]
struct Adaptive {
    places: Arc<Semaphore>,
    most: usize,
    successes: AtomicUsize,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    /// Places there should be.
    limit: usize,
    /// Places that are in use now and vanish when they are given back.
    owed: usize,
    /// How often it has been halved.
    complaints: u64,
}

impl Adaptive {
    fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(most)),
            most,
            successes: AtomicUsize::new(0),
            size: Mutex::new(Size { limit: most, owed: 0, complaints: 0 }),
        }
    }

    async fn enter(self: Arc<Self>) -> Permit {
        // The semaphore is never closed; should that change, a request without a place is better than none.
        let place = self.places.clone().acquire_owned().await.ok();
        Permit { lane: self, place, complaints: 0 }
    }

    fn size(&self) -> std::sync::MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Halves it, unless that has been done since `complaints` was read.
    fn halve(&self, complaints: u64) {
        let mut size = self.size();
        if size.complaints != complaints {
            return;
        }
        size.complaints += 1;
        self.successes.store(0, Ordering::Relaxed);
        let take = size.limit - (size.limit / 2).max(1);
        size.limit -= take;
        size.owed += take - self.places.forget_permits(take);
    }

    fn grow(&self) {
        if self.size().limit == self.most {
            return;
        }
        if (self.successes.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(SUCCESSES_PER_PLACE) {
            let mut size = self.size();
            if size.limit < self.most {
                size.limit += 1;
                if size.owed > 0 {
                    size.owed -= 1;
                } else {
                    self.places.add_permits(1);
                }
            }
        }
    }
}

/// A place in a lane.
#[derive(Debug)]
pub(crate) struct Permit {
    lane: Arc<Adaptive>,
    place: Option<OwnedSemaphorePermit>,
    /// How often the registry had complained when this was given.
    complaints: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let mut size = self.lane.size();
        if size.owed > 0 {
            size.owed -= 1;
            place.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(lane: &Adaptive) -> usize {
        lane.places.available_permits()
    }

    #[tokio::test]
    async fn a_complaint_halves_and_successes_win_back() {
        let lane = Arc::new(Adaptive::new(8));
        lane.halve(0);
        assert_eq!(places(&lane), 4);
        lane.halve(0);
        assert_eq!(places(&lane), 4, "the same complaint");
        for complaint in 1..4 {
            lane.halve(complaint);
        }
        assert_eq!(places(&lane), 1, "one request is always possible");
        for _ in 0..SUCCESSES_PER_PLACE * 20 {
            lane.grow();
        }
        assert_eq!(places(&lane), 8, "never more than at the start");
    }

    #[tokio::test]
    async fn places_in_use_vanish_when_given_back() {
        let lane = Arc::new(Adaptive::new(4));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(lane.clone().enter().await);
        }
        lane.halve(0);
        assert_eq!(places(&lane), 0);
        drop(held);
        assert_eq!(places(&lane), 2);
    }

    #[tokio::test]
    async fn small_requests_pass_big_blobs() {
        let lanes = Lanes::new(Pacing { requests: 2, downloads: 1, uploads: 1, big: 1 });
        let _download = lanes.enter(Lane::Download).await;
        let _upload = lanes.enter(Lane::Upload).await;
        let _small = lanes.enter(Lane::Small).await;
    }
}
