//! What came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use image::{RegistryHost, RepositoryName};
use serde::{Serialize, Serializer};

use crate::histogram::Histogram;
use crate::process::Sample;
use crate::tally::Tally;

/// A whole run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// The registry.
    #[serde(serialize_with = "as_text")]
    pub registry: RegistryHost,
    /// The repository.
    #[serde(serialize_with = "as_text")]
    pub repository: RepositoryName,
    /// The scenarios, in their order.
    pub scenarios: Vec<Measured>,
    /// The long mixed load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<SoakReport>,
    /// What was deleted at the end; `None`: nothing was meant to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// Whether it was ended early.
    pub interrupted: bool,
}

impl Report {
    /// Operations that did not go well, in all scenarios.
    pub fn errors(&self) -> u64 {
        self.measured().map(Measured::error_count).sum()
    }

    /// Operations that went well, in all scenarios.
    pub fn operations(&self) -> u64 {
        self.measured().map(|measured| measured.operations).sum()
    }

    fn measured(&self) -> impl Iterator<Item = &Measured> {
        self.scenarios.iter().chain(self.soak.iter().map(|soak| &soak.load))
    }
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

/// One scenario.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Measured {
    /// Its name.
    pub scenario: &'static str,
    /// Clients at once.
    pub clients: usize,
    /// Operations that went well.
    pub operations: u64,
    /// From the first request to the end of the last operation.
    pub seconds: f64,
    /// Operations a second.
    pub per_second: f64,
    /// Requests that were answered as expected.
    pub requests: u64,
    /// Bytes of bodies that came.
    pub bytes_received: u64,
    /// Bytes of bodies that were sent.
    pub bytes_sent: u64,
    /// Both of them a second, in megabytes.
    pub megabytes_per_second: f64,
    /// How long an operation took.
    pub latency_ms: Latency,
    /// What went wrong, and how often.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were opened.
    pub connections: u64,
    /// Processor time that this side took.
    pub own_processor_seconds: f64,
    /// What the server took, if its process was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerCost>,
    /// What it was made of, if it was made of several kinds of operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

impl Measured {
    pub(crate) fn new(
        scenario: &'static str,
        clients: usize,
        tally: Tally,
        own: Duration,
        server: Option<(Sample, Sample)>,
    ) -> Self {
        let all = tally.all();
        let seconds = tally.elapsed().as_secs_f64();
        let per_second = |amount: u64| if seconds > 0.0 { amount as f64 / seconds } else { 0.0 };
        let parts: Vec<Part> = tally
            .parts()
            .map(|(kind, histogram)| Part {
                kind: kind.name(),
                operations: histogram.count(),
                latency_ms: Latency::from(histogram),
            })
            .collect();
        let server = server.map(|(before, after)| {
            let processor = after.processor.saturating_sub(before.processor).as_secs_f64();
            let per_operation = if all.count() > 0 { processor * 1e6 / all.count() as f64 } else { 0.0 };
            ServerCost {
                processor_seconds: processor,
                microseconds_per_operation: per_operation,
                resident: after.resident,
                peak: after.peak,
            }
        });
        Self {
            scenario,
            clients,
            operations: all.count(),
            seconds,
            per_second: per_second(all.count()),
            requests: tally.requests,
            bytes_received: tally.received,
            bytes_sent: tally.sent,
            megabytes_per_second: per_second(tally.received + tally.sent) / 1e6,
            latency_ms: Latency::from(&all),
            connections: tally.connections,
            own_processor_seconds: own.as_secs_f64(),
            server,
            parts: if parts.len() > 1 { parts } else { Vec::new() },
            errors: tally.errors,
        }
    }

    /// Operations that did not go well.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// Operations of one kind.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Part {
    /// What they did.
    pub kind: &'static str,
    /// How many went well.
    pub operations: u64,
    /// How long one took.
    pub latency_ms: Latency,
}

/// Durations in milliseconds; percentiles are at most 3 % too high.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// 90 % took no longer.
    pub p90: f64,
    /// 99 % took no longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl From<&Histogram> for Latency {
    fn from(histogram: &Histogram) -> Self {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        Self {
            p50: ms(histogram.percentile(50)),
            p90: ms(histogram.percentile(90)),
            p99: ms(histogram.percentile(99)),
            max: ms(histogram.highest()),
        }
    }
}

/// What a scenario cost the server.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServerCost {
    /// Processor time.
    pub processor_seconds: f64,
    /// The same for each operation that went well.
    pub microseconds_per_operation: f64,
    /// Resident memory at the end, in bytes.
    pub resident: u64,
    /// The most resident memory that there ever was, in bytes.
    pub peak: u64,
}

/// What was cleared away.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Cleanup {
    /// Manifests that were pushed and not deleted while measuring.
    pub manifests: usize,
    /// How many of them are gone.
    pub manifests_deleted: usize,
    /// Blobs that were pushed and not deleted while measuring.
    pub blobs: usize,
    /// How many of them are gone.
    pub blobs_deleted: usize,
    /// What the registry said instead, and how often.
    pub refused: BTreeMap<String, u64>,
}

/// A long mixed load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SoakReport {
    /// Operations a second that were aimed at.
    pub rate: u64,
    /// What was done.
    pub load: Measured,
    /// The server's memory, if its process was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Memory of a server over time.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Memory {
    /// Seconds since the beginning, and resident bytes.
    pub samples: Vec<(f64, u64)>,
    /// Median of the second quarter of the time: caches are filled by then.
    pub second_quarter: u64,
    /// Median of the last quarter of the time.
    pub last_quarter: u64,
    /// The most of all samples.
    pub highest: u64,
    /// Whether the last quarter has no more than the second one, give or take a tenth or 4 MiB.
    pub flat: bool,
}

/// Growth that says nothing: an allocator gives back late.
const SLACK: u64 = 4 << 20;

impl Memory {
    pub(crate) fn new(samples: Vec<(f64, u64)>) -> Option<Self> {
        let quarter = |number: usize| {
            let mut part: Vec<u64> = samples[samples.len() * number / 4..samples.len() * (number + 1) / 4]
                .iter()
                .map(|&(_, resident)| resident)
                .collect();
            part.sort_unstable();
            part.get(part.len() / 2).copied()
        };
        let second_quarter = quarter(1)?;
        let last_quarter = quarter(3)?;
        let highest = samples.iter().map(|&(_, resident)| resident).max()?;
        let flat = last_quarter <= second_quarter + (second_quarter / 10).max(SLACK);
        Some(Self { samples, second_quarter, last_quarter, highest, flat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_settles_is_flat_and_memory_that_grows_is_not() {
        let over = |resident: fn(u64) -> u64| Memory::new((0..100).map(|at| (at as f64, resident(at) << 20)).collect());
        assert!(over(|at| 20 + at.min(20)).unwrap().flat);
        let growing = over(|at| 20 + at).unwrap();
        assert!(!growing.flat);
        assert_eq!((growing.second_quarter, growing.highest), (57 << 20, 119 << 20));
        assert!(Memory::new(vec![(0.0, 1)]).is_none());
    }
}
