//! What a client may take: of requests, connections, sessions, bytes and time.
//!
//! All of it is counted in this process, and protects this process: several servers on one store count each for itself.

mod connections;
mod counts;
mod flow;
mod forwarded;
mod gate;
mod owner;
mod pace;
mod rate;
mod sessions;
mod socket;

use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) use flow::{Flow, Outflow};
pub use forwarded::{ForwardedHeader, TrustedProxies};
pub(crate) use gate::Gate;
pub use pace::Pace;
pub(crate) use pace::Pacer;
pub use rate::Rate;
pub(crate) use socket::Taken;

/// What one client may take. A client is a name, where it is known, or else an address; of an IPv6 address the first 64 bits
/// count.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Requests of one identity; those of whoever has no name count for their address. More are answered with 429.
    pub requests: Option<Rate>,
    /// Requests of one address, whoever they say they are, before that is looked at. More are answered with 429.
    pub address_requests: Option<Rate>,
    /// Wrong passwords and tokens of one address. When there were more, whatever shows credentials from there is answered
    /// with 429, unlooked at. Loopback addresses are exempt: they are a proxy that is not listed, or somebody who can do
    /// worse.
    pub failed_logins: Option<Rate>,
    /// Upload sessions that one client may have open. Further ones are answered with 429.
    pub sessions: Option<NonZeroU32>,
    /// Connections of one address, unless it is a trusted proxy's. Further ones are closed at once.
    pub connections_per_address: Option<NonZeroU32>,
    /// Most bytes of a blob. Larger ones are answered with 413, and their session is dropped.
    pub blob_size: Option<u64>,
    /// How slowly the bytes of a request may come. Slower ones are answered with 408; a session keeps what came.
    pub body_pace: Option<Pace>,
    /// How long a client may take nothing of what it is sent, before its connection ends. Over HTTP/2: nothing of any of
    /// the answers that it asked for.
    pub write_timeout: Duration,
    /// Most bytes of path and query. Longer ones are answered with 414.
    pub url_length: usize,
    /// Most bytes of a request's headers. More are answered with 431.
    pub header_bytes: usize,
    /// Most headers of a request. More are answered with 431.
    pub header_count: usize,
    /// Most tags that one request sets with its query. More are answered with 414.
    pub query_tags: usize,
    /// Proxies that say where a request came from; also for logs and events.
    pub proxies: TrustedProxies,
}

impl Default for Limits {
    /// No rates but 60 failed logins a minute (100 at once), 10,000 sessions, blobs of any size, 1 KiB/s over a minute, 2
    /// minutes to take something, 32 KiB of URL, 64 KiB in 100 headers, 100 tags, no proxies.
    fn default() -> Self {
        Self {
            requests: None,
            address_requests: None,
            failed_logins: NonZeroU32::new(60)
                .map(Rate::per_minute)
                .zip(NonZeroU32::new(100))
                .map(|(rate, burst)| rate.with_burst(burst)),
            sessions: NonZeroU32::new(10_000),
            connections_per_address: None,
            blob_size: None,
            body_pace: Some(Pace { bytes_per_second: 1 << 10, window: Duration::from_secs(60) }),
            write_timeout: Duration::from_secs(120),
            url_length: 32 << 10,
            header_bytes: 64 << 10,
            header_count: 100,
            query_tags: 100,
            proxies: TrustedProxies::default(),
        }
    }
}
