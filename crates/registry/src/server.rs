//! The server: listens, bounds what a connection may cost, and drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use content::ContentStore;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access::{Access, Encrypted};
use crate::access_log::AccessLog;
use crate::audit::Audit;
use crate::body::Coming;
use crate::direct::{self, Rewound};
use crate::disk_space::{self, DiskSpace};
use crate::limits::{Flow, Limits, Taken};
use crate::maintenance::{self, Collection};
use crate::newcomers::Newcomers;
use crate::read_only::ReadOnly;
use crate::references::ReferenceRules;
use crate::service::{self, State};
use crate::tls::Tls;
use crate::webhooks::Webhooks;

/// How the server behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Who may do what. Without this nobody is asked who they are.
    pub access: Option<Access>,
    /// What connections are encrypted with. Without this they are not.
    pub tls: Option<Tls>,
    /// Anybody who can reach it may push and delete. Without this, or [`Options::access`], it only listens on a loopback
    /// address.
    pub allow_anonymous: bool,
    /// Most bytes of a manifest.
    pub manifest_limit: usize,
    /// What of a manifest's references must be there.
    pub references: ReferenceRules,
    /// Whether writes are refused for now.
    pub read_only: ReadOnly,
    /// What is done when the disk gets full.
    pub disk_space: DiskSpace,
    /// Garbage collection on a schedule. Without this the server collects nothing.
    pub collection: Option<Collection>,
    /// How long a connection may take to show its protocol and to send a request's head, and may be idle between two. An
    /// idle one of HTTP/2 stays as long as its client answers pings, which are sent so often.
    pub header_timeout: Duration,
    /// How long nothing may come of a request's body.
    pub body_timeout: Duration,
    /// Whether numbers are told at `/metrics`: to this machine, to anybody where nobody is asked who they are, else to
    /// identities with the action `admin`.
    pub metrics: bool,
    /// Where a line for each request goes.
    pub access_log: Option<AccessLog>,
    /// Where a line for each write goes.
    pub audit: Option<Audit>,
    /// How long the server goes on as before when it is told to stop, but for `/readyz`: whoever sends it requests has
    /// that long to see it and to send them elsewhere.
    pub drain_delay: Duration,
    /// How long requests that are under way may take to end when the server stops.
    pub drain_timeout: Duration,
    /// Most connections at once; further ones wait.
    pub connections: usize,
    /// What one client may take.
    pub limits: Limits,
    /// Who is told what was written.
    pub webhooks: Option<Webhooks>,
}

impl Default for Options {
    /// Loopback only, 4 MiB, strict, 60 s for head and body, 30 s to drain and no delay before it, 8192 connections.
    fn default() -> Self {
        Self {
            access: None,
            tls: None,
            allow_anonymous: false,
            manifest_limit: 4 << 20,
            references: ReferenceRules::default(),
            read_only: ReadOnly::default(),
            disk_space: DiskSpace::default(),
            collection: None,
            metrics: false,
            access_log: None,
            audit: None,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            connections: 8192,
            limits: Limits::default(),
            webhooks: None,
        }
    }
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is no address, or cannot be had.
    #[error("failed to listen on `{address}`: {source}")]
    Listen {
        /// What was asked for.
        address: String,
        /// What came back.
        source: io::Error,
    },
    /// Others could reach it, and nobody would be asked who they are.
    #[error("refused to listen on `{address}`: it is not a loopback address, and everybody could push and delete")]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
}

