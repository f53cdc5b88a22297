//! Connections: one `reqwest` client for each kind of TLS that is needed, and what their failures mean.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use image::RegistryHost;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use rustls_pki_types::UnixTime;
use settings::{HostTls, Secret};
use url::{Host, Url};

use crate::error::ErrorKind;
use crate::network::{CertificateProblem, NetworkFailure, Phase};
use crate::options::ClientOptions;
use crate::sniff::{self, Speech};
use crate::tls::{self, Roots};

/// Idle connections live this long. A command is done before that; a server that uses this client is not.
const IDLE: Duration = Duration::from_secs(90);

/// Whether a host is this machine: `127.0.0.0/8`, `::1`, `localhost` and what is under it. Names are not looked up: a
/// name that resolves to loopback today can resolve to something else in the next moment.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        None => false,
    }
}

/// Whether two URLs have the same scheme, host and port: the only case in which credentials may go along.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// Why a connection could not even be tried.
#[derive(Clone, Debug)]
pub(crate) struct SetupError {
    pub(crate) reason: String,
    pub(crate) hint: Option<String>,
}

/// A failed exchange: class and what is known of it.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) kind: ErrorKind,
    pub(crate) network: NetworkFailure,
}

/// What `certs.d` has for the host of `url`.
fn host_files(options: &ClientOptions, url: &Url, lenient: bool) -> Result<HostTls, SetupError> {
    let Ok(host) = RegistryHost::parse(url.authority()) else { return Ok(HostTls::default()) };
    match options.tls_files.host_tls(&host) {
        Ok(files) => Ok(files),
        // Docker does not look at them where nothing is verified.
        Err(_) if lenient => Ok(HostTls::default()),
        Err(error) => Err(SetupError { reason: error.to_string(), hint: None }),
    }
}

/// All connections of a client.
pub(crate) struct Transports {
    roots: Roots,
    resolver: Arc<Resolver>,
    /// By `host:port`, so that `certs.d` is read once per host.
    by_authority: Mutex<HashMap<String, reqwest::Client>>,
    /// By what they need, so that hosts without files of their own share one.
    by_profile: Mutex<HashMap<Profile, reqwest::Client>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Profile {
    lenient: bool,
    certificates: Vec<std::path::PathBuf>,
    pairs: Vec<(std::path::PathBuf, std::path::PathBuf)>,
}

impl Transports {
    pub(crate) fn new(options: &ClientOptions) -> Self {
        Self {
            roots: Roots::new(options.trust_roots.clone()),
            resolver: Arc::default(),
            by_authority: Mutex::default(),
            by_profile: Mutex::default(),
        }
    }

    /// The connections to the host of `url`.
    pub(crate) fn get(&self, options: &ClientOptions, url: &Url) -> Result<reqwest::Client, SetupError> {
        let lenient = options.is_lenient(url);
        if url.scheme() == "https" && !lenient {
            self.roots.begin();
        }
        if let Some(proxy) = options.proxies.proxy_for(url)
            && !matches!(proxy.url().scheme(), "http" | "https")
        {
            return Err(SetupError {
                reason: format!("proxies of the kind `{}` are not supported", proxy.url().scheme()),
                hint: Some("use an `http://` proxy, or name the host in `NO_PROXY`".to_owned()),
            });
        }
        let authority = url.authority().to_owned();
        let mut by_authority = self.by_authority.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = by_authority.get(&authority) {
            return Ok(client.clone());
        }
        let files = host_files(options, url, lenient)?;
        let profile = Profile {
            lenient,
            certificates: if lenient { Vec::new() } else { files.ca_pems.clone() },
            pairs: files.client_pairs.clone(),
        };
        let mut by_profile = self.by_profile.lock().unwrap_or_else(PoisonError::into_inner);
        let client = if let Some(client) = by_profile.get(&profile) {
            client.clone()
        } else {
            let client = self.build(options, &files, lenient)?;
            by_profile.insert(profile, client.clone());
            client
        };
        by_authority.insert(authority, client.clone());
        Ok(client)
    }

    /// TLS for the host of `url`, as [`Transports::get`] speaks it.
    pub(crate) fn client_config(&self, options: &ClientOptions, url: &Url) -> Result<ClientConfig, SetupError> {
        let lenient = options.is_lenient(url);
        let files = host_files(options, url, lenient)?;
        tls::client_config(&self.roots, &files, lenient)
            .map_err(|error| SetupError { reason: error.to_string(), hint: None })
    }

