//! What a path means. Names have slashes in them, so a path is read from its end.

use content::{RepositoryId, UploadId};
use http::Method;
use image::{Digest, RepositoryName, Tag, Target};
use percent_encoding::percent_decode_str;

use crate::refusal::Refusal;

/// What [`Endpoint::kind`] says. The last one stands for a path that means nothing.
pub(crate) const KINDS: [&str; 16] = [
    "base",
    "catalog",
    "extensions",
    "manifest",
    "blob",
    "uploads",
    "upload",
    "tags",
    "referrers",
    "history",
    "token",
    "token-keys",
    "healthz",
    "readyz",
    "metrics",
    "none",
];

/// A path, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/healthz`
    Alive,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/token`
    Token,
    /// `/token/keys`
    TokenKeys,
    /// Below `/v2/`.
    Registry(Route),
}

impl Endpoint {
    /// Reads a path as it came.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        match path {
            "/healthz" => Ok(Self::Alive),
            "/readyz" => Ok(Self::Ready),
            "/metrics" => Ok(Self::Metrics),
            "/token" => Ok(Self::Token),
            "/token/keys" => Ok(Self::TokenKeys),
            _ => Route::parse(path).map(Self::Registry),
        }
    }

    /// What it is called in logs and metrics: one of a few words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Alive => "healthz",
            Self::Ready => "readyz",
            Self::Metrics => "metrics",
            Self::Token => "token",
            Self::TokenKeys => "token-keys",
            Self::Registry(route) => route.kind(),
        }
    }

    /// The repository that it is about.
    pub(crate) fn repository(&self) -> Option<&RepositoryId> {
        match self {
            Self::Alive | Self::Ready | Self::Metrics | Self::Token | Self::TokenKeys => None,
            Self::Registry(route) => route.repository(),
        }
    }

    /// The methods that it has, as `Allow` lists them.
    pub(crate) fn methods(&self) -> &'static str {
        match self {
            Self::Alive | Self::Ready | Self::Metrics | Self::TokenKeys => "GET, HEAD",
            Self::Token => "GET, POST",
            Self::Registry(route) => route.methods(),
        }
    }

    /// Whether a method changes what is in the registry.
    pub(crate) fn writes(&self, method: &Method) -> bool {
        matches!(self, Self::Registry(_)) && !matches!(*method, Method::GET | Method::HEAD)
    }
}

/// A path below `/v2/`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_oci/ext/discover`, for all or for one repository.
    Extensions,
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryId, Named),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryId, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryId),
    /// `/v2/<name>/blobs/uploads/<session>`; without a session that it could be.
    Upload(RepositoryId, Option<UploadId>),
    /// `/v2/<name>/tags/list`
    Tags(RepositoryId),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryId, Digest),
    /// `/v2/<name>/_polyarch/history/<tag>`: an extension of ours.
    History(RepositoryId, Named),
}

/// The last part of a manifest's path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// A tag or a digest.
    Target(Target),
    /// Neither: nothing can be found there, and nothing put there.
    Nothing(String),
}

impl Route {
    /// Reads a path as it came.
    pub(crate) fn parse(path: &str) -> Result<Self, Refusal> {
        let unknown = Refusal::no_endpoint;
        let path = percent_decode_str(path).decode_utf8().map_err(|_| unknown())?;
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        if rest == "_oci/ext/discover" {
            return Ok(Self::Extensions);
        }
        if let Some(name) = rest.strip_suffix("/_oci/ext/discover") {
            repository(name)?;
            return Ok(Self::Extensions);
        }
        if let Some(name) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(repository(name)?));
        }
        if let Some(name) = rest.strip_suffix("/blobs/uploads/").or_else(|| rest.strip_suffix("/blobs/uploads")) {
            return Ok(Self::Uploads(repository(name)?));
        }
        let (parent, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
        if let Some(name) = parent.strip_suffix("/blobs/uploads") {
            return Ok(Self::Upload(repository(name)?, UploadId::parse(last)));
        }
        if let Some(name) = parent.strip_suffix("/blobs") {
            return Ok(Self::Blob(repository(name)?, digest(last)?));
        }
        if let Some(name) = parent.strip_suffix("/referrers") {
            return Ok(Self::Referrers(repository(name)?, digest(last)?));
        }
        if let Some(name) = parent.strip_suffix("/_polyarch/history") {
            return Ok(Self::History(repository(name)?, tag(last)));
        }
        if let Some(name) = parent.strip_suffix("/manifests") {
            let repository = repository(name)?;
            if last.contains(':') {
                return Ok(Self::Manifest(repository, Named::Target(digest(last)?.into())));
            }
            return Ok(Self::Manifest(repository, tag(last)));
        }
        Err(unknown())
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Extensions => "extensions",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) => "uploads",
            Self::Upload(..) => "upload",
            Self::Tags(_) => "tags",
            Self::Referrers(..) => "referrers",
            Self::History(..) => "history",
        }
    }

    fn repository(&self) -> Option<&RepositoryId> {
        match self {
            Self::Base | Self::Catalog | Self::Extensions => None,
            Self::Manifest(repository, _)
            | Self::Blob(repository, _)
            | Self::Uploads(repository)
            | Self::Upload(repository, _)
            | Self::Tags(repository)
            | Self::Referrers(repository, _)
            | Self::History(repository, _) => Some(repository),
        }
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Extensions | Self::Tags(_) | Self::Referrers(..) | Self::History(..) => {
                "GET, HEAD"
            }
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE",
            Self::Blob(..) => "GET, HEAD, DELETE",
            Self::Uploads(_) => "POST",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
        }
    }
}

