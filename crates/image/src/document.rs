//! Documents: indexes and image manifests as raw bytes with a checked view.

use bytes::Bytes;
use serde::Deserialize;

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::media_type::{MediaKind, MediaType};
use crate::null::null_is_empty;
use crate::strict::{Limits, StrictError, check_document, shown_json};
use crate::text::{Shown, shown};

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
#[expect(clippy::large_enum_variant, reason = "there is one per document, behind an `Arc`")]
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
    #[serde(default, deserialize_with = "entries")]
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
    #[serde(default, deserialize_with = "layers")]
    pub layers: Vec<Descriptor>,
    /// Type of the artifact.
    pub artifact_type: Option<String>,
    /// What this document refers to.
    pub subject: Option<Descriptor>,
    /// Annotations in document order.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub annotations: serde_json::Map<String, serde_json::Value>,
}

fn entries<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    deserializer.deserialize_option(Named("manifests"))
}

fn layers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Descriptor>, D::Error> {
    deserializer.deserialize_option(Named("layers"))
}

/// An array of descriptors (or null, Go's empty one) whose errors say which element they are about.
struct Named(&'static str);

impl<'de> serde::de::Visitor<'de> for Named {
    type Value = Vec<Descriptor>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an array of descriptors in `{}`", self.0)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        loop {
            match seq.next_element() {
                Ok(Some(descriptor)) => all.push(descriptor),
                Ok(None) => return Ok(all),
                Err(error) => {
                    return Err(serde::de::Error::custom(format_args!("{}[{}]: {error}", self.0, all.len())));
                }
            }
        }
    }
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
    #[error("unsupported manifest media type `{}`: schema 1 images must be pushed anew by a current builder", Shown(.0.as_str()))]
    Schema1(MediaType),
    /// A media type that is neither index nor manifest.
    #[error("unsupported manifest media type `{}`", Shown(.0.as_str()))]
    MediaType(MediaType),
    /// `mediaType` in the document contradicts the `Content-Type` it came with, or is missing where Docker's types ask
    /// for it. In Docker's words.
    #[error("{} should be '{}' not '{}'", field_in(content_type), Shown(content_type.as_str()), Shown(stated.as_str()))]
    MediaTypeMismatch {
        /// From the header or the descriptor.
        content_type: MediaType,
        /// From the document; empty if it states none.
        stated: MediaType,
    },
    /// Fields of an index and of a manifest in one document (CVE-2021-41190).
    #[error("the document has the fields of both an index and a manifest")]
    Ambiguous,
    /// `schemaVersion` is not 2.
    #[error("schemaVersion is {0}, expected 2")]
    SchemaVersion(String),
}

/// How Docker calls the field of a document of `content_type`.
fn field_in(content_type: &MediaType) -> &'static str {
    match (content_type.kind(), content_type.is_docker()) {
        (MediaKind::Index, false) => "if present, mediaType in image index",
        (MediaKind::Index, true) => "mediaType in manifest list",
        (MediaKind::Manifest, false) => "if present, mediaType in manifest",
        _ => "mediaType in manifest",
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    schema_version: Option<serde_json::Value>,
    media_type: Option<MediaType>,
    #[serde(default, deserialize_with = "present")]
    config: bool,
    #[serde(default, deserialize_with = "present")]
    layers: bool,
    #[serde(default, deserialize_with = "present")]
    manifests: bool,
}

