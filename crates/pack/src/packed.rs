//! An image that was packed, on its way to a store.

use std::path::PathBuf;
use std::sync::Arc;

use image::{Descriptor, Digest, Document, Platform, Tag};
use serde::Serialize;
use store::ImageStore;
use transfer::{Options, Plan, PlanError, Progress, TransferError};

use crate::check::Warning;
use crate::error::PackError;
use crate::request::platform_tag;
use crate::spool::Spool;

/// What was packed: documents in memory, layers in unnamed files that live as long as this does. It can be written to
/// any number of stores.
#[derive(Debug)]
pub struct Packed {
    pub(crate) images: Vec<PackedImage>,
    pub(crate) index: Document,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) spool: Arc<Spool>,
    pub(crate) base: Option<Arc<dyn ImageStore>>,
}

/// One platform's image.
#[derive(Clone, Debug)]
pub struct PackedImage {
    /// Its platform.
    pub platform: Platform,
    /// The binary in it.
    pub binary: PathBuf,
    /// Its manifest.
    pub document: Document,
    /// Digest of the base's manifest.
    pub base: Option<Digest>,
    /// Its layers that are new, lowest first.
    pub layers: Vec<NewLayer>,
}

/// A layer that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewLayer {
    /// Digest, size and media type of the compressed layer.
    #[serde(flatten)]
    pub descriptor: Descriptor,
    /// Digest of the layer before compression.
    pub diff_id: Digest,
}

/// Under what name an image is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Naming {
    /// One index under these tags; without tags by its digest alone.
    Index(Vec<Tag>),
    /// One image per platform, each under every tag with its platform behind it (`v1-arm-v7`), and no index.
    Single(Vec<Tag>),
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PackReport {
    /// The index, unless there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Descriptor>,
    /// One entry per platform, in the order of the request.
    pub images: Vec<ImageReport>,
    /// What is probably not meant.
    pub warnings: Vec<Warning>,
    /// What the store was sent.
    pub transfer: transfer::Report,
}

/// What was written for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// The platform.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Descriptor,
    /// Digest of its config.
    pub config: Digest,
    /// Its layers that are new.
    pub layers: Vec<NewLayer>,
    /// Digest of the base's manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Digest>,
    /// Its tags, if it has some of its own.
    pub tags: Vec<Tag>,
}

impl Packed {
    /// The images, in the order of the request.
    pub fn images(&self) -> &[PackedImage] {
        &self.images
    }

    /// The index that lists them.
    pub fn index(&self) -> &Document {
        &self.index
    }

    /// What is probably not meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What has to be done to have it in `target`: print it or run it. Layers of the base are mounted or copied from
    /// where the base is.
    pub fn plan(&self, target: &Arc<dyn ImageStore>, naming: &Naming) -> Result<Plan, PackError> {
        let mut plan = Plan::new(Arc::clone(target));
        self.add_to(&mut plan, naming)?;
        Ok(plan)
    }

    fn add_to(&self, plan: &mut Plan, naming: &Naming) -> Result<(), PackError> {
        let name = transfer::repository_name(&**plan.target());
        let refused = |source: PlanError| TransferError::Plan { target: name.clone(), source };
        for image in &self.images {
            let origin = |blob: &Descriptor| match &self.base {
                Some(base) if !self.spool.has(&blob.digest) => Arc::clone(base),
                _ => Arc::clone(&self.spool) as Arc<dyn ImageStore>,
            };
            plan.add_new_image(image.document.clone(), origin).map_err(refused)?;
            for tag in image.tags(naming)? {
                plan.tag(image.document.digest(), tag).map_err(refused)?;
            }
        }
        if let Naming::Index(tags) = naming {
            plan.add_index(self.index.clone()).map_err(refused)?;
            for tag in tags {
                plan.tag(self.index.digest(), tag.clone()).map_err(refused)?;
            }
        }
        Ok(())
    }

    /// Writes it to `target`.
    pub async fn write(
        &self,
        target: &Arc<dyn ImageStore>,
        naming: &Naming,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<PackReport, PackError> {
        let transfer = self.plan(target, naming)?.run(options, progress).await?;
        self.report(naming, transfer)
    }

    /// What is to be told of a plan that was run.
    pub fn report(&self, naming: &Naming, transfer: transfer::Report) -> Result<PackReport, PackError> {
        let mut images = Vec::with_capacity(self.images.len());
        for image in &self.images {
            let manifest = image.document.descriptor();
            let config = image.document.manifest().map_or(&manifest.digest, |view| &view.config.digest).clone();
            images.push(ImageReport {
                platform: image.platform.clone(),
                config,
                layers: image.layers.clone(),
                base: image.base.clone(),
                tags: image.tags(naming)?,
                manifest,
            });
        }
        let index = matches!(naming, Naming::Index(_)).then(|| self.index.descriptor());
        Ok(PackReport { index, images, warnings: self.warnings.clone(), transfer })
    }
}

impl PackedImage {
    /// The tags of its own that it gets.
    pub fn tags(&self, naming: &Naming) -> Result<Vec<Tag>, PackError> {
        let Naming::Single(tags) = naming else { return Ok(Vec::new()) };
        let of_platform = |tag: &Tag| {
            platform_tag(tag, &self.platform).map_err(|source| PackError::Tag {
                tag: tag.to_string(),
                platform: Box::new(self.platform.clone()),
                source,
            })
        };
        tags.iter().map(of_platform).collect()
    }
}
