//! One repository of a registry, and what goes in and out of its verbs. The verbs themselves are in files of their own.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use image::{Digest, MediaType, RegistryHost, RepositoryName};
use url::Url;

use crate::call::{Call, Place};
use crate::client::RegistryClient;
use crate::error::Verb;
use crate::redact::RedactedUrl;
use crate::registry::Registry;
use crate::scope::{Access, ScopeSet};

/// Any error of whoever provides the bytes of an upload.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of an upload as they are read.
pub type SourceStream = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// The bytes of a blob that is to be uploaded. It is opened anew for every attempt.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Opens the content. The stream must have as many bytes as the descriptor says.
    async fn open(&self) -> Result<SourceStream, SourceError>;
}

/// Bytes in memory are a source.
#[async_trait]
impl BlobSource for Bytes {
    async fn open(&self) -> Result<SourceStream, SourceError> {
        let bytes = self.clone();
        Ok(Box::pin(futures_util::stream::once(async move { Ok(bytes) })))
    }
}

/// A manifest as it came, verified against its digest but not read as a document.
#[derive(Clone, Debug)]
pub struct RawManifest {
    /// The bytes.
    pub bytes: Bytes,
    /// `Content-Type` as it was sent; empty if it was missing.
    pub content_type: String,
    /// The digest: the one that was asked for, or SHA-256 of the bytes.
    pub digest: Digest,
}

impl RawManifest {
    /// The media type: `Content-Type` without its parameters.
    pub fn media_type(&self) -> MediaType {
        MediaType::from_content_type(&self.content_type)
    }
}

/// What a registry said of a manifest that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutManifest {
    /// `Docker-Content-Digest`, compared with the document's; `None` if it was missing.
    pub digest: Option<Digest>,
    /// `OCI-Subject`: the registry keeps the referrers of this subject itself.
    pub subject: Option<Digest>,
    /// `Location`, if it was sent.
    pub location: Option<RedactedUrl>,
}

/// Where a tag must be for a manifest to be put there: compare and swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TagWas {
    /// It must not exist.
    Absent,
    /// It must point to this.
    At(Digest),
}

/// What a registry said of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// `Content-Length`, if it was sent.
    pub size: Option<u64>,
}

/// An open upload session. It is used up by the request that ends it.
#[derive(Debug)]
pub struct UploadSession {
    pub(crate) location: Url,
    pub(crate) chunk_minimum: Option<u64>,
}

impl UploadSession {
    /// `OCI-Chunk-Min-Length`: the least length of a chunk other than the last.
    pub fn chunk_minimum(&self) -> Option<u64> {
        self.chunk_minimum
    }

    /// Where the session is, without what could be secret in it.
    pub fn location(&self) -> RedactedUrl {
        RedactedUrl::from(&self.location)
    }
}

/// What became of a mount.
#[derive(Debug)]
pub enum Mount {
    /// The blob is there now, or has been there before.
    Mounted,
    /// The registry could not; it opened a session for the bytes.
    Session(UploadSession),
}

/// What became of a blob that was sent with the `POST`.
#[derive(Debug)]
pub enum SinglePost {
    /// The blob is there.
    Done,
    /// The registry does not take bodies there; it opened a session for the bytes.
    Session(UploadSession),
}

/// How a blob came to be in the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Placement {
    /// It was there before.
    AlreadyThere,
    /// Mounted, or found by the registry; no bytes moved.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// One repository of one registry. Cloning is cheap; clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Repository {
    client: RegistryClient,
    host: RegistryHost,
    name: RepositoryName,
}

impl Repository {
    pub(crate) fn new(client: RegistryClient, host: RegistryHost, name: RepositoryName) -> Self {
        Self { client, host, name }
    }

    /// The registry.
    pub fn host(&self) -> &RegistryHost {
        &self.host
    }

    /// The repository's name.
    pub fn name(&self) -> &RepositoryName {
        &self.name
    }

    /// The client that it belongs to.
    pub fn client(&self) -> &RegistryClient {
        &self.client
    }

    /// Says what will be wanted of this repository, so that the first token allows all of it.
    pub fn expect(&self, access: Access) {
        self.client.expect(&self.host, &self.name, access);
    }

    /// The registry's state, shared by all its repositories that have the same credentials.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.client.registry(&self.host, Some(&self.name))
    }

    /// A request to `/v2/<name>/<rest>`.
    pub(crate) fn call(&self, verb: Verb, method: Method, rest: &str, access: Access) -> Call<'static> {
        let place = Place::Path(format!("/v2/{}/{rest}", self.name));
        Call::new(verb, method, place, ScopeSet::repository(&self.name, access))
    }
}
