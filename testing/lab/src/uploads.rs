//! Upload sessions: opened, mounted around, filled, finished, given up.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use image::Digest;
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::auth::Access;
use crate::content::Upload;
use crate::lab::Shared;
use crate::quirks::{Location, Mounts};
use crate::routes::{digest, mount_source, query_value, unsupported};

/// There is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// A fault wants the connection cut.
    Cut,
    /// The client broke the request off. Over HTTP/2 its other requests go on.
    Client,
}

/// The request's body, with the fault that ends it early.
pub(crate) struct Incomings<'a> {
    pub(crate) body: Incoming,
    /// Cut after so many bytes.
    pub(crate) drop_after: Option<u64>,
    pub(crate) count: &'a (dyn Fn(u64) + Send + Sync),
}

impl Incomings<'_> {
    /// The next piece; `None` at the end.
    async fn next(&mut self, so_far: u64) -> Result<Option<Bytes>, Gone> {
        loop {
            if self.drop_after.is_some_and(|limit| so_far >= limit) {
                return Err(Gone::Cut);
            }
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| Gone::Client)?.into_data() else { continue };
            (self.count)(data.len() as u64);
            return Ok(Some(data));
        }
    }

    /// All of it, up to `limit` bytes; the rest is read and dropped.
    pub(crate) async fn collect(mut self, limit: usize) -> Result<Bytes, Gone> {
        let mut all = Vec::new();
        let mut total = 0;
        while let Some(data) = self.next(total).await? {
            total += data.len() as u64;
            if all.len() <= limit {
                all.extend_from_slice(&data);
            }
        }
        Ok(all.into())
    }
}

fn session(shared: &Shared, name: &str, id: &str, status: u16, received: u64) -> Answer {
    let quirks = shared.quirks();
    let location = match &quirks.location {
        Location::OtherHost(host) => {
            format!("{}://{host}/_lab/storage/{name}/blobs/uploads/{id}?_state={received}", shared.scheme())
        }
        _ => shared.location(&format!("/v2/{name}/blobs/uploads/{id}?_state={received}")),
    };
    let answer = answer::header(answer::empty(status), "location", &location);
    let answer = answer::header(answer, "docker-upload-uuid", id);
    let mut answer = answer::header(answer, "range", &format!("0-{}", received.saturating_sub(1)));
    if let Some(minimum) = quirks.chunk_minimum {
        answer::set(&mut answer, "oci-chunk-min-length", &minimum.to_string());
    }
    answer
}

fn created(shared: &Shared, name: &str, digest: &Digest) -> Answer {
    let answer = answer::empty(201);
    let answer = answer::header(answer, "location", &shared.location(&format!("/v2/{name}/blobs/{digest}")));
    answer::header(answer, "docker-content-digest", digest.as_str())
}

fn unknown_upload() -> Answer {
    answer::failure(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry", Value::Null)
}

fn wrong_digest() -> Answer {
    answer::failure(400, "DIGEST_INVALID", "provided digest did not match uploaded content", Value::Null)
}

/// `POST …/blobs/uploads/`, in all its forms.
pub(crate) async fn start(
    shared: &Shared,
    access: &Access,
    name: &str,
    query: &str,
    body: Incomings<'_>,
) -> Result<Answer, Gone> {
    let quirks = shared.quirks();
    if let Some(mount) = query_value(query, "mount") {
        let digest = match digest(&mount) {
            Ok(digest) => digest,
            Err(answer) => return Ok(*answer),
        };
        let from = query_value(query, "from").filter(|from| !from.is_empty());
        let source = match (quirks.mounts, from) {
            (Mounts::Refused(status), _) => {
                return Ok(answer::failure(status, "UNSUPPORTED", "The operation is unsupported.", Value::Null));
            }
            (Mounts::Session, _) | (Mounts::OnlyWithFrom, None) => None,
            (Mounts::Honoured | Mounts::OnlyWithFrom, Some(from)) => Some(from),
            (Mounts::Honoured, None) => mount_source(shared, access, &digest),
        };
        if source.is_some_and(|source| shared.content().mount(&source, name, &digest)) {
            return Ok(created(shared, name, &digest));
        }
    } else if let Some(text) = query_value(query, "digest")
        && !quirks.no_single_post
    {
        let digest = match digest(&text) {
            Ok(digest) => digest,
            Err(answer) => return Ok(*answer),
        };
        let mut upload = Upload::new(name);
        fill(&mut upload, body, quirks.forget_blobs_over).await?;
        return Ok(match upload.finish(&digest) {
            Some(blob) => {
                shared.content().put_blob(name, digest.clone(), blob);
                created(shared, name, &digest)
            }
            None => wrong_digest(),
        });
    }
    body.collect(0).await?;
    let id = shared.content().start_upload(name);
    Ok(session(shared, name, &id, 202, 0))
}

async fn fill(upload: &mut Upload, mut body: Incomings<'_>, keep: Option<u64>) -> Result<(), Gone> {
    let mut here = 0;
    while let Some(data) = body.next(here).await? {
        here += data.len() as u64;
        upload.append(&data, keep);
    }
    Ok(())
}

/// `GET`, `PATCH`, `PUT` and `DELETE` of a session.
pub(crate) async fn session_verb(
    shared: &Shared,
    method: &Method,
    name: &str,
    id: &str,
    query: &str,
    headers: &HeaderMap,
    body: Incomings<'_>,
) -> Result<Answer, Gone> {
    let quirks = shared.quirks();
    let received = match shared.content().uploads.get(id) {
        Some(upload) if upload.repository == name => upload.received,
        _ => return Ok(unknown_upload()),
    };
    match *method {
        Method::GET => return Ok(session(shared, name, id, 204, received)),
        Method::DELETE => {
            shared.content().uploads.remove(id);
            return Ok(answer::empty(204));
        }
        Method::PATCH | Method::PUT => {}
        _ => return Ok(unsupported()),
    }
    let range = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    if let Some(range) = range {
        let start = range.split_once('-').and_then(|(from, _)| from.parse::<u64>().ok());
        if start != Some(received) {
            let answer = answer::failure(416, "RANGE_INVALID", "invalid content range", json!(range));
            return Ok(answer::header(answer, "range", &format!("0-{}", received.saturating_sub(1))));
        }
    }
    // Taken out while it is filled: a session has one writer. Put back whatever happens, as a registry keeps what came.
    let Some(mut upload) = shared.content().uploads.remove(id) else { return Ok(unknown_upload()) };
    let filled = fill(&mut upload, body, quirks.forget_blobs_over).await;
    let received = upload.received;
    if filled.is_err() || *method == Method::PATCH {
        shared.content().uploads.insert(id.to_owned(), upload);
        filled?;
        return Ok(session(shared, name, id, 202, received));
    }
    let digest = match query_value(query, "digest").as_deref().map(digest) {
        Some(Ok(digest)) => digest,
        Some(Err(answer)) => return Ok(*answer),
        None => return Ok(wrong_digest()),
    };
    Ok(match upload.finish(&digest) {
        Some(blob) => {
            shared.content().put_blob(name, digest.clone(), blob);
            created(shared, name, &digest)
        }
        None => wrong_digest(),
    })
}
