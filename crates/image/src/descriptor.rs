//! Descriptors (image-spec, `descriptor.md`).

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::digest::Digest;
use crate::media_type::MediaType;
use crate::null::null_is_empty;
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
    /// Size of the content in bytes; what does not fit an `i64`, which is what the specification says it is, is refused.
    #[serde(deserialize_with = "size")]
    pub size: u64,
    /// Where else the content may be had.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Annotations, in document order.
    #[serde(default, deserialize_with = "null_is_empty", skip_serializing_if = "serde_json::Map::is_empty")]
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

/// A size, with a message of its own for the sizes that attacks are made of.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)
        .map_err(|error| D::Error::custom(format_args!("`size` is not a whole number of bytes: {error}")))?;
    if number.as_i64().is_some_and(|size| size < 0) {
        return Err(D::Error::custom(format_args!("`size` is negative: {number}")));
    }
    match number.as_i64().and_then(|size| u64::try_from(size).ok()) {
        Some(size) => Ok(size),
        None => Err(D::Error::custom(format_args!("`size` is not a whole number of bytes below 2^63: {number}"))),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(size: &str) -> Result<Descriptor, String> {
        let text = format!(r#"{{"mediaType":"x","digest":"{DIGEST}","size":{size},"vendor":{{"size":[]}}}}"#);
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_are_whole_and_not_negative() {
        assert_eq!(read("0").unwrap().size, 0);
        assert_eq!(read("9223372036854775807").unwrap().size, i64::MAX.cast_unsigned());
        for (size, want) in [
            ("-1", "`size` is negative: -1"),
            ("-9223372036854775808", "`size` is negative"),
            ("9223372036854775808", "below 2^63"),
            ("99999999999999999999999", "below 2^63"),
            ("1.5", "below 2^63"),
            ("1e3", "below 2^63"),
            ("\"1\"", "`size` is not a whole number of bytes: invalid type: string \"1\""),
            ("null", "`size` is not a whole number of bytes"),
        ] {
            let error = read(size).unwrap_err();
            assert!(error.contains(want), "{size}: {error}");
        }
    }

    #[test]
    fn attestations_name_their_image() {
        let mut descriptor = Descriptor::new(MediaType::OCI_MANIFEST, Digest::sha256(b"a"), 1);
        assert_eq!(descriptor.attestation_of(), None);
        descriptor.annotations.insert("vnd.docker.reference.type".to_owned(), "attestation-manifest".into());
        descriptor.annotations.insert("vnd.docker.reference.digest".to_owned(), DIGEST.into());
        assert_eq!(descriptor.attestation_of().unwrap().as_str(), DIGEST);
    }

    #[test]
    fn fields_are_written_in_dockers_order() {
        let mut descriptor = Descriptor::new(MediaType::OCI_MANIFEST, Digest::sha256(b""), 7);
        descriptor.platform = Some(Platform::new("linux", "amd64"));
        let text = serde_json::to_string(&descriptor).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"mediaType":"{}","digest":"{DIGEST}","size":7,"platform":{{"architecture":"amd64","os":"linux"}}}}"#,
                MediaType::OCI_MANIFEST
            )
        );
    }
}
