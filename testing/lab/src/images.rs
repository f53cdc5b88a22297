//! Makers of images: real enough for every client (layers are gzip archives that unpack, configs name their
//! `diff_ids`), and the same bytes for the same arguments.
//!
//! ```
//! use polyarch_lab::{Lab, images::{self, Flavour}};
//!
//! let lab = Lab::start();
//! let amd64 = images::image("linux/amd64", 2, Flavour::Oci);
//! let arm64 = images::maker("linux/arm64").layers(2).size(5000).seed(7).make();
//! let index = images::index_with_attestations(&[amd64, arm64]);
//! let descriptor = index.push(&lab, "app", Some("v1"));
//! assert_eq!(lab.resolve("app", "v1"), Some(descriptor.digest));
//! ```

use bytes::Bytes;
use image::{Descriptor, Digest, Document, MediaType, Platform};
use serde_json::{Map, Value, json};

use crate::content::seeded;
use crate::lab::Lab;

const FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// Whose media types are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's, schema 2.
    Docker,
}

/// An image manifest with all its blobs.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest.
    pub document: Document,
    /// The platform, if it is of an image and not of an artifact.
    pub platform: Option<Platform>,
    /// Config and layers, in the manifest's order, with their bytes. Foreign layers are not among them.
    pub blobs: Vec<(Descriptor, Bytes)>,
}

impl Image {
    /// Digest of the manifest.
    pub fn digest(&self) -> &Digest {
        self.document.digest()
    }

    /// Descriptor of the manifest as an index has it: with the platform.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor { platform: self.platform.clone(), ..self.document.descriptor() }
    }

    /// The config's bytes.
    pub fn config(&self) -> &Bytes {
        &self.blobs[0].1
    }

    /// Puts blobs and manifest into a repository of the lab, without requests.
    pub fn push(&self, lab: &Lab, repository: &str, tag: Option<&str>) -> Descriptor {
        self.push_blobs(lab, repository);
        lab.put_manifest_as(repository, tag, self.document.media_type().as_str(), self.document.bytes().clone());
        self.descriptor()
    }

    /// Puts the blobs alone.
    pub fn push_blobs(&self, lab: &Lab, repository: &str) {
        for (_, bytes) in &self.blobs {
            lab.put_blob(repository, bytes.clone());
        }
    }
}

/// An index with all its children.
#[derive(Clone, Debug)]
pub struct Index {
    /// The index.
    pub document: Document,
    /// Images and attestations that it names.
    pub images: Vec<Image>,
    /// Indexes that it names.
    pub indexes: Vec<Index>,
}

impl Index {
    /// Digest of the index.
    pub fn digest(&self) -> &Digest {
        self.document.digest()
    }

    /// Puts the index and everything under it into a repository of the lab, without requests.
    pub fn push(&self, lab: &Lab, repository: &str, tag: Option<&str>) -> Descriptor {
        self.push_sparse(lab, repository, tag, |_| true)
    }

    /// [`Index::push`] with only those children that `keep` wants: a sparse index.
    pub fn push_sparse(
        &self,
        lab: &Lab,
        repository: &str,
        tag: Option<&str>,
        keep: impl Fn(&Descriptor) -> bool,
    ) -> Descriptor {
        for image in self.images.iter().filter(|image| keep(&image.descriptor())) {
            image.push(lab, repository, None);
        }
        for index in self.indexes.iter().filter(|index| keep(&index.document.descriptor())) {
            index.push(lab, repository, None);
        }
        lab.put_manifest_as(repository, tag, self.document.media_type().as_str(), self.document.bytes().clone())
    }
}

/// Describes an image to be made.
#[derive(Clone, Debug)]
#[must_use]
pub struct Maker {
    platform: String,
    layers: usize,
    shared: usize,
    foreign: usize,
    size: u64,
    seed: u64,
    flavour: Flavour,
    annotations: Map<String, Value>,
    subject: Option<Descriptor>,
}

/// An image of `layers` layers of 1000 bytes for a platform such as `linux/arm/v7`.
///
/// # Panics
/// If `platform` is none.
pub fn image(platform: &str, layers: usize, flavour: Flavour) -> Image {
    maker(platform).layers(layers).flavour(flavour).make()
}

/// Describes an image: one layer of 1000 bytes, OCI, seed 0.
pub fn maker(platform: &str) -> Maker {
    Maker {
        platform: platform.to_owned(),
        layers: 1,
        shared: 0,
        foreign: 0,
        size: 1000,
        seed: 0,
        flavour: Flavour::Oci,
        annotations: Map::new(),
        subject: None,
    }
}

impl Maker {
    /// How many layers.
    pub fn layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// How many of them, from the bottom, are the same for every platform.
    pub fn shared(mut self, shared: usize) -> Self {
        self.shared = shared;
        self
    }

