//! How many in how much time: token buckets, each kept as one number.
//!
//! A bucket that is being refilled is the moment when it will be full again (the generic cell rate algorithm), so a table of
//! them is a map of times, and an idle bucket is one that need not be in it. A crate for this (`governor`) was looked at: its
//! tables of keys grow until somebody sweeps all of them, which clients with many addresses can outrun, and its map and clock
//! are five more crates.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many in a time, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds from one to the next.
    interval: u64,
    burst: NonZeroU32,
}

impl Rate {
    /// So many each second, and as many at once.
    pub fn per_second(count: NonZeroU32) -> Self {
        Self { interval: 1_000_000_000 / u64::from(count.get()).min(1_000_000_000), burst: count }
    }

    /// So many each minute, and as many at once.
    pub fn per_minute(count: NonZeroU32) -> Self {
        Self { interval: 60_000_000_000 / u64::from(count.get()), burst: count }
    }

    /// With another number that may come at once.
    #[must_use]
    pub fn with_burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }

    /// How far ahead of its rate somebody may be who still gets one.
    fn tolerance(self) -> u64 {
        self.interval.saturating_mul(u64::from(self.burst.get()) - 1)
    }
}

/// Most buckets of each of the two generations of a shard; both of all shards take some 8 MiB.
const GENERATION: usize = 4096;
const SHARDS: usize = 16;
/// Buckets that nobody asked for in this time go, even if there is room.
const IDLE: u64 = 60_000_000_000;

/// Buckets by key, at most so many that their memory is bounded: where new keys come all the time, those that were not asked
/// for the longest are forgotten, and whoever keeps asking is not.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    rate: Rate,
    begun: Instant,
    hashing: RandomState,
    shards: Vec<Mutex<Shard<K>>>,
}

/// The keys of late, and those of before. Whoever is asked for moves to the former; when that is full, or old, it becomes the
/// latter, whose keys go.
#[derive(Debug)]
struct Shard<K> {
    late: HashMap<K, u64>,
    before: HashMap<K, u64>,
    turned: u64,
}

impl<K: Hash + Eq + Copy> Buckets<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        let shard = || Mutex::new(Shard { late: HashMap::new(), before: HashMap::new(), turned: 0 });
        Self {
            rate,
            begun: Instant::now(),
            hashing: RandomState::new(),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    /// Takes one. Refused, it says after which time there will be one.
    pub(crate) fn take(&self, key: K) -> Result<(), Duration> {
        self.at(self.now(), key, true)
    }

    /// Whether there is one to take, without taking it.
    pub(crate) fn look(&self, key: K) -> Result<(), Duration> {
        self.at(self.now(), key, false)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn at(&self, now: u64, key: K, take: bool) -> Result<(), Duration> {
        let number = usize::try_from(self.hashing.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(number) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = IDLE.max(self.rate.tolerance().saturating_add(self.rate.interval));
        if now.saturating_sub(shard.turned) > idle {
            shard.turn(now);
        }
        let full_at = shard.late.get(&key).or_else(|| shard.before.get(&key)).copied().unwrap_or(0);
        let wait = full_at.saturating_sub(now).saturating_sub(self.rate.tolerance());
        if wait > 0 {
            // Asked for: it stays, whatever else comes.
            shard.put(now, key, full_at);
            return Err(Duration::from_nanos(wait));
        }
        if take {
            shard.put(now, key, full_at.max(now).saturating_add(self.rate.interval));
        }
        Ok(())
    }

    /// How many there are.
    #[cfg(test)]
    fn len(&self) -> usize {
        let count = |shard: &Mutex<Shard<K>>| shard.lock().map_or(0, |shard| shard.late.len() + shard.before.len());
        self.shards.iter().map(count).sum()
    }
}

impl<K: Hash + Eq + Copy> Shard<K> {
    fn put(&mut self, now: u64, key: K, full_at: u64) {
        if self.late.len() >= GENERATION && !self.late.contains_key(&key) {
            self.turn(now);
        }
        self.before.remove(&key);
        self.late.insert(key, full_at);
    }

    fn turn(&mut self, now: u64) {
        self.before = std::mem::take(&mut self.late);
        self.turned = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn count(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    #[test]
    fn a_burst_goes_through_and_then_so_many_in_a_second() {
        let buckets = Buckets::new(Rate::per_second(count(10)).with_burst(count(5)));
        let mut now = 7 * SECOND;
        for number in 0..5 {
            assert_eq!(buckets.at(now, 1, true), Ok(()), "{number}");
        }
        assert_eq!(buckets.at(now, 1, true), Err(Duration::from_millis(100)));
        assert_eq!(buckets.at(now, 2, true), Ok(()), "others have their own");
        // Being refused costs nothing.
        now += SECOND / 10;
        assert_eq!(buckets.at(now, 1, true), Ok(()));
        assert_eq!(buckets.at(now, 1, true), Err(Duration::from_millis(100)));
        let taken = (0..10_000u64).filter(|n| buckets.at(now + n * SECOND / 1000, 1, true).is_ok()).count();
        assert!((99..=100).contains(&taken), "{taken} in 10 s");
        now += 60 * SECOND;
        assert_eq!((0..100).filter(|_| buckets.at(now, 1, true).is_ok()).count(), 5, "no more than the burst is saved");
    }

    #[test]
    fn looking_takes_nothing() {
        let buckets = Buckets::new(Rate::per_minute(count(2)));
        for _ in 0..10 {
            assert_eq!(buckets.at(SECOND, 1, false), Ok(()));
        }
        assert!(buckets.at(SECOND, 1, true).is_ok() && buckets.at(SECOND, 1, true).is_ok());
        assert_eq!(buckets.at(SECOND, 1, false), Err(Duration::from_secs(30)));
    }

    #[test]
    fn any_number_of_keys_takes_bounded_memory_and_frees_nobody_who_keeps_asking() {
        let buckets = Buckets::new(Rate::per_minute(count(1)));
        let greedy = u64::MAX;
        assert!(buckets.at(SECOND, greedy, true).is_ok());
        for key in 0..300_000 {
            let _ = buckets.at(SECOND + key, key, true);
            if key % 1000 == 0 {
                assert!(buckets.at(SECOND + key, greedy, true).is_err(), "{key}");
            }
        }
        assert!(buckets.len() <= 2 * GENERATION * SHARDS, "{}", buckets.len());
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let buckets = Buckets::new(Rate::per_second(count(1)));
        for key in 0..1000 {
            assert!(buckets.at(SECOND, key, true).is_ok());
        }
        for (after, key) in [(61, 0u64), (122, 1), (183, 2)] {
            for shard in 0..1000 {
                let _ = buckets.at(after * SECOND + 2, key + shard * 3000, true);
            }
        }
        assert!(buckets.len() < 3000, "{}", buckets.len());
        assert!(buckets.at(184 * SECOND, 999, true).is_ok());
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        for rate in [
            Rate::per_second(NonZeroU32::MAX),
            Rate::per_minute(NonZeroU32::MAX),
            Rate::per_minute(count(1)).with_burst(NonZeroU32::MAX),
        ] {
            let buckets = Buckets::new(rate);
            for now in [0, SECOND, u64::MAX / 2, u64::MAX] {
                let _ = buckets.at(now, 1, true);
            }
        }
    }
}
