//! Requests as the verbs put them, and their answers.

use http::header::HeaderMap;
use http::{Method, StatusCode};
use url::Url;

use crate::error::Verb;
use crate::lanes::{Lane, Permit};
use crate::payload::Payload;
use crate::scope::ScopeSet;
use crate::wire::{Context, Head, Incoming};

/// Where a request goes.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Path and query on the registry.
    Path(String),
    /// A URL that the registry gave: an upload session or a next page.
    Url(Url),
}

/// A request as the verbs put it.
pub(crate) struct Call<'a> {
    pub(crate) verb: Verb,
    pub(crate) method: Method,
    pub(crate) place: Place,
    pub(crate) scopes: ScopeSet,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
    pub(crate) lane: Lane,
    /// Whether it may be sent again after a failure.
    pub(crate) repeat: bool,
}

impl Call<'_> {
    pub(crate) fn new(verb: Verb, method: Method, place: Place, scopes: ScopeSet) -> Self {
        Self {
            verb,
            method,
            place,
            scopes,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            lane: Lane::Small,
            repeat: true,
        }
    }
}

/// A successful answer. The place in the lane is kept as long as this is.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) context: Context,
    pub(crate) head: Head,
    pub(crate) permit: Permit,
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The body to come, and the place that it holds.
    pub(crate) fn into_body(self) -> (Incoming, Permit) {
        (self.head.body, self.permit)
    }
}
