//! Connections and requests: latency, TLS, faults, the order in which a request is looked at.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use image::Digest;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::answer::{self, Answer, Payload};
use crate::auth::{self, Auth};
use crate::fault::FaultKind;
use crate::lab::Shared;
use crate::log::{self, Ticket};
use crate::routes::{self, Route};
use crate::send::{Ending, Sending};
use crate::uploads::{self, Gone, Incomings};
use crate::wire::{Control, Wire};
use crate::{Quirks, manifests};

/// How long a client of the wrong protocol is listened to.
const DRAIN: Duration = Duration::from_millis(500);

pub(crate) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let id = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::spawn(connection(stream, id, shared.clone()));
    }
}

async fn connection(mut stream: TcpStream, id: u64, shared: Arc<Shared>) {
    // Without it small answers wait for the other side's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let step = shared.latency().per_connection_step;
    pause(step).await;
    let control = Arc::new(Control::default());
    let Some(acceptor) = shared.acceptor.clone() else {
        return talk(Wire::new(stream, control.clone()), id, shared, control).await;
    };
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1)) {
        return;
    }
    if first[0] != 0x16 {
        // Not a handshake record: the words that Go's server has for it, which docker prints.
        let text = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
        // What was not read would turn the close into a reset, and the words would be lost.
        let _ = tokio::time::timeout(DRAIN, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
        return;
    }
    pause(step).await;
    match acceptor.accept(stream).await {
        Ok(stream) => talk(Wire::new(stream, control.clone()), id, shared, control).await,
        Err(_) => {
            shared.failed_handshakes.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

async fn talk<S>(stream: Wire<S>, id: u64, shared: Arc<Shared>, control: Arc<Control>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (shared, control) = (shared.clone(), control.clone());
        async move { one(request, id, shared, control).await }
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
    // The client's fault or a cut that was asked for: either way the test sees it from its own side.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// What one request goes through.
async fn one(
    request: Request<Incoming>,
    connection_id: u64,
    shared: Arc<Shared>,
    control: Arc<Control>,
) -> Result<Response<Sending>, Gone> {
    let (parts, body) = request.into_parts();
    let path_and_query = parts.uri.path_and_query().map_or("/", |text| text.as_str()).to_owned();
    let (path, query) = path_and_query.split_once('?').unwrap_or((&path_and_query, ""));
    let head_only = parts.method == Method::HEAD;
    if path == "/_lab/log" {
        return Ok(finish(own_door(&shared, &parts.method), head_only, &[], &shared, None));
    }
    let ticket = shared.log.begin(log::Request {
        method: parts.method.clone(),
        path_and_query: path_and_query.clone(),
        version: parts.version,
        headers: parts.headers.clone(),
        status: 0,
        started: Instant::now(),
        finished: None,
        connection_id,
        received: 0,
        sent: 0,
    });
    let faults = shared.faults.pick(&parts.method, &path_and_query);
    pause(shared.latency().per_request).await;
    for fault in &faults {
        match fault {
            FaultKind::Drop => {
                control.cut();
                return Err(Gone::Cut);
            }
            FaultKind::Raw(bytes) => control.say(bytes.clone()),
            FaultKind::Stall(time) => pause(*time).await,
            _ => {}
        }
    }
    let count = |n: u64| shared.log.update(ticket, |request| request.received += n);
    let drop_after = faults.iter().find_map(|fault| match fault {
        FaultKind::DropUpload(bytes) => Some(*bytes),
        _ => None,
    });
    let body = Incomings { body, drop_after, count: &count };
    let answer = match instead(&faults, &path_and_query) {
        Some(answer) => Ok(answer),
        None => reply(&shared, &parts, path, query, body).await,
    };
    let answer = answer.inspect_err(|gone| {
        if *gone == Gone::Cut {
            control.cut();
        }
    })?;
    if faults.contains(&FaultKind::DropAnswer) {
        control.cut();
        return Err(Gone::Cut);
    }
    shared.log.update(ticket, |request| request.status = answer.status().as_u16());
    Ok(finish(answer, head_only, &faults, &shared, Some(ticket)))
}

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cut => "the connection is cut",
            Self::Client => "the client broke the request off",
        })
    }
}

impl std::error::Error for Gone {}

