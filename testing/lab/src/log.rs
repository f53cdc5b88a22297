//! The request log, and what can be read from it: counts and the longest chain of requests that waited for one another.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::{HeaderMap, Method, Version};

/// One request as the lab saw it.
#[derive(Clone, Debug)]
pub struct Request {
    /// The verb.
    pub method: Method,
    /// Path and query as they were sent.
    pub path_and_query: String,
    /// HTTP version.
    pub version: Version,
    /// Headers that the client sent.
    pub headers: HeaderMap,
    /// Status that was answered; 0 while there is none, and for good if the connection was dropped instead.
    pub status: u16,
    /// When the head of the request had arrived, before any simulated latency.
    pub started: Instant,
    /// When the last byte of the answer was handed to the connection; `None` if that never happened.
    pub finished: Option<Instant>,
    /// Which connection it came over, counted from 1.
    pub connection_id: u64,
    /// Bytes of request body that were read.
    pub received: u64,
    /// Bytes of answer body that were handed to the connection.
    pub sent: u64,
}

impl Request {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or_default()
    }

    /// The query, undecoded; empty if there is none.
    pub fn query(&self) -> &str {
        self.path_and_query.split_once('?').map_or("", |(_, query)| query)
    }

    /// A header's value, if it was sent and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `GET /v2/app/manifests/v1`, for assertions on a whole exchange.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path_and_query)
    }
}

/// The longest chain of requests in which each one started after the one before it had finished.
///
/// It is what a client pays in round trips when the network is slow and everything else is free. Run the lab with a
/// latency per request (50 ms will do) and none per connection step: without the one, requests that are sent at the
/// same time need not overlap; with the other, a request that had to wait for its own connection starts later than one
/// that found a warm one has finished.
pub fn dependency_depth(requests: &[Request]) -> usize {
    let mut order: Vec<&Request> = requests.iter().collect();
    order.sort_by_key(|request| request.started);
    // (finished, depth) of those already placed, kept sorted by `finished`, depths made monotonic.
    let mut done: Vec<(Instant, usize)> = Vec::new();
    let mut deepest = 0;
    for request in order {
        let before = done.partition_point(|(finished, _)| *finished <= request.started);
        let depth = 1 + before.checked_sub(1).map_or(0, |last| done[last].1);
        deepest = deepest.max(depth);
        if let Some(finished) = request.finished {
            let at = done.partition_point(|(other, _)| *other <= finished);
            let floor = at.checked_sub(1).map_or(0, |last| done[last].1);
            done.insert(at, (finished, depth.max(floor)));
            for later in &mut done[at + 1..] {
                later.1 = later.1.max(depth);
            }
        }
    }
    deepest
}

/// Where a request stands in the log. Of no effect once the log was cleared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    generation: u64,
    index: usize,
}

#[derive(Debug, Default)]
struct Entries {
    generation: u64,
    requests: Vec<Request>,
}

/// The log itself.
#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Entries>);

impl Log {
    fn entries(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, request: Request) -> Ticket {
        let mut entries = self.entries();
        entries.requests.push(request);
        Ticket { generation: entries.generation, index: entries.requests.len() - 1 }
    }

    pub(crate) fn update(&self, ticket: Ticket, change: impl FnOnce(&mut Request)) {
        let mut entries = self.entries();
        if entries.generation == ticket.generation
            && let Some(request) = entries.requests.get_mut(ticket.index)
        {
            change(request);
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<Request> {
        self.entries().requests.clone()
    }

    pub(crate) fn clear(&self) {
        let mut entries = self.entries();
        entries.generation += 1;
        entries.requests.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spans(spans: &[(u64, u64)]) -> Vec<Request> {
        let zero = Instant::now();
        spans
            .iter()
            .map(|&(from, to)| Request {
                method: Method::GET,
                path_and_query: "/v2/?x=1".to_owned(),
                version: Version::HTTP_11,
                headers: HeaderMap::new(),
                status: 200,
                started: zero + Duration::from_millis(from),
                finished: (to > 0).then(|| zero + Duration::from_millis(to)),
                connection_id: 1,
                received: 0,
                sent: 0,
            })
            .collect()
    }

    #[test]
    fn depth_counts_chains_not_requests() {
        assert_eq!(dependency_depth(&[]), 0);
        assert_eq!(dependency_depth(&spans(&[(0, 10), (10, 20), (21, 30)])), 3);
        assert_eq!(dependency_depth(&spans(&[(0, 10), (1, 11), (2, 12)])), 1);
        // One first, then two at once, then one: a diamond.
        assert_eq!(dependency_depth(&spans(&[(0, 10), (11, 30), (12, 20), (31, 40)])), 3);
        // A chain of short ones beside a long one.
        assert_eq!(dependency_depth(&spans(&[(0, 100), (0, 10), (20, 30), (40, 50), (101, 110)])), 4);
    }

    #[test]
    fn an_unfinished_request_is_waited_for_by_nobody() {
        assert_eq!(dependency_depth(&spans(&[(0, 0), (5, 10), (11, 12)])), 2);
    }

    #[test]
    fn a_request_that_ends_after_the_log_was_cleared_does_not_touch_it() {
        let log = Log::default();
        let ticket = log.begin(spans(&[(0, 0)]).remove(0));
        log.clear();
        log.begin(spans(&[(0, 0)]).remove(0));
        log.update(ticket, |request| request.status = 500);
        assert_eq!(log.snapshot()[0].status, 200);
        assert_eq!(log.snapshot()[0].path(), "/v2/");
        assert_eq!(log.snapshot()[0].query(), "x=1");
    }
}
