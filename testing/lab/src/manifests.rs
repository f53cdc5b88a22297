//! Manifests: read, put, delete.

use bytes::Bytes;
use http::{HeaderMap, Method, header};
use image::{Algorithm, Digest, Tag};
use serde_json::{Value, json};

use crate::answer::{self, Answer};
use crate::content::Stored;
use crate::lab::Shared;
use crate::routes::{query_values, unsupported};

/// What the lab takes at most: the specification's 4 MiB.
const LIMIT: usize = 4 << 20;

fn unknown(name: &str, reference: &str) -> Answer {
    let detail = match Digest::parse(reference) {
        Ok(digest) => json!({ "Name": name, "Revision": digest }),
        Err(_) => json!({ "Tag": reference }),
    };
    answer::failure(404, "MANIFEST_UNKNOWN", "manifest unknown", detail)
}

pub(crate) fn read(shared: &Shared, method: &Method, name: &str, reference: &str, headers: &HeaderMap) -> Answer {
    let quirks = shared.quirks();
    if *method == Method::HEAD && quirks.no_head {
        return unsupported();
    }
    let Some((digest, stored)) = shared.content().manifest(name, reference) else { return unknown(name, reference) };
    let etag = format!("\"{digest}\"");
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
        return answer::empty(304);
    }
    let content_type = match (quirks.no_content_type, quirks.content_type_parameters) {
        (true, _) => "application/octet-stream".to_owned(),
        (false, true) => format!("{}; charset=utf-8", stored.media_type),
        (false, false) => stored.media_type,
    };
    let answer = answer::with_body(200, &content_type, stored.bytes);
    let answer = answer::header(answer, "etag", &etag);
    answer::header(answer, "docker-content-digest", digest.as_str())
}

pub(crate) fn put(
    shared: &Shared,
    name: &str,
    reference: &str,
    query: &str,
    headers: &HeaderMap,
    body: &Bytes,
) -> Answer {
    let quirks = shared.quirks();
    if body.len() > LIMIT {
        return answer::failure(413, "MANIFEST_INVALID", "manifest invalid", json!("too large"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut content = shared.content();
    let document = match content.check(name, content_type, body, quirks.sparse) {
        Ok(document) => document,
        Err(failures) => return answer::failures(400, &failures),
    };
    let mut tags = query_values(query, "tag");
    let mut digest = document.digest().clone();
    match Digest::parse(reference) {
        Ok(asked) => {
            if asked.algorithm() != Algorithm::Sha256 {
                digest = Digest::of(asked.algorithm(), body);
            }
            if asked != digest {
                return answer::failure(
                    400,
                    "DIGEST_INVALID",
                    "provided digest did not match uploaded content",
                    Value::Null,
                );
            }
        }
        Err(_) if reference.contains(':') => {
            return answer::failure(
                400,
                "DIGEST_INVALID",
                "provided digest did not match uploaded content",
                Value::Null,
            );
        }
        Err(_) => tags.push(reference.to_owned()),
    }
    if let Some(bad) = tags.iter().find(|tag| Tag::parse(tag).is_err()) {
        return answer::failure(400, "TAG_INVALID", "manifest tag did not match URI", json!({ "tag": bad }));
    }
    let stored = Stored { media_type: document.media_type().to_string(), bytes: body.clone() };
    content.store(name, digest.clone(), stored, &tags);
    let answer = answer::empty(201);
    let answer = answer::header(answer, "location", &shared.location(&format!("/v2/{name}/manifests/{digest}")));
    let mut answer = answer::header(answer, "docker-content-digest", digest.as_str());
    if let Some(subject) = document.subject()
        && !quirks.no_referrers
    {
        answer::set(&mut answer, "oci-subject", subject.digest.as_str());
    }
    if query.contains("tag=") {
        answer::set(&mut answer, "oci-tag", &tags.join(", "));
    }
    answer
}

pub(crate) fn delete(shared: &Shared, name: &str, reference: &str) -> Answer {
    if shared.quirks().no_delete {
        return unsupported();
    }
    if shared.content().delete(name, reference) { answer::empty(202) } else { unknown(name, reference) }
}
