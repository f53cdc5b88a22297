//! What one thread has counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::fault::Failed;
use crate::histogram::Histogram;
use crate::scenario::Kind;

/// Most kinds of errors that are told apart.
const ERRORS: usize = 64;

/// Counts of one thread, or of all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    parts: [Option<Box<Histogram>>; Kind::COUNT],
    /// Requests that were answered.
    pub(crate) requests: u64,
    /// Bytes of bodies.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) connections: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// From the first request to the end of the last operation.
    pub(crate) span: Option<(Instant, Instant)>,
}

impl Tally {
    /// Counts an operation that went well.
    pub(crate) fn done(&mut self, kind: Kind, took: Duration) {
        self.parts[kind as usize].get_or_insert_default().add(took);
    }

    /// Counts one that did not.
    pub(crate) fn failed(&mut self, failed: &Failed) {
        let mut text = failed.to_string();
        if self.errors.len() >= ERRORS && !self.errors.contains_key(&text) {
            "others".clone_into(&mut text);
        }
        *self.errors.entry(text).or_default() += 1;
    }

    pub(crate) fn began(&mut self, at: Instant) {
        self.span.get_or_insert((at, at));
    }

    pub(crate) fn ended(&mut self, at: Instant) {
        if let Some((_, end)) = &mut self.span {
            *end = at.max(*end);
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.span.map(|(begin, end)| end - begin).unwrap_or_default()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, other) in self.parts.iter_mut().zip(&other.parts) {
            if let Some(other) = other {
                mine.get_or_insert_default().merge(other);
            }
        }
        self.requests += other.requests;
        self.received += other.received;
        self.sent += other.sent;
        self.connections += other.connections;
        for (what, count) in &other.errors {
            *self.errors.entry(what.clone()).or_default() += count;
        }
        self.span = match (self.span, other.span) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (mine, other) => mine.or(other),
        };
    }

    /// The kinds that were done, with their latencies.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (Kind, &Histogram)> {
        Kind::ALL.into_iter().filter_map(|kind| Some((kind, self.parts[kind as usize].as_deref()?)))
    }

    /// Latencies of all kinds together.
    pub(crate) fn all(&self) -> Histogram {
        let mut all = Histogram::default();
        self.parts().for_each(|(_, histogram)| all.merge(histogram));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Fault;

    #[test]
    fn tallies_add_up() {
        let failed = Failed { step: "GET manifest", fault: Fault::Status(500) };
        let mut one = Tally::default();
        one.done(Kind::Ping, Duration::from_millis(1));
        one.failed(&failed);
        let mut other = one.clone();
        other.done(Kind::Tags, Duration::from_millis(3));
        other.merge(&one);
        assert_eq!(other.all().count(), 3);
        assert_eq!(other.errors, BTreeMap::from([("GET manifest: status 500".to_owned(), 2)]));
        assert_eq!(other.parts().map(|(kind, _)| kind).collect::<Vec<_>>(), [Kind::Ping, Kind::Tags]);
    }
}
