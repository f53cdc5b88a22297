//! The base image, for each platform.

use futures_util::StreamExt;
use futures_util::future::try_join_all;
use image::{Descriptor, Document, ImageConfig, MediaType, Platform, PlatformMatcher, Target};
use store::{StoreError, StoreErrorKind};
use transfer::{Selection, TransferError, WalkLimits};

use crate::config;
use crate::error::PackError;
use crate::raw::RawObject;
use crate::request::Base;

/// The base's image for one platform.
pub(crate) struct BaseImage {
    pub(crate) document: Document,
    pub(crate) config: RawObject,
    /// Its layers, in OCI's media types.
    pub(crate) layers: Vec<Descriptor>,
}

/// Something of the base that may be chosen.
struct Candidate {
    platform: Platform,
    descriptor: Descriptor,
    document: Option<Document>,
}

/// Finds the base's image for each platform, in their order. Of an index only what is needed is read.
pub(crate) async fn resolve(base: &Base, platforms: &[Platform]) -> Result<Vec<BaseImage>, PackError> {
    let resolver = Resolver { base, name: base.store.spell(&base.target) };
    let root = resolver.document(&base.target).await?;
    let candidates = resolver.candidates(root).await?;
    try_join_all(platforms.iter().map(|platform| resolver.image(platform, &candidates))).await
}

struct Resolver<'a> {
    base: &'a Base,
    name: String,
}

impl Resolver<'_> {
    fn failed(&self, source: StoreError) -> PackError {
        let source = TransferError::Read { what: self.name.clone(), source };
        PackError::BaseRead { name: self.name.clone(), source: Box::new(source) }
    }

    fn broken(&self, platform: &Platform, reason: &dyn std::fmt::Display) -> PackError {
        PackError::BaseBroken {
            name: self.name.clone(),
            platform: Box::new(platform.clone()),
            reason: reason.to_string(),
        }
    }

    async fn document(&self, target: &Target) -> Result<Document, PackError> {
        self.base.store.document(target).await.map_err(|error| self.failed(error))
    }

    /// What there is to choose from. Where the index does not state a platform, the configs do.
    async fn candidates(&self, root: Document) -> Result<Vec<Candidate>, PackError> {
        let entries = root.index().map(|index| index.manifests.as_slice()).unwrap_or_default();
        let mut images = entries.iter().filter(|entry| entry.attestation_of().is_none());
        if root.index().is_some() && images.clone().all(|entry| entry.platform.is_some()) {
            let candidate = |entry: &Descriptor| Candidate {
                platform: entry.platform.clone().unwrap_or_default(),
                descriptor: entry.clone(),
                document: None,
            };
            return Ok(images.by_ref().map(candidate).collect());
        }
        let all = Selection::all();
        let collection = transfer::collect_below(&*self.base.store, root, &all, &WalkLimits::default()).await;
        let collection =
            collection.map_err(|source| PackError::BaseRead { name: self.name.clone(), source: Box::new(source) })?;
        let images = collection.images().filter(|node| node.descriptor.attestation_of().is_none());
        try_join_all(images.map(|node| async move {
            let platform = if let Some(platform) = &node.descriptor.platform {
                platform.clone()
            } else {
                self.config(&node.document).await?.1.platform
            };
            let (descriptor, document) = (node.descriptor.clone(), Some(node.document.clone()));
            Ok(Candidate { platform, descriptor, document })
        }))
        .await
    }

    async fn image(&self, platform: &Platform, candidates: &[Candidate]) -> Result<BaseImage, PackError> {
        let chosen = PlatformMatcher::new(platform).best(candidates.iter().map(|candidate| Some(&candidate.platform)));
        let Some(chosen) = chosen.and_then(|index| candidates.get(index)) else {
            let mut available: Vec<Platform> = Vec::new();
            for candidate in candidates {
                let platform = candidate.platform.normalized();
                if platform.os != "unknown" && !available.contains(&platform) {
                    available.push(platform);
                }
            }
            return Err(PackError::BaseLacks {
                name: self.name.clone(),
                platform: Box::new(platform.clone()),
                available,
            });
        };
        let document = match &chosen.document {
            Some(document) => document.clone(),
            None => self.document(&Target::Digest(chosen.descriptor.digest.clone())).await?,
        };
        let Some(manifest) = document.manifest() else {
            return Err(self.broken(platform, &"there is an index where an image should be"));
        };
        let (bytes, _) = self.config(&document).await?;
        let config = config::parse(&bytes).map_err(|error| self.broken(platform, &error))?;
        let rootfs: RawObject =
            config.read("rootfs").map_err(|error| self.broken(platform, &error))?.unwrap_or_default();
        let diff_ids = config::diff_ids(&rootfs).map_err(|error| self.broken(platform, &error))?;
        let layers: Vec<Descriptor> = manifest.layers.iter().map(in_oci_terms).collect();
        if diff_ids.len() != layers.len() {
            let reason = format!("its manifest has {} layers, its config {}", layers.len(), diff_ids.len());
            return Err(self.broken(platform, &reason));
        }
        Ok(BaseImage { config, layers, document: document.clone() })
    }

    /// The bytes of an image's config, and what they say.
    async fn config(&self, document: &Document) -> Result<(Vec<u8>, ImageConfig), PackError> {
        let Some(manifest) = document.manifest() else { return Ok(Default::default()) };
        let fail = |reason: String| {
            let action = format!("read the config of {}", self.name);
            self.failed(StoreError::new(StoreErrorKind::Invalid, action).because(reason))
        };
        let limit = image::Limits::default().length as u64;
        if manifest.config.size > limit {
            return Err(fail(format!("it has {} bytes, more than the limit of {limit}", manifest.config.size)));
        }
        let mut reader = self.base.store.blob(&manifest.config).await.map_err(|error| self.failed(error))?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await {
            bytes.extend_from_slice(&chunk.map_err(|error| self.failed(error))?);
        }
        let config = ImageConfig::parse(&bytes).map_err(|error| fail(error.to_string()))?;
        Ok((bytes, config))
    }
}

/// The same layer, as a manifest of OCI calls it: the bytes are the same, the name of their type is not.
fn in_oci_terms(layer: &Descriptor) -> Descriptor {
    let renamed = match layer.media_type.as_str() {
        "application/vnd.docker.image.rootfs.diff.tar" => MediaType::OCI_LAYER,
        MediaType::DOCKER_LAYER_GZIP => MediaType::OCI_LAYER_GZIP,
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => MediaType::OCI_LAYER_ZSTD,
        "application/vnd.docker.image.rootfs.foreign.diff.tar" => {
            "application/vnd.oci.image.layer.nondistributable.v1.tar"
        }
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        }
        _ => return layer.clone(),
    };
    Descriptor { media_type: MediaType::from(renamed), ..layer.clone() }
}
