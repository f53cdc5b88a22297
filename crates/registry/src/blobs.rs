//! Blobs: get, delete (distribution-spec, end-2, end-10).

use content::RepositoryId;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use image::Digest;
use serde_json::json;

use crate::answer::{CONTENT_DIGEST, Handled, answer};
use crate::author::{Author, to_the_end};
use crate::conditions::{etag, has_it, range_applies};
use crate::events::What;
use crate::manifests::deletion;
use crate::query::Query;
use crate::range::{Wanted, wanted};
use crate::refusal::Refusal;
use crate::service::State;

fn unknown(repository: &RepositoryId, digest: &Digest) -> Refusal {
    Refusal::not_found("BLOB_UNKNOWN", format!("blob `{digest}` is not in repository `{repository}`"))
        .detail(json!({ "name": repository.name, "digest": digest }))
}

/// `GET` and `HEAD`, whole or a range.
pub(crate) async fn get(
    state: &State,
    repository: RepositoryId,
    digest: Digest,
    headers: &HeaderMap,
    head: bool,
) -> Handled {
    let blob = state.content.blob(&repository, &digest).await?;
    let blob = blob.ok_or_else(|| unknown(&repository, &digest))?;
    let tag = etag(&digest);
    let begin = |status| answer(status).text(CONTENT_DIGEST, digest.as_str()).text(header::ETAG, &tag);
    if has_it(headers, &digest) {
        return Ok(begin(StatusCode::NOT_MODIFIED).empty());
    }
    let range = match headers.get(header::RANGE).and_then(|value| value.to_str().ok()) {
        Some(text) if !head && range_applies(headers, &digest) => wanted(text, blob.size),
        _ => Wanted::Whole,
    };
    let (building, range) = match range {
        Wanted::Outside => {
            return Err(Refusal::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                format!("blob `{digest}` has {} bytes, and none in the range that was asked for", blob.size),
            )
            .header(header::CONTENT_RANGE, header_value(&format!("bytes */{}", blob.size))));
        }
        Wanted::Whole => (begin(StatusCode::OK), 0..blob.size),
        Wanted::Part(range) => {
            let text = format!("bytes {}-{}/{}", range.start, range.end - 1, blob.size);
            (begin(StatusCode::PARTIAL_CONTENT).text(header::CONTENT_RANGE, &text), range)
        }
    };
    let building = building
        .header(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))
        .header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .header(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    if head {
        return Ok(building.empty());
    }
    let length = range.end - range.start;
    Ok(building.blob(state.content.open_blob(&blob, Some(range)).await?, length))
}

fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// `DELETE`: from this repository. A blob that a manifest here needs stays, unless the client insists.
pub(crate) async fn delete(author: Author, repository: RepositoryId, digest: Digest, query: &Query<'_>) -> Handled {
    let options = deletion(query);
    to_the_end(async move {
        if !author.content.delete_blob(&repository, &digest, options).await? {
            return Err(unknown(&repository, &digest));
        }
        author.wrote(&repository, vec![What::BlobDeleted { digest }]).await;
        Ok(answer(StatusCode::ACCEPTED).empty())
    })
    .await
}
