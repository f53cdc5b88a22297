//! One registry: what is known of it, who we are to it, and how a request is brought through.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::StatusCode;
use http::header::HeaderValue;
use image::RegistryHost;
use settings::Credentials;
use tokio::task::JoinHandle;
use url::Url;

use crate::call::{Answer, Call, Place};
use crate::challenge::{self, Challenge};
use crate::client::CredentialSource;
use crate::error::{ClientError, ErrorKind, Failure};
use crate::lanes::Lanes;
use crate::learnt::{self, Asks, Knowledge, Scheme};
use crate::pause;
use crate::redact::RedactedUrl;
use crate::scope::ScopeSet;
use crate::token::{self, Asking, Token, Tokens};
use crate::transport::same_origin;
use crate::wire::{Context, Head, Message, Wire};

/// Rounds of challenge and answer that one request may take. Each reason to go round counts once, so this is a
/// backstop.
const ROUNDS: usize = 8;

/// One registry.
pub(crate) struct Registry {
    pub(crate) wire: Arc<Wire>,
    host: RegistryHost,
    /// `host[:port]` as it stands in URLs.
    authority: String,
    /// Plain HTTP by the options.
    plain: bool,
    /// Not verified, and plain HTTP is good enough where the server speaks it.
    lenient: bool,
    known: Mutex<Known>,
    /// Held by the request that finds out how the registry is reached and what it asks for.
    gate: tokio::sync::Mutex<()>,
    failure: Mutex<Option<(Instant, ClientError)>>,
    credentials: tokio::sync::OnceCell<Credentials>,
    credential_source: Arc<dyn CredentialSource>,
    pub(crate) tokens: Tokens,
    lanes: Lanes,
    /// The registry has no referrers API.
    pub(crate) no_referrers: AtomicBool,
    /// Held by the request that adds to the index of a fall-back tag.
    pub(crate) fallback_gate: tokio::sync::Mutex<()>,
    /// The registry does not take a blob with the `POST`.
    pub(crate) no_single_post: AtomicBool,
    /// The registry takes it ill to be asked for a mount without `from`.
    pub(crate) no_discovery: AtomicBool,
}

#[derive(Debug)]
struct Known {
    knowledge: Knowledge,
    /// From the last run, and not yet confirmed in this one.
    recalled: bool,
    /// What the server was found to speak where another scheme failed. There is no way back from it: a later failure
    /// is one of its own.
    found: Option<Scheme>,
}

/// How a request shows who it is.
enum Shown {
    Nothing,
    Basic,
    Token(Token),
    /// A token that is not ours to renew.
    Fixed,
}

/// What a request is sent with.
pub(crate) struct Ticket<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) authorization: Option<HeaderValue>,
    shown: Shown,
    /// Held by the first request; everybody else waits for what it finds out.
    lead: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Ticket<'_> {
    /// For hosts that are not the registry.
    fn empty() -> Self {
        Self { scheme: Scheme::Https, authorization: None, shown: Shown::Nothing, lead: None }
    }
}

/// One request on its way through challenges: each reason to go round again counts once.
struct Course {
    started: Instant,
    scopes: ScopeSet,
    switched: bool,
    relearnt: bool,
    widened: bool,
    renewed: bool,
    saving: Option<JoinHandle<()>>,
}

impl Course {
    fn new(call: &Call<'_>) -> Self {
        Self {
            started: Instant::now(),
            scopes: call.scopes.clone(),
            switched: false,
            relearnt: false,
            widened: false,
            renewed: false,
            saving: None,
        }
    }
}