/// A key that is there counts, whatever its value: parsers differ in what they make of `null`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
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
        check_document(&bytes, limits)?;
        let shape = |error: serde_json::Error| DocumentError::Shape(shown_json(&error));
        let probe: Probe = serde_json::from_slice(&bytes).map_err(shape)?;
        let looks_index = probe.manifests;
        let looks_manifest = probe.config || probe.layers;
        let media_type = match (content_type, &probe.media_type) {
            (Some(content_type), Some(stated)) if content_type != stated => {
                return Err(DocumentError::MediaTypeMismatch {
                    content_type: content_type.clone(),
                    stated: stated.clone(),
                });
            }
            // Docker's two formats require the field, and every Docker registry refuses a document without it.
            (Some(content_type), None)
                if content_type.is_docker()
                    && matches!(content_type.kind(), MediaKind::Index | MediaKind::Manifest) =>
            {
                return Err(DocumentError::MediaTypeMismatch {
                    content_type: content_type.clone(),
                    stated: MediaType::new(""),
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
                    other.as_ref().map_or_else(|| "missing".to_owned(), |value| shown(&value.to_string())),
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

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn error(content_type: Option<&str>, text: &str) -> String {
        Document::new(content_type.map(MediaType::from).as_ref(), text.to_owned()).unwrap_err().to_string()
    }

    fn entry(fields: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{DIGEST}","size":1}},{{"mediaType":"x",{fields}}}]}}"#
        )
    }

    #[test]
    fn shape_decides_where_nothing_is_stated() {
        let index = Document::new(None, r#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert_eq!(index.media_type().as_str(), MediaType::OCI_INDEX);
        assert!(index.children().is_empty());
        let text =
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{DIGEST}","size":0}},"layers":[]}}"#);
        let manifest = Document::new(None, text).unwrap();
        assert_eq!(manifest.media_type().as_str(), MediaType::OCI_MANIFEST);
        assert_eq!(manifest.children().len(), 1);
    }

    #[test]
    fn errors_name_the_descriptor_they_are_about() {
        let md5 = "0".repeat(32);
        for (fields, want) in [
            (
                format!(r#""digest":"md5:{md5}","size":1"#),
                "manifests[1]: digest algorithm `md5` is not supported: only sha256 and sha512 are",
            ),
            (format!(r#""digest":"{DIGEST}","size":-5"#), "manifests[1]: `size` is negative: -5"),
            (format!(r#""digest":"{DIGEST}""#), "manifests[1]: missing field `size`"),
            (r#""digest":"../../etc","size":1"#.to_owned(), "manifests[1]: `../../etc` is not a digest"),
        ] {
            let error = error(None, &entry(&fields));
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn unknown_fields_of_any_type_are_no_concern() {
        let text = entry(&format!(
            r#""digest":"{DIGEST}","size":1,"x":[1.50,{{"digest":7}}],"platform":{{"os":"linux","features":{{"sse4":-1}}}}"#
        ));
        let document = Document::new(None, text.clone()).unwrap();
        assert_eq!(document.bytes(), text.as_bytes());
        assert_eq!(document.index().unwrap().manifests[1].platform, Some(crate::Platform::new("linux", "")));
    }

    /// As `docker manifest inspect` prints them.
    #[test]
    fn contradicting_media_types_are_told_in_dockers_words() {
        let list = MediaType::DOCKER_LIST;
        let index = MediaType::OCI_INDEX;
        let manifest = MediaType::OCI_MANIFEST;
        let schema2 = MediaType::DOCKER_MANIFEST;
        for (content_type, stated, want) in [
            (index, list, format!("if present, mediaType in image index should be '{index}' not '{list}'")),
            (list, index, format!("mediaType in manifest list should be '{list}' not '{index}'")),
            (manifest, schema2, format!("if present, mediaType in manifest should be '{manifest}' not '{schema2}'")),
            (schema2, manifest, format!("mediaType in manifest should be '{schema2}' not '{manifest}'")),
            (list, "", format!("mediaType in manifest list should be '{list}' not ''")),
            (schema2, "", format!("mediaType in manifest should be '{schema2}' not ''")),
        ] {
            let stated = if stated.is_empty() { String::new() } else { format!(r#","mediaType":"{stated}""#) };
            assert_eq!(error(Some(content_type), &format!(r#"{{"schemaVersion":2{stated}}}"#)), want);
        }
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let both = r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#;
        assert_eq!(error(None, both), "the document has the fields of both an index and a manifest");
        assert!(
            error(None, r#"{"schemaVersion":2,"manifests":[],"Layers":[]}"#).starts_with("ambiguous key \"Layers\"")
        );
        assert!(error(None, r#"{"schemaVersion":2,"schemaVersion":2}"#).starts_with("duplicate key"));
        assert_eq!(
            error(Some(MediaType::OCI_INDEX), r#"{"schemaVersion":2,"layers":[]}"#),
            "expected an index but found a manifest"
        );
    }

    #[test]
    fn refusals_have_clear_texts() {
        assert_eq!(error(None, "{"), "unexpected end of JSON input");
        assert_eq!(error(None, r#"{"manifests":[]}"#), "schemaVersion is missing, expected 2");
        assert_eq!(error(None, r#"{"schemaVersion":2.0,"manifests":[]}"#), "schemaVersion is 2.0, expected 2");
        assert_eq!(
            error(Some("text/html\u{7}"), r#"{"schemaVersion":2}"#),
            "unsupported manifest media type `text/html\\u{7}`"
        );
        assert!(error(Some(MediaType::DOCKER_SCHEMA1_SIGNED), r#"{"schemaVersion":1}"#).contains("schema 1 images"));
        let deep = format!(r#"{{"schemaVersion":2,"manifests":[],"x":{}{}}}"#, "[".repeat(64), "]".repeat(64));
        assert!(error(None, &deep).starts_with("nested deeper than 64 levels"));
        let long = format!(r#"{{"schemaVersion":2,"manifests":[],"x":"{}"}}"#, "x".repeat(4 << 20));
        assert!(error(None, &long).ends_with("more than the limit of 4194304"));
    }
}
