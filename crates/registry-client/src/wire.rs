//! One request and its answer, redirects included. Knows nothing of challenges, tokens and repetition.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    USER_AGENT,
};
use http::{Method, StatusCode};
use url::Url;

use crate::codes;
use crate::error::{ClientError, ErrorKind, Failure, Verb};
use crate::escape;
use crate::network::Phase;
use crate::options::ClientOptions;
use crate::pause;
use crate::payload::{Payload, Progress, Sending};
use crate::redact::RedactedUrl;
use crate::transport::{Broken, Transports, same_origin};

/// Most redirects that are followed, as in Docker.
const REDIRECTS: usize = 10;
/// Most bytes of the body of an error.
const ERROR_BODY: usize = 64 << 10;
/// Most bytes of an error's body that are kept to be shown.
const SHOWN_BODY: usize = 2 << 10;

/// What is being done, for errors.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) verb: Verb,
    pub(crate) method: Method,
    pub(crate) url: RedactedUrl,
}

impl Context {
    pub(crate) fn new(verb: Verb, method: Method, url: &Url) -> Self {
        Self { verb, method, url: RedactedUrl::from(url) }
    }

    pub(crate) fn failure(&self, kind: ErrorKind) -> Failure {
        Failure::new(kind, self.verb, self.method.clone(), self.url.clone())
    }
}

/// A request without what every request has.
pub(crate) struct Message<'a> {
    pub(crate) context: Context,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: &'a Payload<'a>,
    /// Whether there is a secret in the payload: then it goes to the host of `url` and nowhere else.
    pub(crate) secret: bool,
}

/// The head of an answer, and its body to come.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    /// Whether that is another host than was asked.
    pub(crate) foreign: bool,
    pub(crate) body: Incoming,
}

impl Head {
    /// The value of a header, if it is text.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body's compression, if it has one: none was asked for.
    pub(crate) fn encoding(&self) -> Option<String> {
        let encoding = self.headers.get(CONTENT_ENCODING)?;
        let encoding = String::from_utf8_lossy(encoding.as_bytes());
        let encoding = encoding.trim();
        (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then(|| escape::line(encoding))
    }
}

/// A body that is still coming.
#[derive(Debug)]
pub(crate) struct Incoming {
    response: reqwest::Response,
    context: Context,
    url: Url,
    stall: Duration,
}

impl Incoming {
    /// Whether it comes by HTTP/2, where the end of a body is always marked.
    pub(crate) fn is_http2(&self) -> bool {
        self.response.version() == http::Version::HTTP_2
    }

