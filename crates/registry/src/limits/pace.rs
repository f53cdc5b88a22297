//! How slow a client may be.

use std::time::Duration;

/// The fewest bytes that must come while they are waited for. A client that sends a byte now and then holds a connection, and
/// what belongs to it, for as long as it likes without this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes each second.
    pub bytes_per_second: u32,
    /// Over how much time of waiting: shorter pauses do not matter.
    pub window: Duration,
}

/// Compares what came with the time that was spent waiting for it; time that the server takes does not count.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    waited: Duration,
    bytes: u64,
}

impl Pacer {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, waited: Duration::ZERO, bytes: 0 }
    }

    /// How long may be waited before the question comes up.
    pub(crate) fn patience(&self) -> Duration {
        self.pace.window.saturating_sub(self.waited).max(Duration::from_millis(1))
    }

    /// Counts a wait, and what came at its end. `false`: that was too slow.
    pub(crate) fn count(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes += bytes;
        if self.waited < self.pace.window {
            return true;
        }
        let fewest = u128::from(self.pace.bytes_per_second) * self.waited.as_millis() / 1000;
        let enough = u128::from(self.bytes) >= fewest;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_too_few_bytes_in_a_window_of_waiting() {
        let pace = Pace { bytes_per_second: 100, window: Duration::from_secs(10) };
        let tick = Duration::from_secs(1);
        let mut steady = Pacer::new(pace);
        assert!((0..100).all(|_| steady.count(tick, 100)));
        let mut late = Pacer::new(pace);
        assert!((0..9).all(|_| late.count(tick, 0)));
        assert_eq!(late.patience(), tick);
        assert!(late.count(tick, 1000));
        assert_eq!(late.patience(), pace.window);
        let mut slow = Pacer::new(pace);
        assert!((0..9).all(|_| slow.count(tick, 99)));
        assert!(!slow.count(tick, 99));
        // What was not waited for does not count.
        let mut busy = Pacer::new(pace);
        assert!((0..1_000_000).all(|_| busy.count(Duration::ZERO, 1)));
    }
}
