//! A running lab: its address, its log, its content.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use image::{Descriptor, Digest, MediaType, RegistryHost};
use tokio_rustls::TlsAcceptor;

use crate::auth::{Auth, Tokens};
use crate::builder::{Builder, Latency};
use crate::content::{Blob, Content, Stored, guess_media_type};
use crate::fault::{Fault, Faults};
use crate::log::{Log, Request, dependency_depth};
use crate::quirks::{Location, Quirks, RateLimit};
use crate::serve;
use crate::tls::{Identity, identity};

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What connections share with the [`Lab`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) base_url: String,
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) log: Arc<Log>,
    pub(crate) faults: Faults,
    pub(crate) tokens: Tokens,
    pub(crate) connections: AtomicU64,
    pub(crate) failed_handshakes: AtomicU64,
    connections_before: AtomicU64,
    content: Mutex<Content>,
    quirks: Mutex<Quirks>,
    auth: Mutex<Auth>,
    latency: Mutex<Latency>,
    window: Mutex<Option<(Instant, usize)>>,
}

/// [`TlsAcceptor`] says nothing when debugged.
#[derive(Clone)]
pub(crate) struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsAcceptor")
    }
}

impl Acceptor {
    pub(crate) async fn accept(
        &self,
        stream: tokio::net::TcpStream,
    ) -> io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>> {
        self.0.accept(stream).await
    }
}

