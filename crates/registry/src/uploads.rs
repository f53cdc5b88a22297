//! Uploads: at once, in chunks, as a stream, by mount (distribution-spec, end-4, end-5, end-6, end-11, end-13, end-14).

use content::{BlobRecord, ContentError, RepositoryId, Scope, Upload, UploadId};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use image::{Algorithm, Digest, RepositoryName};
use serde_json::json;

use crate::access::Action;
use crate::answer::{Answer, CONTENT_DIGEST, Handled, answer};
use crate::author::{Author, to_the_end};
use crate::body::{BodyError, RequestBody, Terms};
use crate::events::What;
use crate::limits::Gate;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::service::State;
use crate::{body, range};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

fn session(status: StatusCode, upload: &Upload) -> Answer {
    answer(status)
        .text(header::LOCATION, &location(&upload.repository, &upload.id))
        .text(header::RANGE, &range::received(upload.offset))
        .text(UPLOAD_UUID, upload.id.as_str())
        .empty()
}

fn location(repository: &RepositoryId, id: &UploadId) -> String {
    format!("/v2/{}/blobs/uploads/{id}", repository.name)
}

fn created(repository: &RepositoryId, blob: &BlobRecord) -> Answer {
    answer(StatusCode::CREATED)
        .text(header::LOCATION, &format!("/v2/{}/blobs/{}", repository.name, blob.digest))
        .text(CONTENT_DIGEST, blob.digest.as_str())
        .empty()
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).map_err(|error| Refusal::bad_digest(&error))
}

/// `POST`: begins a session, takes a whole blob, or mounts one.
pub(crate) async fn start(
    state: &State,
    author: Author,
    repository: RepositoryId,
    query: &Query<'_>,
    incoming: RequestBody,
) -> Handled {
    if let Some(text) = query.get("mount") {
        let digest = digest(text)?;
        if let Some(blob) = mount(state, author.clone(), &repository, &digest, query.get("from")).await? {
            return Ok(created(&repository, &blob));
        }
    } else if let Some(text) = query.get("digest") {
        let digest = match digest(text) {
            Ok(digest) => digest,
            Err(refusal) => {
                body::drain(incoming);
                return Err(refusal);
            }
        };
        let size = incoming.announced();
        let terms = terms(state, 0);
        if let Some(error) = terms.refuse(size) {
            body::drain(incoming);
            return Err(error.into());
        }
        let source = body::source(incoming, terms);
        let into = repository.clone();
        let blob = to_the_end(async move {
            let blob = author.content.put_blob(&into, &digest, size, source).await?;
            author.wrote(&into, vec![pushed(&blob)]).await;
            Ok::<_, ContentError>(blob)
        })
        .await?;
        return Ok(created(&repository, &blob));
    }
    let algorithm = match query.get("digest-algorithm") {
        None => None,
        Some(text) => Some(text.parse::<Algorithm>().map_err(|error| Refusal::bad_digest(&error))?),
    };
    let origin = author.origin();
    let room = state.gate.session(&state.content, origin.actor.as_deref(), origin.peer).await?;
    // To its end, or whoever goes away at once would have a session that nobody counts.
    let upload = to_the_end(async move {
        let upload = author.content.start_upload(&repository, algorithm).await?;
        Gate::begun(room, &repository, &upload.id);
        Ok::<_, ContentError>(upload)
    })
    .await?;
    Ok(session(StatusCode::ACCEPTED, &upload))
}

/// Most repositories with a blob that are looked through for one that the caller may read.
const HOLDERS: usize = 1000;

/// A mount that cannot be is no error: the client gets a session instead. It cannot be from what the client may not
/// read, whether or not the blob is there.
async fn mount(
    state: &State,
    author: Author,
    repository: &RepositoryId,
    digest: &Digest,
    from: Option<&str>,
) -> Result<Option<BlobRecord>, Refusal> {
    let from = if let Some(name) = from {
        RepositoryName::parse(name).ok().map(RepositoryId::served)
    } else {
        // Only among what is served: images of the local store are nobody's business here.
        let most = if author.is_unlimited() { 1 } else { HOLDERS };
        let holders = state.content.holders(Scope::Served, digest, most).await?;
        holders.into_iter().find(|holder| author.may(holder, Action::Pull))
    };
    let Some(from) = from.filter(|from| author.may(from, Action::Pull)) else { return Ok(None) };
    let (into, digest) = (repository.clone(), digest.clone());
    to_the_end(async move {
        let mounted = author.content.mount_blob(&into, &digest, &from).await?;
        if let Some(blob) = &mounted {
            let what = What::BlobMounted { digest, size: blob.size, from: from.name };
            author.wrote(&into, vec![what]).await;
        }
        Ok::<_, ContentError>(mounted)
    })
    .await
}