impl Registry {
    pub(crate) fn new(wire: Arc<Wire>, credential_source: Arc<dyn CredentialSource>, host: RegistryHost) -> Self {
        let options = &wire.options;
        let authority = match host.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io".to_owned(),
            other => other.to_owned(),
        };
        let plain = options.plain_http.contains(&host);
        let lenient = Url::parse(&format!("https://{authority}/")).is_ok_and(|url| options.is_lenient(&url));
        let mut knowledge = options
            .cache_dir
            .as_deref()
            .map(|cache| learnt::recall(cache, &host, lenient || plain))
            .unwrap_or_default();
        if plain {
            knowledge.scheme = Some(Scheme::Http);
        } else if !lenient {
            knowledge.scheme = Some(Scheme::Https);
        }
        let lanes = Lanes::new(options.pacing);
        Self {
            wire,
            host,
            authority,
            plain,
            lenient,
            known: Mutex::new(Known { knowledge, recalled: true, found: None }),
            gate: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
            credentials: tokio::sync::OnceCell::new(),
            credential_source,
            tokens: Tokens::default(),
            lanes,
            no_referrers: AtomicBool::new(false),
            fallback_gate: tokio::sync::Mutex::default(),
            no_single_post: AtomicBool::new(false),
            no_discovery: AtomicBool::new(false),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The URL of a place on this registry.
    pub(crate) fn url(&self, scheme: Scheme, place: &Place) -> Result<Url, url::ParseError> {
        match place {
            Place::Url(url) => Ok(url.clone()),
            Place::Path(path) => {
                // Falling back to plain HTTP means the same port, not HTTP's own.
                let port = match scheme {
                    Scheme::Http if !self.plain && !has_port(&self.authority) => ":443",
                    _ => "",
                };
                Url::parse(&format!("{}://{}{port}{path}", scheme.as_str(), self.authority))
            }
        }
    }

    /// The registry itself, as it is known to be reached.
    fn home(&self) -> Result<Url, url::ParseError> {
        let scheme = self.known().knowledge.scheme.unwrap_or(Scheme::Https);
        self.url(scheme, &Place::Path("/".to_owned()))
    }

    /// Sends a request until it succeeds, is refused for good, or has been tried often enough.
    pub(crate) async fn exchange(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let policy = &self.wire.options.retry;
        let mut attempt = 1;
        loop {
            let error = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            attempt += 1;
            if !call.repeat || !call.payload.is_repeatable() || !error.is_transient() || attempt > policy.attempts {
                return Err(error);
            }
            let wait = error.retry_after().unwrap_or_else(|| pause::before(attempt, policy));
            if wait > policy.longest_retry_after {
                return Err(error);
            }
            tracing::debug!(%error, ?wait, attempt, "again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Answer, ClientError> {
        let mut course = Course::new(call);
        let result = self.rounds(call, &mut course).await;
        if let Some(saving) = course.saving {
            // A process that ends after this request must not take what was learnt with it.
            let _: Result<(), _> = saving.await;
        }
        result
    }

    async fn rounds(&self, call: &Call<'_>, course: &mut Course) -> Result<Answer, ClientError> {
        let permit = self.lanes.enter(call.lane).await;
        let foreign = matches!(&call.place, Place::Url(url) if !self.is_home(url));
        let mut last = None;
        for _ in 0..ROUNDS {
            let context = self.context(call)?;
            let ticket = if foreign { Ticket::empty() } else { self.ticket(&context, &course.scopes).await? };
            let url = self.url(ticket.scheme, &call.place).map_err(|error| self.no_url(call, error))?;
            let context = Context::new(call.verb, call.method.clone(), &url);
            let headers = call.headers.clone();
            let message = Message { context: context.clone(), url, headers, payload: &call.payload, secret: false };
            let head = match self.wire.send(&message, ticket.authorization.as_ref()).await {
                Ok(head) => head,
                Err(error) => {
                    if !course.switched && self.may_switch(&ticket, &call.place, &error) {
                        course.switched = true;
                        self.switch(ticket.scheme);
                        continue;
                    }
                    if ticket.lead.is_some() && error.network().is_some() {
                        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some((Instant::now(), error.clone()));
                    }
                    return Err(error);
                }
            };
            let status = head.status;
            if matches!(status.as_u16(), 429 | 503) {
                self.lanes.slow_down(&permit);
            } else {
                self.lanes.went_well();
            }
            let open = status.is_success() || status.is_redirection() || status == StatusCode::NOT_FOUND;
            if open && !foreign {
                self.learn_open(course, &ticket);
            }
            if status.is_success() {
                return Ok(Answer { context, head, permit });
            }
            let asked = if head.foreign || foreign { None } else { challenge::choose(&head.headers) };
            let error = self.refused(&context, head).await;
            match asked {
                Some(asked) if is_answerable(status, &asked) && call.payload.is_repeatable() => {
                    self.answer_challenge(course, &ticket, &asked, &context, &error).await?;
                }
                _ if !course.switched && self.was_https_all_along(&ticket, &call.place, &error) => {
                    course.switched = true;
                    self.switch(ticket.scheme);
                }
                _ => return Err(error),
            }
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| self.no_url(call, "the registry does not stop asking")))
    }

    /// The context of a call before it is known how the registry is reached.
    pub(crate) fn context(&self, call: &Call<'_>) -> Result<Context, ClientError> {
        let scheme = self.known().knowledge.scheme.unwrap_or(Scheme::Https);
        let url = self.url(scheme, &call.place).map_err(|error| self.no_url(call, error))?;
        Ok(Context::new(call.verb, call.method.clone(), &url))
    }

    fn no_url(&self, call: &Call<'_>, why: impl std::fmt::Display) -> ClientError {
        let url = RedactedUrl::unparsed(&format!("https://{}/v2/", self.authority));
        Failure::new(ErrorKind::Configuration, call.verb, call.method.clone(), url).detail(why.to_string()).into()
    }

    /// Whether a URL that the registry gave is on the registry itself, so that credentials may go there.
    pub(crate) fn is_home(&self, url: &Url) -> bool {
        self.home().is_ok_and(|home| same_origin(&home, url))
    }

    /// The refusal, with advice that only the registry's name allows.
    async fn refused(&self, context: &Context, head: Head) -> ClientError {
        let mut failure = self.wire.refusal(context, head).await.into_failure();
        failure.hint = match failure.kind {
            ErrorKind::Unauthorized => Some(match self.credentials.get() {
                None | Some(Credentials::Anonymous) => {
                    format!("the repository may not exist, or `polyarch login {}` may be needed", self.host)
                }
                Some(_) => format!(
                    "the credentials for `{}` are wrong, too old or not enough; `polyarch login {}` renews them",
                    self.host, self.host
                ),
            }),
            ErrorKind::Denied => Some(match self.credentials.get() {
                None | Some(Credentials::Anonymous) => {
                    format!("nobody is logged in; `polyarch login {}` may be needed", self.host)
                }
                Some(_) => format!("the credentials for `{}` do not allow this", self.host),
            }),
            ErrorKind::RateLimited => Some(match (failure.retry_after, self.credentials.get()) {
                (Some(wait), _) => format!("try again in {} s", wait.as_secs().max(1)),
                (None, None | Some(Credentials::Anonymous)) => {
                    format!("try again later; `polyarch login {}` may raise the limit", self.host)
                }
                (None, Some(_)) => "try again later".to_owned(),
            }),
            _ => failure.hint,
        };
        failure.into()
    }

    /// What a request is sent with: what is known to be needed, or nothing if nobody knows yet. Only one request at a
    /// time goes out without knowing.
    pub(crate) async fn ticket(&self, context: &Context, scopes: &ScopeSet) -> Result<Ticket<'_>, ClientError> {
        let writes = scopes.writes();
        let arrived = Instant::now();
        loop {
            let (scheme, asks) = self.asks(writes);
            if let (Some(scheme), Some(asks)) = (scheme, asks) {
                match self.authorize(context, scheme, &asks, scopes).await {
                    Ok((authorization, shown)) => return Ok(Ticket { scheme, authorization, shown, lead: None }),
                    // The token server of the last run may not be the one of today.
                    Err(_) if self.forget_recalled(&asks, writes) => continue,
                    Err(error) => return Err(error),
                }
            }
            let lead = self.gate.lock().await;
            let (scheme, asks) = self.asks(writes);
            if scheme.is_some() && asks.is_some() {
                continue;
            }
            if let Some((at, error)) = &*self.failure.lock().unwrap_or_else(PoisonError::into_inner)
                && *at >= arrived
            {
                return Err(error.for_request(context));
            }
            return Ok(Ticket {
                scheme: scheme.unwrap_or(Scheme::Https),
                authorization: None,
                shown: Shown::Nothing,
                lead: Some(lead),
            });
        }
    }

    fn asks(&self, writes: bool) -> (Option<Scheme>, Option<Asks>) {
        let known = self.known();
        let knowledge = &known.knowledge;
        let (own, other) =
            if writes { (&knowledge.writing, &knowledge.reading) } else { (&knowledge.reading, &knowledge.writing) };
        // What one side asks for, the other most likely asks for too. That one is open says nothing of the other.
        let asks = own.clone().or_else(|| other.clone().filter(|asks| *asks != Asks::Nothing));
        (knowledge.scheme, asks)
    }

    async fn authorize(
        &self,
        context: &Context,
        scheme: Scheme,
        asks: &Asks,
        scopes: &ScopeSet,
    ) -> Result<(Option<HeaderValue>, Shown), ClientError> {
        let bearer = match asks {
            Asks::Nothing => return Ok((None, Shown::Nothing)),
            Asks::Basic => {
                return Ok(match self.credentials(context).await? {
                    Credentials::Basic { username, password } => (Some(token::basic(username, password)), Shown::Basic),
                    _ => (None, Shown::Nothing),
                });
            }
            Asks::Bearer(bearer) => bearer,
        };
        let credentials = self.credentials(context).await?;
        if let Credentials::RegistryToken(secret) = credentials {
            let Some(header) = token::bearer_header(secret.reveal()) else {
                let failure = context.failure(ErrorKind::Credentials);
                return Err(failure.detail("the registry token has characters that no header may have").into());
            };
            return Ok((Some(header), Shown::Fixed));
        }
        let registry = self
            .url(scheme, &Place::Path("/".to_owned()))
            .map_err(|error| ClientError::from(context.failure(ErrorKind::Configuration).detail(error.to_string())))?;
        let asking = Asking { wire: &self.wire, context, bearer, credentials, registry: &registry };
        let token = self.tokens.get(&asking, scopes).await?;
        Ok((Some(token.header.clone()), Shown::Token(token)))
    }

    async fn credentials(&self, context: &Context) -> Result<&Credentials, ClientError> {
        self.credentials
            .get_or_try_init(|| async {
                let source = self.credential_source.clone();
                let host = self.host.clone();
                let looked_up = tokio::task::spawn_blocking(move || source.lookup(&host)).await;
                let failure = || context.failure(ErrorKind::Credentials);
                match looked_up {
                    Ok(Ok(credentials)) => Ok(credentials),
                    Ok(Err(error)) => {
                        let mut failure = failure();
                        failure.hint = error.hint();
                        Err(failure.source(error).into())
                    }
                    Err(error) => Err(failure().source(error).into()),
                }
            })
            .await
    }

    /// Sees to it that the next round differs from this one, or returns why there is no point in another.
    async fn answer_challenge(
        &self,
        course: &mut Course,
        ticket: &Ticket<'_>,
        asked: &Challenge,
        context: &Context,
        error: &ClientError,
    ) -> Result<(), ClientError> {
        let asks = Asks::from(asked);
        let news = self.learn_challenge(course, ticket, &asks);
        let again = match (asked, &ticket.shown) {
            (_, Shown::Fixed) | (Challenge::Basic, Shown::Basic) => false,
            (Challenge::Basic, Shown::Nothing) => {
                if !matches!(self.credentials(context).await?, Credentials::Basic { .. }) {
                    let mut failure = error.clone().into_failure();
                    failure.kind = ErrorKind::NoCredentials;
                    failure.hint = Some(format!("log in with `polyarch login {}`", self.host));
                    return Err(failure.into());
                }
                true
            }
            (Challenge::Bearer { scopes, .. }, Shown::Nothing) => {
                course.scopes.extend_bounded(scopes);
                true
            }
            (Challenge::Bearer { scopes, .. }, Shown::Token(token)) => {
                if news && first(&mut course.relearnt) {
                    self.tokens.clear();
                    true
                } else if !token.scopes.covers(scopes) && first(&mut course.widened) {
                    course.scopes.extend_bounded(scopes);
                    true
                } else if token.given < course.started && first(&mut course.renewed) {
                    // One that was given for this very request would be refused again.
                    self.tokens.reject(token.id);
                    true
                } else {
                    false
                }
            }
            (Challenge::Basic, Shown::Token(_)) | (Challenge::Bearer { .. }, Shown::Basic) => {
                first(&mut course.relearnt)
            }
        };
        if again { Ok(()) } else { Err(error.clone()) }
    }

    /// The registry answered without asking for more than was shown.
    fn learn_open(&self, course: &mut Course, ticket: &Ticket<'_>) {
        let writes = course.scopes.writes();
        let open = matches!(ticket.shown, Shown::Nothing) && ticket.lead.is_some();
        self.learn(course, ticket, |knowledge| {
            let asks = if writes { &mut knowledge.writing } else { &mut knowledge.reading };
            if open && asks.is_none() {
                *asks = Some(Asks::Nothing);
            }
        });
    }

    /// The registry asked. Returns whether that is news.
    fn learn_challenge(&self, course: &mut Course, ticket: &Ticket<'_>, asks: &Asks) -> bool {
        self.learn(course, ticket, |knowledge| {
            knowledge.reading = Some(asks.clone());
            knowledge.writing = Some(asks.clone());
        })
    }

    fn learn(&self, course: &mut Course, ticket: &Ticket<'_>, change: impl FnOnce(&mut Knowledge)) -> bool {
        let mut known = self.known();
        let before = known.knowledge.clone();
        known.knowledge.scheme = Some(ticket.scheme);
        known.knowledge.verified = ticket.scheme == Scheme::Https && !self.lenient;
        change(&mut known.knowledge);
        known.recalled = false;
        let news = known.knowledge != before;
        if news && let Some(cache) = &self.wire.options.cache_dir {
            let (cache, host, knowledge) = (cache.clone(), self.host.clone(), known.knowledge.clone());
            let earlier = course.saving.take();
            course.saving = Some(tokio::task::spawn(async move {
                if let Some(earlier) = earlier {
                    let _: Result<(), _> = earlier.await;
                }
                let write = move || learnt::remember(&cache, &host, &knowledge);
                let _: Result<(), _> = tokio::task::spawn_blocking(write).await;
            }));
        }
        news
    }

    /// What the last run knew turned out not to work: forget it. True where that leads to something new, or where
    /// somebody else has learnt something else in the meantime.
    fn forget_recalled(&self, asks: &Asks, writes: bool) -> bool {
        if self.asks(writes).1.as_ref() != Some(asks) {
            return true;
        }
        let mut known = self.known();
        if !known.recalled {
            return false;
        }
        known.recalled = false;
        known.knowledge.reading = None;
        known.knowledge.writing = None;
        true
    }

    /// Whether a failure means that the other scheme is to be tried. From HTTPS to HTTP only where the server showed
    /// that it speaks HTTP there; from HTTP to HTTPS where HTTP was no more than a memory.
    fn may_switch(&self, ticket: &Ticket<'_>, place: &Place, error: &ClientError) -> bool {
        if !self.lenient || self.plain || matches!(place, Place::Url(_)) {
            return false;
        }
        match ticket.scheme {
            Scheme::Https => {
                error.kind() == ErrorKind::HttpInsteadOfHttps
                    // Through a proxy nobody could look; the attempt itself is the look then.
                    || error.kind() == ErrorKind::NotTls && self.is_proxied()
            }
            Scheme::Http => {
                self.is_memory(ticket.scheme)
                    && !matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Dns | ErrorKind::Timeout)
                    && error.network().is_some()
            }
        }
    }