    /// How many foreign layers lie at the bottom: named with a URL, not pushed.
    pub fn foreign(mut self, foreign: usize) -> Self {
        self.foreign = foreign;
        self
    }

    /// Size of the file in each layer; the layer is some bytes bigger.
    pub fn size(mut self, size: u64) -> Self {
        self.size = size;
        self
    }

    /// Other bytes in the layers.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whose media types.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = flavour;
        self
    }

    /// An annotation of the manifest.
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.into());
        self
    }

    /// What the manifest refers to.
    pub fn subject(mut self, subject: &Descriptor) -> Self {
        self.subject = Some(subject.clone());
        self
    }

    /// Makes it.
    ///
    /// # Panics
    /// If the platform is none.
    pub fn make(self) -> Image {
        let platform = Platform::parse(&self.platform).expect("a platform such as linux/amd64");
        let (manifest_type, config_type, layer_type) = match self.flavour {
            Flavour::Oci => (MediaType::OCI_MANIFEST, MediaType::OCI_CONFIG, MediaType::OCI_LAYER_GZIP),
            Flavour::Docker => (MediaType::DOCKER_MANIFEST, MediaType::DOCKER_CONFIG, MediaType::DOCKER_LAYER_GZIP),
        };
        let own = salt(&platform.to_string());
        let layers: Vec<(String, Descriptor, Bytes)> = (0..self.layers)
            .map(|i| {
                let salt = if i < self.shared { 0 } else { own };
                let (diff_id, bytes) = layer(i, self.seed ^ salt ^ ((i as u64) << 32), self.size);
                (diff_id, Descriptor::new(layer_type, Digest::sha256(&bytes), bytes.len() as u64), bytes)
            })
            .collect();
        let foreign = (0..self.foreign).map(|i| {
            let digest = Digest::sha256(format!("foreign {i}").as_bytes());
            let mut descriptor = Descriptor::new(FOREIGN_LAYER, digest.clone(), 1000);
            descriptor.urls.push(format!("https://elsewhere.example/{}", digest.hex()));
            descriptor
        });
        let diff_ids: Vec<&str> = layers.iter().map(|(diff_id, _, _)| diff_id.as_str()).collect();
        let mut config = json!({
            "architecture": platform.architecture,
            "config": { "Env": ["PATH=/bin"], "Cmd": ["/hello"], "Labels": { "seed": self.seed.to_string() } },
            "created": "2020-01-01T00:00:00Z",
            "history": diff_ids.iter().map(|_| json!({ "created_by": "lab" })).collect::<Vec<_>>(),
            "os": platform.os,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        for (field, value) in [("variant", &platform.variant), ("os.version", &platform.os_version)] {
            if !value.is_empty() {
                config[field] = json!(value);
            }
        }
        let config = Bytes::from(config.to_string());
        let config_descriptor = Descriptor::new(config_type, Digest::sha256(&config), config.len() as u64);
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": config_descriptor,
            "layers": foreign.chain(layers.iter().map(|(_, descriptor, _)| descriptor.clone())).collect::<Vec<_>>(),
        });
        if !self.annotations.is_empty() {
            manifest["annotations"] = Value::Object(self.annotations);
        }
        if let Some(subject) = &self.subject {
            manifest["subject"] = json!(subject);
        }
        let blobs = std::iter::once((config_descriptor, config))
            .chain(layers.into_iter().map(|(_, descriptor, bytes)| (descriptor, bytes)))
            .collect();
        Image { document: document(&manifest), platform: Some(platform), blobs }
    }
}

/// An index of images, in this order.
pub fn index(images: &[Image], flavour: Flavour) -> Index {
    let entries: Vec<Descriptor> = images.iter().map(Image::descriptor).collect();
    Index { document: index_document(&entries, flavour), images: images.to_vec(), indexes: Vec::new() }
}

/// An OCI index of images and, after them, an attestation for each, as BuildKit makes it.
pub fn index_with_attestations(images: &[Image]) -> Index {
    let attestations: Vec<Image> = images.iter().map(|image| attestation(&image.document.descriptor())).collect();
    let described = images.iter().zip(&attestations).map(|(image, attestation)| {
        let mut descriptor = attestation.document.descriptor();
        descriptor.platform = Some(Platform::new("unknown", "unknown"));
        descriptor.annotations.insert("vnd.docker.reference.digest".to_owned(), json!(image.digest()));
        descriptor.annotations.insert("vnd.docker.reference.type".to_owned(), json!("attestation-manifest"));
        descriptor
    });
    let entries: Vec<Descriptor> = images.iter().map(Image::descriptor).chain(described).collect();
    let images = images.iter().cloned().chain(attestations).collect();
    Index { document: index_document(&entries, Flavour::Oci), images, indexes: Vec::new() }
}

/// An OCI index of indexes.
pub fn nested(indexes: &[Index]) -> Index {
    let entries: Vec<Descriptor> = indexes.iter().map(|index| index.document.descriptor()).collect();
    Index { document: index_document(&entries, Flavour::Oci), images: Vec::new(), indexes: indexes.to_vec() }
}

