//! Manifests: get, put, delete (distribution-spec, end-3, end-7, end-9).

use content::{ContentError, DeleteOptions, PutOptions, PutOutcome, RepositoryId, TagCondition};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use image::{Algorithm, Digest, Document, Limits, MediaType, Tag, Target};
use serde_json::json;

use crate::access::{Action, denied};
use crate::answer::{CONTENT_DIGEST, Handled, answer};
use crate::author::{Author, to_the_end};
use crate::body::{self, RequestBody, Terms};
use crate::conditions::{etag, has_it, tag_condition};
use crate::events::What;
use crate::history;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::route::Named;
use crate::service::State;

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Most references of one document: enough for any image, too few to keep the server busy.
const MOST_REFERENCES: usize = 10_000;

fn unknown(repository: &RepositoryId, named: &str) -> Refusal {
    Refusal::not_found("MANIFEST_UNKNOWN", format!("manifest `{named}` is not in repository `{repository}`"))
        .detail(json!({ "name": repository.name, "reference": named }))
}

fn target(repository: &RepositoryId, named: Named) -> Result<Target, Refusal> {
    match named {
        Named::Target(target) => Ok(target),
        Named::Nothing(text) => Err(unknown(repository, &text)),
    }
}

/// `GET` and `HEAD`. What the client accepts does not matter: there is one form, the one that was pushed.
pub(crate) async fn get(
    state: &State,
    repository: RepositoryId,
    named: Named,
    query: &Query<'_>,
    headers: &HeaderMap,
    head: bool,
) -> Handled {
    let target = target(&repository, named)?;
    let by_tag = matches!(target, Target::Tag(_));
    let target = history::as_of(state, &repository, target, query, headers).await?;
    let (digest, media_type, size, bytes) = if head {
        let record = state.content.resolve(&repository, &target).await?;
        let record = record.ok_or_else(|| unknown(&repository, &target.to_string()))?;
        (record.digest, record.media_type, record.size, None)
    } else {
        let stored = state.content.document(&repository, &target).await?;
        let stored = stored.ok_or_else(|| unknown(&repository, &target.to_string()))?;
        (stored.digest, stored.media_type, stored.bytes.len() as u64, Some(stored.bytes))
    };
    let found = has_it(headers, &digest);
    let status = if found { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut building = answer(status).text(CONTENT_DIGEST, digest.as_str()).text(header::ETAG, &etag(&digest));
    if by_tag {
        building = building.header(header::VARY, history::VARIES_BY);
    }
    if found {
        return Ok(building.empty());
    }
    let building = building.text(header::CONTENT_TYPE, media_type.as_str());
    Ok(match bytes {
        Some(bytes) => building.body(bytes),
        None => building.header(header::CONTENT_LENGTH, HeaderValue::from(size)).empty(),
    })
}

/// `PUT`, by tag or by digest, with further tags in the query.
pub(crate) async fn put(
    state: &State,
    author: Author,
    repository: RepositoryId,
    named: Named,
    query: &Query<'_>,
    headers: &HeaderMap,
    incoming: RequestBody,
) -> Handled {
    let target = match named {
        Named::Target(target) => target,
        Named::Nothing(text) => {
            body::drain(incoming);
            return Err(bad_tag(&text));
        }
    };
    let asked = match tags_of(query, state.options.limits.query_tags) {
        Ok(asked) => asked,
        Err(refusal) => {
            body::drain(incoming);
            return Err(refusal);
        }
    };
    let limit = state.options.manifest_limit;
    let bytes = body::whole(incoming, "manifest", limit, Terms::of(&state.options)).await?;
    let media_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .filter(|text| !text.is_empty())
        .map(MediaType::from_content_type);
    let algorithm = match &target {
        Target::Digest(digest) => digest.algorithm(),
        Target::Tag(_) => Algorithm::Sha256,
    };
    let limits = Limits { length: limit, ..Limits::default() };
    let document = Document::with_limits(media_type.as_ref(), bytes, limits, algorithm)?;
    if document.children().len() > MOST_REFERENCES {
        return Err(Refusal::bad_request(
            "MANIFEST_INVALID",
            format!("the manifest has more than {MOST_REFERENCES} references"),
        ));
    }
    let mut options = PutOptions::default();
    options.references = state.options.references.of(&repository.name).clone();
    options.condition = tag_condition(headers);
    options.tags.clone_from(&asked);
    match &target {
        Target::Digest(digest) if digest != document.digest() => return Err(not_its_digest(digest, &document)),
        Target::Digest(_) => {}
        Target::Tag(tag) if options.tags.contains(tag) => {}
        Target::Tag(tag) => options.tags.push(tag.clone()),
    }
    let may_move = author.may(&repository, Action::Push);
    let into = repository.clone();
    let document = to_the_end(async move {
        let tags = options.tags.clone();
        let put = |options: PutOptions| {
            let (content, into, document) = (&author.content, &into, &document);
            async move { content.put_document(into, document, &options).await }
        };
        let outcome = if may_move { put(options).await? } else { create(document.digest(), options, put).await? };
        author.wrote(&into, written(&document, tags, outcome)).await;
        Ok::<_, Refusal>(document)
    })
    .await?;
    let digest = document.digest();
    let mut building = answer(StatusCode::CREATED)
        .text(header::LOCATION, &format!("/v2/{}/manifests/{digest}", repository.name))
        .text(CONTENT_DIGEST, digest.as_str())
        .text(header::ETAG, &etag(digest));
    if let Some(subject) = document.subject() {
        building = building.text(SUBJECT, subject.digest.as_str());
    }
    if !asked.is_empty() {
        let tags: Vec<&str> = asked.iter().map(Tag::as_str).collect();
        building = building.text(TAG, &tags.join(", "));
    }
    Ok(building.empty())
}

/// What a put did.
fn written(document: &Document, tags: Vec<Tag>, outcome: PutOutcome) -> Vec<What> {
    let digest = document.digest();
    let media_type = document.media_type().clone();
    let mut written = vec![What::ManifestPushed { digest: digest.clone(), media_type, size: document.size(), tags }];
    let moved = outcome.moved.into_iter().filter(|(_, from)| from.as_ref() != Some(digest));
    written.extend(moved.map(|(tag, from)| What::TagMoved { tag, from, to: digest.clone() }));
    written
}

/// Puts for a caller who may set tags that are not there, and move none. The check is one with the write.
async fn create<T, F: Future<Output = Result<T, ContentError>>>(
    digest: &Digest,
    mut options: PutOptions,
    put: impl Fn(PutOptions) -> F,
) -> Result<T, Refusal> {
    let may_not = |tag: &Tag| denied(format!("tag `{tag}` is there already, and may only be created, not moved"));
    let asked = std::mem::replace(&mut options.condition, TagCondition::Absent);
    if let (TagCondition::Present | TagCondition::OneOf(_), Some(tag)) = (&asked, options.tags.first()) {
        return Err(may_not(tag));
    }
    match put(options.clone()).await {
        Ok(outcome) => Ok(outcome),
        Err(ContentError::TagMoved { tag, current }) if asked == TagCondition::Any => {
            // Nothing moves when all tags are here already: a client that did not get its answer asks once more.
            if current.as_ref() == Some(digest) {
                options.condition = TagCondition::OneOf(vec![digest.clone()]);
                match put(options).await {
                    Err(ContentError::TagMoved { .. }) => {}
                    outcome => return Ok(outcome?),
                }
            }
            Err(may_not(&tag))
        }
        Err(error) => Err(error.into()),
    }
}

fn not_its_digest(digest: &Digest, document: &Document) -> Refusal {
    Refusal::bad_request(
        "DIGEST_INVALID",
        format!("the manifest has digest `{}`, but was put as `{digest}`", document.digest()),
    )
    .detail(json!({ "expected": digest, "actual": document.digest() }))
}

fn is_another(digest: &Digest) -> Refusal {
    Refusal::new(
        StatusCode::PRECONDITION_FAILED,
        "PRECONDITION_FAILED",
        format!("manifest `{digest}` is not what `If-Match` or `If-None-Match` asks for"),
    )
    .detail(json!({ "digest": digest }))
}

fn bad_tag(text: &str) -> Refusal {
    Refusal::bad_request(
        "MANIFEST_INVALID",
        "a tag has at most 128 letters, digits, `_`, `.` and `-`, and begins with a letter, a digit or `_`",
    )
    .detail(json!({ "tag": text }))
}

fn tags_of(query: &Query<'_>, most: usize) -> Result<Vec<Tag>, Refusal> {
    let mut tags = Vec::new();
    for text in query.all("tag") {
        let tag = Tag::parse(text).map_err(|_| bad_tag(&text.chars().take(200).collect::<String>()))?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > most {
            return Err(Refusal::new(
                StatusCode::URI_TOO_LONG,
                "UNSUPPORTED",
                format!("one request sets at most {most} tags"),
            ));
        }
    }
    Ok(tags)
}

/// `DELETE`: a tag alone, or a manifest with all tags that point to it.
pub(crate) async fn delete(
    author: Author,
    repository: RepositoryId,
    named: Named,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Handled {
    let target = target(&repository, named)?;
    let options = deletion(query);
    let condition = tag_condition(headers);
    to_the_end(async move {
        let written = match &target {
            Target::Tag(tag) => {
                let from = author.content.delete_tag_if(&repository, tag, &condition).await?;
                from.map(|from| vec![What::TagDeleted { tag: tag.clone(), from: Some(from) }])
            }
            Target::Digest(digest) => {
                // A digest is all that a manifest can be: whatever else it must be is another one.
                if !condition.holds(Some(digest)) && author.content.resolve(&repository, &target).await?.is_some() {
                    return Err(is_another(digest));
                }
                let tags = author.content.delete_document(&repository, digest, options).await?;
                tags.map(|tags| {
                    let from = || Some(digest.clone());
                    let deleted = tags.into_iter().map(|tag| What::TagDeleted { tag, from: from() });
                    deleted.chain([What::ManifestDeleted { digest: digest.clone() }]).collect()
                })
            }
        };
        let written = written.ok_or_else(|| unknown(&repository, &target.to_string()))?;
        author.wrote(&repository, written).await;
        Ok::<_, Refusal>(answer(StatusCode::ACCEPTED).empty())
    })
    .await
}

/// Careful, unless the client insists.
pub(crate) fn deletion(query: &Query<'_>) -> DeleteOptions {
    if query.is_set("force") { DeleteOptions::default() } else { DeleteOptions::careful() }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// What a put by whoever may only create comes to, if the store says this, one after the other.
    async fn created(says: Vec<Result<(), ContentError>>) -> (Result<(), Refusal>, usize) {
        let (digest, left) = (Digest::sha256(b"x"), RefCell::new(says.into_iter()));
        let mut options = PutOptions::default();
        options.tags = vec![Tag::parse("v1").unwrap()];
        let outcome = create(&digest, options, |_| std::future::ready(left.borrow_mut().next().unwrap())).await;
        (outcome, left.into_inner().len())
    }

    #[tokio::test]
    async fn a_second_try_to_create_that_fails_says_why() {
        let moved = |to: &[u8]| {
            Err(ContentError::TagMoved { tag: Tag::parse("v1").unwrap(), current: Some(Digest::sha256(to)) })
        };
        let full = Err(ContentError::NoSpace { action: "put manifest".to_owned() });
        let (refused, left) = created(vec![moved(b"x"), full]).await;
        assert_eq!((refused.unwrap_err().status, left), (StatusCode::INSUFFICIENT_STORAGE, 0));
        let (refused, left) = created(vec![moved(b"x"), moved(b"y")]).await;
        assert_eq!((refused.unwrap_err().status, left), (StatusCode::FORBIDDEN, 0));
        let (refused, left) = created(vec![moved(b"y"), Ok(())]).await;
        assert_eq!((refused.unwrap_err().status, left), (StatusCode::FORBIDDEN, 1));
        let (outcome, left) = created(vec![moved(b"x"), Ok(())]).await;
        assert_eq!((outcome.is_ok(), left), (true, 0));
    }
}
