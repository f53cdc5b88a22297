//! Upload sessions and mounts (distribution-spec, "Pushing Blobs").

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use http::{Method, StatusCode};
use image::{Descriptor, Digest, RepositoryName};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::call::{Answer, Call, Place};
use crate::error::{ClientError, ErrorKind, Verb};
use crate::lanes::Lane;
use crate::location;
use crate::payload::{Parts, Payload};
use crate::repository::{BlobSource, Mount, Repository, SinglePost, UploadSession};
use crate::scope::{Access, ScopeSet};

/// Bodies up to this size are read into memory: they go with the small requests, and can be sent again at once.
pub(crate) const IN_MEMORY: u64 = 64 << 10;

const CHUNK_MINIMUM: &str = "oci-chunk-min-length";

impl Repository {
    /// Asks for a blob to be mounted, from the repository `from` or from wherever the registry finds it.
    pub async fn mount_blob(&self, digest: &Digest, from: Option<&RepositoryName>) -> Result<Mount, ClientError> {
        // Built in one expression: a serializer that lives across the await below would not be `Sync`.
        let query = Serializer::new(String::new())
            .extend_pairs(from.map(|from| ("from", from.as_str())))
            .append_pair("mount", digest.as_str())
            .finish();
        let mut call = self.post(Verb::MountBlob, &format!("?{query}"));
        if let Some(from) = from {
            call.scopes.add_repository(from, Access::Pull);
        }
        let answer = self.registry().exchange(&call).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(Mount::Session(session(&answer)?)),
            _ => Ok(Mount::Mounted),
        }
    }

    /// Opens an upload session.
    pub async fn start_upload(&self) -> Result<UploadSession, ClientError> {
        let answer = self.registry().exchange(&self.post(Verb::StartUpload, "")).await?;
        session(&answer)
    }

    /// Sends a small blob with the request that would open a session.
    pub async fn upload_single_post(&self, descriptor: &Descriptor, bytes: Bytes) -> Result<SinglePost, ClientError> {
        let query = Serializer::new(String::new()).append_pair("digest", descriptor.digest.as_str()).finish();
        let mut call = self.post(Verb::UploadBlob, &format!("?{query}"));
        call.headers.insert(CONTENT_TYPE, octets());
        call.payload = Payload::Bytes(bytes);
        let answer = self.registry().exchange(&call).await?;
        match answer.status() {
            StatusCode::ACCEPTED => Ok(SinglePost::Session(session(&answer)?)),
            _ => Ok(SinglePost::Done),
        }
    }

    /// Sends a blob in one `PUT`, which ends the session.
    pub async fn upload_monolithic(
        &self,
        session: UploadSession,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
    ) -> Result<(), ClientError> {
        let mut call = self.within(Verb::UploadBlob, Method::PUT, finish_url(&session, &descriptor.digest));
        call.headers.insert(CONTENT_TYPE, octets());
        // A session that failed in the middle may have any number of bytes: whoever repeats this opens a new one.
        call.repeat = false;
        if descriptor.size <= IN_MEMORY {
            call.payload = Payload::Bytes(self.collect(&call, source, descriptor.size).await?);
        } else {
            call.payload = Payload::Source { source, length: descriptor.size };
            call.lane = Lane::Upload;
        }
        self.finish(&call).await
    }

    /// Sends a blob in chunks of `chunk` bytes (or the session's minimum, if that is more), then ends the session.
    pub async fn upload_chunked(
        &self,
        session: UploadSession,
        descriptor: &Descriptor,
        source: &dyn BlobSource,
        chunk: u64,
    ) -> Result<(), ClientError> {
        let chunk = chunk.max(session.chunk_minimum.unwrap_or(0)).max(1);
        let UploadSession { mut location, chunk_minimum } = session;
        let opening = self.within(Verb::UploadBlob, Method::PATCH, location.clone());
        let stream = source.open().await.map_err(|error| self.source_failure(&opening, error))?;
        let parts = Parts::new(stream);
        let mut sent = 0;
        while sent < descriptor.size {
            let length = chunk.min(descriptor.size - sent);
            let mut call = self.within(Verb::UploadBlob, Method::PATCH, location);
            call.headers.insert(CONTENT_TYPE, octets());
            if let Ok(range) = HeaderValue::from_str(&format!("{sent}-{}", sent + length - 1)) {
                call.headers.insert(CONTENT_RANGE, range);
            }
            call.payload = Payload::Part(parts.clone(), length);
            call.lane = Lane::Upload;
            call.repeat = false;
            let answer = self.registry().exchange(&call).await?;
            sent += length;
            location = next_location(&answer)?;
        }
        let last = UploadSession { location, chunk_minimum };
        let mut call = self.within(Verb::UploadBlob, Method::PUT, finish_url(&last, &descriptor.digest));
        call.headers.insert(CONTENT_TYPE, octets());
        call.repeat = false;
        self.finish(&call).await
    }

    /// How many bytes the session has.
    pub async fn upload_status(&self, session: &UploadSession) -> Result<u64, ClientError> {
        let call = self.within(Verb::UploadStatus, Method::GET, session.location.clone());
        let answer = self.registry().exchange(&call).await?;
        let Some(range) = answer.head.header(RANGE) else { return Ok(0) };
        // `0-0` is what Docker's registry says of an empty session, and what one byte looks like.
        let last =
            range.trim().trim_start_matches("bytes=").strip_prefix("0-").and_then(|last| last.parse::<u64>().ok());
        match last {
            Some(0) => Ok(0),
            Some(last) => Ok(last.saturating_add(1)),
            None => {
                let detail = format!("`Range: {}`", crate::escape::line(range));
                Err(answer.context.failure(ErrorKind::InvalidResponse).detail(detail).into())
            }
        }
    }

    /// Abandons a session.
    pub async fn cancel_upload(&self, session: UploadSession) -> Result<(), ClientError> {
        let call = self.within(Verb::CancelUpload, Method::DELETE, session.location);
        self.registry().exchange(&call).await.map(drop)
    }

    /// A `POST` to the place where uploads begin. To begin twice does no harm: the first session is forgotten.
    fn post(&self, verb: Verb, query: &str) -> Call<'static> {
        self.call(verb, Method::POST, &format!("blobs/uploads/{query}"), Access::Push)
    }

    /// A request to a session.
    fn within(&self, verb: Verb, method: Method, location: Url) -> Call<'static> {
        Call::new(verb, method, Place::Url(location), ScopeSet::repository(self.name(), Access::Push))
    }

    async fn finish(&self, call: &Call<'_>) -> Result<(), ClientError> {
        let answer = self.registry().exchange(call).await?;
        // 201 by the specification. 202 would mean that the session goes on: the blob is not there then.
        if answer.status() == StatusCode::ACCEPTED {
            let mut failure =
                answer.context.failure(ErrorKind::InvalidResponse).detail("the registry did not finish the upload");
            failure.status = Some(answer.status());
            return Err(failure.into());
        }
        Ok(())
    }

    /// Reads a small source into memory.
    pub(crate) async fn collect(
        &self,
        call: &Call<'_>,
        source: &dyn BlobSource,
        size: u64,
    ) -> Result<Bytes, ClientError> {
        let mut stream = source.open().await.map_err(|error| self.source_failure(call, error))?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.source_failure(call, error))?;
            if (bytes.len() + chunk.len()) as u64 > size {
                return Err(self.source_failure(call, format!("the content has more than {size} bytes").into()));
            }
            bytes.extend_from_slice(&chunk);
        }
        if (bytes.len() as u64) < size {
            let detail = format!("the content has {} bytes, not {size}", bytes.len());
            return Err(self.source_failure(call, detail.into()));
        }
        Ok(bytes.freeze())
    }

    fn source_failure(&self, call: &Call<'_>, error: crate::repository::SourceError) -> ClientError {
        match self.registry().context(call) {
            Ok(context) => crate::wire::source_failure(&context, error).into(),
            Err(failure) => failure,
        }
    }
}

