//! Whoever sent a request, and what they may do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use content::RepositoryId;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use crate::access::Access;
use crate::access::policy::{Action, Identity, Policy};
use crate::refusal::Refusal;
use crate::route::Route;

/// Longest `Authorization` that is read.
const LONGEST: usize = 16 << 10;

/// Whoever sent a request. The policy is that of the moment when the request came.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Option<(Identity, Arc<Policy>)>);

impl Caller {
    /// Nobody is asked who they are.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }

    fn new(identity: Identity, access: &Access) -> Self {
        Self(Some((identity, access.policy())))
    }

    pub(crate) fn may(&self, repository: &RepositoryId, action: Action) -> bool {
        match &self.0 {
            None => true,
            Some((identity, policy)) => policy.rights(identity, &repository.name).allow(action),
        }
    }

    /// Whether everything may be read, so that nothing has to be left out.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a repository may be seen in the list of all.
    pub(crate) fn sees(&self, repository: &RepositoryId) -> bool {
        self.may(repository, Action::Catalogue) && self.may(repository, Action::Pull)
    }

    /// Refuses what must not be. The answer is the same whether or not the repository exists.
    fn authorize(&self, route: &Route, method: &Method) -> Result<(), Refusal> {
        let Some((identity, policy)) = &self.0 else { return Ok(()) };
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let (allowed, what) = match route {
            Route::Base | Route::Extensions => {
                (identity.name().is_some() || policy.knows(identity), "use this registry".to_owned())
            }
            Route::Catalog => {
                (policy.allows_somewhere(identity, Action::Catalogue), "see the list of repositories".to_owned())
            }
            Route::Tags(repository) | Route::Referrers(repository, _) => {
                (self.may(repository, Action::Pull), format!("pull from `{repository}`"))
            }
            Route::Manifest(repository, _) | Route::Blob(repository, _) if reads => {
                (self.may(repository, Action::Pull), format!("pull from `{repository}`"))
            }
            Route::Manifest(repository, _) | Route::Blob(repository, _) if *method == Method::DELETE => {
                (self.may(repository, Action::Delete), format!("delete from `{repository}`"))
            }
            Route::Manifest(repository, _)
            | Route::Blob(repository, _)
            | Route::Uploads(repository)
            | Route::Upload(repository, _) => {
                (self.may(repository, Action::CreateOnly), format!("push to `{repository}`"))
            }
        };
        match identity.name() {
            _ if allowed => Ok(()),
            None => Err(unauthorized(&format!("who wants to {what} must say who they are"))),
            Some(name) => Err(denied(format!("`{}` may not {what}", name.escape_debug()))),
        }
    }
}

/// Finds out who sent a request, and whether they may do what it asks for.
pub(crate) async fn admit(
    access: Option<&Access>,
    route: &Route,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Caller, Refusal> {
    let Some(access) = access else { return Ok(Caller::unlimited()) };
    let caller = Caller::new(identify(access, headers).await?, access);
    caller.authorize(route, method)?;
    Ok(caller)
}

/// Who it is. Credentials that are wrong are refused even where none are needed: whoever shows some means to be known.
async fn identify(access: &Access, headers: &HeaderMap) -> Result<Identity, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(Identity::Anonymous) };
    let wrong = || unauthorized("the credentials are not right");
    if values.next().is_some() || value.len() > LONGEST {
        return Err(wrong());
    }
    let (scheme, rest) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("basic") {
        let (name, password) = basic(rest).ok_or_else(wrong)?;
        if access.knows(&name, password).await {
            return Ok(Identity::named(&name));
        }
    } else if scheme.eq_ignore_ascii_case("bearer")
        && let Some(name) = access.identities().token(rest)
    {
        return Ok(Identity::Named(name));
    }
    Err(wrong())
}

/// Name and password of `Basic` credentials.
fn basic(text: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"polyarch\", charset=\"UTF-8\""))
}

pub(crate) fn denied(message: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "DENIED", message).detail(json!({ "reason": "policy" }))
}
