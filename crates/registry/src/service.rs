//! From a request to an answer, step by step:
//!
//! ```text
//!   begin ──▶ admit: path ▸ limits ▸ who ▸ rights ▸ method ▸ room ──▶ dispatch ──▶ end: request id, log, metrics
//!                └──────────────── refusal ────────────────────────────────────────────▲
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use content::ContentStore;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;

use crate::access::Caller;
use crate::answer::{Answer, Handled, Never, answer};
use crate::author::Author;
use crate::body::{Coming, Meter, RequestBody};
use crate::disk_space::Watch;
use crate::events::{Observer, Observers};
use crate::exchange::{Exchange, Sent};
use crate::limits::Gate;
use crate::metrics::{self, Metrics};
use crate::query::Query;
use crate::refusal::Refusal;
use crate::route::{Endpoint, Route};
use crate::{Options, access, blobs, body, health, history, listing, manifests, uploads};

/// What every request needs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) content: ContentStore,
    pub(crate) options: Options,
    /// Who is told of what was written.
    pub(crate) observers: Observers,
    /// What is counted.
    pub(crate) metrics: Arc<Metrics>,
    /// How much room there is.
    pub(crate) disk: Arc<Watch>,
    draining: AtomicBool,
    /// What clients may take, and took.
    pub(crate) gate: Arc<Gate>,
}

impl State {
    pub(crate) fn new(content: ContentStore, options: Options) -> Self {
        let disk = Arc::new(Watch::new(options.disk_space));
        let metrics = Arc::new(Metrics::default());
        let mut observers: Vec<Arc<dyn Observer>> = Vec::new();
        if let Some(audit) = &options.audit {
            observers.push(Arc::new(audit.clone()));
        }
        if options.metrics {
            observers.push(metrics.clone());
        }
        if let Some(webhooks) = &options.webhooks {
            observers.push(Arc::new(webhooks.clone()));
        }
        let observers = Observers::new(observers);
        let gate = Arc::new(Gate::new(options.limits.clone()));
        Self { content, options, observers, metrics, disk, draining: AtomicBool::new(false), gate }
    }

