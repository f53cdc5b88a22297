//! Referrers, by the API or by the fall-back tag (distribution-spec, "Listing Referrers").

use std::sync::atomic::Ordering;

use http::header::{ACCEPT, AsHeaderName, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use image::{Algorithm, Descriptor, Digest, Document, IndexEditor, Limits, MediaKind, MediaType, Tag, Target};
use url::form_urlencoded::Serializer;

use crate::error::{ClientError, ErrorKind, Verb};
use crate::listing::{check_count, pages};
use crate::repository::Repository;
use crate::scope::Access;

const FILTERS_APPLIED: &str = "oci-filters-applied";

impl Repository {
    /// What has `subject` as its subject, of one artifact type or of all: by the referrers API, or by the fall-back tag
    /// where the registry has none.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, ClientError> {
        let registry = self.registry();
        if !registry.no_referrers.load(Ordering::Relaxed) {
            match self.referrers_by_api(subject, artifact_type).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // 404 means that there is no such API, never that there are no referrers.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {}
                Err(error) => return Err(error),
            }
            registry.no_referrers.store(true, Ordering::Relaxed);
        }
        let mut found = match self.fallback_index(subject).await? {
            Some(index) => index.index().map(|index| index.manifests.clone()).unwrap_or_default(),
            None => Vec::new(),
        };
        retain_type(&mut found, artifact_type);
        Ok(found)
    }

    /// `None`: what came is not an index, so something else than the API answered.
    async fn referrers_by_api(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, ClientError> {
        let mut rest = format!("referrers/{subject}");
        if let Some(artifact_type) = artifact_type {
            rest.push('?');
            rest.push_str(&Serializer::new(String::new()).append_pair("artifactType", artifact_type).finish());
        }
        let mut call = self.call(Verb::ListReferrers, Method::GET, &rest, Access::Pull);
        call.headers.insert(ACCEPT, HeaderValue::from_static(MediaType::OCI_INDEX));
        let options = self.client().options();
        let limits = Limits { length: options.manifest_limit, ..Limits::default() };
        let mut found = Vec::new();
        let mut is_api = true;
        pages(&self.registry(), call, options.manifest_limit, |context, headers, page| {
            let content_type = MediaType::from_content_type(text(headers, CONTENT_TYPE).unwrap_or_default());
            if content_type.kind() != MediaKind::Index {
                is_api = false;
                return Ok(0);
            }
            let index =
                Document::with_limits(Some(&content_type), page, limits, Algorithm::Sha256).map_err(|error| {
                    let detail = crate::escape::line(&error.to_string());
                    ClientError::from(context.failure(ErrorKind::InvalidDocument).detail(detail).source(error))
                })?;
            let mut page = index.index().map(|index| index.manifests.clone()).unwrap_or_default();
            let count = page.len();
            check_count(context, found.len() + count, options.listing_limit)?;
            let filtered = text(headers, FILTERS_APPLIED)
                .is_some_and(|filters| filters.split(',').any(|filter| filter.trim() == "artifactType"));
            if !filtered {
                retain_type(&mut page, artifact_type);
            }
            found.append(&mut page);
            Ok(count)
        })
        .await?;
        Ok(is_api.then_some(found))
    }

    /// The index under the fall-back tag; `None` if there is none. A document of another kind under that tag is
    /// somebody else's.
    async fn fallback_index(&self, subject: &Digest) -> Result<Option<Document>, ClientError> {
        match self.get_manifest(&Target::Tag(self.fallback_tag(subject)?)).await {
            Ok(document) => Ok(Some(document).filter(|document| document.index().is_some())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a referrer to the fall-back tag of its subject, for registries that do not keep referrers themselves: those
    /// whose answer to [`Repository::put_manifest`] had no `subject`. Does nothing if it is there.
    ///
    /// Two processes that do this at the same moment can lose one of the two: the protocol has no lock. Within one the
    /// second waits for the first.
    pub async fn add_fallback_referrer(&self, subject: &Digest, referrer: &Descriptor) -> Result<(), ClientError> {
        let tag = self.fallback_tag(subject)?;
        let registry = self.registry();
        let _turn = registry.fallback_gate.lock().await;
        let edit = match self.fallback_index(subject).await? {
            Some(index) => {
                if index.children().iter().any(|child| child.digest == referrer.digest) {
                    return Ok(());
                }
                IndexEditor::new(&index)
            }
            None => IndexEditor::empty(&MediaType::from(MediaType::OCI_INDEX)),
        };
        let document = edit.and_then(|mut editor| {
            editor.append(referrer)?;
            editor.finish()
        });
        match document {
            Ok(document) => self.put_manifest(&document, Some(&tag)).await.map(drop),
            Err(error) => {
                let call = self.call(Verb::PutManifest, Method::PUT, &format!("manifests/{tag}"), Access::Push);
                let context = self.registry().context(&call)?;
                let detail = crate::escape::line(&error.to_string());
                Err(context.failure(ErrorKind::InvalidDocument).detail(detail).source(error).into())
            }
        }
    }

    /// `sha256-<hex>`: algorithm and hex are cut to 32 and 64 characters.
    fn fallback_tag(&self, subject: &Digest) -> Result<Tag, ClientError> {
        let text = format!("{}-{:.64}", subject.algorithm().as_str(), subject.hex());
        Tag::parse(&text).map_err(|error| {
            let call = self.call(Verb::ListReferrers, Method::GET, "referrers/", Access::Pull);
            match self.registry().context(&call) {
                Ok(context) => context.failure(ErrorKind::Configuration).detail(error.to_string()).into(),
                Err(error) => error,
            }
        })
    }
}

fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn retain_type(found: &mut Vec<Descriptor>, artifact_type: Option<&str>) {
    if artifact_type.is_some() {
        found.retain(|descriptor| descriptor.artifact_type.as_deref() == artifact_type);
    }
}