/// A registry that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<State>,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ServerError::NotLoopback`] unless [`Options::allow_anonymous`] or [`Options::access`] is set.
    pub async fn bind(
        address: impl ToSocketAddrs + std::fmt::Debug,
        options: Options,
        content: ContentStore,
    ) -> Result<Self, ServerError> {
        let shown = format!("{address:?}").trim_matches('"').to_owned();
        let failed = |source| ServerError::Listen { address: shown.clone(), source };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(address).await.map_err(failed)?.collect();
        if let Some(address) = addresses.iter().find(|address| !address.ip().is_loopback())
            && !options.allow_anonymous
            && options.access.is_none()
        {
            return Err(ServerError::NotLoopback { address: *address });
        }
        let listener = TcpListener::bind(&*addresses).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, state: Arc::new(State::new(content, options)) })
    }

    /// Takes over a socket that listens already, as systemd hands one on.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn from_listener(
        listener: std::net::TcpListener,
        options: Options,
        content: ContentStore,
    ) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address: "the socket that was handed on".to_owned(), source };
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() && !options.allow_anonymous && options.access.is_none() {
            return Err(ServerError::NotLoopback { address });
        }
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        Ok(Self { listener, address, state: Arc::new(State::new(content, options)) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves. Then `/readyz` says so at once; after [`Options::drain_delay`] nobody is let in
    /// any more, whoever was let in just before may ask for something, idle connections are closed, and the requests that are
    /// under way may end for a while.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, state, .. } = self;
        let graceful = GracefulShutdown::new();
        let newcomers = Newcomers::new();
        let builder = connections_of(&state.options);
        let (stop, stopping) = watch::channel(());
        let connections = Arc::new(Semaphore::new(state.options.connections));
        let background = background(&state);
        let couriers = state.options.webhooks.as_ref().and_then(Webhooks::start);
        let end = async {
            shutdown.await;
            state.drain();
            tokio::time::sleep(state.options.drain_delay).await;
        };
        tokio::pin!(end);
        loop {
            let accepted = tokio::select! {
                () = &mut end => break,
                accepted = accept(&listener, &connections) => accepted,
            };
            let Some((stream, peer, permit)) = accepted else { continue };
            let Ok(counted) = state.gate.connection(peer.ip()) else {
                tracing::debug!(%peer, "an address has too many connections");
                continue;
            };
            let state = state.clone();
            let builder = builder.clone();
            let watcher = graceful.watcher();
            let newcomer = newcomers.one();
            let mut stopping = stopping.clone();
            tokio::spawn(async move {
                let _held = (permit, counted);
                let _open = state.metrics.connections.one();
                let (header_timeout, write_timeout) =
                    (state.options.header_timeout, state.options.limits.write_timeout);
                let flow = Flow::new();
                let flows = flow.clone();
                state.metrics.accepted.add(1);
                let ended = if let Some(tls) = &state.options.tls {
                    let begun = tokio::select! {
                        begun = ready(&stream, header_timeout) => begun,
                        _ = stopping.changed() => false,
                    };
                    if !begun {
                        return;
                    }
                    let stream = Taken::new(stream, write_timeout);
                    let handshake = tls.handshake().accept(stream);
                    let (mut stream, certificate) = tokio::select! {
                        made = tokio::time::timeout(header_timeout, handshake) => match made {
                            Ok(Ok(made)) => made,
                            Ok(Err(error)) => {
                                tracing::debug!(%peer, %error, "a client could not agree on TLS");
                                return;
                            }
                            Err(_) => return,
                        },
                        _ = stopping.changed() => return,
                    };
                    let read = spoken(&mut stream, Bytes::new(), header_timeout, &mut stopping).await;
                    let Some(read) = read else { return };
                    let stream = Rewound::new(read, stream);
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        newcomer.heard();
                        request.extensions_mut().insert(flows.clone());
                        request.extensions_mut().insert(Encrypted);
                        if let Some(certificate) = &certificate {
                            request.extensions_mut().insert(certificate.clone());
                        }
                        service::serve(state.clone(), peer, request.map(Coming::from))
                    });
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    tokio::select! {
                        ended = watcher.watch(connection) => Some(ended),
                        () = flow.stalls(write_timeout) => None,
                    }
                } else {
                    let direct = direct::serve(stream, peer, &state, &newcomer, &mut stopping).await;
                    let Some((mut stream, read)) = direct else { return };
                    let read = spoken(&mut stream, read, header_timeout, &mut stopping).await;
                    let Some(read) = read else { return };
                    let stream = Rewound::new(read, Taken::new(stream, write_timeout));
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        newcomer.heard();
                        request.extensions_mut().insert(flows.clone());
                        service::serve(state.clone(), peer, request.map(Coming::from))
                    });
                    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                    tokio::select! {
                        ended = watcher.watch(connection) => Some(ended),
                        () = flow.stalls(write_timeout) => None,
                    }
                };
                match ended {
                    Some(Ok(())) => {}
                    Some(Err(error)) => tracing::debug!(%peer, %error, "a connection ended early"),
                    None => tracing::debug!(%peer, "a client took nothing of its answers"),
                }
            });
        }
        drop(listener);
        newcomers.settled().await;
        drop(stop);
        drop(background);
        let patience = state.options.drain_timeout;
        if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still under way when the time to drain was over");
        }
        if let Some(couriers) = couriers {
            couriers.drain().await;
        }
        if let Some(log) = &state.options.access_log {
            log.flush().await;
        }
        if let Some(audit) = &state.options.audit {
            audit.flush().await;
        }
    }
}

