//! Whoever sent a request, and what they may do.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use content::RepositoryId;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use crate::access::Access;
use crate::access::certificate::ClientCertificate;
use crate::access::challenge::Challenge;
use crate::access::policy::{Action, Identity, Policy};
use crate::access::tokens::Shown;
use crate::refusal::Refusal;
use crate::route::Route;

/// Longest `Authorization` that is read.
const LONGEST: usize = 16 << 10;

/// Whoever sent a request. The policy is that of the moment when the request came.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Option<Known>);

#[derive(Clone, Debug)]
struct Known {
    identity: Identity,
    policy: Arc<Policy>,
    /// The token that was shown, if it was one of this registry's: it allows less than the policy, never more.
    token: Option<Arc<Shown>>,
}

impl Known {
    /// Whether the policy allows it, whatever the token says.
    fn policy_allows(&self, repository: &RepositoryId, action: Action) -> bool {
        self.policy.rights(&self.identity, &repository.name).allow(action)
    }

    fn token_allows(&self, repository: &RepositoryId, action: Action) -> bool {
        self.token.as_ref().is_none_or(|token| token.granted.allow(&repository.name, action))
    }
}

impl Caller {
    /// Nobody is asked who they are.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }

    pub(crate) fn may(&self, repository: &RepositoryId, action: Action) -> bool {
        self.0
            .as_ref()
            .is_none_or(|known| known.policy_allows(repository, action) && known.token_allows(repository, action))
    }

    /// Their name. `None`: nobody in particular.
    pub(crate) fn name(&self) -> Option<Arc<str>> {
        self.0.as_ref().and_then(|known| known.identity.shared_name())
    }

    /// Whether everything may be read, so that nothing has to be left out.
    pub(crate) fn is_unlimited(&self) -> bool {
        self.0.is_none()
    }

    /// Whether a repository may be seen in the list of all.
    pub(crate) fn sees(&self, repository: &RepositoryId) -> bool {
        self.0.as_ref().is_none_or(|known| {
            known.policy_allows(repository, Action::Catalogue) && known.policy_allows(repository, Action::Pull)
        })
    }
}

/// What a request needs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need<'a> {
    /// To be somebody at all.
    Registry,
    /// The list of repositories.
    Catalogue,
    /// Something of a repository.
    Repository(&'a RepositoryId, Action),
}

impl<'a> Need<'a> {
    fn of(route: &'a Route, method: &Method) -> Self {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match route {
            Route::Base | Route::Extensions => Self::Registry,
            Route::Catalog => Self::Catalogue,
            Route::Tags(repository) | Route::Referrers(repository, _) | Route::History(repository, _) => {
                Self::Repository(repository, Action::Pull)
            }
            Route::Manifest(repository, _) | Route::Blob(repository, _) if reads => {
                Self::Repository(repository, Action::Pull)
            }
            Route::Manifest(repository, _) | Route::Blob(repository, _) if *method == Method::DELETE => {
                Self::Repository(repository, Action::Delete)
            }
            // To push needs no less than to create; whether tags may be moved shows when one is set.
            Route::Manifest(repository, _)
            | Route::Blob(repository, _)
            | Route::Uploads(repository)
            | Route::Upload(repository, _) => Self::Repository(repository, Action::CreateOnly),
        }
    }

    /// What a token must be asked for.
    pub(crate) fn scope(self) -> Option<String> {
        match self {
            Self::Registry => None,
            Self::Catalogue => Some("registry:catalog:*".to_owned()),
            Self::Repository(repository, action) => {
                let actions = match action {
                    Action::Pull => "pull",
                    Action::Delete => "delete",
                    _ => "pull,push",
                };
                Some(format!("repository:{}:{actions}", repository.name))
            }
        }
    }
}

impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry => f.write_str("use this registry"),
            Self::Catalogue => f.write_str("see the list of repositories"),
            Self::Repository(repository, Action::Pull) => write!(f, "pull from `{repository}`"),
            Self::Repository(repository, Action::Delete) => write!(f, "delete from `{repository}`"),
            Self::Repository(repository, _) => write!(f, "push to `{repository}`"),
        }
    }
}

