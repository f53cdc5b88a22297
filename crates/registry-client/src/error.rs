//! What can go wrong between this client and a registry, with everything that a front needs to say so.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::codes::RegistryCode;
use crate::escape;
use crate::network::NetworkFailure;
use crate::redact::RedactedUrl;
use crate::wire::Context;

/// Most errors of one body that stand in the text: the others say much the same.
const CODES_SHOWN: usize = 4;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verb {
    /// Ask for digest, size and type of a manifest.
    HeadManifest,
    /// Read a manifest.
    GetManifest,
    /// Write a manifest.
    PutManifest,
    /// Delete a manifest or a tag.
    DeleteManifest,
    /// Ask for a blob.
    HeadBlob,
    /// Read a blob.
    GetBlob,
    /// Delete a blob.
    DeleteBlob,
    /// Mount a blob from another repository.
    MountBlob,
    /// Open an upload session.
    StartUpload,
    /// Send the bytes of a blob.
    UploadBlob,
    /// Ask how far an upload has come.
    UploadStatus,
    /// Abandon an upload session.
    CancelUpload,
    /// List tags.
    ListTags,
    /// List what refers to a document.
    ListReferrers,
    /// List the repositories of a registry.
    ListRepositories,
    /// Ask where a tag pointed.
    TagHistory,
    /// Try credentials.
    CheckLogin,
}

impl Verb {
    /// A fragment that reads well after "failed to".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HeadManifest => "look up the manifest",
            Self::GetManifest => "get the manifest",
            Self::PutManifest => "put the manifest",
            Self::DeleteManifest => "delete the manifest",
            Self::HeadBlob => "look up the blob",
            Self::GetBlob => "get the blob",
            Self::DeleteBlob => "delete the blob",
            Self::MountBlob => "mount the blob",
            Self::StartUpload => "start an upload",
            Self::UploadBlob => "upload the blob",
            Self::UploadStatus => "ask for the state of the upload",
            Self::CancelUpload => "cancel the upload",
            Self::ListTags => "list tags",
            Self::ListReferrers => "list referrers",
            Self::ListRepositories => "list repositories",
            Self::TagHistory => "get the history of the tag",
            Self::CheckLogin => "check the login",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What class of failure it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// 404: the manifest, blob, repository or upload session is not there.
    NotFound,
    /// 401 although everything was shown that there is to show, or that it could be shown for.
    Unauthorized,
    /// The registry asks for user name and password, and there are none for it.
    NoCredentials,
    /// 403: the credentials are known and do not allow it.
    Denied,
    /// 429, also after waiting, or the wait that was asked for is too long.
    RateLimited,
    /// 405, or a code that says that the registry does not do this.
    Unsupported,
    /// 413: the registry takes no body of this length.
    RefusedAsTooLarge,
    /// Another status of the 400s.
    Rejected,
    /// A status of the 500s.
    ServerError,
    /// The token server did not give a token.
    TokenServer,
    /// The local credentials could not be read.
    Credentials,
    /// The other side speaks plain HTTP where HTTPS was expected.
    HttpInsteadOfHttps,
    /// The other side speaks neither TLS nor HTTP.
    NotTls,
    /// The server's certificate is signed by nobody that is trusted.
    UnknownCa,
    /// The server's certificate is for another name.
    WrongHostName,
    /// The server's certificate is not valid now.
    CertificateExpired,
    /// Another failure of TLS: no common version, a client certificate is wanted, …
    Tls,
    /// Nobody listens there.
    ConnectionRefused,
    /// The name has no address.
    Dns,
    /// No connection, no answer or no further byte in time.
    Timeout,
    /// Another failure of the network: reset, unreachable, closed in the middle.
    Network,
    /// The content has another digest than was asked for, or than the registry said.
    DigestMismatch,
    /// The content has another length than was asked for.
    LengthMismatch,
    /// More than the limit of this client.
    TooLarge,
    /// The manifest is not one: see [`ClientError::document_error`].
    InvalidDocument,
    /// An answer that the protocol does not allow.
    InvalidResponse,
    /// A redirect that is not followed: too many, a loop, or from HTTPS to HTTP.
    Redirect,
    /// What was to be uploaded could not be read.
    Source,
    /// This client cannot be set up: certificates that cannot be read, a proxy that is not supported.
    Configuration,
}

impl ErrorKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not found",
            Self::Unauthorized => "not authorised",
            Self::NoCredentials => "no basic auth credentials",
            Self::Denied => "denied",
            Self::RateLimited => "too many requests",
            Self::Unsupported => "not supported by the registry",
            Self::RefusedAsTooLarge => "too large for the registry",
            Self::Rejected => "rejected",
            Self::ServerError => "the registry failed",
            Self::TokenServer => "no token",
            Self::Credentials => "the credentials cannot be read",
            Self::HttpInsteadOfHttps => "the server speaks HTTP, not HTTPS",
            Self::NotTls => "the server speaks neither TLS nor HTTP",
            Self::UnknownCa => "the certificate is signed by an unknown authority",
            Self::WrongHostName => "the certificate is for another host",
            Self::CertificateExpired => "the certificate is not valid at this time",
            Self::Tls => "TLS failed",
            Self::ConnectionRefused => "connection refused",
            Self::Dns => "no such host",
            Self::Timeout => "timed out",
            Self::Network => "the connection failed",
            Self::DigestMismatch => "the digest is wrong",
            Self::LengthMismatch => "the length is wrong",
            Self::TooLarge => "larger than the limit",
            Self::InvalidDocument => "not a usable manifest",
            Self::InvalidResponse => "the answer breaks the protocol",
            Self::Redirect => "the redirect is not followed",
            Self::Source => "the content cannot be read",
            Self::Configuration => "the client cannot be set up",
        }
    }
}

