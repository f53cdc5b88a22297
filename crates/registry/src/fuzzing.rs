//! Ways in for the fuzz targets, to what reads the text of a request. No part of the API.

use std::ops::Range;

use http::HeaderMap;
use image::{Digest, RepositoryName};

use crate::access::{self, Compact, KeySet, Subject, TokenServer};
use crate::query::Query;
use crate::range::{self, Wanted};
use crate::route::Route;
use crate::{conditions, query};

/// What of a path is more than the name of an endpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The repository.
    pub repository: Option<RepositoryName>,
    /// The digest of a blob, or of a subject.
    pub digest: Option<Digest>,
    /// The upload session.
    pub session: Option<String>,
}

/// The parts of a path, if it leads somewhere.
pub fn path(text: &str) -> Option<Parts> {
    Some(match Route::parse(text).ok()? {
        Route::Manifest(repository, _) | Route::Uploads(repository) | Route::Tags(repository) => {
            Parts { repository: Some(repository.name), ..Parts::default() }
        }
        Route::Blob(repository, digest) | Route::Referrers(repository, digest) => {
            Parts { repository: Some(repository.name), digest: Some(digest), session: None }
        }
        Route::Upload(repository, session) => Parts {
            repository: Some(repository.name),
            digest: None,
            session: session.map(|session| session.as_str().to_owned()),
        },
        _ => Parts::default(),
    })
}

/// The values of `name` in a query, and the size of the page that it asks for.
pub fn query(text: &str, name: &str) -> (Vec<String>, Option<usize>) {
    let query = Query::parse(Some(text));
    (query.all(name).map(str::to_owned).collect(), query.page_size().ok())
}

/// A value as it stands in a query.
pub fn encode(text: &str) -> String {
    query::encode(text)
}

/// The part of a blob that a `Range` asks for: `None` is all, an empty one is outside.
pub fn range(header: &str, size: u64) -> Option<Range<u64>> {
    match range::wanted(header, size) {
        Wanted::Whole => None,
        Wanted::Part(part) => Some(part),
        Wanted::Outside => Some(0..0),
    }
}

/// Where a chunk belongs.
pub fn chunk(header: &str) -> Option<Range<u64>> {
    range::chunk(header)
}

/// Whether the client has it, whether its range applies, and where it wants a tag to be.
pub fn conditions(headers: &HeaderMap, digest: &Digest) -> (bool, bool, content::TagCondition) {
    (
        conditions::has_it(headers, digest),
        conditions::range_applies(headers, digest),
        conditions::tag_condition(headers),
    )
}

/// Name and password of a request.
pub fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    access::basic_of(headers)
}

/// How many things a request for a token names; `None` if it is no list of scopes.
pub fn scopes(text: &str) -> Option<usize> {
    access::parse_scopes(std::iter::once(text)).map(|entries| entries.len())
}

/// A token for somebody who may do nothing.
pub fn issue(server: &TokenServer, name: &str) -> Option<String> {
    server.issue(&Subject { name, stamp: "stamp", ..Subject::default() }, Vec::new())
}

/// Whose token it is, if it is right.
pub fn token(server: &TokenServer, token: &str) -> Option<String> {
    let shown = server.check(token).map(|shown| shown.subject.clone());
    shown.or_else(|| server.check_refresh(token).map(|shown| shown.subject))
}

/// The keys of an issuer.
pub fn keys(json: &[u8]) -> Option<usize> {
    KeySet::parse(json).ok().map(|keys| keys.len())
}

/// Head, claims and signature of a token.
pub fn parts(token: &str) -> Option<[Vec<u8>; 3]> {
    Compact::parse(token).map(|token| [token.head, token.claims, token.signature])
}