    fn build(&self, options: &ClientOptions, files: &HostTls, lenient: bool) -> Result<reqwest::Client, SetupError> {
        let tls = tls::client_config(&self.roots, files, lenient)
            .map_err(|error| SetupError { reason: error.to_string(), hint: None })?;
        let rules = options.proxies.clone();
        let proxy = reqwest::Proxy::custom(move |url| {
            let proxy = rules.proxy_for(url)?;
            let mut url = proxy.url().clone();
            if let Some((user, password)) = proxy.login() {
                let password = Some(password).filter(|password| !password.is_empty()).map(Secret::reveal);
                // A proxy URL has a host, so neither fails.
                let _ = url.set_username(user);
                let _ = url.set_password(password);
            }
            Some(url)
        });
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .proxy(proxy)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(options.timeouts.connect)
            .pool_idle_timeout(IDLE)
            .http2_initial_stream_window_size(options.windows.stream)
            .http2_initial_connection_window_size(options.windows.connection)
            .dns_resolver(Arc::new(Shared(self.resolver.clone())))
            .build()
            .map_err(|error| SetupError { reason: format!("set up connections: {error}"), hint: None })
    }

    /// Says what a failure of `reqwest` was. Where the server did not answer the TLS hello with TLS, looks at what it
    /// does speak.
    pub(crate) async fn explain(&self, options: &ClientOptions, url: &Url, error: &reqwest::Error) -> Broken {
        let mut broken = self.classify(url, error);
        if broken.kind == ErrorKind::NotTls && options.proxies.proxy_for(url).is_none() {
            let speech = sniff::speech(&broken.network.host, broken.network.port, options.timeouts.connect).await;
            if speech == Some(Speech::Http) {
                broken.kind = ErrorKind::HttpInsteadOfHttps;
                "server gave HTTP response to HTTPS client".clone_into(&mut broken.network.text);
            }
        }
        broken
    }

    /// A time-out of our own.
    pub(crate) fn timed_out(&self, url: &Url, phase: Phase, after: Duration) -> Broken {
        let mut network = self.network(url, phase);
        network.text = match phase {
            Phase::Body => format!("no further byte for {} s", seconds(after)),
            _ => format!("no answer for {} s", seconds(after)),
        };
        Broken { kind: ErrorKind::Timeout, network }
    }