/// A manifest such as BuildKit attaches to an image: an in-toto statement as its layer.
pub fn attestation(of: &Descriptor) -> Image {
    let statement = Bytes::from(
        json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": "https://slsa.dev/provenance/v0.2",
            "subject": [{ "name": "lab", "digest": { "sha256": of.digest.hex() } }],
            "predicate": {},
        })
        .to_string(),
    );
    let config = Bytes::from(
        json!({
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [Digest::sha256(&statement)] },
        })
        .to_string(),
    );
    let config_descriptor = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(&config), config.len() as u64);
    let mut layer = Descriptor::new("application/vnd.in-toto+json", Digest::sha256(&statement), statement.len() as u64);
    layer.annotations.insert("in-toto.io/predicate-type".to_owned(), json!("https://slsa.dev/provenance/v0.2"));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": config_descriptor,
        "layers": [layer],
    });
    Image {
        document: document(&manifest),
        platform: None,
        blobs: vec![(config_descriptor, config), (layer, statement)],
    }
}

/// An artifact: an empty config, one layer, and what it refers to.
pub fn artifact(artifact_type: &str, content: impl Into<Bytes>, subject: Option<&Descriptor>) -> Image {
    let content = content.into();
    let empty = Bytes::from_static(b"{}");
    let config = Descriptor::new(MediaType::OCI_EMPTY, Digest::sha256(&empty), 2);
    let layer = Descriptor::new("application/octet-stream", Digest::sha256(&content), content.len() as u64);
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": config,
        "layers": [layer],
        "annotations": { "org.example.kind": artifact_type },
    });
    if let Some(subject) = subject {
        manifest["subject"] = json!(Descriptor::new(subject.media_type.clone(), subject.digest.clone(), subject.size));
    }
    Image { document: document(&manifest), platform: None, blobs: vec![(config, empty), (layer, content)] }
}

/// `size` pseudo-random bytes.
pub fn random(seed: u64, size: u64) -> Bytes {
    seeded(seed, 0..size)
}

fn index_document(entries: &[Descriptor], flavour: Flavour) -> Document {
    let media_type = match flavour {
        Flavour::Oci => MediaType::OCI_INDEX,
        Flavour::Docker => MediaType::DOCKER_LIST,
    };
    document(&json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries }))
}

fn document(value: &Value) -> Document {
    let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    Document::new(None, bytes).expect("a document that was just made is valid")
}

fn salt(text: &str) -> u64 {
    Digest::sha256(text.as_bytes()).hex().bytes().take(12).fold(0, |sum, byte| sum * 31 + u64::from(byte))
}

/// A gzip archive with one file, and the digest of the archive within.
fn layer(number: usize, seed: u64, size: u64) -> (String, Bytes) {
    let archive = || -> std::io::Result<(Vec<u8>, Vec<u8>)> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, format!("layer-{number}.bin"), &*seeded(seed, 0..size))?;
        let archive = builder.into_inner()?;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &archive)?;
        Ok((archive, encoder.finish()?))
    };
    let (archive, packed) = archive().expect("writing to memory does not fail");
    (Digest::sha256(&archive).to_string(), packed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_arguments_make_the_same_bytes() {
        let make = || maker("linux/arm/v7").layers(3).shared(1).seed(5).make();
        assert_eq!(make().digest(), make().digest());
        assert_ne!(make().digest(), maker("linux/arm/v7").layers(3).shared(1).seed(6).make().digest());
        let other = maker("linux/amd64").layers(3).shared(1).seed(5).make();
        assert_eq!(make().blobs[1].0, other.blobs[1].0, "the lowest layer is shared");
        assert_ne!(make().blobs[2].0, other.blobs[2].0);
    }

    #[test]
    fn layers_are_archives_of_the_stated_digest() {
        let image = image("linux/amd64", 2, Flavour::Docker);
        let config: Value = serde_json::from_slice(image.config()).unwrap();
        for (i, (_, bytes)) in image.blobs[1..].iter().enumerate() {
            let mut archive = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&**bytes), &mut archive).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"][i], json!(Digest::sha256(&archive)));
            assert_eq!(tar::Archive::new(&*archive).entries().unwrap().count(), 1);
        }
    }

    #[test]
    fn attestations_point_to_their_images() {
        let images = [image("linux/amd64", 1, Flavour::Oci), image("linux/arm64", 1, Flavour::Oci)];
        let index = index_with_attestations(&images);
        let view = index.document.index().unwrap();
        assert_eq!(view.manifests.len(), 4);
        assert_eq!(view.manifests[2].attestation_of().as_ref(), Some(images[0].digest()));
        assert_eq!(view.manifests[3].attestation_of().as_ref(), Some(images[1].digest()));
    }
}
