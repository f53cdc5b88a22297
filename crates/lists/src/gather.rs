//! From the names of sources to the entries of a list: everything that `create` reads from stores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Descriptor, Digest, Document, ImageConfig, Platform, Reference};
use store::{ImageStore, Stores};
use tokio::sync::OnceCell;
use transfer::{Selection, WalkLimits};

use crate::entry::Entry;
use crate::error::ListError;
use crate::source::Source;

/// Sources that are read at once. Each store bounds its own requests too.
const SOURCES_AT_ONCE: usize = 64;
/// Most bytes of an image config.
const CONFIG_LIMIT: u64 = 8 << 20;

/// How sources are read.
#[derive(Clone, Debug)]
pub(crate) struct Taking {
    /// Refuse indexes.
    pub(crate) strict: bool,
    /// What to take of indexes.
    pub(crate) selection: Selection,
}

/// What one source gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) entries: Vec<Entry>,
    pub(crate) notes: Vec<String>,
}

/// Reads sources, all at once; the answers have their order. Of several failures the first in that order is reported.
pub(crate) async fn gather(
    sources: &[Source],
    list: &Reference,
    taking: &Taking,
    stores: &Stores,
) -> Result<Vec<Gathered>, ListError> {
    // All are opened before the first is read, so that one token does for all repositories of a registry.
    let mut opened = Vec::with_capacity(sources.len());
    for source in sources {
        let store = stores.open(&source.location).await;
        opened.push((source, store.map_err(|error| ListError::source(source.name(), error))?));
    }
    let configs = Configs::default();
    let configs = &configs;
    stream::iter(opened)
        .map(|(source, store)| async move {
            let name = source.name();
            let failed = |error| ListError::source(name, error);
            let document = store.document(&source.location.target()).await.map_err(failed)?;
            if document.index().is_some() {
                return from_index(source, list, taking, &*store, document, configs).await;
            }
            let platform = configs.platform(&*store, &document, name).await?;
            let entry = make_entry(source, list, false, &document, &document.descriptor(), platform);
            Ok(Gathered { entries: vec![entry], notes: Vec::new() })
        })
        .buffered(SOURCES_AT_ONCE)
        .try_collect()
        .await
}

/// The images of an index, each with what the index says of it.
async fn from_index(
    source: &Source,
    list: &Reference,
    taking: &Taking,
    store: &dyn ImageStore,
    index: Document,
    configs: &Configs,
) -> Result<Gathered, ListError> {
    let name = source.name();
    if taking.strict {
        return Err(ListError::IsList(name.to_owned()));
    }
    let collection = transfer::collect_below(store, index, &taking.selection, &WalkLimits::default())
        .await
        .map_err(|error| ListError::Collect { source: Box::new(error) })?;
    let mut gathered = Gathered::default();
    let mut platforms: HashMap<Digest, Platform> = HashMap::new();
    let images: Vec<_> = collection.images().collect();
    let found: Vec<Platform> = stream::iter(&images)
        .map(|node| async move {
            match &node.descriptor.platform {
                Some(platform) => Ok(platform.clone()),
                None => configs.platform(store, &node.document, name).await,
            }
        })
        .buffered(SOURCES_AT_ONCE)
        .try_collect()
        .await?;
    for (node, platform) in images.into_iter().zip(found) {
        let digest = node.document.digest();
        match platforms.get(digest) {
            None => {
                platforms.insert(digest.clone(), platform.clone());
                gathered.entries.push(make_entry(source, list, true, &node.document, &node.descriptor, platform));
            }
            Some(first) if *first == platform => {}
            Some(first) => gathered.notes.push(format!(
                "{name} lists {digest} for {first} and for {platform}; docker's store holds one of them, {first}"
            )),
        }
    }
    if gathered.entries.is_empty() {
        gathered.notes.push(format!("{name} has no images"));
    }
    Ok(gathered)
}

fn make_entry(
    source: &Source,
    list: &Reference,
    of_an_index: bool,
    document: &Document,
    said: &Descriptor,
    platform: Platform,
) -> Entry {
    let (reference, note_source) = source.entry_reference(list, document.digest(), of_an_index);
    let mut entry = Entry::new(reference, document, platform);
    if of_an_index {
        let descriptor = entry.descriptor_mut();
        descriptor.annotations.clone_from(&said.annotations);
        descriptor.urls.clone_from(&said.urls);
        descriptor.data.clone_from(&said.data);
        descriptor.artifact_type.clone_from(&said.artifact_type);
    }
    if note_source {
        entry.set_source(source.name().to_owned());
    }
    entry
}

/// The configs that were read, each once however many images have it.
#[derive(Default)]
pub(crate) struct Configs(Mutex<HashMap<Digest, Arc<OnceCell<Platform>>>>);

impl Configs {
    /// The platform that an image's config states: empty if it states none.
    pub(crate) async fn platform(
        &self,
        store: &dyn ImageStore,
        document: &Document,
        image: &str,
    ) -> Result<Platform, ListError> {
        let Some(manifest) = document.manifest() else { return Ok(Platform::default()) };
        let config = &manifest.config;
        let cell = {
            let mut cells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(cells.entry(config.digest.clone()).or_default())
        };
        cell.get_or_try_init(|| read_platform(store, config, image)).await.cloned()
    }
}

async fn read_platform(store: &dyn ImageStore, config: &Descriptor, image: &str) -> Result<Platform, ListError> {
    let failed = |reason: String| ListError::Config { image: image.to_owned(), reason };
    if config.size > CONFIG_LIMIT {
        return Err(failed(format!("its config has {} bytes, more than {CONFIG_LIMIT}", config.size)));
    }
    let unreadable = |error| ListError::ConfigUnreadable {
        image: image.to_owned(),
        digest: config.digest.clone(),
        source: Box::new(error),
    };
    let mut reader = store.blob(config).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await {
        bytes.extend_from_slice(&chunk.map_err(unreadable)?);
        if bytes.len() as u64 > CONFIG_LIMIT {
            return Err(failed(format!("its config has more than {CONFIG_LIMIT} bytes")));
        }
    }
    let config = ImageConfig::parse(&bytes).map_err(|error| failed(error.to_string()))?;
    Ok(config.platform)
}