    /// The server is about to stop.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Answers one request, and writes down that it did.
pub(crate) async fn serve(
    state: Arc<State>,
    peer: SocketAddr,
    request: Request<Coming>,
) -> Result<Response<Sent>, Never> {
    let peer = state.gate.client(peer, request.headers());
    let login = state.gate.is_login(&request);
    let mut exchange = Exchange::begin(&state, peer, &request);
    let answer = match handle(&state, &mut exchange, request).await {
        Ok(answer) => answer,
        Err(refusal) => {
            if let Some(reason) = &refusal.internal {
                let (request, path) = (exchange.id.as_str(), exchange.uri.path());
                tracing::error!(request, method = %exchange.method, ?path, reason, "could not answer a request");
            }
            refusal.into()
        }
    };
    if login {
        state.gate.answered(peer.ip(), answer.status(), answer.headers());
    }
    Ok(exchange.end(answer))
}

async fn handle(state: &Arc<State>, exchange: &mut Exchange, request: Request<Coming>) -> Handled {
    let (parts, incoming) = request.into_parts();
    let meter = Meter::new(exchange.received.clone(), state.disk.clone());
    let incoming = RequestBody::new(incoming, &parts.headers, meter);
    let (endpoint, caller) = match admit(state, exchange, &parts, incoming.announced()).await {
        Ok(admitted) => admitted,
        Err(refusal) => {
            body::drain(incoming);
            return Err(refusal);
        }
    };
    let handled = match endpoint {
        Endpoint::Alive => Ok(health::alive()),
        Endpoint::Ready => Ok(health::ready(state).await),
        Endpoint::Metrics => Ok(metrics::serve(state).await),
        Endpoint::Token => access::token_endpoint::serve(&state.options, &parts, incoming).await,
        Endpoint::TokenKeys => access::token_endpoint::keys(&state.options, incoming),
        Endpoint::Registry(route) => dispatch(state, exchange, &caller, route, &parts, incoming).await,
    };
    if parts.method == Method::HEAD { handled.map(headless) } else { handled }
}

/// All that may refuse a request before its body is looked at.
async fn admit(
    state: &State,
    exchange: &mut Exchange,
    parts: &Parts,
    announced: Option<u64>,
) -> Result<(Endpoint, Caller), Refusal> {
    state.gate.head(parts)?;
    let endpoint = Endpoint::parse(parts.uri.path());
    // Whoever asks how the server is must not think it is down.
    if !matches!(endpoint, Ok(Endpoint::Alive | Endpoint::Ready)) {
        state.gate.arrival(exchange.peer.ip(), parts)?;
    }
    let endpoint = endpoint?;
    exchange.is_for(&endpoint);
    let caller = match &endpoint {
        Endpoint::Registry(route) => access::admit(state.options.access.as_ref(), route, parts).await?,
        Endpoint::Metrics => admit_to_metrics(state, exchange, parts).await?,
        Endpoint::Alive | Endpoint::Ready | Endpoint::Token | Endpoint::TokenKeys => Caller::unlimited(),
    };
    exchange.actor = caller.name();
    if !matches!(endpoint, Endpoint::Alive | Endpoint::Ready) {
        state.gate.request(exchange.actor.as_deref(), exchange.peer.ip())?;
    }
    let allowed = endpoint.methods();
    if !allowed.split(", ").any(|method| method == parts.method.as_str()) {
        return Err(Refusal::method(allowed));
    }
    if endpoint.writes(&parts.method) {
        state.options.read_only.check().inspect_err(|_| state.metrics.read_only.add(1))?;
        // What is deleted makes room.
        if parts.method != Method::DELETE {
            state.disk.check(announced)?;
        }
    }
    Ok((endpoint, caller))
}

/// Who may read the metrics: this machine; where nobody is asked who they are, anybody; else who may do everything
/// somewhere.
async fn admit_to_metrics(state: &State, exchange: &Exchange, parts: &Parts) -> Result<Caller, Refusal> {
    if !state.options.metrics {
        return Err(Refusal::no_endpoint());
    }
    // Behind a proxy on this machine all requests come from it; such a proxy says that it is one.
    let passed_on = ["forwarded", "x-forwarded-for", "via"].iter().any(|name| parts.headers.contains_key(*name));
    match &state.options.access {
        Some(access) if passed_on || !exchange.peer.ip().is_loopback() => {
            access::admit_administrator(access, parts).await
        }
        _ => Ok(Caller::unlimited()),
    }
}

/// What the verbs of each path do. Verbs that a path does not have do not come here.
async fn dispatch(
    state: &Arc<State>,
    exchange: &Exchange,
    caller: &Caller,
    route: Route,
    parts: &Parts,
    incoming: RequestBody,
) -> Handled {
    let (method, headers) = (&parts.method, &parts.headers);
    let head = *method == Method::HEAD;
    let query = Query::parse(parts.uri.query());
    let author = || Author::new(&state.content, &state.observers, exchange.origin(), caller.clone());
    match route {
        Route::Base => Ok(answer(StatusCode::OK)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body("{}")),
        Route::Catalog => listing::catalog(state, caller, &query).await,
        Route::Extensions => Ok(listing::extensions()),
        Route::Tags(repository) => listing::tags(state, repository, &query).await,
        Route::Referrers(repository, digest) => listing::referrers(state, repository, digest, &query).await,
        Route::History(repository, named) => history::list(state, caller, repository, named, &query).await,
        Route::Manifest(repository, named) => match *method {
            Method::PUT => manifests::put(state, author(), repository, named, &query, headers, incoming).await,
            Method::DELETE => manifests::delete(author(), repository, named, &query, headers).await,
            _ => manifests::get(state, repository, named, &query, headers, head).await,
        },
        Route::Blob(repository, digest) => match *method {
            Method::DELETE => blobs::delete(author(), repository, digest, &query).await,
            _ => blobs::get(state, repository, digest, headers, head).await,
        },
        Route::Uploads(repository) => uploads::start(state, author(), repository, &query, incoming).await,
        Route::Upload(repository, id) => match *method {
            Method::PATCH => uploads::append(state, author(), repository, id, headers, incoming).await,
            Method::PUT => uploads::finish(state, author(), repository, id, &query, headers, incoming).await,
            Method::DELETE => uploads::cancel(state, repository, id).await,
            _ => uploads::status(state, repository, id).await,
        },
    }
}

/// What `GET` would say, without its body.
fn headless(mut response: Answer) -> Answer {
    if !response.headers().contains_key(header::CONTENT_LENGTH)
        && let Some(length) = response.body().size_hint().exact().filter(|length| *length > 0)
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = crate::answer::AnswerBody::Whole(None);
    response
}
