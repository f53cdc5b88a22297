//! One repository of a registry, and the protocol's verbs on it.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::Method;
use image::{Descriptor, Digest, Document, MediaType, RegistryHost, RepositoryName, Tag, Target};
use url::Url;

use crate::client::RegistryClient;
use crate::error::{ClientError, ErrorKind, Failure, Verb};
use crate::redact::RedactedUrl;
use crate::scope::Access;

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

/// The bytes of a blob as they arrive. It ends with an error unless they have the digest and size of the descriptor,
/// so whoever saw the end saw the right bytes.
pub struct BlobStream {
    inner: Pin<Box<dyn Stream<Item = Result<Bytes, ClientError>> + Send>>,
}

impl Stream for BlobStream {
    type Item = Result<Bytes, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        self.inner.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobStream").finish_non_exhaustive()
    }
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

    fn unfinished<T>(&self, verb: Verb) -> Result<T, ClientError> {
        let url = Url::parse(&format!("https://{}/v2/{}", self.host, self.name));
        let url = url.as_ref().map(RedactedUrl::from).unwrap_or_else(|_| unreachable!());
        Err(Failure::new(ErrorKind::Unsupported, verb, Method::GET, url).into())
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

    /// Digest, size and media type of a manifest; `None` if it is not there. One `HEAD`; a `GET` where the registry
    /// does not say the digest.
    pub async fn head_manifest(&self, target: &Target) -> Result<Option<Descriptor>, ClientError> {
        let _ = target;
        self.unfinished(Verb::HeadManifest)
    }

    /// A manifest, verified and read.
    pub async fn get_manifest(&self, target: &Target) -> Result<Document, ClientError> {
        let _ = target;
        self.unfinished(Verb::GetManifest)
    }

    /// A manifest, verified but not read: for what is no document to this client.
    pub async fn get_manifest_raw(&self, target: &Target) -> Result<RawManifest, ClientError> {
        let _ = target;
        self.unfinished(Verb::GetManifest)
    }

    /// Puts a manifest under `tag`, or under its digest.
    pub async fn put_manifest(&self, document: &Document, tag: Option<&Tag>) -> Result<PutManifest, ClientError> {
        let _ = (document, tag);
        self.unfinished(Verb::PutManifest)
    }

    /// Deletes a tag, or a manifest with all its tags.
    pub async fn delete_manifest(&self, target: &Target) -> Result<(), ClientError> {
        let _ = target;
        self.unfinished(Verb::DeleteManifest)
    }

    /// Asks for a blob; `None` if it is not there.
    pub async fn head_blob(&self, digest: &Digest) -> Result<Option<BlobInfo>, ClientError> {
        let _ = digest;
        self.unfinished(Verb::HeadBlob)
    }

    /// Opens a blob. A connection that is lost is taken up again where it ended.
    pub async fn get_blob(&self, descriptor: &Descriptor) -> Result<BlobStream, ClientError> {
        let _ = descriptor;
        self.unfinished(Verb::GetBlob)
    }

    /// Reads a blob of at most `limit` bytes into memory.
    pub async fn read_blob(&self, descriptor: &Descriptor, limit: usize) -> Result<Bytes, ClientError> {
        let _ = (descriptor, limit);
        self.unfinished(Verb::GetBlob)
    }

    /// Deletes a blob.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), ClientError> {
        let _ = digest;
        self.unfinished(Verb::DeleteBlob)
    }

    /// Sees to it that a blob is here, at the least cost: mounts it from `from`, a repository of the same registry, or
    /// wherever the registry finds it; else sends the bytes of `source` in the session that the mount opened. Blobs of
    /// up to 64 KiB that have no `from` are sent with the first request.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        from: Option<&RepositoryName>,
        source: &dyn BlobSource,
    ) -> Result<Placement, ClientError> {
        let _ = (descriptor, from, source);
        self.unfinished(Verb::UploadBlob)
    }

    /// Asks for a blob to be mounted, from the repository `from` or from wherever the registry finds it.
    pub async fn mount_blob(&self, digest: &Digest, from: Option<&RepositoryName>) -> Result<Mount, ClientError> {
        let _ = (digest, from);
        self.unfinished(Verb::MountBlob)
    }

    /// Opens an upload session.
    pub async fn start_upload(&self) -> Result<UploadSession, ClientError> {
        self.unfinished(Verb::StartUpload)
    }

    /// Sends a small blob with the request that would open a session.
    pub async fn upload_single_post(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<SinglePost, ClientError> {
        let _ = (descriptor, bytes);
        self.unfinished(Verb::UploadBlob)
    }

    /// Sends a blob in one `PUT`, which ends the session.
    pub async fn upload_monolithic(
        &self,
        session: UploadSession,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), ClientError> {
        let _ = (session, descriptor, source);
        self.unfinished(Verb::UploadBlob)
    }

    /// Sends a blob in chunks of `chunk` bytes (or the session's minimum, if that is more), then ends the session.
    pub async fn upload_chunked(
        &self,
        session: UploadSession,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        chunk: u64,
    ) -> Result<(), ClientError> {
        let _ = (session, descriptor, source, chunk);
        self.unfinished(Verb::UploadBlob)
    }

    /// How many bytes the session has.
    pub async fn upload_status(&self, session: &UploadSession) -> Result<u64, ClientError> {
        let _ = session;
        self.unfinished(Verb::UploadStatus)
    }

    /// Abandons a session.
    pub async fn cancel_upload(&self, session: UploadSession) -> Result<(), ClientError> {
        let _ = session;
        self.unfinished(Verb::CancelUpload)
    }

    /// All tags, in the registry's order.
    pub async fn list_tags(&self) -> Result<Vec<Tag>, ClientError> {
        self.unfinished(Verb::ListTags)
    }

    /// What has `subject` as its subject, of one artifact type or of all: by the referrers API, or by the fall-back tag
    /// where the registry has none.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let _ = (subject, artifact_type);
        self.unfinished(Verb::ListReferrers)
    }
}