fn repository(name: &str) -> Result<RepositoryId, Refusal> {
    RepositoryName::parse(name).map(RepositoryId::served).map_err(|_| {
        let reason = if name.len() > 255 {
            "a repository name has at most 255 characters"
        } else {
            "a repository name has lower-case letters and digits, with `.`, `_`, `-` and `/` between them"
        };
        let shown: String = name.chars().take(200).collect();
        Refusal::bad_request("NAME_INVALID", reason).detail(serde_json::json!({ "name": shown }))
    })
}

fn tag(text: &str) -> Named {
    match Tag::parse(text) {
        Ok(tag) => Named::Target(tag.into()),
        Err(_) => Named::Nothing(text.chars().take(200).collect()),
    }
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).map_err(|error| Refusal::bad_digest(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn name(text: &str) -> RepositoryId {
        RepositoryId::served(text.parse().unwrap())
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let empty = Digest::sha256(b"");
        let v1 = || Named::Target(Tag::parse("v1").unwrap().into());
        let id = UploadId::random().unwrap();
        for (path, want) in [
            ("/v2".to_owned(), Route::Base),
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/_oci/ext/discover".to_owned(), Route::Extensions),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(name("a/b"))),
            ("/v2/a/manifests/v1".to_owned(), Route::Manifest(name("a"), v1())),
            ("/v2/a%2Fb/manifests/v1".to_owned(), Route::Manifest(name("a/b"), v1())),
            ("/v2/a%2fb%2Fmanifests%2Fv1".to_owned(), Route::Manifest(name("a/b"), v1())),
            (
                "/v2/manifests/blobs/uploads/manifests/v1".to_owned(),
                Route::Manifest(name("manifests/blobs/uploads"), v1()),
            ),
            (format!("/v2/a/blobs/{HEX}"), Route::Blob(name("a"), empty.clone())),
            (format!("/v2/a/blobs/{}", HEX.replace(':', "%3A")), Route::Blob(name("a"), empty.clone())),
            (format!("/v2/a/referrers/{HEX}"), Route::Referrers(name("a"), empty.clone())),
            (format!("/v2/a/manifests/{HEX}"), Route::Manifest(name("a"), Named::Target(empty.clone().into()))),
            ("/v2/a/manifests/.no".to_owned(), Route::Manifest(name("a"), Named::Nothing(".no".to_owned()))),
            ("/v2/a/_polyarch/history/v1".to_owned(), Route::History(name("a"), v1())),
            ("/v2/a/blobs/uploads/".to_owned(), Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads".to_owned(), Route::Uploads(name("a"))),
            (format!("/v2/a/blobs/uploads/{id}"), Route::Upload(name("a"), Some(id.clone()))),
            ("/v2/a/blobs/uploads/..%2F..%2Fetc".to_owned(), Route::Upload(name("a"), None)),
        ] {
            // The last one has slashes in its session's name, so that it is no session's.
            let Ok(route) = Route::parse(&path) else {
                assert!(path.contains("etc"), "{path}");
                continue;
            };
            assert_eq!(route, want, "{path}");
        }
    }

    #[test]
    fn each_path_has_a_word_that_metrics_know() {
        let (digest, id) = (Digest::sha256(b""), UploadId::random().unwrap());
        for path in [
            "/v2/".to_owned(),
            "/v2/_catalog".to_owned(),
            "/v2/_oci/ext/discover".to_owned(),
            "/v2/a/manifests/v1".to_owned(),
            format!("/v2/a/blobs/{digest}"),
            "/v2/a/blobs/uploads/".to_owned(),
            format!("/v2/a/blobs/uploads/{id}"),
            "/v2/a/tags/list".to_owned(),
            format!("/v2/a/referrers/{digest}"),
            "/v2/a/_polyarch/history/v1".to_owned(),
            "/token".to_owned(),
            "/token/keys".to_owned(),
            "/healthz".to_owned(),
            "/readyz".to_owned(),
            "/metrics".to_owned(),
        ] {
            let kind = Endpoint::parse(&path).unwrap().kind();
            assert!(KINDS.contains(&kind) && kind != "none", "{path}: {kind}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_path_has_a_code() {
        for (path, status, code) in [
            ("/", 404, "UNSUPPORTED"),
            ("/v3/", 404, "UNSUPPORTED"),
            ("/v2x/", 404, "UNSUPPORTED"),
            ("/v2/a", 404, "UNSUPPORTED"),
            ("/v2/%ff/tags/list", 404, "UNSUPPORTED"),
            ("/v2/A/tags/list", 400, "NAME_INVALID"),
            ("/v2//tags/list", 400, "NAME_INVALID"),
            ("/v2/a/../b/tags/list", 400, "NAME_INVALID"),
            ("/v2/a%00/tags/list", 400, "NAME_INVALID"),
            ("/v2/a/blobs/sha256:../../../../etc/passwd", 404, "UNSUPPORTED"),
            ("/v2/a/blobs/sha256:..%2F..", 404, "UNSUPPORTED"),
            ("/v2/a/blobs/sha256:abc", 400, "DIGEST_INVALID"),
            ("/v2/a/manifests/sha256:abc", 400, "DIGEST_INVALID"),
            ("/v2/a/referrers/latest", 400, "DIGEST_INVALID"),
        ] {
            let refusal = Route::parse(path).unwrap_err();
            assert_eq!((refusal.status.as_u16(), refusal.errors[0].code), (status, code), "{path}");
        }
        let long = format!("/v2/{}/tags/list", "a".repeat(300));
        assert_eq!(Route::parse(&long).unwrap_err().errors[0].code, "NAME_INVALID");
    }
}