    fn network(&self, url: &Url, phase: Phase) -> NetworkFailure {
        let (host, address) = match url.host() {
            Some(Host::Ipv4(address)) => (address.to_string(), Some(address.into())),
            Some(Host::Ipv6(address)) => (address.to_string(), Some(address.into())),
            Some(Host::Domain(name)) => (name.to_owned(), self.resolver.last(name).map(|address| address.ip())),
            None => (String::new(), None),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        NetworkFailure {
            phase,
            host,
            port,
            address: address.map(|ip| SocketAddr::new(ip, port)),
            os_error: None,
            text: String::new(),
            certificate: None,
        }
    }

    fn classify(&self, url: &Url, error: &reqwest::Error) -> Broken {
        let phase = match (error.is_connect(), error.is_body() || error.is_decode()) {
            (true, _) => Phase::Dial,
            (false, true) => Phase::Body,
            (false, false) => Phase::Exchange,
        };
        let mut broken = Broken { kind: ErrorKind::Network, network: self.network(url, phase) };
        let network = &mut broken.network;
        let mut innermost = error.to_string();
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = next {
            innermost = error.to_string();
            if let Some(lookup) = error.downcast_ref::<LookupError>() {
                network.phase = Phase::Lookup;
                network.text = lookup.to_string();
                broken.kind = ErrorKind::Dns;
                return broken;
            }
            if let Some(failure) = error.downcast_ref::<rustls::Error>() {
                network.phase = Phase::Tls;
                explain_tls(failure, &mut broken);
                return broken;
            }
            if let Some(failure) = error.downcast_ref::<io::Error>() {
                if let Some(os_error) = failure.raw_os_error() {
                    network.os_error = Some(os_error);
                    failure.to_string().clone_into(&mut network.text);
                }
                match failure.kind() {
                    io::ErrorKind::ConnectionRefused => broken.kind = ErrorKind::ConnectionRefused,
                    io::ErrorKind::TimedOut => broken.kind = ErrorKind::Timeout,
                    _ => {}
                }
                // `source` of an `io::Error` leaves out the error that it wraps.
                if let Some(inner) = failure.get_ref() {
                    next = Some(inner);
                    continue;
                }
            }
            next = error.source();
        }
        if error.is_timeout() {
            broken.kind = ErrorKind::Timeout;
        }
        if network.text.is_empty() {
            network.text = crate::escape::line(&innermost);
        }
        broken
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

fn explain_tls(failure: &rustls::Error, broken: &mut Broken) {
    use rustls::InvalidMessage::{InvalidContentType, UnknownProtocolVersion};

    let network = &mut broken.network;
    network.text = crate::escape::line(&failure.to_string());
    broken.kind = match failure {
        rustls::Error::InvalidMessage(InvalidContentType | UnknownProtocolVersion) => {
            "first record does not look like a TLS handshake".clone_into(&mut network.text);
            ErrorKind::NotTls
        }
        rustls::Error::InvalidCertificate(error) => {
            let problem = certificate_problem(error);
            let kind = match &problem {
                CertificateProblem::UnknownAuthority => ErrorKind::UnknownCa,
                CertificateProblem::Names(_) => ErrorKind::WrongHostName,
                CertificateProblem::Time { .. } => ErrorKind::CertificateExpired,
                CertificateProblem::Other => ErrorKind::Tls,
            };
            network.certificate = Some(problem);
            kind
        }
        _ => ErrorKind::Tls,
    };
}

fn certificate_problem(error: &rustls::CertificateError) -> CertificateProblem {
    use rustls::CertificateError as Certificate;

    let time =
        |now: Option<UnixTime>, not_after: Option<UnixTime>, not_before: Option<UnixTime>| CertificateProblem::Time {
            now: now.map_or(0, |time| time.as_secs()),
            not_after: not_after.map(|time| time.as_secs()),
            not_before: not_before.map(|time| time.as_secs()),
        };
    match error {
        Certificate::UnknownIssuer => CertificateProblem::UnknownAuthority,
        Certificate::NotValidForName => CertificateProblem::Names(Vec::new()),
        Certificate::NotValidForNameContext { presented, .. } => {
            CertificateProblem::Names(presented.iter().map(|name| crate::escape::line(&plain_name(name))).collect())
        }
        Certificate::Expired | Certificate::NotValidYet => time(None, None, None),
        Certificate::ExpiredContext { time: now, not_after } => time(Some(*now), Some(*not_after), None),
        Certificate::NotValidYetContext { time: now, not_before } => time(Some(*now), None, Some(*not_before)),
        _ => CertificateProblem::Other,
    }
}

/// `DnsName("a.example")` as rustls writes names of certificates, without the wrapping.
fn plain_name(name: &str) -> String {
    match name.split_once('(') {
        Some((_, rest)) => rest.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.to_owned(),
    }
}

/// A name without an address.
#[derive(Debug)]
struct LookupError {
    name: String,
    source: io::Error,
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lookup {}: {}", crate::escape::line(&self.name), self.source)
    }
}

impl StdError for LookupError {}

/// The system's resolver, with a memory for error messages and a type of its own for failures.
#[derive(Debug, Default)]
struct Resolver {
    last: Mutex<HashMap<String, SocketAddr>>,
}

impl Resolver {
    fn last(&self, name: &str) -> Option<SocketAddr> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }
}

struct Shared(Arc<Resolver>);

impl Resolve for Shared {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.0.clone();
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map(Iterator::collect::<Vec<SocketAddr>>);
            let addresses = match found {
                Ok(addresses) => addresses,
                Err(source) => return Err(LookupError { name, source }.into()),
            };
            let Some(&first) = addresses.first() else {
                let source = io::Error::new(io::ErrorKind::NotFound, "no address");
                return Err(LookupError { name, source }.into());
            };
            resolver.last.lock().unwrap_or_else(PoisonError::into_inner).insert(name, first);
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_an_address_or_localhost_never_another_name() {
        for (text, loopback) in [
            ("http://127.0.0.1:5000", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:5000", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost:5000", true),
            ("http://registry.localhost", true),
            ("http://localhost.", true),
            ("http://128.0.0.1", false),
            ("http://[::2]", false),
            ("http://localhost.example", false),
            ("http://notlocalhost", false),
            ("http://127.0.0.1.example", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), loopback, "{text}");
        }
    }

    #[test]
    fn names_of_certificates_are_shown_plainly() {
        assert_eq!(plain_name("DnsName(\"a.example\")"), "a.example");
        assert_eq!(plain_name("a.example"), "a.example");
    }
}