fn octets() -> HeaderValue {
    HeaderValue::from_static("application/octet-stream")
}

/// The session that an answer opened.
fn session(answer: &Answer) -> Result<UploadSession, ClientError> {
    let chunk_minimum = answer.head.header(CHUNK_MINIMUM).and_then(|length| length.trim().parse().ok());
    Ok(UploadSession { location: next_location(answer)?, chunk_minimum })
}

fn next_location(answer: &Answer) -> Result<Url, ClientError> {
    let header = answer.head.headers.get(LOCATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(location) = header else {
        return Err(answer.context.failure(ErrorKind::InvalidResponse).detail("the answer has no `Location`").into());
    };
    location::resolve(&answer.context, &answer.head.url, "Location", &location)
}

fn finish_url(session: &UploadSession, digest: &Digest) -> Url {
    let mut url = session.location.clone();
    let digest = Serializer::new(String::new()).append_pair("digest", digest.as_str()).finish();
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{digest}"),
        _ => digest,
    };
    url.set_query(Some(&query));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_s_query_is_kept_to_the_letter() {
        let digest = Digest::sha256(b"");
        let of = |location: &str| {
            let session = UploadSession { location: Url::parse(location).unwrap(), chunk_minimum: None };
            finish_url(&session, &digest).to_string()
        };
        let hex = digest.hex();
        assert_eq!(of("https://r.io/u"), format!("https://r.io/u?digest=sha256%3A{hex}"));
        assert_eq!(
            of("https://r.io/u?_state=a%2Fb+c==&x"),
            format!("https://r.io/u?_state=a%2Fb+c==&x&digest=sha256%3A{hex}")
        );
    }
}
