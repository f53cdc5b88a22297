//! From a request to an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use content::ContentStore;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::{Body, Incoming};

use crate::answer::{Answer, Handled, Never, answer};
use crate::body::RequestBody;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::route::Route;
use crate::{Options, access, blobs, body, listing, manifests, uploads};

/// What every request needs.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) content: ContentStore,
    pub(crate) options: Options,
}

/// Answers one request, and writes a line about it.
pub(crate) async fn serve(state: Arc<State>, peer: SocketAddr, request: Request<Incoming>) -> Result<Answer, Never> {
    let begun = Instant::now();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let response = match route(&state, request).await {
        Ok(response) => response,
        Err(refusal) => {
            if let Some(reason) = &refusal.internal {
                tracing::error!(%method, path = ?uri.path(), reason, "could not answer a request");
            }
            refusal.into()
        }
    };
    tracing::info!(
        target: "access",
        %peer,
        %method,
        // Shown with its control characters escaped.
        path = ?uri.path(),
        query = ?uri.query().unwrap_or_default(),
        status = response.status().as_u16(),
        bytes = response.body().size_hint().exact().unwrap_or_default(),
        microseconds = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
    );
    Ok(response)
}

async fn route(state: &State, request: Request<Incoming>) -> Handled {
    let (parts, incoming) = request.into_parts();
    let incoming = RequestBody::new(incoming, &parts.headers);
    if let Some(access) = &state.options.access
        && let Some(tokens) = access.tokens()
        && parts.uri.path() == access::token_endpoint::PATH
    {
        return access::token_endpoint::serve(access, tokens, &state.options, &parts, incoming).await;
    }
    let route = match Route::parse(parts.uri.path()) {
        Ok(route) => route,
        Err(refusal) => {
            body::drain(incoming);
            return Err(refusal);
        }
    };
    let caller = match access::admit(state.options.access.as_ref(), &route, &parts).await {
        Ok(caller) => caller,
        Err(refusal) => {
            body::drain(incoming);
            return Err(refusal);
        }
    };
    let query = Query::parse(parts.uri.query());
    let headers = &parts.headers;
    let method = &parts.method;
    let reads = *method == Method::GET || *method == Method::HEAD;
    let head = *method == Method::HEAD;
    let handled = match route {
        Route::Base if reads => Ok(answer(StatusCode::OK)
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body("{}")),
        Route::Catalog if reads => listing::catalog(state, &caller, &query).await,
        Route::Extensions if reads => Ok(listing::extensions()),
        Route::Tags(repository) if reads => listing::tags(state, repository, &query).await,
        Route::Referrers(repository, digest) if reads => listing::referrers(state, repository, digest, &query).await,
        Route::Base | Route::Catalog | Route::Extensions | Route::Tags(_) | Route::Referrers(..) => {
            body::drain(incoming);
            Err(Refusal::method("GET, HEAD"))
        }
        Route::Manifest(repository, named) => match *method {
            Method::GET | Method::HEAD => manifests::get(state, repository, named, headers, head).await,
            Method::PUT => manifests::put(state, &caller, repository, named, &query, headers, incoming).await,
            Method::DELETE => manifests::delete(state, repository, named, &query).await,
            _ => {
                body::drain(incoming);
                Err(Refusal::method("GET, HEAD, PUT, DELETE"))
            }
        },
        Route::Blob(repository, digest) => match *method {
            Method::GET | Method::HEAD => blobs::get(state, repository, digest, headers, head).await,
            Method::DELETE => blobs::delete(state, repository, digest, &query).await,
            _ => {
                body::drain(incoming);
                Err(Refusal::method("GET, HEAD, DELETE"))
            }
        },
        Route::Uploads(repository) if *method == Method::POST => {
            uploads::start(state, &caller, repository, &query, incoming).await
        }
        Route::Uploads(_) => {
            body::drain(incoming);
            Err(Refusal::method("POST"))
        }
        Route::Upload(repository, id) => match *method {
            Method::GET | Method::HEAD => uploads::status(state, repository, id).await,
            Method::PATCH => uploads::append(state, repository, id, headers, incoming).await,
            Method::PUT => uploads::finish(state, repository, id, &query, headers, incoming).await,
            Method::DELETE => uploads::cancel(state, repository, id).await,
            _ => {
                body::drain(incoming);
                Err(Refusal::method("GET, HEAD, PATCH, PUT, DELETE"))
            }
        },
    };
    if head { handled.map(headless) } else { handled }
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
