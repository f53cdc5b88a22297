//! The ways in which real registries differ from the specification, one switch each.

use std::time::Duration;

/// What a mount request (`POST ?mount=`) is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounts {
    /// 201 where the blob is there, with or without `from`; else a session.
    #[default]
    Honoured,
    /// As `Honoured`, but only with `from`: without it a session is opened.
    OnlyWithFrom,
    /// Always 202 and a session: the registry knows no mounts.
    Session,
    /// This status and an error, which the specification does not allow but some front ends do.
    Refused(u16),
}

/// How `Location` is written for uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Location {
    /// `/v2/…`
    #[default]
    Relative,
    /// `http://host/v2/…`, as distribution writes it.
    Absolute,
    /// The same path on another host, `host:port`, which needs no credentials. `localhost:PORT` is the lab itself
    /// under another name.
    OtherHost(String),
}

/// So many requests, then 429 until the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests within one window.
    pub requests: usize,
    /// Length of the window.
    pub window: Duration,
    /// Seconds in `Retry-After`; without it the header is not sent.
    pub retry_after: Option<u64>,
}

/// Departures from the specification. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quirks {
    /// No `Docker-Content-Digest` anywhere.
    pub no_content_digest: bool,
    /// Errors are `text/plain` without JSON.
    pub plain_errors: bool,
    /// `/v2/` and blobs are open; only `/manifests/` asks for credentials.
    pub challenge_on_manifests_only: bool,
    /// How mounts are answered.
    pub mounts: Mounts,
    /// The referrers API is 404 and no `OCI-Subject` comes back.
    pub no_referrers: bool,
    /// `tags/list` and `_catalog` are 404.
    pub no_listing: bool,
    /// Deletes are 405 `UNSUPPORTED`.
    pub no_delete: bool,
    /// `POST ?digest=` opens a session instead of taking the blob.
    pub no_single_post: bool,
    /// `Range` is ignored.
    pub no_range: bool,
    /// HEAD is 405, for manifests and blobs.
    pub no_head: bool,
    /// Requests over the limit get 429.
    pub rate_limit: Option<RateLimit>,
    /// How `Location` is written for uploads.
    pub location: Location,
    /// `; charset=utf-8` after every `Content-Type` of a document.
    pub content_type_parameters: bool,
    /// Documents come as `application/octet-stream`.
    pub no_content_type: bool,
    /// Most entries of one page of tags, referrers or repositories, whatever was asked for.
    pub page: Option<usize>,
    /// `Link` headers of pages are absolute URLs.
    pub absolute_links: bool,
    /// Manifests may refer to what is not there.
    pub sparse: bool,
    /// GETs of blobs are redirected to this `host:port`, which needs no credentials and serves them.
    pub redirect_blobs: Option<String>,
    /// Smallest chunk of a PATCH but the last, announced as `OCI-Chunk-Min-Length`.
    pub chunk_minimum: Option<u64>,
    /// Uploaded blobs over this size are hashed and counted, not kept: for memory figures of clients.
    pub forget_blobs_over: Option<u64>,
}

impl Quirks {
    /// No `Docker-Content-Digest`.
    pub fn no_content_digest() -> Self {
        Self { no_content_digest: true, ..Self::default() }
    }

    /// Errors without JSON.
    pub fn plain_errors() -> Self {
        Self { plain_errors: true, ..Self::default() }
    }

    /// Credentials are asked for on manifests only.
    pub fn challenge_on_manifests_only() -> Self {
        Self { challenge_on_manifests_only: true, ..Self::default() }
    }

    /// Mounts open a session.
    pub fn no_mounts() -> Self {
        Self { mounts: Mounts::Session, ..Self::default() }
    }

    /// No referrers API.
    pub fn no_referrers() -> Self {
        Self { no_referrers: true, ..Self::default() }
    }

    /// So many requests in a window, then 429.
    pub fn rate_limit(requests: usize, window: Duration, retry_after: Option<u64>) -> Self {
        Self { rate_limit: Some(RateLimit { requests, window, retry_after }), ..Self::default() }
    }
}