/// The log over HTTP, for a lab that runs as a process. Not logged itself.
fn own_door(shared: &Shared, method: &Method) -> Answer {
    if *method == Method::DELETE {
        shared.clear_log();
        return answer::empty(204);
    }
    let requests = shared.log.snapshot();
    let lines: Vec<Value> = requests
        .iter()
        .map(|request| json!({ "request": request.line(), "status": request.status, "connection": request.connection_id }))
        .collect();
    answer::with_json(
        200,
        &json!({
            "count": requests.len(),
            "depth": log::dependency_depth(&requests),
            "connections": shared.connections(),
            "requests": lines,
        }),
    )
}

/// Answers of faults that leave the registry out of it.
fn instead(faults: &[FaultKind], path_and_query: &str) -> Option<Answer> {
    faults.iter().find_map(|fault| match fault {
        FaultKind::Status { status, code, message } => Some(answer::failure(*status, code, message, Value::Null)),
        FaultKind::Body { status, content_type, body } => Some(answer::with_body(*status, content_type, body.clone())),
        FaultKind::RetryAfter(seconds) => {
            let answer = answer::failure(429, "TOOMANYREQUESTS", "too many requests", Value::Null);
            Some(match seconds {
                Some(seconds) => answer::header(answer, "retry-after", &seconds.to_string()),
                None => answer,
            })
        }
        FaultKind::Redirect(url) => Some(answer::header(answer::empty(307), "location", url)),
        FaultKind::RedirectLoop => Some(answer::header(answer::empty(307), "location", path_and_query)),
        FaultKind::ControlCharacters => Some(answer::failure(
            400,
            "\u{1b}[31mBAD",
            "\u{1b}]0;owned\u{7}line one\r\nline two\u{8}\u{9b}2J\u{202e}",
            json!({ "\u{1b}[2J": "\u{1b}[1A" }),
        )),
        FaultKind::Raw(_) => Some(answer::empty(200)),
        _ => None,
    })
}

