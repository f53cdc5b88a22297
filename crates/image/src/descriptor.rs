//! Descriptors (image-spec, `descriptor.md`).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::media_type::MediaType;
use crate::platform::Platform;

/// A typed view of a descriptor, and the form in which polyarch writes a new one.
///
/// Unknown fields are not here: they live on in the bytes of the document that the descriptor was read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content.
    pub media_type: MediaType,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes.
    pub size: u64,
    /// Where else the content may be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations, in document order.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub annotations: serde_json::Map<String, serde_json::Value>,
    /// The content itself, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Type of the artifact that the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

impl Descriptor {
    /// A descriptor with nothing but what is required.
    pub fn new(media_type: impl Into<MediaType>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: serde_json::Map::new(),
            data: None,
            artifact_type: None,
            platform: None,
        }
    }

    /// The value of an annotation that is a string.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key)?.as_str()
    }

    /// Whether this entry of an index is a BuildKit attestation, and of which image.
    pub fn attestation_of(&self) -> Option<Digest> {
        if self.annotation("vnd.docker.reference.type") != Some("attestation-manifest") {
            return None;
        }
        self.annotation("vnd.docker.reference.digest").and_then(|text| Digest::parse(text).ok())
    }

    /// Reads one from the text of a JSON object.
    pub fn from_raw(raw: &RawValue) -> Result<Self, serde_json::Error> {
        serde_json::from_str(raw.get())
    }
}
