//! Where limits are looked at, and what whoever is over one is told.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use content::{ContentStore, RepositoryId, UploadId};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, StatusCode, Uri};
use serde_json::json;

use super::Limits;
use super::connections::{Connections, Counted};
use super::counts::{Counts, Reached};
use super::owner::{Names, Owner};
use super::rate::Buckets;
use super::sessions::{Room, Sessions};
use crate::access::token_endpoint::PATH as TOKEN;
use crate::refusal::Refusal;

/// The limits, and what was taken so far.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    names: Names,
    requests: Option<Buckets<Owner>>,
    address_requests: Option<Buckets<Owner>>,
    failed_logins: Option<Buckets<Owner>>,
    sessions: Arc<Sessions>,
    connections: Arc<Connections>,
    counts: Counts,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            names: Names::default(),
            requests: limits.requests.map(Buckets::new),
            address_requests: limits.address_requests.map(Buckets::new),
            failed_logins: limits.failed_logins.map(Buckets::new),
            sessions: Arc::default(),
            connections: Arc::default(),
            counts: Counts::default(),
            limits,
        }
    }

    /// How often which limit was reached, for metrics.
    pub(crate) fn counts(&self) -> [(&'static str, u64); 6] {
        self.counts.all()
    }

    /// Takes up a connection, for as long as what comes back lives. `Err`: its address has too many.
    pub(crate) fn connection(&self, peer: IpAddr) -> Result<Option<Counted>, TooMany> {
        let Some(limit) = self.limits.connections_per_address else { return Ok(None) };
        if self.limits.proxies.contain(peer) {
            return Ok(None);
        }
        self.connections.count(peer, limit.get()).map(Some).ok_or_else(|| {
            self.counts.add(Reached::Connections);
            TooMany
        })
    }

    /// Where a request came from. Nobody knows the port of whoever is behind a proxy: it is 0 then.
    pub(crate) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if self.limits.proxies.contain(peer.ip()) {
            SocketAddr::new(self.limits.proxies.client(peer.ip(), headers), 0)
        } else {
            peer
        }
    }

    /// Whether the head of a request is small enough to be read.
    pub(crate) fn head(&self, parts: &Parts) -> Result<(), Refusal> {
        let refuse = |status, message| {
            self.counts.add(Reached::Head);
            Err(Refusal::new(status, "UNSUPPORTED", message))
        };
        let length = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
        if length > self.limits.url_length {
            let limit = self.limits.url_length;
            return refuse(
                StatusCode::URI_TOO_LONG,
                format!("path and query have {length} bytes, and may have {limit}"),
            );
        }
        if parts.headers.len() > self.limits.header_count {
            let (count, limit) = (parts.headers.len(), self.limits.header_count);
            return refuse(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("the request has {count} headers, and may have {limit}"),
            );
        }
        let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes > self.limits.header_bytes {
            let limit = self.limits.header_bytes;
            return refuse(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                format!("the headers have {bytes} bytes, and may have {limit}"),
            );
        }
        Ok(())
    }

    /// Whether an address may ask, before it is looked at what for and by whom.
    pub(crate) fn arrival(&self, client: IpAddr, parts: &Parts) -> Result<(), Refusal> {
        if let Some(buckets) = &self.address_requests {
            let taken = buckets.take(Owner::address(client));
            taken.map_err(|wait| self.too_many(Reached::AddressRequests, "requests from this address", wait))?;
        }
        if let Some(buckets) = &self.failed_logins
            && shows_credentials(&parts.method, &parts.uri, &parts.headers)
        {
            let looked = buckets.look(Owner::address(client));
            looked.map_err(|wait| self.too_many(Reached::FailedLogins, "failed logins from this address", wait))?;
        }
        Ok(())
    }

    /// Whether the answer to a request has to be looked at.
    pub(crate) fn is_login<B>(&self, request: &Request<B>) -> bool {
        self.failed_logins.is_some() && shows_credentials(request.method(), request.uri(), request.headers())
    }

    /// Looks at an answer to a request that showed credentials: they may have been wrong.
    pub(crate) fn answered(&self, client: IpAddr, status: StatusCode, headers: &HeaderMap) {
        let Some(buckets) = &self.failed_logins else { return };
        if status != StatusCode::UNAUTHORIZED || client.is_loopback() {
            return;
        }
        // A token that is right and allows too little is how clients learn what to ask for.
        let challenge = headers.get(header::WWW_AUTHENTICATE).map_or(&b""[..], HeaderValue::as_bytes);
        let scope = b"insufficient_scope";
        if !challenge.windows(scope.len()).any(|window| window == scope) {
            let _ = buckets.take(Owner::address(client));
        }
    }

    /// Whether somebody, who may be nobody in particular, may ask for something now.
    pub(crate) fn request(&self, name: Option<&str>, client: IpAddr) -> Result<(), Refusal> {
        let Some(buckets) = &self.requests else { return Ok(()) };
        let taken = buckets.take(self.owner(name, client));
        taken.map_err(|wait| self.too_many(Reached::Requests, "requests", wait))
    }

    fn owner(&self, name: Option<&str>, client: IpAddr) -> Owner {
        name.map_or_else(|| Owner::address(client), |name| self.names.owner(name))
    }

    /// Makes room for one more upload session.
    pub(crate) async fn session(
        &self,
        content: &ContentStore,
        name: Option<&str>,
        client: IpAddr,
    ) -> Result<Option<Room>, Refusal> {
        let Some(limit) = self.limits.sessions else { return Ok(None) };
        let owner = self.owner(name, client);
        let room = || self.sessions.room(owner, limit.get() as usize);
        let oldest = match room() {
            Ok(room) => return Ok(Some(room)),
            Err(oldest) => oldest,
        };
        // They may have ended elsewhere: by age, or at another server on the same store.
        let mut ended = false;
        for (repository, id) in &oldest {
            if matches!(content.upload(repository, id).await, Err(content::ContentError::UploadUnknown(_))) {
                self.sessions.ended(id);
                ended = true;
            }
        }
        let room = if ended { room().ok() } else { None };
        room.map(Some).ok_or_else(|| {
            self.counts.add(Reached::Sessions);
            Refusal::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                format!("{limit} upload sessions are open, and no more may be; finish or cancel one"),
            )
            .detail(json!({ "limit": Reached::Sessions.name(), "most": limit }))
            .header(header::RETRY_AFTER, HeaderValue::from_static("60"))
        })
    }

    /// A session was begun in the room that was made for it.
    pub(crate) fn begun(room: Option<Room>, repository: &RepositoryId, id: &UploadId) {
        if let Some(room) = room {
            room.taken(repository, id);
        }
    }

    /// A session is no more.
    pub(crate) fn ended(&self, id: &UploadId) {
        if self.limits.sessions.is_some() {
            self.sessions.ended(id);
        }
    }

    fn too_many(&self, reached: Reached, what: &str, wait: Duration) -> Refusal {
        self.counts.add(reached);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            format!("too many {what}; the next one is taken in {seconds} s"),
        )
        .detail(json!({ "limit": reached.name(), "retryAfter": seconds }))
        .header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }
}

/// An address has all the connections that it may have.
#[derive(Debug)]
pub(crate) struct TooMany;

/// Whether a request shows who sent it: in its head, or in the form that asks for a token.
fn shows_credentials(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || (method == Method::POST && uri.path() == TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_is_counted_and_said() {
        let gate = Gate::new(Limits { url_length: 10, header_bytes: 20, header_count: 2, ..Limits::default() });
        let status = |path: &str, headers: &[(&'static str, &'static str)]| {
            let mut request = Request::builder().uri(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            gate.head(&parts).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
        };
        assert_eq!(status("/v2/", &[("a", "b"), ("c", "d")]), 200);
        assert_eq!(status("/v2/?n=1000", &[]), 414);
        assert_eq!(status("/v2/", &[("a", "b"), ("c", "d"), ("c", "d")]), 431);
        assert_eq!(status("/v2/", &[("a", "0123456789abcdef")]), 431);
        let refusal = gate.too_many(Reached::Requests, "requests", Duration::from_millis(2001));
        assert_eq!(refusal.headers[0], (header::RETRY_AFTER, HeaderValue::from_static("3")));
        let counts = gate.counts();
        assert!(counts.contains(&("head", 3)) && counts.contains(&("requests", 1)), "{counts:?}");
    }
}
