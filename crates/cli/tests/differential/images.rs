//! Small images with all the peculiarities that `docker manifest` looks at. Layers are arbitrary bytes: nothing unpacks
//! them here.

use image::{Descriptor, Digest};
use lab::Lab;
use serde_json::{Value, json};

/// Docker's or OCI's media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// Docker schema 2.
    Docker,
    /// OCI, with `mediaType`.
    Oci,
    /// OCI, without `mediaType`, which is allowed to be missing.
    OciUntyped,
}

impl Flavour {
    fn manifest(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            _ => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            _ => "application/vnd.oci.image.config.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            _ => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }

    /// Media type of an index of this flavour.
    pub(crate) fn index(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
            _ => "application/vnd.oci.image.index.v1+json",
        }
    }
}

/// Puts an image whose config is `config`, with `layers` layers of its own and one that it shares with all others.
pub(crate) fn put(lab: &Lab, repository: &str, tag: &str, flavour: Flavour, config: &str, layers: usize) -> Descriptor {
    let config_digest = lab.put_blob(repository, config.as_bytes().to_vec());
    let mut names: Vec<String> = (0..layers).map(|n| format!("layer {n} of {repository}:{tag}")).collect();
    names.push("a layer that all images have".to_owned());
    let layers: Vec<Value> = names
        .iter()
        .map(|text| {
            let digest = lab.put_blob(repository, text.clone().into_bytes());
            json!({"mediaType": flavour.layer(), "size": text.len(), "digest": digest.to_string()})
        })
        .collect();
    let mut manifest = json!({"schemaVersion": 2});
    if flavour != Flavour::OciUntyped {
        manifest["mediaType"] = json!(flavour.manifest());
    }
    manifest["config"] =
        json!({"mediaType": flavour.config(), "size": config.len(), "digest": config_digest.to_string()});
    manifest["layers"] = json!(layers);
    if flavour == Flavour::OciUntyped {
        manifest["annotations"] = json!({"org.example.html": "<b>&amp;</b> \u{2028} ü"});
    }
    let bytes = serde_json::to_vec_pretty(&manifest).expect("a manifest serialises");
    lab.put_manifest_as(repository, Some(tag), flavour.manifest(), bytes)
}

/// A config for a platform, as builders write it.
pub(crate) fn config(platform: &str) -> String {
    let mut parts = platform.split('/');
    let (os, architecture) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let variant = parts.next().map(|variant| format!(r#","variant":"{variant}""#)).unwrap_or_default();
    format!(
        r#"{{"architecture":"{architecture}","os":"{os}"{variant},"config":{{}},"rootfs":{{"type":"layers","diff_ids":[]}}}}"#
    )
}

/// An entry of an index.
pub(crate) fn entry(descriptor: &Descriptor, platform: &Value, more: &Value) -> Value {
    let mut entry = json!({
        "mediaType": descriptor.media_type.as_str(),
        "size": descriptor.size,
        "digest": descriptor.digest.to_string(),
    });
    if !platform.is_null() {
        entry["platform"] = platform.clone();
    }
    if let Some(more) = more.as_object() {
        for (name, value) in more {
            entry[name] = value.clone();
        }
    }
    entry
}

/// Puts an index of `entries`.
pub(crate) fn put_index(
    lab: &Lab,
    repository: &str,
    tag: &str,
    flavour: Flavour,
    entries: &[Value],
    more: &Value,
) -> Descriptor {
    let mut index = json!({"schemaVersion": 2});
    if flavour != Flavour::OciUntyped {
        index["mediaType"] = json!(flavour.index());
    }
    index["manifests"] = json!(entries);
    if let Some(more) = more.as_object() {
        for (name, value) in more {
            index[name] = value.clone();
        }
    }
    let bytes = serde_json::to_vec_pretty(&index).expect("an index serialises");
    lab.put_manifest_as(repository, Some(tag), flavour.index(), bytes)
}

/// Puts an artifact: an OCI manifest that is no image.
pub(crate) fn put_artifact(lab: &Lab, repository: &str, tag: &str, config_type: &str, config: &[u8]) -> Digest {
    let config_digest = lab.put_blob(repository, config.to_vec());
    let content = lab.put_blob(repository, b"content".to_vec());
    let bytes = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.example",
        "config": {"mediaType": config_type, "size": config.len(), "digest": config_digest.to_string()},
        "layers": [{"mediaType": "text/plain", "size": 7, "digest": content.to_string()}],
    })
    .to_string();
    lab.put_manifest(repository, Some(tag), bytes.into_bytes()).digest
}