/// A failed request: what was being done, to what, what came back, what to try.
///
/// Cloning is cheap; when one of many waiting requests fails for all, all get the same error.
#[derive(Clone)]
pub struct ClientError(Arc<Failure>);

/// The parts of a [`ClientError`], while it is put together.
#[derive(Clone)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) verb: Verb,
    pub(crate) method: Method,
    pub(crate) url: RedactedUrl,
    pub(crate) token_server: Option<RedactedUrl>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) codes: Vec<RegistryCode>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) network: Option<NetworkFailure>,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, verb: Verb, method: Method, url: RedactedUrl) -> Self {
        Self {
            kind,
            verb,
            method,
            url,
            token_server: None,
            status: None,
            codes: Vec::new(),
            content_type: None,
            body: None,
            retry_after: None,
            network: None,
            detail: None,
            hint: None,
            source: None,
        }
    }

    /// Adds a fragment of our own words about what came back. Text of others in it must have been escaped.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }
}

impl From<Failure> for ClientError {
    fn from(failure: Failure) -> Self {
        Self(Arc::new(failure))
    }
}

impl ClientError {
    /// What class of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was being done.
    pub fn verb(&self) -> Verb {
        self.0.verb
    }

    /// The HTTP method of the request.
    pub fn method(&self) -> &Method {
        &self.0.method
    }

    /// To what. After a redirect this is the URL that was asked first.
    pub fn url(&self) -> &RedactedUrl {
        &self.0.url
    }

    /// The token server, if it was the one that failed. Status, codes and body are its own then.
    pub fn token_server(&self) -> Option<&RedactedUrl> {
        self.0.token_server.as_ref()
    }

    /// The status that came back, if one did.
    pub fn status(&self) -> Option<u16> {
        self.0.status.map(|status| status.as_u16())
    }

    /// The errors in the body, if it was an error body of the distribution specification.
    pub fn codes(&self) -> &[RegistryCode] {
        &self.0.codes
    }

    /// `Content-Type` of the answer, as it was sent.
    pub fn content_type(&self) -> Option<&str> {
        self.0.content_type.as_deref()
    }

    /// The beginning of an error answer's body, escaped except for line ends and tabs.
    pub fn body(&self) -> Option<&str> {
        self.0.body.as_deref()
    }

    /// How long the registry asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// What happened below HTTP, if that is where it failed.
    pub fn network(&self) -> Option<&NetworkFailure> {
        self.0.network.as_ref()
    }

    /// Why the manifest is refused, if that is what failed.
    pub fn document_error(&self) -> Option<&image::DocumentError> {
        self.0.source.as_deref()?.downcast_ref()
    }

    /// What a person can try, if there is something.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// A copy to change.
    pub(crate) fn into_failure(self) -> Failure {
        Arc::unwrap_or_clone(self.0)
    }

    /// The same failure, for another request that waited for this one.
    pub(crate) fn for_request(&self, context: &Context) -> Self {
        let mut failure = self.clone().into_failure();
        failure.verb = context.verb;
        failure.method = context.method.clone();
        failure.url = context.url.clone();
        failure.into()
    }

    /// Whether the same request could succeed if it were sent again.
    pub(crate) fn is_transient(&self) -> bool {
        // Token servers have been asked often enough by whoever asks them.
        if self.0.token_server.is_some() {
            return false;
        }
        match self.0.kind {
            ErrorKind::RateLimited | ErrorKind::Network => true,
            ErrorKind::ServerError => {
                matches!(self.status(), Some(500 | 502 | 503 | 504))
            }
            // A time-out while connecting has used up the time that a person is willing to wait.
            ErrorKind::Timeout => {
                self.0.network.as_ref().is_none_or(|network| network.phase() != crate::network::Phase::Dial)
            }
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    /// `get the manifest at https://r.io/v2/app/manifests/v1: not found (404; MANIFEST_UNKNOWN: manifest unknown)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = &*self.0;
        write!(f, "{} at {}: {}", failure.verb, failure.url, failure.kind.as_str())?;
        if let Some(server) = &failure.token_server {
            write!(f, " from {server}")?;
        }
        let mut notes: Vec<String> = Vec::new();
        if let Some(status) = failure.status {
            notes.push(status.as_u16().to_string());
        }
        notes.extend(failure.codes.iter().take(CODES_SHOWN).map(|code| escape::short(&code.to_string())));
        if let Some(more) = failure.codes.len().checked_sub(CODES_SHOWN).filter(|more| *more > 0) {
            notes.push(format!("{more} more"));
        }
        notes.extend(failure.detail.clone());
        if let Some(network) = &failure.network {
            notes.push(network.to_string());
        }
        if failure.codes.is_empty()
            && let Some(body) = failure.body.as_deref().filter(|body| !body.trim().is_empty())
        {
            notes.push(escape::short(body.lines().next().unwrap_or_default()));
        }
        if !notes.is_empty() {
            write!(f, " ({})", notes.join("; "))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failure = &*self.0;
        f.debug_struct("ClientError")
            .field("kind", &failure.kind)
            .field("verb", &failure.verb)
            .field("method", &failure.method)
            .field("url", &failure.url)
            .field("token_server", &failure.token_server)
            .field("status", &failure.status)
            .field("codes", &failure.codes)
            .field("content_type", &failure.content_type)
            .field("body", &failure.body)
            .field("retry_after", &failure.retry_after)
            .field("network", &failure.network)
            .field("detail", &failure.detail)
            .field("hint", &failure.hint)
            .field("source", &failure.source)
            .finish()
    }
}

impl Error for ClientError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
