//! From a name to all documents below it.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Descriptor, Digest, Document, ImageConfig, MediaKind, Platform, PlatformMatcher, Target};
use store::{ImageStore, StoreError, StoreErrorKind};

use crate::error::TransferError;

/// What to take of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Platforms to take, in any spelling but without fall-back; none: all.
    pub platforms: Vec<Platform>,
    /// What to do with BuildKit's attestations.
    pub attestations: Attestations,
}

/// What to do with the attestation manifests that BuildKit lists beside the images they are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attestations {
    /// An attestation goes where its image goes.
    #[default]
    Follow,
    /// They are left out.
    Drop,
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }
}

/// Bounds of a walk, so that a hostile index cannot keep us busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkLimits {
    /// Most levels of indexes within indexes.
    pub depth: usize,
    /// Most entries in all.
    pub entries: usize,
    /// Most documents that are read at once.
    pub concurrency: usize,
}

impl Default for WalkLimits {
    /// 8 levels, 4096 entries, 24 at once.
    fn default() -> Self {
        Self { depth: 8, entries: 4096, concurrency: 24 }
    }
}

/// A document and all below it.
#[derive(Clone, Debug)]
pub struct Collection {
    /// All documents, children before the index that lists them, the root last; within an index in its order. A
    /// document that is listed twice is here twice.
    pub nodes: Vec<Node>,
    /// Entries that the selection left out.
    pub left_out: Vec<Descriptor>,
}

/// One document of a collection.
#[derive(Clone, Debug)]
pub struct Node {
    /// The document.
    pub document: Document,
    /// What the index that lists it says of it; of the root, what follows from the document.
    pub descriptor: Descriptor,
    /// The index that lists it.
    pub parent: Option<Digest>,
    /// How many indexes are above it.
    pub depth: usize,
}

impl Collection {
    /// The document that was asked for.
    pub fn root(&self) -> &Document {
        // `collect` never makes one without a root.
        &self.nodes[self.nodes.len() - 1].document
    }

    /// The image manifests, attestations among them, in order.
    pub fn images(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.document.manifest().is_some())
    }

    /// Whether nothing was left out, so that the root can be written as it is.
    pub fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }
}

/// Reads the document at `target` and, if it is an index, all that it lists and `selection` wants, level by level, the
/// documents of a level at once.
pub async fn collect(
    store: &dyn ImageStore,
    target: &Target,
    selection: &Selection,
    limits: &WalkLimits,
) -> Result<Collection, TransferError> {
    let root = store.document(target).await.map_err(|source| read_error(store, target, source))?;
    collect_below(store, root, selection, limits).await
}

/// As [`collect`], of a root that has been read.
pub async fn collect_below(
    store: &dyn ImageStore,
    root: Document,
    selection: &Selection,
    limits: &WalkLimits,
) -> Result<Collection, TransferError> {
    let mut walk = Walk {
        store,
        selection,
        limits,
        matchers: selection.platforms.iter().map(PlatformMatcher::exact).collect(),
        what: store.spell(&Target::Digest(root.digest().clone())),
        documents: HashMap::new(),
        kept: HashMap::new(),
        left_out: Vec::new(),
        available: Vec::new(),
        met: HashSet::new(),
        entries: 0,
    };
    walk.descend(&root).await?;
    walk.all_platforms_met()?;
    let mut nodes = Vec::new();
    let descriptor = root.descriptor();
    walk.gather(root, descriptor, None, 0, &mut nodes)?;
    Ok(Collection { nodes, left_out: walk.left_out })
}

pub(crate) fn read_error(store: &dyn ImageStore, target: &Target, source: StoreError) -> TransferError {
    TransferError::Read { what: store.spell(target), source }
}

struct Walk<'a> {
    store: &'a dyn ImageStore,
    selection: &'a Selection,
    limits: &'a WalkLimits,
    /// One per wanted platform. They do not fall back: what is copied is what was named.
    matchers: Vec<PlatformMatcher>,
    /// The root, for messages.
    what: String,
    documents: HashMap<Digest, Document>,
    /// For each index, its entries that are taken.
    kept: HashMap<Digest, Vec<Descriptor>>,
    left_out: Vec<Descriptor>,
    available: Vec<Platform>,
    /// Positions of the wanted platforms that were met.
    met: HashSet<usize>,
    entries: usize,
}

