//! Where tags pointed: their moves, and manifests as of a time. An extension of the protocol.

use std::time::SystemTime;

use content::{RepositoryId, TagMove, instant, instant_text};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use image::{Digest, Target};
use serde_json::{Value, json};

use crate::access::Caller;
use crate::answer::{Handled, answer};
use crate::listing::with_next;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::route::Named;
use crate::service::State;

/// Asks for a tag as it was at an instant.
const AT: HeaderName = HeaderName::from_static("polyarch-at");
/// What an answer to a request by tag depends on beside the path.
pub(crate) const VARIES_BY: HeaderValue = HeaderValue::from_static("Polyarch-At");
/// Most moves of one page.
const MOVES: usize = 1000;

/// What `_oci/ext/discover` says of this extension.
pub(crate) fn extension() -> Value {
    json!({
        "name": "_polyarch",
        "url": "https://github.com/polyarch/polyarch/blob/main/docs/book/keep.md",
        "description": "the moves of a tag, and manifests by tag as of a time (`?at=` or `Polyarch-At`)",
        "endpoints": ["/v2/<name>/_polyarch/history/<tag>", "/v2/<name>/manifests/<tag>"],
    })
}

/// `GET …/_polyarch/history/<tag>`: the last move first.
pub(crate) async fn list(
    state: &State,
    caller: &Caller,
    repository: RepositoryId,
    named: Named,
    query: &Query<'_>,
) -> Handled {
    let tag = match named {
        Named::Target(Target::Tag(tag)) => tag,
        Named::Target(Target::Digest(digest)) => return Err(no_tag(&repository, digest.as_str())),
        Named::Nothing(text) => return Err(no_tag(&repository, &text)),
    };
    let limit = query.page_size()?.min(MOVES);
    let before = match query.get("last") {
        None => None,
        Some(text) => Some(text.parse::<u64>().map_err(|_| {
            let shown: String = text.chars().take(200).collect();
            Refusal::bad_request("PAGINATION_LAST_INVALID", "`last` must be the number of a move")
                .detail(json!({ "last": shown }))
        })?),
    };
    let page = state.content.history(&repository, &tag, before, limit.max(1)).await?;
    if page.items.is_empty() && before.is_none() {
        return Err(match state.content.tags(&repository, None, 0).await? {
            Some(_) => no_tag(&repository, tag.as_str()),
            None => Refusal::not_found("NAME_UNKNOWN", format!("there is no repository `{repository}`"))
                .detail(json!({ "name": repository.name })),
        });
    }
    let items = &page.items[..limit.min(page.items.len())];
    let next = items
        .last()
        .filter(|_| page.more)
        .map(|last| format!("/v2/{}/_polyarch/history/{tag}?n={limit}&last={}", repository.name, last.number));
    // Who pushes is nothing that strangers are told.
    let names = caller.is_unlimited() || caller.name().is_some();
    let moves: Vec<Value> = items.iter().map(|step| entry(step, names)).collect();
    Ok(with_next(answer(StatusCode::OK), next).json(&json!({ "name": repository.name, "tag": tag, "moves": moves })))
}

fn entry(step: &TagMove, names: bool) -> Value {
    let mut entry = json!({
        "number": step.number,
        "at": instant_text(step.at),
        "from": step.from,
        "to": step.to,
        "kept": step.kept,
    });
    if let (Some(actor), true) = (&step.actor, names) {
        entry["actor"] = json!(actor);
    }
    entry
}

fn no_tag(repository: &RepositoryId, tag: &str) -> Refusal {
    Refusal::not_found("MANIFEST_UNKNOWN", format!("tag `{tag}` never was in repository `{repository}`"))
        .detail(json!({ "name": repository.name, "reference": tag }))
}

/// What to look for: where a tag pointed at the instant that is asked for, if one is. A digest is at all times the same.
pub(crate) async fn as_of(
    state: &State,
    repository: &RepositoryId,
    target: Target,
    query: &Query<'_>,
    headers: &HeaderMap,
) -> Result<Target, Refusal> {
    let Target::Tag(tag) = &target else { return Ok(target) };
    let Some(at) = moment(query, headers)? else { return Ok(target) };
    let Some(digest) = state.content.tag_at(repository, tag, at).await? else {
        let message = format!("tag `{tag}` was not in repository `{repository}` at {}", instant_text(at));
        return Err(Refusal::not_found("MANIFEST_UNKNOWN", message)
            .detail(json!({ "name": repository.name, "reference": tag, "at": instant_text(at) })));
    };
    if state.content.resolve(repository, &digest.clone().into()).await?.is_none() {
        return Err(gone(repository, &target, &digest, at));
    }
    Ok(digest.into())
}

fn gone(repository: &RepositoryId, target: &Target, digest: &Digest, at: SystemTime) -> Refusal {
    let message = format!("`{target}` pointed to manifest `{digest}` at {}, which is gone", instant_text(at));
    Refusal::not_found("MANIFEST_UNKNOWN", message)
        .detail(json!({ "name": repository.name, "reference": target.to_string(), "digest": digest }))
}

/// The instant that is asked for.
fn moment(query: &Query<'_>, headers: &HeaderMap) -> Result<Option<SystemTime>, Refusal> {
    let header = headers.get(AT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(text) = query.get("at").or(header.as_deref()) else { return Ok(None) };
    // In a query `+` stands for a blank, and nothing in RFC 3339 ends in one and four digits.
    let found = instant(text.trim()).or_else(|| instant(&text.trim().replacen(' ', "+", 1)));
    found.map(Some).ok_or_else(|| {
        let shown: String = text.chars().take(200).collect();
        Refusal::bad_request("TIME_INVALID", "the time must be as in RFC 3339, or in seconds since 1970")
            .detail(json!({ "at": shown }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(query: &str) -> Option<String> {
        moment(&Query::parse(Some(query)), &HeaderMap::new()).ok().flatten().map(instant_text)
    }

    #[test]
    fn times_in_a_query_may_have_a_plus() {
        for text in ["2026-03-01T13:00:00+01:00", "2026-03-01T13:00:00%2B01:00", "2026-03-01T12:00:00Z", "1772366400"] {
            assert_eq!(at(&format!("at={text}")).as_deref(), Some("2026-03-01T12:00:00.000Z"), "{text}");
        }
        for text in ["", "now", "2026-03-01", "2026-03-01T12:00:00", "-1", "99999999999999999999", "1e9", "%00"] {
            assert_eq!(at(&format!("at={text}")), None, "{text}");
        }
        assert!(moment(&Query::parse(None), &HeaderMap::new()).is_ok_and(|at| at.is_none()));
    }
}
