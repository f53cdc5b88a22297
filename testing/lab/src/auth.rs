//! Who may do what: Basic, Bearer with a token endpoint, a fixed registry token.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, header};
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::routes::{Route, query_values};

/// What the lab asks of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    None,
    /// A user and a password with every request.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// A token from the lab's own `/token`, which enforces scopes.
    Bearer(Bearer),
    /// This very token (`registrytoken` in docker's config).
    RegistryToken(String),
}

/// Under which names the token comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenField {
    /// `token` and `access_token`.
    #[default]
    Both,
    /// `token` alone.
    Token,
    /// `access_token` alone.
    AccessToken,
}

/// A token server and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user that may do everything.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Whether tokens are given to nobody in particular: for `pull` only.
    pub anonymous_pull: bool,
    /// The identity token (refresh token) that stands for the user.
    pub identity_token: Option<String>,
    /// `expires_in` of the answer; `None` leaves it out.
    pub expires_in: Option<u64>,
    /// How long a token is really taken; `None`: for ever.
    pub lifetime: Option<Duration>,
    /// Names of the token in the answer.
    pub field: TokenField,
    /// Every token request is refused with 401.
    pub refuse: bool,
    /// Whether `POST /token` exists; else it is 405.
    pub post: bool,
    /// `service` of the challenge.
    pub service: String,
    /// `realm` of the challenge, if it is not the lab's own `/token`.
    pub realm: Option<String>,
    /// (repository, action) pairs that nobody is granted.
    pub denied: Vec<(String, String)>,
    /// Status where a token lacks a scope: 401 with `insufficient_scope` as distribution does, or 403.
    pub lacking_status: u16,
}

impl Default for Bearer {
    fn default() -> Self {
        Self {
            username: "user".to_owned(),
            password: "secret".to_owned(),
            anonymous_pull: false,
            identity_token: None,
            expires_in: Some(300),
            lifetime: None,
            field: TokenField::Both,
            refuse: false,
            post: true,
            service: "lab".to_owned(),
            realm: None,
            denied: Vec::new(),
            lacking_status: 401,
        }
    }
}

impl From<Bearer> for Auth {
    fn from(bearer: Bearer) -> Self {
        Self::Bearer(bearer)
    }
}

impl Auth {
    /// Basic with a user and a password.
    pub fn basic(username: &str, password: &str) -> Self {
        Self::Basic { username: username.to_owned(), password: password.to_owned() }
    }

    /// Bearer with a user, a password and otherwise the defaults.
    pub fn bearer(username: &str, password: &str) -> Self {
        Self::Bearer(Bearer { username: username.to_owned(), password: password.to_owned(), ..Bearer::default() })
    }

    /// Bearer where everybody may pull.
    pub fn anonymous_bearer() -> Self {
        Self::Bearer(Bearer { anonymous_pull: true, ..Bearer::default() })
    }
}

/// `type:name:action,action`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    kind: String,
    name: String,
    actions: BTreeSet<String>,
}

impl Scope {
    fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        Some(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            actions: actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect(),
        })
    }

    fn repository(name: &str, actions: &[&str]) -> Self {
        Self {
            kind: "repository".to_owned(),
            name: name.to_owned(),
            actions: actions.iter().map(|&action| action.to_owned()).collect(),
        }
    }

    fn text(&self) -> String {
        // `pull,push`: the order that distribution writes is also the alphabet's.
        let actions: Vec<&str> = self.actions.iter().map(String::as_str).collect();
        format!("{}:{}:{}", self.kind, self.name, actions.join(","))
    }
}

/// What the bearer of a request may do.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    Everything,
    Scopes(Vec<Scope>),
}

impl Access {
    pub(crate) fn can_pull(&self, repository: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Scopes(scopes) => grants(scopes, &Scope::repository(repository, &["pull"])),
        }
    }
}

fn grants(granted: &[Scope], wanted: &Scope) -> bool {
    wanted.actions.iter().all(|action| {
        granted.iter().any(|scope| {
            scope.kind == wanted.kind
                && scope.name == wanted.name
                && (scope.actions.contains(action) || scope.actions.contains("*"))
        })
    })
}

#[derive(Debug)]
struct Token {
    scopes: Vec<Scope>,
    until: Option<Instant>,
}

/// Tokens that were given out.
#[derive(Debug, Default)]
pub(crate) struct Tokens(Mutex<(u64, HashMap<String, Token>)>);

impl Tokens {
    /// No token that was given out is good any longer.
    pub(crate) fn revoke(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clear();
    }

    fn issue(&self, scopes: Vec<Scope>, lifetime: Option<Duration>) -> String {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.0 += 1;
        let text = format!("lab-token-{}", tokens.0);
        tokens.1.insert(text.clone(), Token { scopes, until: lifetime.map(|lifetime| Instant::now() + lifetime) });
        text
    }

