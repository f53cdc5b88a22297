//! Paths of the distribution protocol, and the verbs that are neither manifests nor uploads.

use std::ops::Range;

use http::{HeaderMap, Method, header};
use image::{Digest, RepositoryName};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Payload};
use crate::auth::Access;
use crate::lab::Shared;

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    Catalog,
    Token,
    Tags {
        name: String,
    },
    Manifest {
        name: String,
        reference: String,
    },
    Blob {
        name: String,
        digest: String,
    },
    Uploads {
        name: String,
    },
    Upload {
        name: String,
        id: String,
    },
    Referrers {
        name: String,
        digest: String,
    },
    /// Blobs and uploads on a host that asks for no credentials, as object storage behind a registry does.
    OpenBlob {
        name: String,
        digest: String,
    },
    OpenUpload {
        name: String,
        id: String,
    },
    Unknown,
}

impl Route {
    /// Reads a path. Slashes of a repository name may be percent-encoded.
    pub(crate) fn parse(path: &str) -> Self {
        let decoded = percent_decode_str(path).decode_utf8_lossy().into_owned();
        match decoded.as_str() {
            "/v2/" | "/v2" => return Self::Ping,
            "/v2/_catalog" => return Self::Catalog,
            "/token" => return Self::Token,
            _ => {}
        }
        if let Some(rest) = decoded.strip_prefix("/_lab/storage/") {
            return match Self::parse_named(rest) {
                Self::Blob { name, digest } => Self::OpenBlob { name, digest },
                Self::Upload { name, id } => Self::OpenUpload { name, id },
                _ => Self::Unknown,
            };
        }
        decoded.strip_prefix("/v2/").map_or(Self::Unknown, Self::parse_named)
    }