    /// Whether nothing but the last run speaks for a scheme.
    fn is_memory(&self, scheme: Scheme) -> bool {
        let known = self.known();
        known.found != Some(scheme) && (known.recalled || known.knowledge.scheme != Some(scheme))
    }

    fn is_proxied(&self) -> bool {
        self.home().is_ok_and(|url| self.wire.options.proxies.proxy_for(&url).is_some())
    }

    /// Servers in Go and nginx say in plain HTTP that they want HTTPS.
    fn was_https_all_along(&self, ticket: &Ticket<'_>, place: &Place, error: &ClientError) -> bool {
        self.lenient
            && !self.plain
            && ticket.scheme == Scheme::Http
            && matches!(place, Place::Path(_))
            && error.status() == Some(400)
            && error.body().is_some_and(|body| body.to_ascii_uppercase().contains("HTTPS"))
            && self.is_memory(ticket.scheme)
    }

    fn switch(&self, from: Scheme) {
        let to = match from {
            Scheme::Https => Scheme::Http,
            Scheme::Http => Scheme::Https,
        };
        let mut known = self.known();
        known.knowledge.scheme = Some(to);
        known.found = Some(to);
    }
}

/// Whether a challenge is there to be answered: with 401, or with 403 where it says that the token was not enough.
fn is_answerable(status: StatusCode, asked: &Challenge) -> bool {
    status == StatusCode::UNAUTHORIZED
        || status == StatusCode::FORBIDDEN && matches!(asked, Challenge::Bearer { insufficient: true, .. })
}

/// True the first time.
fn first(used: &mut bool) -> bool {
    !std::mem::replace(used, true)
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
        && !authority.ends_with(']')
}
