//! Tokens: one for all that is wanted of a registry, fetched once however many requests wait for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use serde::Deserialize;
use settings::{Credentials, Secret};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::challenge::Bearer;
use crate::error::{ClientError, ErrorKind};
use crate::pause;
use crate::payload::Payload;
use crate::redact::RedactedUrl;
use crate::scope::ScopeSet;
use crate::transport::is_loopback;
use crate::wire::{Context, Message, Wire};

/// No token is believed to live shorter than this (token specification, `expires_in`).
const LEAST_LIFE: Duration = Duration::from_secs(60);
/// A token is not used in its last moments: it could end on the way.
const MARGIN: Duration = Duration::from_secs(5);
/// Most bytes of a token server's answer.
const ANSWER: usize = 1 << 20;
/// What we call ourselves where the form wants a name.
const CLIENT_ID: &str = "polyarch";

/// A token that was given.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) id: u64,
    /// What it was asked for.
    pub(crate) scopes: ScopeSet,
    pub(crate) header: HeaderValue,
    /// When it was given.
    pub(crate) given: Instant,
    ends: Instant,
}

/// Who asks for a token, and with what.
pub(crate) struct Asking<'a> {
    pub(crate) wire: &'a Wire,
    pub(crate) context: &'a Context,
    pub(crate) bearer: &'a Bearer,
    pub(crate) credentials: &'a Credentials,
    /// URL of the registry, for the rules on where its token server may be.
    pub(crate) registry: &'a Url,
}

