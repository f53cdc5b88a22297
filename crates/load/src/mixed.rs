//! Mixed load: each client has a tag of its own, whose image nobody else changes. So it knows at any time what a pull of
//! that tag must give, and an acknowledged write that is lost shows as a wrong body.

use crate::body::Body;
use crate::client::Client;
use crate::expected::Expected;
use crate::fault::Failed;
use crate::scenario::Kind;
use crate::shared::{Image, Prepared};

/// What one client knows of its images.
#[derive(Debug, Default)]
pub(crate) struct Mixed {
    /// Where its tag points.
    mine: Option<Image>,
    /// Where it pointed before.
    previous: Option<Image>,
}

impl Mixed {
    pub(crate) fn mine(&self) -> Option<&Image> {
        self.mine.as_ref()
    }
}

impl Client {
    pub(crate) fn own_tag(&self) -> String {
        format!("client-{}", self.number)
    }

    /// Draws what to do next: of 100 operations 35 pull, 40 look, 7 list, and 18 write.
    pub(crate) fn next_mixed(&mut self) -> Kind {
        let deletes = self.shared().prepared.get().is_some_and(|prepared| prepared.deletes.manifests);
        let (has_previous, draw) = (self.mixed.previous.is_some(), self.random.below(100));
        match draw {
            0..35 => Kind::Pull,
            35..55 => Kind::ManifestHead,
            55..65 => Kind::ManifestByDigest,
            65..75 => Kind::SmallBlob,
            75..82 => Kind::Tags,
            82..86 if has_previous => Kind::TagMove,
            // No client keeps more than two images: a third one costs the first.
            _ if has_previous && deletes => Kind::Delete,
            _ => Kind::Push,
        }
    }

    pub(crate) async fn perform_mixed(&mut self, kind: Kind, prepared: &Prepared) -> Result<(), Failed> {
        match kind {
            Kind::Pull => match self.mixed.mine.clone() {
                Some(image) => {
                    let tag = self.own_tag();
                    self.pull(tag.as_bytes(), &image).await
                }
                None => self.pull(crate::shared::TAG.as_bytes(), &prepared.image).await,
            },
            Kind::Push => {
                let shared = self.shared();
                let draw = self.random.next();
                let image = shared.image(shared.mixed_layers(draw));
                let tag = self.own_tag();
                // Until the answer comes the tag may point here or there.
                let before = self.mixed.mine.take();
                self.push_image(&image, &tag).await?;
                self.mixed.previous = before;
                self.mixed.mine = Some(image);
                Ok(())
            }
            Kind::TagMove => {
                let Some(image) = self.mixed.previous.take() else { return Ok(()) };
                let before = self.mixed.mine.take();
                let tag = self.own_tag();
                self.put_manifest(&image, &tag).await?;
                self.mixed.previous = before;
                self.mixed.mine = Some(image);
                Ok(())
            }
            _ => {
                let Some(image) = self.mixed.previous.take() else { return Ok(()) };
                self.delete_manifest(&image.digest).await?;
                self.miss_manifest(&image.digest).await?;
                if prepared.deletes.blobs {
                    self.delete_blob(&image.layer.digest).await?;
                    self.delete_blob(&image.config_digest).await?;
                }
                Ok(())
            }
        }
    }

    async fn pull(&mut self, tag: &[u8], image: &Image) -> Result<(), Failed> {
        let shared = self.shared();
        self.get_manifest(tag, image).await?;
        self.get_blob(&image.config_digest, Expected::Bytes(Body::bytes(&image.config))).await?;
        self.get_blob(&image.layer.digest, Expected::Bytes(image.layer.body(&shared.filler))).await
    }
}