fn pushed(blob: &BlobRecord) -> What {
    What::BlobPushed { digest: blob.digest.clone(), size: blob.size }
}

fn unknown(repository: &RepositoryId) -> Refusal {
    Refusal::not_found("BLOB_UPLOAD_UNKNOWN", format!("there is no such upload session in repository `{repository}`"))
}

/// Where a chunk belongs and how long it is, if its header says so.
fn chunk(headers: &HeaderMap, incoming: &RequestBody) -> Result<(Option<u64>, Option<u64>), Refusal> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok((None, None)) };
    let range = value.to_str().ok().and_then(range::chunk).ok_or_else(|| {
        Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "BLOB_UPLOAD_INVALID",
            "`Content-Range` must be the first and the last byte, as in `0-1023`",
        )
    })?;
    let length = range.end - range.start;
    match incoming.announced() {
        Some(announced) if announced != length => Err(Refusal::bad_request(
            "SIZE_INVALID",
            format!("`Content-Range` announces {length} bytes, but `Content-Length` {announced}"),
        )
        .detail(json!({ "contentRange": length, "contentLength": announced }))),
        _ => Ok((Some(range.start), Some(length))),
    }
}

/// Where the session stands, for a client that was out of step, or that comes back when there is room.
async fn where_it_stands(state: &State, repository: &RepositoryId, id: &UploadId, refusal: Refusal) -> Refusal {
    if !matches!(refusal.status, StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::INSUFFICIENT_STORAGE) {
        return refusal;
    }
    match state.content.upload(repository, id).await {
        Ok(upload) => {
            let mut refusal = refusal;
            for (name, text) in
                [(header::RANGE, range::received(upload.offset)), (header::LOCATION, location(repository, id))]
            {
                if let Ok(value) = HeaderValue::from_str(&text) {
                    refusal = refusal.header(name, value);
                }
            }
            refusal
        }
        Err(ContentError::UploadUnknown(_)) => unknown(repository),
        Err(_) => refusal,
    }
}

/// What a blob's bytes must keep to, of which there are some already.
fn terms(state: &State, before: u64) -> Terms {
    let terms = Terms::of(&state.options);
    match state.options.limits.blob_size {
        Some(limit) => terms.at_most("blob", before, limit),
        None => terms,
    }
}

/// What the next bytes of a session must keep to, and where they belong: where its size counts, nowhere else than where
/// it stood when that was looked at.
async fn more(
    state: &State,
    repository: &RepositoryId,
    id: &UploadId,
    at: Option<u64>,
    announced: Option<u64>,
) -> Result<(Terms, Option<u64>), ContentError> {
    if state.options.limits.blob_size.is_none() {
        return Ok((Terms::of(&state.options), at));
    }
    let stands = state.content.upload(repository, id).await?.offset;
    let terms = terms(state, stands);
    match terms.refuse(announced).filter(|_| at.is_none_or(|at| at == stands)) {
        Some(error) => Err(ContentError::Source(Box::new(error))),
        None => Ok((terms, at.or(Some(stands)))),
    }
}

/// Looks at what became of a session: some failures are the end of it.
async fn settle<T>(
    author: &Author,
    gate: &Gate,
    repository: &RepositoryId,
    id: &UploadId,
    outcome: Result<T, ContentError>,
) -> Result<T, ContentError> {
    match &outcome {
        Err(ContentError::Source(error)) if matches!(error.downcast_ref(), Some(BodyError::TooLarge { .. })) => {
            // What is too large already becomes no smaller; a garbage collection takes what cannot be dropped now.
            let _ = author.content.cancel_upload(repository, id).await;
            gate.ended(id);
        }
        Err(ContentError::UploadUnknown(_) | ContentError::DigestMismatch { .. }) => gate.ended(id),
        _ => {}
    }
    outcome
}

