//! One attempt: a name looked up, an address judged and connected to, a request, an answer.
//!
//! By hand, so that the address that was judged is the one that is connected to: no proxy, no redirect, no look-up in between.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Host;

use super::WebhookError;
use super::destination::{Allowed, may_connect};
use super::endpoint::Endpoint;
use super::message::{Message, signature};

const EVENT: HeaderName = HeaderName::from_static("polyarch-event");
const DELIVERY: HeaderName = HeaderName::from_static("polyarch-delivery");
const SIGNATURE: HeaderName = HeaderName::from_static("polyarch-signature");
/// Most bytes of an answer that are read, and forgotten. With more of them the connection ends.
const ANSWER: usize = 64 << 10;
/// Most bytes of an answer's head.
const HEAD: usize = 64 << 10;
/// Addresses of a name that are tried.
const ADDRESSES: usize = 4;

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It was taken.
    Taken,
    /// The endpoint does not want this event, and will not want it later.
    Refused(StatusCode),
    /// It may work later. The endpoint may have said when.
    Later(String, Option<Duration>),
}

/// A connection that may serve for the next event too.
pub(super) type Connection = http1::SendRequest<Full<Bytes>>;

/// What posts.
pub(super) struct Sender {
    allow: Vec<Allowed>,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("allow", &self.allow).finish_non_exhaustive()
    }
}

impl Sender {
    pub(super) fn new(allow: Vec<Allowed>, encrypts: bool, authorities: Option<&Path>) -> Result<Self, WebhookError> {
        let tls = if encrypts { Some(connector(authorities)?) } else { None };
        Ok(Self { allow, tls })
    }

    /// Posts a message, over `kept` if that still is a connection, and keeps the connection if it can serve again.
    pub(super) async fn post(&self, endpoint: &Endpoint, message: &Message, kept: &mut Option<Connection>) -> Outcome {
        let Some(request) = request(endpoint, message) else {
            return Outcome::Later("its URL cannot be asked for".to_owned(), None);
        };
        let (answer, connection) = match self.answer(endpoint, request, kept.take()).await {
            Ok(answered) => answered,
            Err(reason) => return Outcome::Later(reason, None),
        };
        let (head, body) = answer.into_parts();
        if read_away(body).await {
            *kept = Some(connection);
        }
        let status = head.status;
        if status.is_success() {
            return Outcome::Taken;
        }
        let passing =
            [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
        if status.is_client_error() && !passing {
            return Outcome::Refused(status);
        }
        let after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        // A redirect is not followed: it leads where the settings do not.
        Outcome::Later(format!("it answered {status}"), after.map(Duration::from_secs))
    }

    /// Asks, over a connection that served before, or over a new one. The former may have ended meanwhile.
    async fn answer(
        &self,
        endpoint: &Endpoint,
        request: Request<Full<Bytes>>,
        kept: Option<Connection>,
    ) -> Result<(Response<Incoming>, Connection), String> {
        if let Some(mut connection) = kept
            && connection.ready().await.is_ok()
            && let Ok(answer) = connection.send_request(request.clone()).await
        {
            return Ok((answer, connection));
        }
        let mut connection = self.connect(endpoint).await?;
        let answer = connection.send_request(request).await.map_err(|error| reason(&error))?;
        Ok((answer, connection))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, String> {
        let stream = self.reach(endpoint).await?;
        let _ = stream.set_nodelay(true);
        match (&self.tls, endpoint.is_encrypted()) {
            (_, false) => handshake(stream).await,
            (Some(tls), true) => {
                let name = match endpoint.host() {
                    Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?,
                    Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(address)),
                    Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(address)),
                };
                handshake(tls.connect(name, stream).await.map_err(|error| error.to_string())?).await
            }
            (None, true) => Err("TLS is not set up".to_owned()),
        }
    }

    /// Connects to an address of the host that may be connected to.
    async fn reach(&self, endpoint: &Endpoint) -> Result<TcpStream, String> {
        let port = endpoint.port();
        let addresses: Vec<SocketAddr> = match endpoint.host() {
            Host::Ipv4(address) => vec![SocketAddr::from((address, port))],
            Host::Ipv6(address) => vec![SocketAddr::from((address, port))],
            Host::Domain(name) => {
                tokio::net::lookup_host((name, port)).await.map_err(|error| error.to_string())?.collect()
            }
        };
        let mut failed = "its name has no address".to_owned();
        for address in addresses.into_iter().take(ADDRESSES) {
            if let Err(reason) = may_connect(endpoint, address.ip(), &self.allow) {
                failed = format!("`{}` is not connected to: {reason}; `webhook-allow` can list it", address.ip());
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error.to_string(),
            }
        }
        Err(failed)
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Connection, String> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| reason(&error))?;
    tokio::spawn(async move {
        // Whoever sends learns of its end.
        let _ = connection.await;
    });
    Ok(sender)
}

fn request(endpoint: &Endpoint, message: &Message) -> Option<Request<Full<Bytes>>> {
    let url = &endpoint.url;
    let host = match url.port() {
        Some(port) => format!("{}:{port}", endpoint.host()),
        None => endpoint.host().to_string(),
    };
    let mut builder = Request::builder()
        .method(Method::POST)
        .uri(&url[url::Position::BeforePath..url::Position::AfterQuery])
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, concat!("polyarch/", env!("CARGO_PKG_VERSION")))
        .header(EVENT, &*message.event)
        .header(DELIVERY, &*message.id);
    if let Some(key) = &endpoint.key {
        let mut value = HeaderValue::from_str(&signature(key, Timestamp::now(), &message.body)).ok()?;
        value.set_sensitive(true);
        builder = builder.header(SIGNATURE, value);
    }
    builder.body(Full::new(message.body.clone())).ok()
}

/// Reads an answer to its end, if that is near. `true`: it was.
async fn read_away(mut body: Incoming) -> bool {
    let mut left = ANSWER;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
    true
}

/// What hyper says, with what it says is behind that.
fn reason(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn connector(authorities: Option<&Path>) -> Result<TlsConnector, WebhookError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    let (_, unusable) = roots.add_parsable_certificates(system.certs);
    if unusable > 0 {
        tracing::debug!(unusable, "certificates of the system could not be read");
    }
    if let Some(path) = authorities {
        let failed = |reason: String| WebhookError::Authorities { path: path.to_owned(), reason };
        let pem = std::fs::read(path).map_err(|error: io::Error| failed(error.to_string()))?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| failed(error.to_string()))?;
            roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(failed("it has no certificate".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| WebhookError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