impl Walk<'_> {
    /// Reads everything below `root`.
    async fn descend(&mut self, root: &Document) -> Result<(), TransferError> {
        if root.manifest().is_some() {
            if !self.selection.platforms.is_empty() {
                let platform = self.config_platform(root).await?;
                self.wants(&platform);
            }
            return Ok(());
        }
        let mut level = vec![root.clone()];
        for _ in 0..self.limits.depth {
            let mut wanted: Vec<Descriptor> = Vec::new();
            for index in level {
                let entries = self.select(&index).await?;
                wanted.extend(entries.iter().cloned());
                self.kept.insert(index.digest().clone(), entries);
            }
            let mut seen = HashSet::new();
            wanted.retain(|entry| !self.documents.contains_key(&entry.digest) && seen.insert(entry.digest.clone()));
            let read = self.read(wanted).await?;
            level = read.iter().filter(|document| document.index().is_some()).cloned().collect();
            self.documents.extend(read.into_iter().map(|document| (document.digest().clone(), document)));
            if level.is_empty() {
                return Ok(());
            }
        }
        Err(self.too_large(format!("indexes are nested deeper than {} levels", self.limits.depth)))
    }

    /// The entries of `index` that are taken; the others are noted as left out.
    async fn select(&mut self, index: &Document) -> Result<Vec<Descriptor>, TransferError> {
        let Some(view) = index.index() else { return Ok(Vec::new()) };
        self.entries += view.manifests.len();
        if self.entries > self.limits.entries {
            return Err(self.too_large(format!("more than {} entries", self.limits.entries)));
        }
        let mut taken = Vec::with_capacity(view.manifests.len());
        for entry in &view.manifests {
            taken.push(!is_attestation(entry) && self.takes(entry).await?);
        }
        // Attestations after images, wherever they stand, because they follow them.
        for (position, entry) in view.manifests.iter().enumerate() {
            if !is_attestation(entry) {
                continue;
            }
            let everything = self.selection.platforms.is_empty();
            let image_taken = entry.attestation_of().is_some_and(|image| {
                view.manifests.iter().zip(&taken).any(|(other, taken)| *taken && other.digest == image)
            });
            taken[position] = self.selection.attestations == Attestations::Follow && (everything || image_taken);
        }
        let mut kept = Vec::new();
        for (entry, taken) in view.manifests.iter().zip(taken) {
            if taken { kept.push(entry.clone()) } else { self.left_out.push(entry.clone()) }
        }
        Ok(kept)
    }

    /// Whether an entry that is no attestation is wanted.
    async fn takes(&mut self, entry: &Descriptor) -> Result<bool, TransferError> {
        if self.selection.platforms.is_empty() {
            return Ok(true);
        }
        match &entry.platform {
            Some(platform) => Ok(self.wants(platform)),
            // An index within an index is looked into.
            None if entry.media_type.kind() == MediaKind::Index => Ok(true),
            // Only the config knows.
            None => {
                let document = self.read(vec![entry.clone()]).await?.swap_remove(0);
                if document.index().is_some() {
                    return Ok(true);
                }
                let platform = self.config_platform(&document).await?;
                Ok(self.wants(&platform))
            }
        }
    }

    fn wants(&mut self, platform: &Platform) -> bool {
        let have = platform.normalized();
        let mut wanted = false;
        for (position, matcher) in self.matchers.iter().enumerate() {
            if matcher.matches(platform) {
                self.met.insert(position);
                wanted = true;
            }
        }
        if !self.available.contains(&have) {
            self.available.push(have);
        }
        wanted
    }

    fn all_platforms_met(&self) -> Result<(), TransferError> {
        let platforms = self.selection.platforms.iter().enumerate();
        let missing: Vec<Platform> =
            platforms.filter(|(position, _)| !self.met.contains(position)).map(|(_, want)| want.clone()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(TransferError::NoSuchPlatform { what: self.what.clone(), missing, available: self.available.clone() })
    }

    async fn read(&self, entries: Vec<Descriptor>) -> Result<Vec<Document>, TransferError> {
        let store = self.store;
        stream::iter(entries)
            .map(|entry| async move {
                let target = Target::Digest(entry.digest.clone());
                let document = store.document(&target).await.map_err(|source| read_error(store, &target, source))?;
                // The digest has been verified, so it is the index that is wrong.
                let kind_differs = (entry.media_type.kind() == MediaKind::Index) != document.index().is_some();
                if document.size() != entry.size || kind_differs {
                    return Err(TransferError::Contradiction {
                        what: store.spell(&target),
                        stated_type: entry.media_type,
                        stated_size: entry.size,
                        found_type: document.media_type().clone(),
                        found_size: document.size(),
                    });
                }
                Ok(document)
            })
            .buffered(self.limits.concurrency.max(1))
            .try_collect()
            .await
    }

    /// The platform that an image's config states.
    async fn config_platform(&self, document: &Document) -> Result<Platform, TransferError> {
        let Some(manifest) = document.manifest() else { return Ok(Platform::default()) };
        let what = self.store.spell(&Target::Digest(document.digest().clone()));
        let fail = |source| TransferError::Read { what: what.clone(), source };
        let limit = image::Limits::default().length as u64;
        if manifest.config.size > limit {
            return Err(self.too_large(format!("its config has more than {limit} bytes")));
        }
        let mut reader = self.store.blob(&manifest.config).await.map_err(fail)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next().await {
            bytes.extend_from_slice(&chunk.map_err(fail)?);
        }
        let config = ImageConfig::parse(&bytes).map_err(|error| {
            fail(StoreError::new(StoreErrorKind::Invalid, format!("read the config of {what}")).because(error))
        })?;
        Ok(config.platform)
    }

    fn too_large(&self, limit: String) -> TransferError {
        TransferError::TooLarge { what: self.what.clone(), limit }
    }

    fn gather(
        &self,
        document: Document,
        descriptor: Descriptor,
        parent: Option<&Digest>,
        depth: usize,
        nodes: &mut Vec<Node>,
    ) -> Result<(), TransferError> {
        // An index that lists one index many times, which does the same again, has few documents and very many entries.
        if nodes.len() > self.limits.entries {
            return Err(self.too_large(format!("more than {} entries", self.limits.entries)));
        }
        for entry in self.kept.get(document.digest()).into_iter().flatten() {
            if let Some(child) = self.documents.get(&entry.digest) {
                self.gather(child.clone(), entry.clone(), Some(document.digest()), depth + 1, nodes)?;
            }
        }
        nodes.push(Node { document, descriptor, parent: parent.cloned(), depth });
        Ok(())
    }
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotation("vnd.docker.reference.type") == Some("attestation-manifest")
}
