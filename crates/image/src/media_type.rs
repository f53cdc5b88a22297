//! Media types: classified where known, carried where not (image-spec, `media-types.md`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A media type as it was spelt. [`MediaType::kind`] says what it means.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(Box<str>);

/// What a media type stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MediaKind {
    /// An OCI image index or a Docker manifest list.
    Index,
    /// An OCI image manifest or a Docker manifest, schema 2.
    Manifest,
    /// Docker's schema 1, signed or not: recognised in order to be refused by name.
    Schema1,
    /// An image config.
    Config,
    /// A layer that is distributed, compressed or not.
    Layer,
    /// A layer that registries need not hold (`nondistributable`, `foreign`).
    ForeignLayer,
    /// Anything else.
    Other,
}

impl MediaType {
    /// `application/vnd.oci.image.index.v1+json`
    pub const OCI_INDEX: &'static str = "application/vnd.oci.image.index.v1+json";
    /// `application/vnd.oci.image.manifest.v1+json`
    pub const OCI_MANIFEST: &'static str = "application/vnd.oci.image.manifest.v1+json";
    /// `application/vnd.oci.image.config.v1+json`
    pub const OCI_CONFIG: &'static str = "application/vnd.oci.image.config.v1+json";
    /// `application/vnd.oci.image.layer.v1.tar`
    pub const OCI_LAYER: &'static str = "application/vnd.oci.image.layer.v1.tar";
    /// `application/vnd.oci.image.layer.v1.tar+gzip`
    pub const OCI_LAYER_GZIP: &'static str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// `application/vnd.oci.image.layer.v1.tar+zstd`
    pub const OCI_LAYER_ZSTD: &'static str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// `application/vnd.oci.empty.v1+json`
    pub const OCI_EMPTY: &'static str = "application/vnd.oci.empty.v1+json";
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    pub const DOCKER_LIST: &'static str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// `application/vnd.docker.distribution.manifest.v2+json`
    pub const DOCKER_MANIFEST: &'static str = "application/vnd.docker.distribution.manifest.v2+json";
    /// `application/vnd.docker.container.image.v1+json`
    pub const DOCKER_CONFIG: &'static str = "application/vnd.docker.container.image.v1+json";
    /// `application/vnd.docker.image.rootfs.diff.tar.gzip`
    pub const DOCKER_LAYER_GZIP: &'static str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// `application/vnd.docker.distribution.manifest.v1+json`
    pub const DOCKER_SCHEMA1: &'static str = "application/vnd.docker.distribution.manifest.v1+json";
    /// `application/vnd.docker.distribution.manifest.v1+prettyjws`
    pub const DOCKER_SCHEMA1_SIGNED: &'static str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

    /// The media types of documents that are asked for in an `Accept` header.
    pub const DOCUMENTS: [&'static str; 4] =
        [Self::OCI_INDEX, Self::OCI_MANIFEST, Self::DOCKER_MANIFEST, Self::DOCKER_LIST];

    /// Takes the text as it is.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The value of a `Content-Type` header without its parameters.
    pub fn from_content_type(header: &str) -> Self {
        Self::new(header.split(';').next().unwrap_or_default().trim())
    }

    /// The text as it was spelt.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it stands for.
    pub fn kind(&self) -> MediaKind {
        match &*self.0 {
            Self::OCI_INDEX | Self::DOCKER_LIST => MediaKind::Index,
            Self::OCI_MANIFEST | Self::DOCKER_MANIFEST => MediaKind::Manifest,
            Self::DOCKER_SCHEMA1 | Self::DOCKER_SCHEMA1_SIGNED => MediaKind::Schema1,
            Self::OCI_CONFIG | Self::DOCKER_CONFIG => MediaKind::Config,
            "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => MediaKind::ForeignLayer,
            "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | Self::DOCKER_LAYER_GZIP => MediaKind::Layer,
            other if is_tar(other, "application/vnd.oci.image.layer.nondistributable.v1.tar") => {
                MediaKind::ForeignLayer
            }
            other if is_tar(other, Self::OCI_LAYER) => MediaKind::Layer,
            _ => MediaKind::Other,
        }
    }

    /// Whether this is one of Docker's own types rather than OCI's.
    pub fn is_docker(&self) -> bool {
        self.0.starts_with("application/vnd.docker.")
    }
}

/// `tar` itself, or with suffixes such as `+gzip` and `+zstd+encrypted`.
fn is_tar(text: &str, tar: &str) -> bool {
    text.strip_prefix(tar).is_some_and(|suffix| suffix.is_empty() || suffix.starts_with('+'))
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for MediaType {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_not_part_of_it() {
        let media_type = MediaType::from_content_type("application/vnd.oci.image.index.v1+json; charset=utf-8");
        assert_eq!(media_type.kind(), MediaKind::Index);
        assert_eq!(media_type.as_str(), MediaType::OCI_INDEX);
    }

    #[test]
    fn unknown_ones_are_carried() {
        assert_eq!(MediaType::from("application/vnd.example+json").kind(), MediaKind::Other);
        assert_eq!(MediaType::from("application/vnd.example+json").as_str(), "application/vnd.example+json");
    }

    #[test]
    fn foreign_layers_are_told_apart() {
        for text in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            assert_eq!(MediaType::from(text).kind(), MediaKind::ForeignLayer, "{text}");
        }
        for text in [
            MediaType::OCI_LAYER,
            MediaType::OCI_LAYER_ZSTD,
            "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
            "application/vnd.docker.image.rootfs.diff.tar.zstd",
        ] {
            assert_eq!(MediaType::from(text).kind(), MediaKind::Layer, "{text}");
        }
        assert_eq!(MediaType::from("application/vnd.oci.image.layer.v1.tarball").kind(), MediaKind::Other);
    }
}