    fn scopes(&self, token: &str) -> Option<Vec<Scope>> {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let token = tokens.1.get(token)?;
        token.until.is_none_or(|until| Instant::now() < until).then(|| token.scopes.clone())
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    Some((username.to_owned(), password.to_owned()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// What a request needs.
fn needed(method: &Method, route: &Route, query: &str) -> Vec<Scope> {
    let Some(name) = route.repository() else {
        return match route {
            Route::Catalog => {
                vec![Scope {
                    kind: "registry".to_owned(),
                    name: "catalog".to_owned(),
                    actions: BTreeSet::from(["*".to_owned()]),
                }]
            }
            _ => Vec::new(),
        };
    };
    let actions: &[&str] = match (method, route) {
        (&Method::GET | &Method::HEAD, _) => &["pull"],
        (&Method::DELETE, Route::Manifest { .. } | Route::Blob { .. }) => &["delete"],
        _ => &["pull", "push"],
    };
    let mut scopes = vec![Scope::repository(name, actions)];
    if matches!(route, Route::Uploads { .. })
        && let Some(from) = query_values(query, "from").into_iter().next()
    {
        scopes.push(Scope::repository(&from, &["pull"]));
    }
    scopes
}

/// Lets a request pass, or answers it with a challenge.
pub(crate) fn authorize(
    auth: &Auth,
    tokens: &Tokens,
    base_url: &str,
    method: &Method,
    route: &Route,
    query: &str,
    headers: &HeaderMap,
) -> Result<Access, Box<Answer>> {
    let scopes = needed(method, route, query);
    let refuse = |status: u16, challenge: &str| {
        let detail: Vec<Value> = scopes
            .iter()
            .flat_map(|scope| {
                scope
                    .actions
                    .iter()
                    .map(|action| json!({ "Type": scope.kind, "Class": "", "Name": scope.name, "Action": action }))
            })
            .collect();
        let detail = if detail.is_empty() { Value::Null } else { Value::from(detail) };
        let answer = match status {
            403 => answer::failure(403, "DENIED", "requested access to the resource is denied", detail),
            _ => answer::failure(status, "UNAUTHORIZED", "authentication required", detail),
        };
        Err(Box::new(if challenge.is_empty() { answer } else { answer::header(answer, "www-authenticate", challenge) }))
    };
    match auth {
        Auth::None => Ok(Access::Everything),
        Auth::Basic { username, password } => match basic(headers) {
            Some((user, secret)) if user == *username && secret == *password => Ok(Access::Everything),
            _ => refuse(401, "Basic realm=\"lab\""),
        },
        Auth::RegistryToken(token) => match bearer(headers) {
            Some(shown) if shown == token => Ok(Access::Everything),
            _ => refuse(401, "Bearer realm=\"https://no-token-server.invalid/token\",service=\"lab\""),
        },
        Auth::Bearer(rules) => {
            let realm = rules.realm.clone().unwrap_or_else(|| format!("{base_url}/token"));
            let mut challenge = format!("Bearer realm=\"{realm}\",service=\"{}\"", rules.service);
            if !scopes.is_empty() {
                let scopes: Vec<String> = scopes.iter().map(Scope::text).collect();
                challenge += &[",scope=\"", &scopes.join(" "), "\""].concat();
            }
            let Some(shown) = bearer(headers) else { return refuse(401, &challenge) };
            let Some(granted) = tokens.scopes(shown) else {
                return refuse(401, &format!("{challenge},error=\"invalid_token\""));
            };
            if scopes.iter().all(|scope| grants(&granted, scope)) {
                return Ok(Access::Scopes(granted));
            }
            match rules.lacking_status {
                401 => refuse(401, &format!("{challenge},error=\"insufficient_scope\"")),
                other => refuse(other, ""),
            }
        }
    }
}

/// `GET /token` and `POST /token`.
pub(crate) fn token(
    auth: &Auth,
    tokens: &Tokens,
    method: &Method,
    query: &str,
    headers: &HeaderMap,
    form: &str,
) -> Answer {
    let Auth::Bearer(rules) = auth else { return answer::failure(404, "NOT_FOUND", "no token server", Value::Null) };
    let refused = |message: &str| answer::failure(401, "UNAUTHORIZED", message, Value::Null);
    if rules.refuse {
        return refused("authentication required");
    }
    let user = |name: &str, secret: &str| name == rules.username && secret == rules.password;
    let (known, parameters, offline) = match *method {
        Method::GET => match basic(headers) {
            Some((name, secret)) if user(&name, &secret) => {
                (true, query, query_values(query, "offline_token").first().is_some_and(|value| value == "true"))
            }
            Some(_) => return refused("incorrect username or password"),
            None if rules.anonymous_pull => (false, query, false),
            None => return refused("authentication required"),
        },
        Method::POST if rules.post => {
            let first = |name: &str| query_values(form, name).into_iter().next().unwrap_or_default();
            let good = match first("grant_type").as_str() {
                "password" => user(&first("username"), &first("password")),
                "refresh_token" => rules.identity_token.as_ref().is_some_and(|token| *token == first("refresh_token")),
                _ => return answer::failure(400, "UNSUPPORTED", "unsupported grant_type", Value::Null),
            };
            if !good {
                return refused("incorrect username or password");
            }
            (true, form, first("access_type") == "offline")
        }
        _ => return answer::failure(405, "UNSUPPORTED", "the operation is unsupported", Value::Null),
    };
    let scopes: Vec<Scope> = query_values(parameters, "scope")
        .iter()
        .flat_map(|value| value.split(' '))
        .filter_map(Scope::parse)
        .map(|mut scope| {
            scope.actions.retain(|action| {
                let denied = rules.denied.iter().any(|(name, what)| *name == scope.name && what == action);
                !denied && (known || (action == "pull" && scope.kind == "repository"))
            });
            scope
        })
        .collect();
    let granted: Vec<String> = scopes.iter().map(Scope::text).collect();
    let token = tokens.issue(scopes, rules.lifetime);
    let mut body = json!({});
    if rules.field != TokenField::AccessToken {
        body["token"] = json!(token);
    }
    if rules.field != TokenField::Token {
        body["access_token"] = json!(token);
    }
    if let Some(seconds) = rules.expires_in {
        body["expires_in"] = json!(seconds);
    }
    if *method == Method::POST {
        body["scope"] = json!(granted.join(" "));
    }
    if offline && let Some(identity) = &rules.identity_token {
        body["refresh_token"] = json!(identity);
    }
    answer::with_json(200, &body)
}