/// The registry's own answer.
async fn reply(
    shared: &Shared,
    parts: &http::request::Parts,
    path: &str,
    query: &str,
    body: Incomings<'_>,
) -> Result<Answer, Gone> {
    let (method, headers) = (&parts.method, &parts.headers);
    let quirks = shared.quirks();
    let mut answer = answer_of(shared, &quirks, method, path, query, headers, body).await?;
    answer::set(&mut answer, "docker-distribution-api-version", "registry/2.0");
    if quirks.no_content_digest {
        answer.headers_mut().remove("docker-content-digest");
    }
    if quirks.plain_errors && answer.status().as_u16() >= 400 {
        let text = format!("{}\n", answer.status().canonical_reason().unwrap_or("error").to_lowercase());
        *answer.body_mut() = Bytes::from(text).into();
        answer::set(&mut answer, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    }
    Ok(answer)
}

async fn answer_of(
    shared: &Shared,
    quirks: &Quirks,
    method: &Method,
    path: &str,
    query: &str,
    headers: &http::HeaderMap,
    body: Incomings<'_>,
) -> Result<Answer, Gone> {
    let route = Route::parse(path);
    if let Some(limit) = quirks.rate_limit
        && shared.over_limit(limit)
    {
        let answer = answer::failure(429, "TOOMANYREQUESTS", "too many requests", Value::Null);
        return Ok(match limit.retry_after {
            Some(seconds) => answer::header(answer, "retry-after", &seconds.to_string()),
            None => answer,
        });
    }
    let auth = shared.auth();
    if route == Route::Token {
        let form = body.collect(64 << 10).await?;
        return Ok(auth::token(&auth, &shared.tokens, method, query, headers, &String::from_utf8_lossy(&form)));
    }
    let open = matches!(route, Route::OpenBlob { .. } | Route::OpenUpload { .. } | Route::Unknown)
        || (quirks.challenge_on_manifests_only && !matches!(route, Route::Manifest { .. }));
    let asked = if open { &Auth::None } else { &auth };
    let access = match auth::authorize(asked, &shared.tokens, &shared.base_url, method, &route, query, headers) {
        Ok(access) => access,
        Err(answer) => return Ok(*answer),
    };
    let answer = match (&route, method.as_str()) {
        (Route::Ping, "GET" | "HEAD") => Ok(answer::with_body(200, "application/json; charset=utf-8", "{}")),
        (Route::Catalog, "GET") => routes::catalog(shared, path, query),
        (Route::Tags { name }, "GET") => routes::tags(shared, name, path, query),
        (Route::Referrers { name, digest }, "GET") => routes::referrers(shared, name, digest, path, query),
        (Route::Manifest { name, reference }, "GET" | "HEAD") => {
            Ok(manifests::read(shared, method, name, reference, headers))
        }
        (Route::Manifest { name, reference }, "PUT") => {
            let bytes = body.collect(8 << 20).await?;
            Ok(manifests::put(shared, name, reference, query, headers, &bytes))
        }
        (Route::Manifest { name, reference }, "DELETE") => Ok(manifests::delete(shared, name, reference)),
        (Route::Blob { name, digest }, _) => routes::blob(shared, method, name, digest, headers, false),
        (Route::OpenBlob { name, digest }, _) => routes::blob(shared, method, name, digest, headers, true),
        (Route::Uploads { name }, "POST") => return uploads::start(shared, &access, name, query, body).await,
        (Route::Upload { name, id } | Route::OpenUpload { name, id }, _) => {
            return uploads::session_verb(shared, method, name, id, query, headers, body).await;
        }
        (Route::Unknown, _) => Ok(answer::with_body(404, "text/plain; charset=utf-8", "404 page not found\n")),
        _ => Ok(routes::unsupported()),
    };
    Ok(answer.unwrap_or_else(|answer| *answer))
}

/// Puts the faults of the body on, and `Content-Length`.
fn finish(
    mut answer: Answer,
    head_only: bool,
    faults: &[FaultKind],
    shared: &Shared,
    ticket: Option<Ticket>,
) -> Response<Sending> {
    let mut until = u64::MAX;
    let mut ending = Ending::Proper;
    let mut length = None;
    for fault in faults {
        match fault {
            FaultKind::WrongDigest => {
                let other = Digest::sha256(b"other content");
                answer::set(&mut answer, "docker-content-digest", other.as_str());
            }
            FaultKind::Header(name, value) => answer::set(&mut answer, name.as_str(), value),
            FaultKind::WithoutHeader(name) => {
                answer.headers_mut().remove(name.as_str());
            }
            FaultKind::ContentLength(n) => length = Some(*n),
            FaultKind::Truncate(n) => (until, ending) = (*n, Ending::Broken),
            FaultKind::StallBody(n) => (until, ending) = (*n, Ending::Silence),
            FaultKind::Endless => {
                if answer.body().len() == 0 {
                    *answer.body_mut() = Bytes::from(vec![b' '; 4096]).into();
                }
                ending = Ending::OnceMore;
            }
            FaultKind::WrongBytes => change(&mut answer, |bytes| {
                if let Some(middle) = bytes.len().checked_div(2).and_then(|at| bytes.get_mut(at)) {
                    *middle ^= 1;
                }
            }),
            FaultKind::Longer(n) => change(&mut answer, |bytes| bytes.resize(bytes.len() + *n as usize, b' ')),
            FaultKind::Shorter(n) => change(&mut answer, |bytes| {
                bytes.truncate(bytes.len().saturating_sub(*n as usize));
            }),
            FaultKind::Gzip => {
                change(&mut answer, |bytes| {
                    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    // Writing to memory does not fail.
                    let _ = encoder.write_all(bytes);
                    *bytes = encoder.finish().unwrap_or_default();
                });
                answer::set(&mut answer, header::CONTENT_ENCODING, "gzip");
            }
            _ => {}
        }
    }
    let size = length.unwrap_or_else(|| answer.body().len());
    let bodiless = matches!(answer.status().as_u16(), 204 | 304);
    if ending != Ending::OnceMore && !bodiless && !answer.headers().contains_key(header::CONTENT_LENGTH) {
        answer::set(&mut answer, header::CONTENT_LENGTH, &size.to_string());
    }
    if length.is_some_and(|length| length > answer.body().len()) && ending == Ending::Proper {
        ending = Ending::Broken;
    }
    if head_only || bodiless {
        *answer.body_mut() = Payload::from(Bytes::new());
        ending = Ending::Proper;
    }
    let log = shared.log.clone();
    answer.map(|payload| Sending::new(payload, until, ending, log, ticket))
}

fn change(answer: &mut Answer, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = answer.body().bytes().to_vec();
    change(&mut bytes);
    *answer.body_mut() = Bytes::from(bytes).into();
}
