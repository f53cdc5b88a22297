//! What is in the local store, for `images`.

use content::{ContentStore, RepositoryId, Scope};
use futures_util::TryStreamExt as _;
use image::{Digest, Document, ImageConfig, MediaType, Platform, Reference, Target};
use serde::Serialize;
use store::{ImageStore, Location, StoreError, StoreErrorKind, Stores};

/// How many names are read at once.
const PAGE: usize = 1000;

/// Most bytes of a config that are read for its platform.
const CONFIG_MAX: u64 = 8 << 20;

/// A name in the local store.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) reference: String,
    pub(super) digest: Digest,
    media_type: MediaType,
    /// Bytes of the document and of all that it lists, each counted once.
    pub(super) size: u64,
    pub(super) platforms: Vec<String>,
}

/// All names, or those of one repository, in their order. Of `names_only` platforms and sizes are not looked for.
pub(super) async fn rows(stores: &Stores, wanted: Option<&str>, names_only: bool) -> Result<Vec<Row>, StoreError> {
    let content = stores.content().await?;
    let mut rows = Vec::new();
    for repository in repositories(content).await? {
        let Some(registry) = repository.registry.clone() else { continue };
        if wanted.is_some_and(|wanted| wanted != repository.to_string()) {
            continue;
        }
        let mut after: Option<String> = None;
        loop {
            let page = content.tags(&repository, after.as_deref(), PAGE).await.map_err(listing_failed)?;
            let Some(page) = page else { break };
            after = page.items.last().map(ToString::to_string);
            for tag in page.items {
                let target = Target::Tag(tag);
                let reference = Reference::new(registry.clone(), repository.name.clone(), target.clone());
                let store = stores.open(&Location::Local(reference.clone())).await?;
                // It may have gone since the page was read.
                let Some(found) = store.resolve(&target).await? else { continue };
                let mut row = Row {
                    reference: reference.to_string(),
                    digest: found.digest,
                    media_type: found.media_type,
                    size: found.size,
                    platforms: Vec::new(),
                };
                if !names_only {
                    let document = store.document(&Target::Digest(row.digest.clone())).await?;
                    (row.size, row.platforms) = contents(&*store, &document).await?;
                }
                rows.push(row);
            }
            if !page.more {
                break;
            }
        }
    }
    Ok(rows)
}

async fn repositories(content: &ContentStore) -> Result<Vec<RepositoryId>, StoreError> {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = content.repositories(Scope::Local, after.as_deref(), PAGE).await.map_err(listing_failed)?;
        after = page.items.last().map(ToString::to_string);
        found.extend(page.items);
        if !page.more {
            return Ok(found);
        }
    }
}

fn listing_failed(error: content::ContentError) -> StoreError {
    StoreError::new(StoreErrorKind::Io, "list the local store").because(error)
}

/// Size and platforms of an image, or of all images of an index.
async fn contents(store: &dyn ImageStore, root: &Document) -> Result<(u64, Vec<String>), StoreError> {
    let mut sizes = std::collections::BTreeMap::new();
    let mut platforms = Vec::new();
    sizes.insert(root.digest().clone(), root.bytes().len() as u64);
    let mut manifests = Vec::new();
    match root.index() {
        None => manifests.push((root.clone(), None)),
        Some(index) => {
            for entry in &index.manifests {
                // An index may list what was not fetched.
                let target = Target::Digest(entry.digest.clone());
                if store.resolve(&target).await?.is_some() {
                    manifests.push((store.document(&target).await?, entry.platform.clone()));
                }
            }
        }
    }
    for (document, stated) in manifests {
        sizes.insert(document.digest().clone(), document.bytes().len() as u64);
        let Some(manifest) = document.manifest() else { continue };
        sizes.insert(manifest.config.digest.clone(), manifest.config.size);
        sizes.extend(manifest.layers.iter().map(|layer| (layer.digest.clone(), layer.size)));
        let platform = match stated {
            Some(platform) => Some(platform),
            None if manifest.config.size <= CONFIG_MAX => {
                let pieces: Vec<_> = store.blob(&manifest.config).await?.try_collect().await?;
                ImageConfig::parse(&pieces.concat()).ok().map(|config| config.platform)
            }
            None => None,
        };
        // Attestations and artifacts have none worth showing.
        platforms.extend(platform.filter(is_for_a_machine).map(|platform| platform.to_string()));
    }
    Ok((sizes.values().sum(), platforms))
}

fn is_for_a_machine(platform: &Platform) -> bool {
    !platform.os.is_empty() && platform.os != "unknown"
}