    /// `Content-Length`, or what is known otherwise.
    pub(crate) fn length(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self, wire: &Wire) -> Result<Option<Bytes>, ClientError> {
        let broken = match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(chunk)) => return Ok(chunk),
            Ok(Err(error)) => {
                let mut broken = wire.transports.explain(&wire.options, &self.url, &error).await;
                broken.network.phase = Phase::Body;
                broken
            }
            Err(_) => wire.transports.timed_out(&self.url, Phase::Body, self.stall),
        };
        Err(wire.broken(&self.context, &self.url, broken).into())
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn read(mut self, wire: &Wire, limit: usize) -> Result<Bytes, ClientError> {
        let announced = self.length();
        let too_large = |context: &Context| {
            ClientError::from(context.failure(ErrorKind::TooLarge).detail(format!("more than {limit} bytes")))
        };
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_large(&self.context));
        }
        // An announced length is not believed beyond what a usual document needs.
        let expected = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(64 << 10);
        let mut body = BytesMut::with_capacity(expected);
        while let Some(chunk) = self.chunk(wire).await? {
            if body.len() + chunk.len() > limit {
                return Err(too_large(&self.context));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// As much of the body as an error is worth, whatever happens to the rest. A body that drips is not waited for.
    async fn read_some(mut self, wire: &Wire) -> Bytes {
        let mut body = BytesMut::new();
        let read = async {
            while body.len() < ERROR_BODY {
                let Ok(Some(chunk)) = self.chunk(wire).await else { break };
                let room = ERROR_BODY - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
        };
        let _: Result<(), _> = tokio::time::timeout(wire.options.timeouts.stall, read).await;
        body.freeze()
    }
}

/// Sends requests.
pub(crate) struct Wire {
    pub(crate) options: ClientOptions,
    pub(crate) transports: Transports,
}

impl Wire {
    pub(crate) fn new(options: ClientOptions) -> Self {
        let transports = Transports::new(&options);
        Self { options, transports }
    }

    /// Sends a request and follows redirects. `authorization` goes to the host of `message.url` and nowhere else, and
    /// not back to it either once it has sent us away.
    pub(crate) async fn send(
        &self,
        message: &Message<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Head, ClientError> {
        let context = &message.context;
        let mut url = message.url.clone();
        let mut foreign = false;
        let mut visited = HashSet::new();
        loop {
            let mut headers = message.headers.clone();
            if let Some(authorization) = authorization.filter(|_| !foreign) {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let response = self.once(context, &url, headers, message.payload).await?;
            let status = response.status();
            let followed = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = response.headers().get(LOCATION).filter(|_| followed).cloned();
            let Some(location) = location else {
                let body = Incoming {
                    url: url.clone(),
                    context: context.clone(),
                    stall: self.options.timeouts.stall,
                    response,
                };
                let headers = body.response.headers().clone();
                return Ok(Head { status, headers, url, foreign, body });
            };
            visited.insert(url.clone());
            let next = redirect(context, &url, status, &location)?;
            if visited.contains(&next) {
                return Err(refused_redirect(context, status, "it leads back to where it came from").into());
            }
            if visited.len() > REDIRECTS {
                return Err(refused_redirect(context, status, "more than 10 in a row").into());
            }
            if !message.payload.is_repeatable() {
                return Err(refused_redirect(context, status, "the body cannot be sent again").into());
            }
            tracing::debug!(from = %RedactedUrl::from(&url), to = %RedactedUrl::from(&next), "redirect");
            foreign |= !same_origin(&message.url, &next);
            if foreign && message.secret {
                return Err(refused_redirect(context, status, "it would take credentials to another host").into());
            }
            url = next;
        }
    }

    async fn once(
        &self,
        context: &Context,
        url: &Url,
        headers: HeaderMap,
        payload: &Payload<'_>,
    ) -> Result<reqwest::Response, ClientError> {
        let client = self.transports.get(&self.options, url).map_err(|error| {
            let mut failure = context.failure(ErrorKind::Configuration).detail(error.reason);
            failure.hint = error.hint;
            failure
        })?;
        let mut request = reqwest::Request::new(context.method.clone(), url.clone());
        *request.headers_mut() = headers;
        let headers = request.headers_mut();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Ok(agent) = HeaderValue::from_str(&self.options.user_agent) {
            headers.insert(USER_AGENT, agent);
        }
        let streamed = matches!(payload, Payload::Source { .. } | Payload::Part(..));
        if payload.len() > 0 || !matches!(context.method, Method::GET | Method::HEAD | Method::DELETE) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(payload.len()));
        }
        let progress = Progress::new(streamed);
        *request.body_mut() = match payload {
            Payload::Empty => None,
            Payload::Bytes(bytes) => Some(bytes.clone().into()),
            Payload::Source { source, length } => {
                let stream = source.open().await.map_err(|error| source_failure(context, error))?;
                Some(reqwest::Body::wrap_stream(Sending::new(stream, *length, progress.clone())))
            }
            Payload::Part(parts, length) => {
                let stream = parts.clone().part(*length);
                Some(reqwest::Body::wrap_stream(Sending::new(stream, *length, progress.clone())))
            }
        };
        let started = Instant::now();
        let exchange = client.execute(request);
        tokio::pin!(exchange);
        let answer = loop {
            let (deadline, limit) = progress.deadline(&self.options.timeouts);
            tokio::select! {
                answer = &mut exchange => break answer,
                () = tokio::time::sleep_until(deadline.into()) => {
                    if progress.deadline(&self.options.timeouts).0 <= Instant::now() {
                        let broken = self.transports.timed_out(url, Phase::Exchange, limit);
                        return Err(self.broken(context, url, broken).into());
                    }
                }
            }
        };
        match answer {
            Ok(response) => {
                tracing::debug!(
                    method = %context.method,
                    url = %RedactedUrl::from(url),
                    status = response.status().as_u16(),
                    version = ?response.version(),
                    milliseconds = started.elapsed().as_millis(),
                    "answer"
                );
                Ok(response)
            }
            Err(error) => {
                if let Some(failure) = progress.take_failure() {
                    return Err(source_failure(context, failure).into());
                }
                let broken = self.transports.explain(&self.options, url, &error).await;
                tracing::debug!(method = %context.method, url = %RedactedUrl::from(url), failure = %broken.network, "no answer");
                Err(self.broken(context, url, broken).into())
            }
        }
    }

    /// The error for a failure below HTTP.
    pub(crate) fn broken(&self, context: &Context, url: &Url, broken: Broken) -> Failure {
        let host = url.authority();
        let insecure = self.options.insecure;
        let hint = match broken.kind {
            ErrorKind::HttpInsteadOfHttps if !insecure => Some("plain HTTP is allowed by `--insecure`".to_owned()),
            ErrorKind::UnknownCa => Some(format!(
                "put the authority's certificate into `/etc/docker/certs.d/{host}/ca.crt` or into the file that \
                 `SSL_CERT_FILE` names; `--insecure` does not verify at all"
            )),
            ErrorKind::WrongHostName => {
                Some("use the name that the certificate is for; `--insecure` does not verify at all".to_owned())
            }
            ErrorKind::CertificateExpired => Some("look at the clock of this machine and of the server".to_owned()),
            ErrorKind::ConnectionRefused => Some(format!("is a registry running at `{host}`?")),
            ErrorKind::Dns => Some(format!("is `{}` spelt right?", broken.network.host)),
            _ => None,
        };
        let mut failure = context.failure(broken.kind);
        failure.hint = hint;
        failure.network = Some(broken.network);
        failure
    }

    /// The error for an answer that is not a success. Reads what it needs of the body.
    pub(crate) async fn refusal(&self, context: &Context, head: Head) -> ClientError {
        let status = head.status;
        let kind = match status.as_u16() {
            300..=399 => ErrorKind::Redirect,
            401 => ErrorKind::Unauthorized,
            403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            405 => ErrorKind::Unsupported,
            413 => ErrorKind::RefusedAsTooLarge,
            429 => ErrorKind::RateLimited,
            400..=499 => ErrorKind::Rejected,
            500..=599 => ErrorKind::ServerError,
            _ => ErrorKind::InvalidResponse,
        };
        let mut failure = context.failure(kind);
        failure.status = Some(status);
        failure.retry_after = pause::retry_after(&head.headers);
        failure.content_type =
            head.headers.get(CONTENT_TYPE).map(|value| escape::line(&String::from_utf8_lossy(value.as_bytes())));
        if head.encoding().is_none() {
            let body = head.body.read_some(self).await;
            failure.codes = codes::parse(&body);
            let shown = &body[..body.len().min(SHOWN_BODY)];
            failure.body = Some(escape::lines(&String::from_utf8_lossy(shown)));
        }
        failure.into()
    }
}

/// Where a redirect leads, if it may be followed.
fn redirect(context: &Context, from: &Url, status: StatusCode, location: &HeaderValue) -> Result<Url, ClientError> {
    // Docker follows what reads; what writes is repeated elsewhere only where the method is to be kept.
    let reads = context.method == Method::GET || context.method == Method::HEAD;
    if !reads && !matches!(status.as_u16(), 307 | 308) {
        return Err(refused_redirect(context, status, "it would change the request").into());
    }
    let Some(mut next) = location.to_str().ok().and_then(|location| from.join(location).ok()) else {
        return Err(refused_redirect(context, status, "its `Location` is not a URL").into());
    };
    match (from.scheme(), next.scheme()) {
        ("https", "http") => {
            return Err(refused_redirect(context, status, "it leads from HTTPS to plain HTTP").into());
        }
        (_, "http" | "https") if next.has_host() => {}
        _ => return Err(refused_redirect(context, status, "its `Location` is not an HTTP URL").into()),
    }
    // Neither fails for a URL that has a host. Whoever redirects does not choose what we log in with.
    let _ = next.set_username("");
    let _ = next.set_password(None);
    next.set_fragment(None);
    Ok(next)
}

fn refused_redirect(context: &Context, status: StatusCode, why: &str) -> Failure {
    let mut failure = context.failure(ErrorKind::Redirect).detail(why);
    failure.status = Some(status);
    failure
}

pub(crate) fn source_failure(context: &Context, error: crate::repository::SourceError) -> Failure {
    let mut failure = context.failure(ErrorKind::Source);
    failure.source = Some(error.into());
    failure
}
