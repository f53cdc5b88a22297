//! `/token`: where clients get tokens (distribution's token specification, "GET" and "OAuth 2"); `/token/keys`: what
//! others check them with.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::Options;
use crate::access::caller::{basic_of, unauthorized};
use crate::access::policy::Identity;
use crate::access::scope::{self, Entry};
use crate::access::tokens::{Subject, TokenServer};
use crate::access::{Access, Proven};
use crate::answer::{Handled, answer};
use crate::body::{self, RequestBody, Terms};
use crate::query::Query;
use crate::refusal::Refusal;

/// Where it is.
pub(crate) const PATH: &str = "/token";
/// Most bytes of a form.
const FORM: usize = 64 << 10;

/// What a client asks for, whichever way it does.
struct Asked {
    proven: Proven,
    entries: Vec<Entry>,
    /// Whether it wants a refresh token too.
    refresh: bool,
}

/// Answers a request for the keys (RFC 7517).
pub(crate) fn keys(options: &Options, incoming: RequestBody) -> Handled {
    body::drain(incoming);
    let tokens = options.access.as_ref().and_then(Access::tokens).ok_or_else(Refusal::no_endpoint)?;
    Ok(answer(StatusCode::OK)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))
        .json(&tokens.key_set()))
}

/// Answers a request for a token.
pub(crate) async fn serve(options: &Options, parts: &http::request::Parts, incoming: RequestBody) -> Handled {
    let Some((access, tokens)) = options.access.as_ref().and_then(|access| Some((access, access.tokens()?))) else {
        body::drain(incoming);
        return Err(Refusal::no_endpoint());
    };
    let asked = match parts.method {
        Method::GET => {
            body::drain(incoming);
            by_query(access, tokens, parts).await?
        }
        _ => by_form(access, tokens, options, parts, incoming).await?,
    };
    let Proven { identity, until } = &asked.proven;
    let stamp = access.stamp(identity).ok_or_else(wrong)?;
    let groups = match identity {
        Identity::External(external) => Some(external.groups()),
        _ => None,
    };
    let subject = Subject { name: identity.name().unwrap_or_default(), stamp: &stamp, groups, until: *until };
    let granted = scope::grant(&access.policy(), identity, &asked.entries);
    let texts = granted.iter().map(|entry| format!("{}:{}:{}", entry.kind, entry.name, entry.actions.join(",")));
    let texts = texts.collect::<Vec<_>>().join(" ");
    let failed = || Refusal {
        internal: Some("a token could not be signed".to_owned()),
        ..Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the registry failed to make a token")
    };
    let token = tokens.issue(&subject, granted).ok_or_else(failed)?;
    let mut reply = Map::new();
    reply.insert("token".to_owned(), json!(token));
    reply.insert("access_token".to_owned(), json!(token));
    reply.insert("token_type".to_owned(), json!("Bearer"));
    reply.insert("expires_in".to_owned(), json!(tokens.lifetime(&subject)));
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
    reply.insert("issued_at".to_owned(), json!(now.to_string()));
    reply.insert("scope".to_owned(), json!(texts));
    // For whom another vouches, that one must go on vouching: what stands for a password would outlive it.
    if asked.refresh && matches!(identity, Identity::Named(_)) {
        let refresh = tokens.issue_refresh(&subject).ok_or_else(failed)?;
        reply.insert("refresh_token".to_owned(), json!(refresh));
    }
    Ok(answer(StatusCode::OK)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .json(&Value::Object(reply)))
}

/// `GET`: who asks is in `Authorization`, or is nobody in particular.
async fn by_query(access: &Access, tokens: &TokenServer, parts: &http::request::Parts) -> Result<Asked, Refusal> {
    let query = Query::parse(parts.uri.query());
    check_service(tokens, &query)?;
    let entries = entries(&query)?;
    let proven = if parts.headers.contains_key(header::AUTHORIZATION) {
        let (name, password) = basic_of(&parts.headers).ok_or_else(wrong)?;
        known(access, &name, password).await?
    } else {
        Proven { identity: Identity::Anonymous, until: None }
    };
    Ok(Asked { proven, entries, refresh: query.is_set("offline_token") })
}

/// `POST`: who asks is in the form.
async fn by_form(
    access: &Access,
    tokens: &TokenServer,
    options: &Options,
    parts: &http::request::Parts,
    incoming: RequestBody,
) -> Result<Asked, Refusal> {
    let bytes: Bytes = body::whole(incoming, "form", FORM, Terms::of(options)).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| bad("the form is not UTF-8"))?;
    let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(bad("a form is `application/x-www-form-urlencoded`"));
    }
    let form = Query::parse(Some(text));
    check_service(tokens, &form)?;
    let entries = entries(&form)?;
    let field = |name: &str| form.get(name).ok_or_else(|| bad(&format!("the form has no `{name}`")));
    let proven = match field("grant_type")? {
        "password" => known(access, field("username")?, field("password")?.to_owned()).await?,
        "refresh_token" => {
            let shown = tokens.check_refresh(field("refresh_token")?).ok_or_else(wrong)?;
            // It ends when the password changes, or when its owner is no longer known.
            let identity = access.holder(&shown).filter(|holder| matches!(holder, Identity::Named(_)));
            Proven { identity: identity.ok_or_else(wrong)?, until: None }
        }
        _ => return Err(bad("`grant_type` is `password` or `refresh_token`")),
    };
    Ok(Asked { proven, entries, refresh: form.get("access_type") == Some("offline") })
}

async fn known(access: &Access, name: &str, password: String) -> Result<Proven, Refusal> {
    access.by_password(name, password).await?.ok_or_else(wrong)
}

/// A token of this registry is of no use to another: whoever asks for one is mistaken, or is made to.
fn check_service(tokens: &TokenServer, query: &Query<'_>) -> Result<(), Refusal> {
    match query.get("service") {
        Some(service) if !service.is_empty() && service != tokens.options.service => {
            Err(bad("the service is not this registry").detail(json!({ "service": tokens.options.service })))
        }
        _ => Ok(()),
    }
}

fn entries(query: &Query<'_>) -> Result<Vec<Entry>, Refusal> {
    scope::parse(query.all("scope"))
        .ok_or_else(|| bad("a scope is `type:name:action[,action]`, as in `repository:team/app:pull,push`"))
}

fn bad(message: &str) -> Refusal {
    Refusal::bad_request("UNSUPPORTED", message)
}

fn wrong() -> Refusal {
    unauthorized("the credentials are not right")
}
