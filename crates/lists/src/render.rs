//! Lists and entries as docker prints and pushes them.

use image::{Descriptor, MediaType};

use crate::entry::{Shown, push_annotations, push_platform};
use crate::go_json::{self, Object, push_array};

/// Docker's rule for the media type of a list: that of the first entry decides.
pub(crate) fn list_media_type(first: Option<&MediaType>) -> MediaType {
    MediaType::from(match first {
        Some(first) if first.as_str() == MediaType::OCI_MANIFEST => MediaType::OCI_INDEX,
        _ => MediaType::DOCKER_LIST,
    })
}

/// A list as docker writes it: keys in docker's order, three spaces a level, no newline at the end. These are the bytes
/// that are pushed.
pub(crate) fn list(media_type: &MediaType, entries: &[Descriptor]) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 * (entries.len() + 1));
    let mut object = Object::new(&mut out);
    object.number("schemaVersion", 2);
    object.text("mediaType", media_type.as_str());
    push_array(object.field("manifests"), entries, push_entry);
    object.end();
    go_json::indent(&out, "   ")
}

/// A descriptor in a list: other than in the store, size stands before digest and there is always a platform.
fn push_entry(out: &mut Vec<u8>, descriptor: &Descriptor) {
    let mut object = Object::new(out);
    object.text("mediaType", descriptor.media_type.as_str());
    object.number("size", descriptor.size);
    object.text("digest", descriptor.digest.as_str());
    object.texts_unless_empty("urls", &descriptor.urls);
    push_annotations(&mut object, descriptor);
    object.text_unless_empty("data", descriptor.data.as_deref().unwrap_or_default());
    push_platform(object.field("platform"), &descriptor.platform.clone().unwrap_or_default());
    object.text_unless_empty("artifactType", descriptor.artifact_type.as_deref().unwrap_or_default());
    object.end();
}

/// An image as `inspect --verbose` prints it, without the final newline.
pub(crate) fn verbose(image: &Shown) -> Vec<u8> {
    go_json::indent(&image.to_json(), "\t")
}

/// The images of a list as `inspect --verbose` prints them, without the final newline.
pub(crate) fn verbose_list(images: &[Shown]) -> Vec<u8> {
    let mut out = Vec::new();
    push_array(&mut out, images, |out, image| out.extend_from_slice(&image.to_json()));
    go_json::indent(&out, "\t")
}

#[cfg(test)]
mod tests {
    use image::{Digest, Platform};

    use super::*;

    #[test]
    fn list_has_the_keys_in_order_of_docker() {
        let digest = Digest::sha256(b"");
        let mut first = Descriptor::new(MediaType::OCI_MANIFEST, digest.clone(), 7);
        first.platform = Some(Platform {
            os_version: "1.2".into(),
            os_features: vec!["a".into()],
            variant: "v7".into(),
            ..Platform::new("linux", "arm")
        });
        first.annotations.insert("z".into(), "<".into());
        first.annotations.insert("a".into(), "1".into());
        let second = Descriptor::new(MediaType::DOCKER_MANIFEST, digest.clone(), 8);
        let media_type = list_media_type(Some(&first.media_type));
        let want = format!(
            r#"{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.oci.image.index.v1+json",
   "manifests": [
      {{
         "mediaType": "application/vnd.oci.image.manifest.v1+json",
         "size": 7,
         "digest": "{digest}",
         "annotations": {{
            "a": "1",
            "z": "\u003c"
         }},
         "platform": {{
            "architecture": "arm",
            "os": "linux",
            "os.version": "1.2",
            "os.features": [
               "a"
            ],
            "variant": "v7"
         }}
      }},
      {{
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 8,
         "digest": "{digest}",
         "platform": {{
            "architecture": "",
            "os": ""
         }}
      }}
   ]
}}"#
        );
        assert_eq!(String::from_utf8(list(&media_type, &[first, second])).unwrap(), want);
    }

    #[test]
    fn first_entry_decides_the_media_type() {
        for (first, want) in [
            (None, MediaType::DOCKER_LIST),
            (Some(MediaType::DOCKER_MANIFEST), MediaType::DOCKER_LIST),
            (Some(MediaType::OCI_MANIFEST), MediaType::OCI_INDEX),
            (Some(MediaType::OCI_INDEX), MediaType::DOCKER_LIST),
        ] {
            assert_eq!(list_media_type(first.map(MediaType::from).as_ref()).as_str(), want);
        }
    }

    #[test]
    fn empty_list_is_in_one_line_of_brackets() {
        let text = String::from_utf8(list(&list_media_type(None), &[])).unwrap();
        assert!(text.ends_with("\"manifests\": []\n}"), "{text}");
        assert_eq!(verbose_list(&[]), b"[]");
    }
}