    fn parse_named(path: &str) -> Self {
        let split = |separator: &str| {
            path.rsplit_once(separator)
                .filter(|(name, _)| RepositoryName::parse(name).is_ok())
                .map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        if let Some((name, rest)) = split("/tags/list")
            && rest.is_empty()
        {
            Self::Tags { name }
        } else if let Some((name, id)) = split("/blobs/uploads/") {
            if id.is_empty() { Self::Uploads { name } } else { Self::Upload { name, id } }
        } else if let Some((name, rest)) = split("/blobs/uploads")
            && rest.is_empty()
        {
            Self::Uploads { name }
        } else if let Some((name, reference)) = split("/manifests/") {
            Self::Manifest { name, reference }
        } else if let Some((name, digest)) = split("/referrers/") {
            Self::Referrers { name, digest }
        } else if let Some((name, digest)) = split("/blobs/") {
            Self::Blob { name, digest }
        } else {
            Self::Unknown
        }
    }

    /// The repository that is asked for, where credentials matter.
    pub(crate) fn repository(&self) -> Option<&str> {
        match self {
            Self::Tags { name }
            | Self::Manifest { name, .. }
            | Self::Blob { name, .. }
            | Self::Uploads { name }
            | Self::Upload { name, .. }
            | Self::Referrers { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// All values of a query or form parameter, decoded.
pub(crate) fn query_values(query: &str, name: &str) -> Vec<String> {
    query
        .split('&')
        .filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
            (decode(key) == name).then(|| decode(value))
        })
        .collect()
}

/// The first of them.
pub(crate) fn query_value(query: &str, name: &str) -> Option<String> {
    query_values(query, name).into_iter().next()
}

pub(crate) fn unsupported() -> Answer {
    answer::failure(405, "UNSUPPORTED", "The operation is unsupported.", Value::Null)
}

/// A digest of a path, or the answer to a bad one.
pub(crate) fn digest(text: &str) -> Result<Digest, Box<Answer>> {
    Digest::parse(text).map_err(|error| {
        Box::new(answer::failure(
            400,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
            json!(error.to_string()),
        ))
    })
}

/// Cuts a sorted list to the page that `n` and `last` ask for; the second part is the `last` of the next page.
fn page(all: Vec<String>, query: &str, most: Option<usize>) -> Result<(Vec<String>, Option<String>), Box<Answer>> {
    let n = match query_value(query, "n") {
        None => None,
        Some(text) => Some(text.parse::<usize>().map_err(|_| {
            Box::new(answer::failure(
                400,
                "PAGINATION_NUMBER_INVALID",
                "invalid number of results requested",
                json!({ "n": text }),
            ))
        })?),
    };
    let last = query_value(query, "last").unwrap_or_default();
    let mut rest: Vec<String> = all.into_iter().filter(|item| *item > last).collect();
    let limit = n.unwrap_or(usize::MAX).min(most.unwrap_or(usize::MAX));
    let next = (rest.len() > limit && limit > 0).then(|| rest[limit - 1].clone());
    rest.truncate(limit);
    Ok((rest, next))
}

fn link(shared: &Shared, path: &str, query: &str, last: &str) -> String {
    let quirks = shared.quirks();
    let base = if quirks.absolute_links { shared.base_url.as_str() } else { "" };
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut parameters: Vec<String> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("last=")).map(str::to_owned).collect();
    parameters.push(format!("last={}", encode(last)));
    format!("<{base}{path}?{}>; rel=\"next\"", parameters.join("&"))
}

pub(crate) fn tags(shared: &Shared, name: &str, path: &str, query: &str) -> Result<Answer, Box<Answer>> {
    let quirks = shared.quirks();
    if quirks.no_listing {
        return Ok(answer::with_body(404, "text/plain; charset=utf-8", "404 page not found\n"));
    }
    let all = match shared.content().repositories.get(name) {
        Some(repository) => repository.tags.keys().cloned().collect(),
        None => {
            return Ok(answer::failure(
                404,
                "NAME_UNKNOWN",
                "repository name not known to registry",
                json!({ "name": name }),
            ));
        }
    };
    let (tags, next) = page(all, query, quirks.page)?;
    let answer = answer::with_json(200, &json!({ "name": name, "tags": tags }));
    Ok(match next {
        Some(last) => answer::header(answer, "link", &link(shared, path, query, &last)),
        None => answer,
    })
}

pub(crate) fn catalog(shared: &Shared, path: &str, query: &str) -> Result<Answer, Box<Answer>> {
    let quirks = shared.quirks();
    if quirks.no_listing {
        return Ok(answer::with_body(404, "text/plain; charset=utf-8", "404 page not found\n"));
    }
    let all = shared.content().repositories.keys().cloned().collect();
    let (names, next) = page(all, query, quirks.page)?;
    let answer = answer::with_json(200, &json!({ "repositories": names }));
    Ok(match next {
        Some(last) => answer::header(answer, "link", &link(shared, path, query, &last)),
        None => answer,
    })
}

pub(crate) fn referrers(
    shared: &Shared,
    name: &str,
    subject: &str,
    path: &str,
    query: &str,
) -> Result<Answer, Box<Answer>> {
    let quirks = shared.quirks();
    if quirks.no_referrers {
        return Ok(answer::with_body(404, "text/plain; charset=utf-8", "404 page not found\n"));
    }
    let mut all = shared.content().referrers(name, &digest(subject)?);
    let filter = query_value(query, "artifactType");
    if let Some(wanted) = &filter {
        all.retain(|descriptor| descriptor.get("artifactType").and_then(Value::as_str) == Some(wanted));
    }
    let key = |descriptor: &Value| descriptor["digest"].as_str().unwrap_or_default().to_owned();
    let (digests, next) = page(all.iter().map(key).collect(), query, quirks.page)?;
    all.retain(|descriptor| digests.contains(&key(descriptor)));
    let body = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": all,
    });
    let mut answer = answer::with_body(200, "application/vnd.oci.image.index.v1+json", body.to_string());
    if filter.is_some() {
        answer::set(&mut answer, "oci-filters-applied", "artifactType");
    }
    if let Some(last) = next {
        answer::set(&mut answer, header::LINK, &link(shared, path, query, &last));
    }
    Ok(answer)
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n`: `None` is the whole blob, an empty range cannot be satisfied.
fn range(headers: &HeaderMap, size: u64) -> Option<Range<u64>> {
    let (from, to) = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    Some(match (from.is_empty(), to.is_empty()) {
        (true, true) => return None,
        (true, false) => size.saturating_sub(to.parse().ok()?)..size,
        (false, true) => from.parse().ok()?..size,
        (false, false) => from.parse().ok()?..to.parse::<u64>().ok()?.saturating_add(1).min(size),
    })
}

pub(crate) fn blob(
    shared: &Shared,
    method: &Method,
    name: &str,
    text: &str,
    headers: &HeaderMap,
    redirected: bool,
) -> Result<Answer, Box<Answer>> {
    let quirks = shared.quirks();
    let digest = digest(text)?;
    if *method == Method::HEAD && quirks.no_head {
        return Ok(unsupported());
    }
    if *method == Method::DELETE {
        let there = !quirks.no_delete && shared.content().repository(name).blobs.remove(&digest);
        return Ok(match (quirks.no_delete, there) {
            (true, _) => unsupported(),
            (false, true) => answer::empty(202),
            (false, false) => blob_unknown(&digest),
        });
    }
    if *method != Method::GET && *method != Method::HEAD {
        return Ok(unsupported());
    }
    let Some(blob) = shared.content().blob(name, &digest).cloned() else { return Ok(blob_unknown(&digest)) };
    if let (Some(host), false, &Method::GET) = (&quirks.redirect_blobs, redirected, method) {
        let scheme = shared.scheme();
        let answer = answer::empty(307);
        return Ok(answer::header(
            answer,
            "location",
            &format!("{scheme}://{host}/_lab/storage/{name}/blobs/{digest}?signature=lab"),
        ));
    }
    let size = blob.size();
    let asked = if quirks.no_range { None } else { range(headers, size) };
    let (status, range) = match asked {
        None => (200, 0..size),
        Some(range) if range.start < range.end => (206, range),
        Some(_) => {
            let answer = answer::failure(416, "RANGE_INVALID", "invalid content range", Value::Null);
            return Ok(answer::header(answer, "content-range", &format!("bytes */{size}")));
        }
    };
    let mut answer = answer::empty(status);
    answer::set(&mut answer, header::CONTENT_TYPE, "application/octet-stream");
    answer::set(&mut answer, header::ETAG, &format!("\"{digest}\""));
    if !quirks.no_range {
        answer::set(&mut answer, header::ACCEPT_RANGES, "bytes");
    }
    if status == 206 {
        answer::set(&mut answer, header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    answer::set(&mut answer, "docker-content-digest", digest.as_str());
    *answer.body_mut() = Payload { blob, range };
    Ok(answer)
}

fn blob_unknown(digest: &Digest) -> Answer {
    answer::failure(404, "BLOB_UNKNOWN", "blob unknown to registry", json!(digest))
}

/// Whether a tag or repository is one that this bearer may see mounted from: any repository that holds the blob.
pub(crate) fn mount_source(shared: &Shared, access: &Access, digest: &Digest) -> Option<String> {
    let content = shared.content();
    content
        .repositories
        .iter()
        .find(|(name, repository)| repository.blobs.contains(digest) && access.can_pull(name))
        .map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_the_right() {
        let manifest = |name: &str, reference: &str| Route::Manifest { name: name.into(), reference: reference.into() };
        assert_eq!(Route::parse("/v2/"), Route::Ping);
        assert_eq!(Route::parse("/v2/a/b/manifests/v1"), manifest("a/b", "v1"));
        assert_eq!(Route::parse("/v2/a%2Fb/manifests/v1"), manifest("a/b", "v1"));
        assert_eq!(Route::parse("/v2/manifests/manifests/v1"), manifest("manifests", "v1"));
        assert_eq!(Route::parse("/v2/a/blobs/uploads/"), Route::Uploads { name: "a".into() });
        assert_eq!(Route::parse("/v2/a/blobs/uploads/x"), Route::Upload { name: "a".into(), id: "x".into() });
        assert_eq!(Route::parse("/v2/a/tags/list"), Route::Tags { name: "a".into() });
        assert_eq!(Route::parse("/v2/A/tags/list"), Route::Unknown);
    }

    #[test]
    fn pages() {
        let all = || vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert_eq!(page(all(), "n=2", None).unwrap(), (vec!["a".to_owned(), "b".to_owned()], Some("b".to_owned())));
        assert_eq!(page(all(), "n=2&last=b", None).unwrap(), (vec!["c".to_owned()], None));
        assert_eq!(page(all(), "n=0", None).unwrap(), (vec![], None));
        assert_eq!(page(all(), "", Some(1)).unwrap().1.as_deref(), Some("a"));
        assert!(page(all(), "n=-1", None).is_err());
    }

    #[test]
    fn query_parameters_are_decoded() {
        assert_eq!(query_values("from=t%2Fa&mount=x&from=b+c", "from"), ["t/a", "b c"]);
    }
}
