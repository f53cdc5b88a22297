//! Lists: tags, repositories, referrers, extensions (distribution-spec, end-8, end-12).

use content::{Page, Referrer, RepositoryId, Scope};
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use image::{Digest, MediaType};
use serde_json::{Map, Value, json};

use crate::access::Caller;
use crate::answer::{Answer, Building, Handled, answer};
use crate::history;
use crate::query::{Query, encode};
use crate::refusal::Refusal;
use crate::service::State;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// A page of referrers ends before it is longer than what every client takes as a manifest.
const REFERRERS_BYTES: usize = 4 << 20;
/// Referrers that are read at once.
const REFERRERS: usize = 1000;
/// Repositories that are read at once, to find those that a caller may see.
const REPOSITORIES: usize = 1000;

pub(crate) fn with_next(building: Building, next: Option<String>) -> Building {
    match next {
        Some(next) => building.text(header::LINK, &format!("<{next}>; rel=\"next\"")),
        None => building,
    }
}

/// `GET …/tags/list`, in the order of their bytes.
pub(crate) async fn tags(state: &State, repository: RepositoryId, query: &Query<'_>) -> Handled {
    let limit = query.page_size()?;
    let page = state.content.tags(&repository, query.get("last"), limit).await?.ok_or_else(|| {
        Refusal::not_found("NAME_UNKNOWN", format!("there is no repository `{repository}`"))
            .detail(json!({ "name": repository.name }))
    })?;
    let next = page
        .items
        .last()
        .filter(|_| page.more)
        .map(|last| format!("/v2/{}/tags/list?n={limit}&last={}", repository.name, encode(last.as_str())));
    let body = json!({ "name": repository.name, "tags": page.items });
    Ok(with_next(answer(StatusCode::OK), next).json(&body))
}

/// `GET /v2/_catalog`: repositories that hold something.
pub(crate) async fn catalog(state: &State, caller: &Caller, query: &Query<'_>) -> Handled {
    let limit = query.page_size()?;
    let page = visible(state, caller, query.get("last"), limit).await?;
    let names: Vec<&str> = page.items.iter().map(|repository| repository.name.as_str()).collect();
    let next = names.last().filter(|_| page.more).map(|last| format!("/v2/_catalog?n={limit}&last={}", encode(last)));
    Ok(with_next(answer(StatusCode::OK), next).json(&json!({ "repositories": names })))
}

/// One page of the repositories that a caller may see. What it may not see shows nowhere, not even in where the next
/// page begins or whether there is one.
async fn visible(
    state: &State,
    caller: &Caller,
    last: Option<&str>,
    limit: usize,
) -> Result<Page<RepositoryId>, Refusal> {
    if caller.is_unlimited() || limit == 0 {
        return Ok(state.content.repositories(Scope::Served, last, limit).await?);
    }
    let mut after = last.map(str::to_owned);
    let mut items = Vec::new();
    loop {
        let page = state.content.repositories(Scope::Served, after.as_deref(), REPOSITORIES).await?;
        after = page.items.last().map(ToString::to_string);
        for repository in page.items.into_iter().filter(|repository| caller.sees(repository)) {
            if items.len() == limit {
                return Ok(Page { items, more: true });
            }
            items.push(repository);
        }
        if !page.more {
            return Ok(Page { items, more: false });
        }
    }
}

/// `GET …/referrers/<digest>`: always an index, empty if nothing refers to it.
pub(crate) async fn referrers(state: &State, repository: RepositoryId, subject: Digest, query: &Query<'_>) -> Handled {
    let limit = query.page_size()?;
    let artifact_type = query.get("artifactType").filter(|text| !text.is_empty());
    let mut last = match query.get("last") {
        Some(text) => Some(Digest::parse(text).map_err(|error| Refusal::bad_digest(&error))?),
        None => None,
    };
    let mut manifests = Vec::new();
    let mut length = 0;
    let mut more = limit > 0;
    'pages: while more && manifests.len() < limit {
        let want = (limit - manifests.len()).min(REFERRERS);
        let page = state.content.referrers(&repository, &subject, artifact_type, last.as_ref(), want).await?;
        more = page.more;
        for referrer in page.items {
            let entry = descriptor(&referrer).to_string();
            if length + entry.len() > REFERRERS_BYTES && !manifests.is_empty() {
                more = true;
                break 'pages;
            }
            length += entry.len() + 1;
            last = Some(referrer.digest);
            manifests.push(entry);
        }
    }
    let next = last.filter(|_| more && limit > 0).map(|last| {
        let filter = artifact_type.map(|text| format!("&artifactType={}", encode(text))).unwrap_or_default();
        let size = query.get("n").map(|_| format!("&n={limit}")).unwrap_or_default();
        format!("/v2/{}/referrers/{subject}?last={}{filter}{size}", repository.name, encode(last.as_str()))
    });
    let mut building = with_next(answer(StatusCode::OK), next)
        .header(header::CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX));
    if artifact_type.is_some() {
        building = building.header(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
    }
    let body = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
        MediaType::OCI_INDEX,
        manifests.join(",")
    );
    Ok(building.body(body))
}

fn descriptor(referrer: &Referrer) -> Value {
    let mut entry = Map::new();
    entry.insert("mediaType".to_owned(), json!(referrer.media_type));
    entry.insert("digest".to_owned(), json!(referrer.digest));
    entry.insert("size".to_owned(), json!(referrer.size));
    if let Some(artifact_type) = &referrer.artifact_type {
        entry.insert("artifactType".to_owned(), json!(artifact_type));
    }
    if let Some(annotations) = &referrer.annotations
        && let Ok(annotations) = serde_json::from_str::<Value>(annotations)
    {
        entry.insert("annotations".to_owned(), annotations);
    }
    Value::Object(entry)
}

/// `GET …/_oci/ext/discover`.
pub(crate) fn extensions() -> Answer {
    let oci = json!({
        "name": "_oci",
        "url": "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "description": "lists the extensions of this registry",
        "endpoints": ["/v2/_oci/ext/discover"],
    });
    answer(StatusCode::OK).json(&json!({ "extensions": [oci, history::extension()] }))
}