impl Shared {
    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        locked(&self.content)
    }

    pub(crate) fn quirks(&self) -> Quirks {
        locked(&self.quirks).clone()
    }

    pub(crate) fn auth(&self) -> Auth {
        locked(&self.auth).clone()
    }

    pub(crate) fn latency(&self) -> Latency {
        *locked(&self.latency)
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.acceptor.is_some() { "https" } else { "http" }
    }

    /// A path as the quirk wants `Location` written.
    pub(crate) fn location(&self, path: &str) -> String {
        match self.quirks().location {
            Location::Absolute => format!("{}{path}", self.base_url),
            Location::Relative | Location::OtherHost(_) => path.to_owned(),
        }
    }

    /// Counts a request against the limit.
    pub(crate) fn over_limit(&self, limit: RateLimit) -> bool {
        let now = Instant::now();
        let mut window = locked(&self.window);
        let (since, count) = match *window {
            Some((since, count)) if now.duration_since(since) < limit.window => (since, count + 1),
            _ => (now, 1),
        };
        *window = Some((since, count));
        count > limit.requests
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst) - self.connections_before.load(Ordering::SeqCst)
    }

    pub(crate) fn clear_log(&self) {
        self.log.clear();
        self.connections_before.store(self.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// A registry in memory. It ends when it is dropped.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    address: SocketAddr,
    identity: Option<Identity>,
    files: Option<tempfile::TempDir>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not a plain drop: a lab may be dropped within an async test, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}

impl Lab {
    /// Describes a lab.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Plain HTTP, no credentials.
    pub fn start() -> Self {
        Self::builder().start()
    }

    pub(crate) fn start_with(builder: Builder) -> Result<Self, Box<dyn std::error::Error>> {
        let identity = if builder.tls.enabled { Some(identity(builder.tls, builder.address)?) } else { None };
        let files = match &identity {
            Some(identity) => {
                let directory = tempfile::tempdir()?;
                std::fs::write(directory.path().join("ca.pem"), &identity.ca_pem)?;
                std::fs::write(directory.path().join("client.cert"), &identity.client.0)?;
                std::fs::write(directory.path().join("client.key"), &identity.client.1)?;
                Some(directory)
            }
            None => None,
        };
        let ip = builder.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listener = std::net::TcpListener::bind((ip, builder.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("lab").enable_all().build()?;
        let scheme = if identity.is_some() { "https" } else { "http" };
        let shared = Arc::new(Shared {
            base_url: format!("{scheme}://{address}"),
            acceptor: identity.as_ref().map(|identity| Acceptor(TlsAcceptor::from(identity.config.clone()))),
            log: Arc::default(),
            faults: Faults::default(),
            tokens: Tokens::default(),
            connections: AtomicU64::new(0),
            failed_handshakes: AtomicU64::new(0),
            connections_before: AtomicU64::new(0),
            content: Mutex::default(),
            quirks: Mutex::new(builder.quirks),
            auth: Mutex::new(builder.auth),
            latency: Mutex::new(builder.latency),
            window: Mutex::default(),
        });
        for fault in builder.faults {
            shared.faults.add(fault);
        }
        let listener = {
            let _guard = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        runtime.spawn(serve::accept(listener, shared.clone()));
        Ok(Self { shared, address, identity, files, runtime: Some(runtime) })
    }

    // ---- where it is ----

    /// `127.0.0.1:PORT`
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// [`Lab::host`], typed.
    pub fn registry_host(&self) -> RegistryHost {
        RegistryHost::parse(&self.host()).expect("an address with a port is a registry host")
    }

    /// `https://127.0.0.1:PORT`, or `http://…`
    pub fn url(&self) -> &str {
        &self.shared.base_url
    }

    /// `127.0.0.1:PORT/repository:tag`
    pub fn reference(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address)
    }

    /// The certificate that a client must trust, PEM. `None` without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| identity.ca_pem.as_str())
    }

    /// [`Lab::ca_pem`] in a file that lives as long as the lab: for `SSL_CERT_FILE`.
    pub fn ca_pem_path(&self) -> Option<PathBuf> {
        self.files.as_ref().map(|directory| directory.path().join("ca.pem"))
    }

    /// Certificate and key of a client that a lab with `client_auth` accepts, PEM.
    pub fn client_pair(&self) -> Option<(&str, &str)> {
        self.identity.as_ref().map(|identity| (identity.client.0.as_str(), identity.client.1.as_str()))
    }

    /// Files of [`Lab::client_pair`].
    pub fn client_pair_paths(&self) -> Option<(PathBuf, PathBuf)> {
        let directory: &Path = self.files.as_ref()?.path();
        Some((directory.join("client.cert"), directory.join("client.key")))
    }

    // ---- what it saw ----

    /// All requests since the start or [`Lab::clear_log`], in order of arrival. Token requests are among them.
    pub fn log(&self) -> Vec<Request> {
        self.shared.log.snapshot()
    }

    /// Forgets requests and connections so far. What is under way is forgotten, too.
    pub fn clear_log(&self) {
        self.shared.clear_log();
    }

    /// Number of requests.
    pub fn count(&self) -> usize {
        self.log().len()
    }

    /// Number of requests of a method (any, if empty) whose path and query contain `path_part`.
    pub fn count_of(&self, method: &str, path_part: &str) -> usize {
        self.log()
            .iter()
            .filter(|request| method.is_empty() || request.method.as_str() == method)
            .filter(|request| request.path_and_query.contains(path_part))
            .count()
    }

    /// `METHOD path?query` of each request.
    pub fn lines(&self) -> Vec<String> {
        self.log().iter().map(Request::line).collect()
    }

    /// The longest chain of requests that waited for one another: see [`dependency_depth`].
    pub fn depth(&self) -> usize {
        dependency_depth(&self.log())
    }

    /// Connections that were accepted since the start or [`Lab::clear_log`], also those whose handshake failed.
    pub fn connections(&self) -> u64 {
        self.shared.connections()
    }

    /// TLS handshakes that failed, ever.
    pub fn failed_handshakes(&self) -> u64 {
        self.shared.failed_handshakes.load(Ordering::SeqCst)
    }

    // ---- how it behaves from now on ----

    /// Adds a fault; it counts requests from now.
    pub fn fault(&self, fault: Fault) {
        self.shared.faults.add(fault);
    }

    /// Takes all faults away.
    pub fn clear_faults(&self) {
        self.shared.faults.clear();
    }

    /// Replaces the quirks.
    pub fn set_quirks(&self, quirks: Quirks) {
        *locked(&self.shared.quirks) = quirks;
    }

    /// Replaces what clients must show.
    pub fn set_auth(&self, auth: impl Into<Auth>) {
        *locked(&self.shared.auth) = auth.into();
    }

    /// Replaces the latency.
    pub fn set_latency(&self, per_request: Duration, per_connection_step: Duration) {
        *locked(&self.shared.latency) = Latency { per_request, per_connection_step };
    }

    /// No token that was given out is good any longer.
    pub fn revoke_tokens(&self) {
        self.shared.tokens.revoke();
    }

    // ---- what it holds ----

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        self.shared.content().put_blob(repository, digest.clone(), Blob::Bytes(bytes));
        digest
    }

    /// Puts a blob whose bytes need not be those of its digest: content that went bad.
    pub fn put_blob_as(&self, repository: &str, digest: &Digest, bytes: impl Into<Bytes>) {
        self.shared.content().put_blob(repository, digest.clone(), Blob::Bytes(bytes.into()));
    }

    /// Puts a blob of `size` pseudo-random bytes that takes no memory. It is read once for its digest.
    pub fn put_seeded_blob(&self, repository: &str, seed: u64, size: u64) -> Digest {
        let blob = Blob::Seeded { seed, size };
        let digest = blob.digest();
        self.shared.content().put_blob(repository, digest.clone(), blob);
        digest
    }

    /// Puts a document as it is, unchecked, under its digest and `tag`. Its media type is that of its `mediaType`
    /// field or of its shape.
    pub fn put_manifest(&self, repository: &str, tag: Option<&str>, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let media_type = guess_media_type(&bytes);
        self.put_manifest_as(repository, tag, &media_type, bytes)
    }

    /// [`Lab::put_manifest`] with a `Content-Type` of one's own.
    pub fn put_manifest_as(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Descriptor {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        let descriptor = Descriptor::new(MediaType::new(media_type), digest.clone(), bytes.len() as u64);
        let tags: Vec<String> = tag.map(str::to_owned).into_iter().collect();
        let stored = Stored { media_type: media_type.to_owned(), bytes };
        self.shared.content().store(repository, digest, stored, &tags);
        descriptor
    }

    /// Puts a document under a digest that need not be its own.
    pub fn put_manifest_under(&self, repository: &str, digest: &Digest, media_type: &str, bytes: impl Into<Bytes>) {
        let stored = Stored { media_type: media_type.to_owned(), bytes: bytes.into() };
        self.shared.content().store(repository, digest.clone(), stored, &[]);
    }

    /// Points a tag to a document.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.shared.content().repository(repository).tags.insert(tag.to_owned(), digest.clone());
    }

    /// Points many tags to one document: `t00000`, `t00001`, …
    pub fn tag_many(&self, repository: &str, count: usize, digest: &Digest) {
        let mut content = self.shared.content();
        let repository = content.repository(repository);
        for i in 0..count {
            repository.tags.insert(format!("t{i:05}"), digest.clone());
        }
    }

    /// Deletes a tag, or a document with its tags; whether it was there.
    pub fn delete(&self, repository: &str, reference: &str) -> bool {
        self.shared.content().delete(repository, reference)
    }

    /// Deletes a blob from a repository; whether it was there.
    pub fn delete_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.shared.content().repository(repository).blobs.remove(digest)
    }

    /// The bytes of a document, by tag or digest.
    pub fn manifest(&self, repository: &str, reference: &str) -> Option<Bytes> {
        self.shared.content().manifest(repository, reference).map(|(_, stored)| stored.bytes)
    }

    /// The `Content-Type` that a document was pushed with.
    pub fn manifest_type(&self, repository: &str, reference: &str) -> Option<String> {
        self.shared.content().manifest(repository, reference).map(|(_, stored)| stored.media_type)
    }

    /// The digest that a tag points to.
    pub fn resolve(&self, repository: &str, reference: &str) -> Option<Digest> {
        self.shared.content().resolve(repository, reference)
    }

    /// The bytes of a blob.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.shared.content().blob(repository, digest).map(|blob| blob.slice(0..blob.size()))
    }

    /// Whether a repository has a blob.
    pub fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.shared.content().blob(repository, digest).is_some()
    }

    /// Names of all repositories, sorted; one that holds nothing may be among them.
    pub fn repositories(&self) -> Vec<String> {
        self.shared.content().repositories.keys().cloned().collect()
    }

    /// Digests of all blobs of a repository, sorted.
    pub fn blobs(&self, repository: &str) -> Vec<Digest> {
        let content = self.shared.content();
        content.repositories.get(repository).map(|found| found.blobs.iter().cloned().collect()).unwrap_or_default()
    }

    /// All tags of a repository, sorted.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        let content = self.shared.content();
        content.repositories.get(repository).map(|found| found.tags.keys().cloned().collect()).unwrap_or_default()
    }

    /// Digests of all documents of a repository, sorted.
    pub fn manifests(&self, repository: &str) -> Vec<Digest> {
        let content = self.shared.content();
        content.repositories.get(repository).map(|found| found.manifests.keys().cloned().collect()).unwrap_or_default()
    }

    /// Upload sessions that were neither finished nor given up.
    pub fn open_uploads(&self) -> usize {
        self.shared.content().uploads.len()
    }
}