/// Finds out who sent a request, and whether they may see how the server fares: those who may do everything somewhere.
pub(crate) async fn admit_administrator(access: &Access, parts: &Parts) -> Result<Caller, Refusal> {
    let challenge = Challenge::new(access, parts, Need::Registry);
    let (identity, token) = identify(access, parts, &challenge).await?;
    let policy = access.policy();
    // A token is for pulls and pushes.
    if token.is_none() && policy.allows_somewhere(&identity, Action::Admin) {
        return Ok(Caller(Some(Known { identity, policy, token })));
    }
    match identity.name() {
        Some(name) => Err(denied(format!("`{}` may not read the metrics", name.escape_debug()))),
        None => Err(unauthorized("who wants to read the metrics must say who they are")),
    }
}

/// Finds out who sent a request, and whether they may do what it asks for. A refusal is the same whether or not what it
/// asks for exists.
pub(crate) async fn admit(access: Option<&Access>, route: &Route, parts: &Parts) -> Result<Caller, Refusal> {
    let Some(access) = access else { return Ok(Caller::unlimited()) };
    let need = Need::of(route, &parts.method);
    let challenge = Challenge::new(access, parts, need);
    let (identity, token) = identify(access, parts, &challenge).await?;
    let known = Known { identity, policy: access.policy(), token };
    let by_policy = match need {
        // With a token server, clients that have no token yet learn here where to get one, even for nobody.
        Need::Registry => {
            let anonymous = known.token.is_some() || (access.tokens().is_none() && known.policy.knows(&known.identity));
            known.identity.name().is_some() || anonymous
        }
        Need::Catalogue => known.policy.allows_somewhere(&known.identity, Action::Catalogue),
        Need::Repository(repository, action) => known.policy_allows(repository, action),
    };
    let by_token = match (need, &known.token) {
        (Need::Registry, _) | (_, None) => true,
        (Need::Catalogue, Some(token)) => token.granted.catalogue,
        (Need::Repository(repository, action), Some(_)) => known.token_allows(repository, action),
    };
    match known.identity.name() {
        _ if by_policy && by_token => Ok(Caller(Some(known))),
        Some(name) if !by_policy => {
            let message = format!("`{}` may not {need}", name.escape_debug());
            Err(denied(message))
        }
        _ if known.token.is_some() => {
            let message = format!("the token does not allow to {need}");
            Err(challenge.refuse(&message, Some("insufficient_scope")))
        }
        _ => Err(challenge.refuse(&format!("who wants to {need} must say who they are"), None)),
    }
}

/// Who it is. Credentials that are wrong are refused even where none are needed: whoever shows some means to be known.
/// What a request says counts before the certificate of its connection.
async fn identify(
    access: &Access,
    parts: &Parts,
    challenge: &Challenge<'_>,
) -> Result<(Identity, Option<Arc<Shown>>), Refusal> {
    let headers = &parts.headers;
    if !headers.contains_key(header::AUTHORIZATION) {
        let Some(certificate) = parts.extensions.get::<ClientCertificate>() else {
            return Ok((Identity::Anonymous, None));
        };
        let identity = certificate.identity().map_err(|reason| challenge.refuse(reason, None))?;
        return Ok((identity, None));
    }
    if let Some((name, password)) = basic_of(headers) {
        if let Some(proven) = access.by_password(&name, password).await? {
            return Ok((proven.identity, None));
        }
    } else if let Some(token) = only(headers, "bearer") {
        if let Some(name) = access.identities().token(token) {
            return Ok((Identity::Named(name), None));
        }
        if let Some(shown) = access.tokens().and_then(|tokens| tokens.check(token)) {
            // It ends when its owner's password changes, or when they are no longer known.
            if let Some(identity) = access.holder(&shown) {
                return Ok((identity, Some(shown)));
            }
        } else if let Some(proven) = access.by_token(token).await? {
            return Ok((proven.identity, None));
        }
        return Err(challenge.refuse("the token is not right, or its time is over", Some("invalid_token")));
    }
    Err(challenge.refuse("the credentials are not right", None))
}

/// The credentials of a scheme, if there are no others.
fn only<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|value| value.len() <= LONGEST)?;
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(wanted)).then_some(rest.trim())
}

/// Name and password of `Basic` credentials.
pub(crate) fn basic_of(headers: &HeaderMap) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(only(headers, "basic")?).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

/// Asks for a name and a password.
pub(crate) fn unauthorized(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"polyarch\", charset=\"UTF-8\""))
}

pub(crate) fn denied(message: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "DENIED", message).detail(json!({ "reason": "policy" }))
}
