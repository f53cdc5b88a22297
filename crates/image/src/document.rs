//! Documents: indexes and image manifests as raw bytes with a checked view.

use bytes::Bytes;
use serde::Deserialize;

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::media_type::{MediaKind, MediaType};
use crate::strict::{Limits, StrictError, check_json};

/// An index or an image manifest: its bytes are the truth, the digest follows from them, the view was read from them.
///
/// Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Document {
    bytes: Bytes,
    digest: Digest,
    media_type: MediaType,
    view: std::sync::Arc<View>,
}

/// A document, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// OCI index or Docker manifest list.
    Index(IndexView),
    /// OCI manifest or Docker manifest, schema 2.
    Manifest(ManifestView),
}

/// An OCI image index or a Docker manifest list (image-spec, `image-index.md`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexView {
    /// `mediaType` if the document states it.
    pub media_type: Option<MediaType>,
    /// Entries in document order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub manifests: Vec<Descriptor>,
    /// Type of the artifact.
    pub artifact_type: Option<String>,
    /// What this document refers to.
    pub subject: Option<Descriptor>,
    /// Annotations in document order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: serde_json::Map<String, serde_json::Value>,
}

/// An OCI image manifest or a Docker manifest, schema 2 (image-spec, `manifest.md`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestView {
    /// `mediaType` if the document states it.
    pub media_type: Option<MediaType>,
    /// The config.
    pub config: Descriptor,
    /// Layers, lowest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<Descriptor>,
    /// Type of the artifact.
    pub artifact_type: Option<String>,
    /// What this document refers to.
    pub subject: Option<Descriptor>,
    /// Annotations in document order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: serde_json::Map<String, serde_json::Value>,
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Too long, not JSON, too deep, or a key twice.
    #[error("{0}")]
    Strict(#[from] StrictError),
    /// JSON, but not of the shape that its media type asks for.
    #[error("{0}")]
    Shape(String),
    /// Docker's schema 1.
    #[error("unsupported manifest media type `{0}`: schema 1 images must be pushed anew by a current builder")]
    Schema1(MediaType),
    /// A media type that is neither index nor manifest.
    #[error("unsupported manifest media type `{0}`")]
    MediaType(MediaType),
    /// `mediaType` in the document contradicts the `Content-Type` it came with.
    #[error("mediaType in manifest should be '{content_type}' not '{stated}'")]
    MediaTypeMismatch {
        /// From the header or the descriptor.
        content_type: MediaType,
        /// From the document.
        stated: MediaType,
    },
    /// Fields of an index and of a manifest in one document (CVE-2021-41190).
    #[error("the document has the fields of both an index and a manifest")]
    Ambiguous,
    /// `schemaVersion` is not 2.
    #[error("schemaVersion is {0}, expected 2")]
    SchemaVersion(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<serde_json::Value>,
    media_type: Option<MediaType>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Takes `bytes` as a document of `content_type`; without one, the `mediaType` field or the shape decides.
    ///
    /// # Errors
    /// Everything that two parsers could read differently is refused: see [`DocumentError`].
    pub fn new(content_type: Option<&MediaType>, bytes: impl Into<Bytes>) -> Result<Self, DocumentError> {
        Self::with_limits(content_type, bytes, Limits::default(), Algorithm::Sha256)
    }

    /// As [`Document::new`], with bounds and digest algorithm of one's own.
    pub fn with_limits(
        content_type: Option<&MediaType>,
        bytes: impl Into<Bytes>,
        limits: Limits,
        algorithm: Algorithm,
    ) -> Result<Self, DocumentError> {
        let bytes = bytes.into();
        check_json(&bytes, limits)?;
        let shape = |error: serde_json::Error| DocumentError::Shape(error.to_string());
        let probe: Probe = serde_json::from_slice(&bytes).map_err(shape)?;
        let looks_index = probe.manifests.is_some();
        let looks_manifest = probe.config.is_some() || probe.layers.is_some();
        let media_type = match (content_type, &probe.media_type) {
            (Some(content_type), Some(stated)) if content_type != stated => {
                return Err(DocumentError::MediaTypeMismatch {
                    content_type: content_type.clone(),
                    stated: stated.clone(),
                });
            }
            (Some(media_type), _) | (None, Some(media_type)) => media_type.clone(),
            (None, None) if looks_index => MediaType::from(MediaType::OCI_INDEX),
            (None, None) => MediaType::from(MediaType::OCI_MANIFEST),
        };
        match media_type.kind() {
            MediaKind::Schema1 => return Err(DocumentError::Schema1(media_type)),
            MediaKind::Index | MediaKind::Manifest => {}
            _ => return Err(DocumentError::MediaType(media_type)),
        }
        if looks_index && looks_manifest {
            return Err(DocumentError::Ambiguous);
        }
        match &probe.schema_version {
            Some(serde_json::Value::Number(number)) if number.as_u64() == Some(2) => {}
            other => {
                return Err(DocumentError::SchemaVersion(
                    other.as_ref().map_or_else(|| "missing".to_owned(), ToString::to_string),
                ));
            }
        }
        let view = if media_type.kind() == MediaKind::Index {
            if looks_manifest {
                return Err(DocumentError::Shape("expected an index but found a manifest".to_owned()));
            }
            View::Index(serde_json::from_slice(&bytes).map_err(shape)?)
        } else {
            if looks_index {
                return Err(DocumentError::Shape("expected a manifest but found an index".to_owned()));
            }
            View::Manifest(serde_json::from_slice(&bytes).map_err(shape)?)
        };
        let digest = Digest::of(algorithm, &bytes);
        Ok(Self { bytes, digest, media_type, view: std::sync::Arc::new(view) })
    }

    /// The bytes, exactly as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Media type, without parameters.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The document, read.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The index, if it is one.
    pub fn index(&self) -> Option<&IndexView> {
        match &*self.view {
            View::Index(index) => Some(index),
            View::Manifest(_) => None,
        }
    }

    /// The image manifest, if it is one.
    pub fn manifest(&self) -> Option<&ManifestView> {
        match &*self.view {
            View::Manifest(manifest) => Some(manifest),
            View::Index(_) => None,
        }
    }

    /// Descriptor of this document: media type, digest, size.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size())
    }

    /// What the document refers to: documents (an index's entries) or blobs (config, then layers). Not the subject.
    pub fn children(&self) -> Vec<&Descriptor> {
        match &*self.view {
            View::Index(index) => index.manifests.iter().collect(),
            View::Manifest(manifest) => std::iter::once(&manifest.config).chain(&manifest.layers).collect(),
        }
    }

    /// The subject, of either kind.
    pub fn subject(&self) -> Option<&Descriptor> {
        match &*self.view {
            View::Index(index) => index.subject.as_ref(),
            View::Manifest(manifest) => manifest.subject.as_ref(),
        }
    }
}