/// The tokens for one registry.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    kept: Mutex<Vec<Token>>,
    /// Everything that has been wanted so far, or was said to be wanted soon.
    wanted: Mutex<ScopeSet>,
    /// Held by the one who asks the token server; the others find the token when they get it.
    gate: tokio::sync::Mutex<()>,
    failure: Mutex<Option<(Instant, ScopeSet, ClientError)>>,
    /// Whether the server refused to give one token for everything that is wanted.
    separate: AtomicBool,
    last_id: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tokens {
    /// Adds to what the next token is asked for.
    pub(crate) fn expect(&self, scopes: &ScopeSet) {
        lock(&self.wanted).extend_bounded(scopes);
    }

    /// Forgets a token that was not accepted.
    pub(crate) fn reject(&self, id: u64) {
        lock(&self.kept).retain(|token| token.id != id);
    }

    /// Forgets all tokens: they come from elsewhere now.
    pub(crate) fn clear(&self) {
        lock(&self.kept).clear();
    }

    fn find(&self, scopes: &ScopeSet) -> Option<Token> {
        let now = Instant::now();
        let mut kept = lock(&self.kept);
        kept.retain(|token| token.ends > now);
        kept.iter().rev().find(|token| token.scopes.covers(scopes)).cloned()
    }

    /// A token for `scopes`: one that is there, the one that somebody is fetching, or a new one.
    pub(crate) async fn get(&self, asking: &Asking<'_>, scopes: &ScopeSet) -> Result<Token, ClientError> {
        if let Some(token) = self.find(scopes) {
            return Ok(token);
        }
        let arrived = Instant::now();
        self.expect(scopes);
        let _turn = self.gate.lock().await;
        if let Some(token) = self.find(scopes) {
            return Ok(token);
        }
        if let Some((at, failed, error)) = &*lock(&self.failure)
            && *at >= arrived
            && failed.covers(scopes)
        {
            return Err(error.for_request(asking.context));
        }
        let mut all = scopes.clone();
        if !self.separate.load(Ordering::Relaxed) {
            all.extend_bounded(&lock(&self.wanted).clone());
        }
        let mut result = self.fetch(asking, &all).await;
        if let Err(error) = &result
            && all != *scopes
            && matches!(error.status(), Some(400..=499))
        {
            // Most servers give what they can; some refuse all where one part is not allowed.
            self.separate.store(true, Ordering::Relaxed);
            result = self.fetch(asking, scopes).await;
        }
        match result {
            Ok(token) => {
                lock(&self.kept).push(token.clone());
                Ok(token)
            }
            Err(error) => {
                *lock(&self.failure) = Some((Instant::now(), all, error.clone()));
                Err(error)
            }
        }
    }

    async fn fetch(&self, asking: &Asking<'_>, scopes: &ScopeSet) -> Result<Token, ClientError> {
        let request = Request::new(asking, scopes)?;
        let policy = &asking.wire.options.retry;
        let mut attempt = 1;
        loop {
            match request.send(asking).await {
                Ok(answer) => {
                    let given = Instant::now();
                    let life = Duration::from_secs(answer.seconds.unwrap_or(0)).max(LEAST_LIFE);
                    return Ok(Token {
                        id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
                        scopes: scopes.clone(),
                        header: answer.header,
                        given,
                        // A life beyond what the clock can count is cut to a day.
                        ends: given
                            .checked_add(life.saturating_sub(MARGIN))
                            .unwrap_or(given + Duration::from_secs(86_400)),
                    });
                }
                Err(refused) => {
                    let (error, repeat) = *refused;
                    attempt += 1;
                    if !repeat || attempt > policy.attempts {
                        return Err(error);
                    }
                    let wait = error.retry_after().unwrap_or_else(|| pause::before(attempt, policy));
                    if wait > policy.longest_retry_after {
                        return Err(error);
                    }
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }
}

/// A request to a token server (token specification; OAuth 2 form).
struct Request {
    method: Method,
    url: Url,
    payload: Payload<'static>,
    authorization: Option<HeaderValue>,
    shown: RedactedUrl,
}

struct Answer {
    header: HeaderValue,
    seconds: Option<u64>,
}

/// What a token server says.
#[derive(Deserialize)]
struct Body {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<serde_json::Value>,
}

impl Request {
    fn new(asking: &Asking<'_>, scopes: &ScopeSet) -> Result<Self, ClientError> {
        let realm = &asking.bearer.realm;
        check_realm(asking)?;
        let service = asking.bearer.service.as_deref();
        let mut url = realm.clone();
        if let Credentials::IdentityToken(secret) = asking.credentials {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token");
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            if !scopes.is_empty() {
                form.append_pair("scope", &scopes.to_string());
            }
            form.append_pair("client_id", CLIENT_ID);
            form.append_pair("refresh_token", secret.reveal());
            return Ok(Self {
                method: Method::POST,
                shown: RedactedUrl::from(&url),
                url,
                payload: Payload::Bytes(Bytes::from(form.finish())),
                authorization: None,
            });
        }
        let mut authorization = None;
        {
            let mut query = url.query_pairs_mut();
            if let Credentials::Basic { username, password } = asking.credentials
                && !username.is_empty()
            {
                query.append_pair("account", username);
                authorization = Some(basic(username, password));
            }
            for scope in scopes.texts() {
                query.append_pair("scope", &scope);
            }
            if let Some(service) = service {
                query.append_pair("service", service);
            }
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        Ok(Self { method: Method::GET, shown: RedactedUrl::from(&url), url, payload: Payload::Empty, authorization })
    }

    /// Sends it. An error comes with whether it makes sense to try again.
    async fn send(&self, asking: &Asking<'_>) -> Result<Answer, Box<(ClientError, bool)>> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if self.method == Method::POST {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        // The wire decides by the method what it may do; the rest of the context stays that of the request that waits.
        let context = Context { method: self.method.clone(), ..asking.context.clone() };
        let (url, payload) = (self.url.clone(), &self.payload);
        // The form has the identity token in it.
        let secret = self.method == Method::POST;
        let message = Message { context: context.clone(), url, headers, payload, secret };
        let wire = asking.wire;
        let head = match wire.send(&message, self.authorization.as_ref()).await {
            Ok(head) => head,
            Err(error) => {
                let transient = error.is_transient();
                return Err(Box::new((self.wrap(asking, error), transient)));
            }
        };
        if head.status != StatusCode::OK {
            let error = wire.refusal(&context, head).await;
            let transient = error.is_transient();
            return Err(Box::new((self.wrap(asking, error), transient)));
        }
        let broken = |why: String| {
            let mut failure = asking.context.failure(ErrorKind::TokenServer).detail(why);
            failure.token_server = Some(self.shown.clone());
            Box::new((failure.into(), false))
        };
        if let Some(encoding) = head.encoding() {
            return Err(broken(format!("the answer is compressed (`{encoding}`) although that was not asked for")));
        }
        let body = match head.body.read(wire, ANSWER).await {
            Ok(body) => body,
            Err(error) => {
                let transient = error.is_transient();
                return Err(Box::new((self.wrap(asking, error), transient)));
            }
        };
        let Ok(body) = serde_json::from_slice::<Body>(&body) else {
            return Err(broken("the answer is not the JSON of a token".to_owned()));
        };
        let given = |token: Option<String>| token.filter(|token| !token.is_empty());
        let Some(token) = given(body.token).or(given(body.access_token)) else {
            return Err(broken("there is no token in the answer".to_owned()));
        };
        let Some(header) = bearer_header(&token) else {
            return Err(broken("the token has characters that no header may have".to_owned()));
        };
        Ok(Answer { header, seconds: body.expires_in.as_ref().and_then(seconds) })
    }

    /// An error of the token server, told as one of the request that needed the token. What failed below HTTP keeps its
    /// kind: an unknown authority is one wherever it is met.
    fn wrap(&self, asking: &Asking<'_>, error: ClientError) -> ClientError {
        let mut failure = error.into_failure();
        failure.method = asking.context.method.clone();
        failure.token_server = Some(self.shown.clone());
        if failure.network.is_none()
            && failure.kind != ErrorKind::RateLimited
            && failure.kind != ErrorKind::Configuration
        {
            failure.kind = ErrorKind::TokenServer;
        }
        if failure.hint.is_none() && matches!(failure.status.map(|status| status.as_u16()), Some(401 | 403)) {
            let host = match asking.registry.authority() {
                "registry-1.docker.io" => "docker.io",
                host => host,
            };
            failure.hint = Some(match asking.credentials {
                Credentials::Anonymous => format!("log in with `polyarch login {host}`"),
                _ => format!("the credentials may be wrong or too old: log in again with `polyarch login {host}`"),
            });
        }
        failure.into()
    }
}

/// Where a registry may send us, and our password, for tokens: anywhere by HTTPS; by plain HTTP to this machine if it is
/// on this machine itself, or to its own host if that is spoken to in plain HTTP anyway.
fn check_realm(asking: &Asking<'_>) -> Result<(), ClientError> {
    let realm = &asking.bearer.realm;
    let plain_registry = asking.registry.scheme() == "http";
    let allowed = realm.scheme() == "https"
        || is_loopback(realm) && (is_loopback(asking.registry) || asking.credentials.is_anonymous())
        || plain_registry && realm.host() == asking.registry.host()
        || asking.wire.options.insecure && asking.credentials.is_anonymous();
    if allowed {
        return Ok(());
    }
    let mut failure =
        asking.context.failure(ErrorKind::TokenServer).detail("credentials are not sent there over plain HTTP");
    failure.token_server = Some(RedactedUrl::from(realm));
    Err(failure.into())
}

/// `expires_in`: a number by the specification, a text in the wild.
fn seconds(value: &serde_json::Value) -> Option<u64> {
    match value {
        serde_json::Value::Number(number) => number.as_u64().or_else(|| {
            let seconds = Duration::try_from_secs_f64(number.as_f64()?).unwrap_or_default();
            Some(seconds.as_secs())
        }),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// `Authorization: Bearer …`; `None` if the token cannot stand in a header.
pub(crate) fn bearer_header(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Authorization: Basic …`.
pub(crate) fn basic(username: &str, password: &Secret) -> HeaderValue {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{}", password.reveal()));
    // Base64 is always a header value.
    let mut value =
        HeaderValue::from_str(&format!("Basic {text}")).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_of_tokens_are_read_in_every_form_that_is_seen() {
        for (text, want) in
            [("300", Some(300)), ("300.9", Some(300)), ("\"300\"", Some(300)), ("-5", Some(0)), ("null", None)]
        {
            assert_eq!(seconds(&serde_json::from_str(text).unwrap()), want, "{text}");
        }
    }

    #[test]
    fn a_token_with_a_line_end_is_no_header() {
        assert!(bearer_header("a\r\nX-Evil: 1").is_none());
        assert!(bearer_header("a.b-c_d").is_some_and(|header| header.is_sensitive()));
        let header = basic("user", &Secret::new("pa:ss"));
        assert_eq!(header, "Basic dXNlcjpwYTpzcw==");
    }

    #[test]
    fn a_registry_elsewhere_does_not_send_a_password_to_this_machine_in_plain_http() {
        let wire = Wire::new(crate::ClientOptions::default());
        let password = Credentials::Basic { username: "user".to_owned(), password: Secret::new("secret") };
        let allowed = |registry: &str, realm: &str, credentials: &Credentials| {
            let registry = Url::parse(registry).unwrap();
            let context = Context::new(crate::Verb::GetManifest, Method::GET, &registry);
            let bearer = Bearer::new(realm, None).unwrap();
            let asking = Asking { wire: &wire, context: &context, bearer: &bearer, credentials, registry: &registry };
            check_realm(&asking).is_ok()
        };
        for (registry, realm, want) in [
            ("https://r.io/", "https://auth.r.io/token", true),
            ("https://r.io/", "http://r.io/token", false),
            ("https://r.io/", "http://127.0.0.1:8080/token", false),
            ("https://127.0.0.1:5000/", "http://127.0.0.1:5001/token", true),
            ("http://10.0.0.1:5000/", "http://10.0.0.1:5001/token", true),
            ("http://10.0.0.1:5000/", "http://10.0.0.2:5000/token", false),
        ] {
            assert_eq!(allowed(registry, realm, &password), want, "{registry} {realm}");
        }
        assert!(allowed("https://r.io/", "http://127.0.0.1:8080/token", &Credentials::Anonymous));
    }
}
