//! How the client behaves.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use image::RegistryHost;
use settings::{Environment, ProxyRules, TlsFiles, TrustRoots};
use url::Url;

use crate::transport::is_loopback;

/// How the client behaves. Made from the environment, then changed field by field.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Do not verify certificates, and fall back to plain HTTP where the server answers a TLS hello with HTTP.
    pub insecure: bool,
    /// Treat loopback (`127.0.0.0/8`, `::1`, `localhost`) as if `insecure` were set.
    pub lenient_loopback: bool,
    /// Registries that are spoken to in plain HTTP from the start.
    pub plain_http: BTreeSet<RegistryHost>,
    /// Where what was learnt about registries is kept between runs; `None`: nowhere. Never secrets.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes of a manifest.
    pub manifest_limit: usize,
    /// Most entries of one listing: tags, repositories or referrers.
    pub listing_limit: usize,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// What to repeat.
    pub retry: RetryPolicy,
    /// How much at once.
    pub pacing: Pacing,
    /// HTTP/2 flow control.
    pub windows: Windows,
    /// Which requests go through which proxy.
    pub proxies: ProxyRules,
    /// What takes the place of the system's certificate authorities.
    pub trust_roots: TrustRoots,
    /// The `certs.d` directories.
    pub tls_files: TlsFiles,
}

impl ClientOptions {
    /// The defaults with proxies and certificates as `environment` says. There is no cache directory yet.
    pub fn new(environment: &Environment) -> Self {
        Self {
            proxies: ProxyRules::from(environment),
            trust_roots: TrustRoots::new(environment),
            tls_files: TlsFiles::new(environment),
            ..Self::default()
        }
    }

    /// Whether a host's certificate is not verified, and plain HTTP is good enough where it speaks that.
    pub(crate) fn is_lenient(&self, url: &Url) -> bool {
        self.insecure || self.lenient_loopback && is_loopback(url)
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            user_agent: concat!("polyarch/", env!("CARGO_PKG_VERSION")).to_owned(),
            insecure: false,
            lenient_loopback: true,
            plain_http: BTreeSet::new(),
            cache_dir: None,
            manifest_limit: 4 << 20,
            listing_limit: 1_000_000,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            pacing: Pacing::default(),
            windows: Windows::default(),
            proxies: ProxyRules::none(),
            trust_roots: TrustRoots::default(),
            tls_files: TlsFiles::default(),
        }
    }
}

/// How long to wait for what. None of them limits how long a body may take as long as bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: name, TCP and TLS.
    pub connect: Duration,
    /// For the head of an answer, from when the request (with its body, if it has one) has been sent.
    pub head: Duration,
    /// For the next bytes of a body, in either direction.
    pub stall: Duration,
}

impl Default for Timeouts {
    /// 30, 60 and 60 seconds.
    fn default() -> Self {
        Self { connect: Duration::from_secs(30), head: Duration::from_secs(60), stall: Duration::from_secs(60) }
    }
}

/// What is repeated, how often and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is sent at most.
    pub attempts: u32,
    /// The first pause; each following one is twice as long. A pause is drawn from its upper half.
    pub pause: Duration,
    /// The longest pause that is not asked for by the registry.
    pub longest_pause: Duration,
    /// The longest `Retry-After` that is waited for; a longer one is an error at once.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    /// 4 times, after about 0.2, 0.4 and 0.8 seconds; up to a minute where the registry asks for it.
    fn default() -> Self {
        Self {
            attempts: 4,
            pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
            longest_retry_after: Duration::from_secs(60),
        }
    }
}

/// How much is done at once with one registry, as one user of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pacing {
    /// Small requests: where it starts, and the most. Halved on 429 and 503, then grown again one by one.
    pub requests: usize,
    /// Downloads of more than [`Pacing::big`].
    pub downloads: usize,
    /// Uploads of more than 64 KiB: those are read while they are sent.
    pub uploads: usize,
    /// From how many bytes a download is big.
    pub big: u64,
}

impl Default for Pacing {
    /// 32 small requests beside 6 downloads of more than 1 MiB and 6 uploads.
    fn default() -> Self {
        Self { requests: 32, downloads: 6, uploads: 6, big: 1 << 20 }
    }
}

/// HTTP/2 flow control: how many bytes the other side may send that have not been consumed yet. This is also how much
/// memory a slow consumer can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// For one stream.
    pub stream: u32,
    /// For one connection.
    pub connection: u32,
}

impl Default for Windows {
    /// 4 MiB for both: 40 MB/s at 100 ms, and a bounded cost where the target is slower than the source.
    fn default() -> Self {
        Self { stream: 4 << 20, connection: 4 << 20 }
    }
}
