//! Latencies in buckets that are at most 3 % wide.

use std::time::Duration;

/// Buckets for each power of two.
const STEPS: usize = 32;
/// The power of two of [`STEPS`].
const BITS: u32 = 5;

/// Counts of durations.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    highest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; STEPS * (64 - BITS as usize + 1)], total: 0, highest: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.total += 1;
        self.highest = self.highest.max(nanoseconds);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, other)| *mine += other);
        self.total += other.total;
        self.highest = self.highest.max(other.highest);
    }

    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    pub(crate) fn highest(&self) -> Duration {
        Duration::from_nanos(self.highest)
    }

    /// What `per_cent` of the durations do not exceed.
    pub(crate) fn percentile(&self, per_cent: u64) -> Duration {
        let wanted = (self.total * per_cent).div_ceil(100);
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_nanos(upper(at).min(self.highest));
            }
        }
        self.highest()
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let power = value.ilog2();
    let step = (value >> (power - BITS)) as usize & (STEPS - 1);
    (power - BITS + 1) as usize * STEPS + step
}

/// The highest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let (row, step) = (bucket / STEPS, bucket % STEPS);
    if row == 0 {
        return step as u64;
    }
    let width = 1_u64 << (row - 1);
    ((STEPS + step) as u64 * width).saturating_add(width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_a_bucket_that_ends_close_above_it() {
        for value in [0, 1, 31, 32, 33, 63, 64, 1000, 123_456_789, u64::MAX / 3, u64::MAX] {
            let above = upper(bucket(value));
            assert!(above >= value && above - value <= value / 32, "{value}: {above}");
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_added() {
        let mut histogram = Histogram::default();
        for milliseconds in 1..=100 {
            histogram.add(Duration::from_millis(milliseconds));
        }
        for (per_cent, want) in [(50, 50.0), (90, 90.0), (99, 99.0), (100, 100.0)] {
            let got = histogram.percentile(per_cent).as_secs_f64() * 1000.0;
            assert!((want..want * 1.04).contains(&got), "p{per_cent}: {got}");
        }
        assert_eq!(histogram.highest(), Duration::from_millis(100));
        let mut other = Histogram::default();
        other.merge(&histogram);
        assert_eq!(other.count(), 100);
        assert_eq!(Histogram::default().percentile(50), Duration::ZERO);
    }
}
