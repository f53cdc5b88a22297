//! Manifests (distribution-spec, "Pulling manifests", "Pushing Manifests", "Deleting Manifests").

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION};
use image::{Algorithm, Descriptor, Digest, DigestError, Document, DocumentError, Limits, MediaType, Tag, Target};

use crate::call::Answer;
use crate::error::{ClientError, ErrorKind, Verb};
use crate::payload::Payload;
use crate::redact::RedactedUrl;
use crate::repository::{PutManifest, RawManifest, Repository, TagWas};
use crate::scope::Access;
use crate::wire::{Context, Head, Wire};

const CONTENT_DIGEST: &str = "docker-content-digest";
const SUBJECT: &str = "oci-subject";

impl Repository {
    /// Digest, size and media type of a manifest; `None` if it is not there. One `HEAD`; a `GET` where the registry
    /// does not say the digest.
    pub async fn head_manifest(&self, target: &Target) -> Result<Option<Descriptor>, ClientError> {
        let registry = self.registry();
        let mut call = self.call(Verb::HeadManifest, Method::HEAD, &format!("manifests/{target}"), Access::Pull);
        call.headers.insert(ACCEPT, accept());
        let answer = match registry.exchange(&call).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.kind() {
                    ErrorKind::NotFound => Ok(None),
                    // HEAD is part of the protocol, but not every front end knows it.
                    ErrorKind::Unsupported => self.look_by_get(target).await,
                    _ => Err(error),
                };
            }
        };
        let digest = said_digest(&answer)?;
        let size = answer.head.header(CONTENT_LENGTH).and_then(|size| size.parse().ok());
        let digest = match (target, digest) {
            (Target::Digest(wanted), said) => {
                compare(&answer.context, said.as_ref(), wanted)?;
                Some(wanted.clone())
            }
            (Target::Tag(_), said) => said,
        };
        match (digest, size) {
            (Some(digest), Some(size)) => {
                Ok(Some(Descriptor::new(MediaType::from_content_type(content_type(&answer.head)), digest, size)))
            }
            _ => self.look_by_get(target).await,
        }
    }

    async fn look_by_get(&self, target: &Target) -> Result<Option<Descriptor>, ClientError> {
        match self.get_manifest_raw(target).await {
            Ok(raw) => Ok(Some(Descriptor::new(raw.media_type(), raw.digest.clone(), raw.bytes.len() as u64))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A manifest, verified and read.
    pub async fn get_manifest(&self, target: &Target) -> Result<Document, ClientError> {
        let (raw, context) = self.fetch_manifest(target).await?;
        let limits = Limits { length: self.client().options().manifest_limit, ..Limits::default() };
        // Without a `Content-Type` Docker refuses by name, and so do we: guessing is what CVE-2021-41190 was about.
        Document::with_limits(Some(&raw.media_type()), raw.bytes, limits, raw.digest.algorithm()).map_err(|error| {
            let mut failure =
                context.failure(ErrorKind::InvalidDocument).detail(crate::escape::line(&error.to_string()));
            failure.content_type = Some(crate::escape::line(&raw.content_type));
            if matches!(error, DocumentError::Schema1(_)) {
                failure = failure.hint("push the image again with a current builder");
            }
            failure.source(error).into()
        })
    }

    /// A manifest, verified but not read: for what is no document to this client.
    pub async fn get_manifest_raw(&self, target: &Target) -> Result<RawManifest, ClientError> {
        self.fetch_manifest(target).await.map(|(raw, _)| raw)
    }

    async fn fetch_manifest(&self, target: &Target) -> Result<(RawManifest, Context), ClientError> {
        let registry = self.registry();
        let mut call = self.call(Verb::GetManifest, Method::GET, &format!("manifests/{target}"), Access::Pull);
        call.headers.insert(ACCEPT, accept());
        let answer = registry.exchange(&call).await?;
        let said = said_digest(&answer)?;
        let content_type = content_type(&answer.head).to_owned();
        let context = answer.context.clone();
        let bytes = document_body(&registry.wire, answer, self.client().options().manifest_limit).await?;
        let algorithm = match target {
            Target::Digest(digest) => digest.algorithm(),
            Target::Tag(_) => said.as_ref().map_or(Algorithm::Sha256, Digest::algorithm),
        };
        let digest = Digest::of(algorithm, &bytes);
        if let Target::Digest(wanted) = target
            && *wanted != digest
        {
            return Err(wrong_digest(&context, wanted, &digest));
        }
        compare(&context, said.as_ref(), &digest)?;
        Ok((RawManifest { bytes, content_type, digest }, context))
    }

    /// Puts a manifest under `tag`, or under its digest.
    pub async fn put_manifest(&self, document: &Document, tag: Option<&Tag>) -> Result<PutManifest, ClientError> {
        self.put(document, tag, None).await
    }

    /// Puts a manifest under `tag` if that is still where it was; else the registry refuses with 412. One that does not
    /// know `If-Match` puts it all the same.
    pub async fn put_manifest_if(
        &self,
        document: &Document,
        tag: &Tag,
        was: &TagWas,
    ) -> Result<PutManifest, ClientError> {
        self.put(document, Some(tag), Some(was)).await
    }

    async fn put(
        &self,
        document: &Document,
        tag: Option<&Tag>,
        was: Option<&TagWas>,
    ) -> Result<PutManifest, ClientError> {
        let target = tag.map_or_else(|| Target::Digest(document.digest().clone()), |tag| Target::Tag(tag.clone()));
        let registry = self.registry();
        let mut call = self.call(Verb::PutManifest, Method::PUT, &format!("manifests/{target}"), Access::Push);
        // A document's media type has been recognised, so it is one that a header can hold.
        if let Ok(media_type) = HeaderValue::from_str(document.media_type().as_str()) {
            call.headers.insert(CONTENT_TYPE, media_type);
        }
        match was {
            None => {}
            Some(TagWas::Absent) => drop(call.headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"))),
            Some(TagWas::At(digest)) => {
                if let Ok(tag) = HeaderValue::from_str(&format!("\"{digest}\"")) {
                    call.headers.insert(IF_MATCH, tag);
                }
            }
        }
        call.payload = Payload::Bytes(document.bytes().clone());
        let answer = registry.exchange(&call).await?;
        let digest = said_digest(&answer)?;
        compare(&answer.context, digest.as_ref(), document.digest())?;
        let subject = answer.head.header(SUBJECT).and_then(|text| Digest::parse(text).ok());
        let location = answer.head.header(LOCATION).and_then(|location| answer.head.url.join(location).ok());
        Ok(PutManifest { digest, subject, location: location.as_ref().map(RedactedUrl::from) })
    }

    /// Deletes a tag, or a manifest with all its tags.
    pub async fn delete_manifest(&self, target: &Target) -> Result<(), ClientError> {
        self.delete(Verb::DeleteManifest, &format!("manifests/{target}")).await
    }

    pub(crate) async fn delete(&self, verb: Verb, rest: &str) -> Result<(), ClientError> {
        let call = self.call(verb, Method::DELETE, rest, Access::Delete);
        self.registry().exchange(&call).await.map(drop)
    }
}

/// All types of documents in one line, as RFC 9110 has it.
pub(crate) fn accept() -> HeaderValue {
    let [a, b, c, d] = MediaType::DOCUMENTS;
    HeaderValue::from_str(&format!("{a}, {b}, {c}, {d}")).unwrap_or_else(|_| HeaderValue::from_static("*/*"))
}

fn content_type(head: &Head) -> &str {
    head.header(CONTENT_TYPE).unwrap_or_default()
}

/// The body of a document or a listing: bounded, and not compressed.
pub(crate) async fn document_body(wire: &Wire, answer: Answer, limit: usize) -> Result<Bytes, ClientError> {
    if let Some(encoding) = answer.head.encoding() {
        return Err(compressed(&answer.context, &encoding));
    }
    let context = answer.context.clone();
    let (body, _permit) = answer.into_body();
    let announced = body.length();
    let bytes = body.read(wire, limit).await?;
    if announced.is_some_and(|length| length != bytes.len() as u64) {
        let failure = context.failure(ErrorKind::LengthMismatch);
        return Err(failure.detail(format!("{} bytes came", bytes.len())).into());
    }
    Ok(bytes)
}

pub(crate) fn compressed(context: &Context, encoding: &str) -> ClientError {
    let detail = format!("the answer is compressed (`{encoding}`) although that was not asked for");
    context.failure(ErrorKind::InvalidResponse).detail(detail).into()
}

/// `Docker-Content-Digest`. One of an algorithm that is not known here says nothing; one that is no digest at all is an
/// error.
fn said_digest(answer: &Answer) -> Result<Option<Digest>, ClientError> {
    let Some(value) = answer.head.headers.get(CONTENT_DIGEST) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    match Digest::parse(text.trim()) {
        Ok(digest) => Ok(Some(digest)),
        Err(DigestError::UnsupportedAlgorithm(_)) => Ok(None),
        Err(error) => {
            let detail = format!("`Docker-Content-Digest`: {error}");
            Err(answer.context.failure(ErrorKind::InvalidResponse).detail(detail).into())
        }
    }
}

/// What the registry said must be what it is. Digests of two algorithms cannot be compared.
fn compare(context: &Context, said: Option<&Digest>, digest: &Digest) -> Result<(), ClientError> {
    match said {
        Some(said) if said.algorithm() == digest.algorithm() && said != digest => {
            let detail = format!("the registry says `{said}`, but it is `{digest}`");
            Err(context.failure(ErrorKind::DigestMismatch).detail(detail).into())
        }
        _ => Ok(()),
    }
}

pub(crate) fn wrong_digest(context: &Context, wanted: &Digest, got: &Digest) -> ClientError {
    let detail = format!("asked for `{wanted}`, got `{got}`");
    context.failure(ErrorKind::DigestMismatch).detail(detail).into()
}
