//! `/metrics`: numbers in the text format of Prometheus (version 0.0.4).
//!
//! Labels take a few values each, whatever clients send: a method, what a path means, the class of a status, scheme and
//! host of a webhook. No name of a repository, a tag, an identity or a client is ever one.

use std::fmt::{self, Display, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use content::GcReport;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};

use crate::answer::{Answer, answer};
use crate::events::{Event, Observer, What};
use crate::route::KINDS;
use crate::service::State;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];
/// The last one is for requests whose client went away before they were answered.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];
/// Upper bounds of the buckets of durations, in seconds, with their text.
const BOUNDS: [(f64, &str); 17] = [
    (0.0001, "0.0001"),
    (0.00025, "0.00025"),
    (0.0005, "0.0005"),
    (0.001, "0.001"),
    (0.0025, "0.0025"),
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (5.0, "5"),
    (10.0, "10"),
    (60.0, "60"),
];
/// What the store is asked must not keep a question waiting for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are there now. Each is counted until it is dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub(crate) fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(self.0.clone())
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One thing that is there.
#[derive(Debug)]
pub(crate) struct One(Arc<AtomicU64>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Durations in buckets.
#[derive(Debug, Default)]
struct Durations {
    buckets: [Counter; BOUNDS.len() + 1],
    microseconds: Counter,
}

/// What is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By method, route and class of status.
    requests: [[[Counter; CLASSES.len()]; KINDS.len()]; METHODS.len()],
    durations: [Durations; KINDS.len()],
    received: Counter,
    sent: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) accepted: Counter,
    /// Requests whose credentials were not right.
    bad_credentials: Counter,
    /// Requests that the policy does not allow.
    forbidden: Counter,
    rate_limited: Counter,
    no_room: Counter,
    pub(crate) read_only: Counter,
    written: [Counter; What::NAMES.len()],
    collections: Counter,
    failed_collections: Counter,
    /// Seconds since 1970.
    last_collection: AtomicU64,
    last_collection_microseconds: AtomicU64,
    swept_documents: Counter,
    swept_blobs: Counter,
    freed: Counter,
    begun: SystemTime,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            durations: Default::default(),
            received: Counter::default(),
            sent: Counter::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            accepted: Counter::default(),
            bad_credentials: Counter::default(),
            forbidden: Counter::default(),
            rate_limited: Counter::default(),
            no_room: Counter::default(),
            read_only: Counter::default(),
            written: Default::default(),
            collections: Counter::default(),
            failed_collections: Counter::default(),
            last_collection: AtomicU64::new(0),
            last_collection_microseconds: AtomicU64::new(0),
            swept_documents: Counter::default(),
            swept_blobs: Counter::default(),
            freed: Counter::default(),
            begun: SystemTime::now(),
        }
    }
}