/// `PATCH`: adds a chunk, or a stream.
pub(crate) async fn append(
    state: &State,
    author: Author,
    repository: RepositoryId,
    id: Option<UploadId>,
    headers: &HeaderMap,
    incoming: RequestBody,
) -> Handled {
    let Some(id) = id else {
        body::drain(incoming);
        return Err(unknown(&repository));
    };
    let (at, length) = match chunk(headers, &incoming) {
        Ok(chunk) => chunk,
        Err(refusal) => {
            body::drain(incoming);
            return Err(where_it_stands(state, &repository, &id, refusal).await);
        }
    };
    let announced = length.or_else(|| incoming.announced());
    let more = more(state, &repository, &id, at, announced).await;
    let (into, session_id, gate) = (repository.clone(), id.clone(), state.gate.clone());
    let work = async move {
        let outcome = match more {
            Ok((terms, at)) => {
                let source = body::source(incoming, terms.exactly(length));
                author.content.append_upload(&into, &session_id, at, source).await
            }
            Err(error) => {
                body::drain(incoming);
                Err(error)
            }
        };
        settle(&author, &gate, &into, &session_id, outcome).await
    };
    match to_the_end(work).await {
        Ok(upload) => Ok(session(StatusCode::ACCEPTED, &upload)),
        Err(refusal) => Err(where_it_stands(state, &repository, &id, refusal).await),
    }
}

/// `GET`: how far the session has come.
pub(crate) async fn status(state: &State, repository: RepositoryId, id: Option<UploadId>) -> Handled {
    let id = id.ok_or_else(|| unknown(&repository))?;
    let upload = state.content.upload(&repository, &id).await?;
    Ok(session(StatusCode::NO_CONTENT, &upload))
}

/// `PUT`: the last bytes, if there are any, and the digest of the whole.
pub(crate) async fn finish(
    state: &State,
    author: Author,
    repository: RepositoryId,
    id: Option<UploadId>,
    query: &Query<'_>,
    headers: &HeaderMap,
    incoming: RequestBody,
) -> Handled {
    let Some(id) = id else {
        body::drain(incoming);
        return Err(unknown(&repository));
    };
    let missing = || Refusal::bad_request("DIGEST_INVALID", "the query has no `digest`");
    let understood = query
        .get("digest")
        .ok_or_else(missing)
        .and_then(digest)
        .and_then(|digest| Ok((digest, chunk(headers, &incoming)?)));
    let (digest, (at, length)) = match understood {
        Ok(understood) => understood,
        Err(refusal) => {
            body::drain(incoming);
            return Err(where_it_stands(state, &repository, &id, refusal).await);
        }
    };
    let announced = length.or_else(|| incoming.announced());
    let more = more(state, &repository, &id, at, announced).await;
    let (into, session_id, gate) = (repository.clone(), id.clone(), state.gate.clone());
    let work = async move {
        let outcome = match more {
            Ok((terms, at)) => {
                let source = body::source(incoming, terms.exactly(length));
                author.content.finish_upload(&into, &session_id, at, Some(source), &digest).await
            }
            Err(error) => {
                body::drain(incoming);
                Err(error)
            }
        };
        let blob = settle(&author, &gate, &into, &session_id, outcome).await?;
        gate.ended(&session_id);
        author.wrote(&into, vec![pushed(&blob)]).await;
        Ok::<_, ContentError>(blob)
    };
    match to_the_end(work).await {
        Ok(blob) => Ok(created(&repository, &blob)),
        Err(refusal) => Err(where_it_stands(state, &repository, &id, refusal).await),
    }
}

/// `DELETE`: drops the session.
pub(crate) async fn cancel(state: &State, repository: RepositoryId, id: Option<UploadId>) -> Handled {
    let id = id.ok_or_else(|| unknown(&repository))?;
    let was_there = state.content.cancel_upload(&repository, &id).await?;
    state.gate.ended(&id);
    if was_there { Ok(answer(StatusCode::NO_CONTENT).empty()) } else { Err(unknown(&repository)) }
}