/// What goes on beside the requests. It ends when this is dropped.
fn background(state: &Arc<State>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    if let Some(tls) = state.options.tls.clone().filter(Tls::has_files) {
        tasks.spawn(watch_files(tls));
    }
    tasks.spawn(disk_space::watch(state.disk.clone(), state.content.clone()));
    if let Some(collection) = state.options.collection.clone() {
        tasks.spawn(maintenance::collect_on_schedule(state.clone(), collection));
    }
    tasks
}

/// How connections are spoken over, and what each may cost.
fn connections_of(options: &Options) -> auto::Builder<TokioExecutor> {
    let limits = &options.limits;
    // The gate looks at each head again, and says what is wrong with it; here is where it is not even read.
    let head = limits.header_bytes.saturating_add(limits.url_length).saturating_add(32 * limits.header_count);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        // A head larger than this is answered with 431.
        .max_buf_size(head.max(256 << 10));
    if limits.header_count > HEADERS {
        builder.http1().max_headers(limits.header_count);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .max_concurrent_streams(256)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .keep_alive_interval(options.header_timeout)
        // Who does not answer cannot be heard: in the middle of a head nothing else may be sent.
        .keep_alive_timeout(options.header_timeout.min(Duration::from_secs(20)));
    builder
}

/// How many headers hyper reads without having to be told.
const HEADERS: usize = 100;

/// How often the files of certificate and key are looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Takes a new certificate soon after it was written.
async fn watch_files(tls: Tls) {
    let mut failed = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let again = tls.clone();
        match tokio::task::spawn_blocking(move || again.reload()).await {
            Ok(Ok(true)) => tracing::info!("the certificate was replaced"),
            Ok(Ok(false)) => failed.clear(),
            Ok(Err(error)) if error.to_string() != failed => {
                failed = error.to_string();
                tracing::warn!(%error, "the certificate was not replaced");
            }
            _ => {}
        }
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection. `None`: there was none this time.
async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Or the last packet of each answer waits 40 ms for the client to acknowledge the one before.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "a connection was gone at once");
                return None;
            }
            Some((stream, peer, permit))
        }
        Err(error) => {
            // Out of file descriptors, most likely: others must end first.
            tracing::warn!(%error, "could not accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Waits for the first byte: which protocol it is shows then, and nothing bounds how long that takes.
async fn ready(stream: &TcpStream, patience: Duration) -> bool {
    matches!(tokio::time::timeout(patience, stream.peek(&mut [0])).await, Ok(Ok(1)))
}

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads on, behind what was `read` already, until it shows which protocol is spoken: hyper would wait for that without an
/// end. `None`: it does not show in time, or the server stops before it does.
async fn spoken<S: AsyncRead + Unpin>(
    stream: &mut S,
    read: Bytes,
    patience: Duration,
    stopping: &mut watch::Receiver<()>,
) -> Option<Bytes> {
    let showing = async {
        let mut read = BytesMut::from(read);
        while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
            if stream.read_buf(&mut read).await.ok()? == 0 {
                break;
            }
        }
        Some(read.freeze())
    };
    tokio::select! {
        // A request that has come is answered, even if the server stops.
        biased;
        read = tokio::time::timeout(patience, showing) => read.ok()?,
        _ = stopping.changed() => None,
    }
}