/// A request that is over.
#[derive(Debug)]
pub(crate) struct Over<'a> {
    pub(crate) method: &'a Method,
    pub(crate) route: &'static str,
    /// `None`: its client went away first.
    pub(crate) status: Option<StatusCode>,
    /// Whether it showed credentials.
    pub(crate) showed: bool,
    pub(crate) took: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl Metrics {
    pub(crate) fn count(&self, over: &Over<'_>) {
        let method = METHODS.iter().position(|name| *name == over.method.as_str()).unwrap_or(METHODS.len() - 1);
        let route = KINDS.iter().position(|name| *name == over.route).unwrap_or(KINDS.len() - 1);
        let class = over.status.map_or(CLASSES.len() - 1, |status| usize::from(status.as_u16() / 100).clamp(1, 5) - 1);
        self.requests[method][route][class].add(1);
        let seconds = over.took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|(bound, _)| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.durations[route].buckets[bucket].add(1);
        self.durations[route].microseconds.add(u64::try_from(over.took.as_micros()).unwrap_or(u64::MAX));
        self.received.add(over.received);
        self.sent.add(over.sent);
        match over.status {
            Some(StatusCode::UNAUTHORIZED) if over.showed => self.bad_credentials.add(1),
            Some(StatusCode::FORBIDDEN) => self.forbidden.add(1),
            Some(StatusCode::TOO_MANY_REQUESTS) => self.rate_limited.add(1),
            Some(StatusCode::INSUFFICIENT_STORAGE) => self.no_room.add(1),
            _ => {}
        }
    }

    pub(crate) fn collected(&self, report: &GcReport, took: Duration) {
        self.collections.add(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.last_collection.store(now, Ordering::Relaxed);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_collection_microseconds.store(took, Ordering::Relaxed);
        self.swept_documents.add(report.swept_documents);
        self.swept_blobs.add(report.swept_blobs);
        self.freed.add(report.removed_bytes);
    }

    pub(crate) fn collection_failed(&self) {
        self.failed_collections.add(1);
    }

    fn requests(&self, text: &mut Exposition) {
        text.family("http_requests_total", "counter", "Requests that are over.");
        for (method, routes) in METHODS.iter().zip(&self.requests) {
            for (route, classes) in KINDS.iter().zip(routes) {
                for (class, counter) in CLASSES.iter().zip(classes).filter(|(_, counter)| counter.get() > 0) {
                    text.sample("", &[("method", method), ("route", route), ("status", class)], counter.get());
                }
            }
        }
        text.family(
            "http_request_duration_seconds",
            "histogram",
            "From the head of a request to the last byte of its answer.",
        );
        for (route, durations) in KINDS.iter().zip(&self.durations) {
            let mut sum = 0;
            let total: u64 = durations.buckets.iter().map(Counter::get).sum();
            if total == 0 {
                continue;
            }
            let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
            for (bound, bucket) in bounds.zip(&durations.buckets) {
                sum += bucket.get();
                text.sample("_bucket", &[("route", route), ("le", bound)], sum);
            }
            text.sample("_sum", &[("route", route)], seconds(durations.microseconds.get()));
            // Not `total`: more may have come since, and the last bucket must be the number of all.
            text.sample("_count", &[("route", route)], sum);
        }
    }

    fn refusals(&self, text: &mut Exposition) {
        text.family("refused_total", "counter", "Requests that were refused, by reason.");
        for (reason, counter) in [
            ("credentials", &self.bad_credentials),
            ("policy", &self.forbidden),
            ("rate", &self.rate_limited),
            ("disk-full", &self.no_room),
            ("read-only", &self.read_only),
        ] {
            text.sample("", &[("reason", reason)], counter.get());
        }
    }

    fn collections(&self, text: &mut Exposition) {
        text.family("gc_runs_total", "counter", "Garbage collections of this server, by how they ended.");
        text.sample("", &[("result", "ok")], self.collections.get());
        text.sample("", &[("result", "failed")], self.failed_collections.get());
        let last = self.last_collection.load(Ordering::Relaxed);
        if last > 0 {
            let took = self.last_collection_microseconds.load(Ordering::Relaxed);
            text.one("gc_last_success_timestamp_seconds", "gauge", "When the last one ended well.", last);
            text.one("gc_last_duration_seconds", "gauge", "How long the last one took.", seconds(took));
        }
        text.one("gc_freed_bytes_total", "counter", "Bytes that collections made free.", self.freed.get());
        text.family("gc_swept_total", "counter", "What collections deleted.");
        text.sample("", &[("kind", "manifest")], self.swept_documents.get());
        text.sample("", &[("kind", "blob")], self.swept_blobs.get());
    }
}

#[async_trait]
impl Observer for Metrics {
    async fn observe(&self, event: &Arc<Event>) {
        if let Some(index) = What::NAMES.iter().position(|name| *name == event.what.name()) {
            self.written[index].add(1);
        }
    }
}

fn seconds(microseconds: u64) -> impl Display {
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// The text that is put together. Names begin with `polyarch_registry_`.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    text: String,
    name: &'static str,
}

impl Exposition {
    /// Begins what has one name.
    pub(crate) fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        let _ = writeln!(self.text, "# HELP polyarch_registry_{name} {help}\n# TYPE polyarch_registry_{name} {kind}");
    }

    /// One number of it. Labels are words of this program, never of a client's.
    pub(crate) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "polyarch_registry_{}{suffix}", self.name);
        for (index, (label, word)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{word}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A name with one number.
    pub(crate) fn one(&mut self, name: &'static str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `GET /metrics`.
pub(crate) async fn serve(state: &State) -> Answer {
    let metrics = &*state.metrics;
    let mut text = Exposition::default();
    text.family("info", "gauge", "The version of this server.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let begun = metrics.begun.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    text.one("start_time_seconds", "gauge", "When this server was started, since 1970.", begun);
    text.one("draining", "gauge", "1: the server is about to stop.", u8::from(state.is_draining()));
    text.one("read_only", "gauge", "1: writes are refused.", u8::from(state.options.read_only.is_on()));
    metrics.requests(&mut text);
    text.one("http_requests_in_flight", "gauge", "Requests that are not over yet.", metrics.in_flight.get());
    text.one("received_bytes_total", "counter", "Bytes of the bodies of requests.", metrics.received.get());
    text.one("sent_bytes_total", "counter", "Bytes of the bodies of answers.", metrics.sent.get());
    text.one("connections", "gauge", "Connections that are open.", metrics.connections.get());
    text.one("connections_total", "counter", "Connections that were let in.", metrics.accepted.get());
    metrics.refusals(&mut text);
    text.family("limits_reached_total", "counter", "What was one too many, by the limit that it reached.");
    for (name, count) in state.gate.counts() {
        text.sample("", &[("limit", name)], count);
    }
    if let Some(webhooks) = &state.options.webhooks {
        webhooks.expose(&mut text);
    }
    text.family("writes_total", "counter", "Writes that are durable, by what they did.");
    for (name, counter) in What::NAMES.iter().zip(&metrics.written) {
        text.sample("", &[("event", name)], counter.get());
    }
    // Without an answer there is no number: that it is missing tells more than a wrong one.
    if let Ok(Ok(count)) = tokio::time::timeout(PATIENCE, state.content.count_uploads()).await {
        text.one("upload_sessions", "gauge", "Upload sessions that are open.", count);
    }
    if let Some(space) = state.disk.last() {
        text.one("disk_free_bytes", "gauge", "Bytes that can be written.", space.free);
        text.one("disk_size_bytes", "gauge", "Bytes that the disk has.", space.total);
        text.one("disk_full", "gauge", "1: pushes are refused.", u8::from(state.disk.is_full()));
    }
    metrics.collections(&mut text);
    if let Some(log) = &state.options.access_log {
        text.one("access_log_lost_lines_total", "counter", "Lines of the access log that were dropped.", log.lost());
    }
    if let Some(audit) = &state.options.audit {
        text.one("audit_lines_total", "counter", "Lines of the audit log that were written.", audit.written());
        text.one("audit_waiting_bytes", "gauge", "Bytes that the audit log could not write yet.", audit.waiting());
        text.one("audit_lost_lines_total", "counter", "Lines of the audit log that were lost.", audit.lost());
    }
    answer(StatusCode::OK)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))
        .body(text.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_sent_the_labels_are_few() {
        let metrics = Metrics::default();
        let odd = Method::from_bytes(b"BREW").unwrap();
        for (method, route, status) in
            [(&odd, "none", Some(418)), (&Method::GET, "made-up", Some(999)), (&odd, "blob", None)]
        {
            let status = status.map(|status| StatusCode::from_u16(status).unwrap());
            let took = Duration::from_millis(3);
            metrics.count(&Over { method, route, status, showed: false, took, received: 1, sent: 2 });
        }
        let mut text = Exposition::default();
        metrics.requests(&mut text);
        let text = text.to_string();
        for line in [
            r#"polyarch_registry_http_requests_total{method="other",route="none",status="4xx"} 1"#,
            r#"polyarch_registry_http_requests_total{method="GET",route="none",status="5xx"} 1"#,
            r#"polyarch_registry_http_requests_total{method="other",route="blob",status="none"} 1"#,
            r#"polyarch_registry_http_request_duration_seconds_bucket{route="blob",le="0.0025"} 0"#,
            r#"polyarch_registry_http_request_duration_seconds_bucket{route="none",le="0.005"} 2"#,
            r#"polyarch_registry_http_request_duration_seconds_bucket{route="none",le="+Inf"} 2"#,
            r#"polyarch_registry_http_request_duration_seconds_sum{route="none"} 0.006000"#,
            r#"polyarch_registry_http_request_duration_seconds_count{route="none"} 2"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line}\n{text}");
        }
        assert!(!text.contains("made-up") && !text.contains("BREW"));
    }
}
