//! From a request to documents and layers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{join_all, try_join};
use image::{Descriptor, Digest, Document, MediaType, Platform};
use serde::Serialize;
use store::Medium;
use tokio::sync::Semaphore;

use crate::base::{self, BaseImage};
use crate::check::{Warning, check};
use crate::config::{self, Added};
use crate::error::PackError;
use crate::layers::{self, Stop};
use crate::packed::{NewLayer, Packed, PackedImage};
use crate::request::{Binary, PackRequest};
use crate::spool::Spool;
use crate::tree::Tree;

/// Annotations that name the base (image-spec, `annotations.md`).
const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// Makes one image per binary, and the index that lists them.
///
/// Everything that can be wrong with the files is found before the network is asked for anything. Nothing is in a store
/// yet: see [`Packed::write`] and [`Packed::plan`].
pub async fn pack(request: &PackRequest) -> Result<Packed, PackError> {
    let created = created(request)?;
    distinct(&request.binaries)?;
    let gathered = gather(request).await?;
    let spool = Arc::new(Spool::new());
    let bases = async {
        match &request.base {
            None => Ok(Vec::new()),
            Some(base) => {
                let platforms: Vec<Platform> = request.binaries.iter().map(|binary| binary.platform.clone()).collect();
                base::resolve(base, &platforms).await
            }
        }
    };
    let layers = write_layers(request, gathered.trees, &spool);
    let (bases, mut layers) = try_join(bases, layers).await?;

    // The layer of the files, if there is one, is the first.
    let files = (layers.len() > request.binaries.len()).then(|| layers.remove(0));
    let mut bases = bases.into_iter();
    let mut images = Vec::with_capacity(request.binaries.len());
    for (binary, layer) in request.binaries.iter().zip(layers) {
        let new: Vec<NewLayer> = files.clone().into_iter().chain([layer]).collect();
        images.push(image(request, &created, binary, bases.next(), new, &spool)?);
    }
    let index = index(&images)?;
    let base = request.base.as_ref().map(|base| Arc::clone(&base.store));
    Ok(Packed { images, index, warnings: gathered.warnings, spool, base })
}

/// The one time that everything in the image has, in seconds since 1970.
fn seconds(request: &PackRequest) -> Result<i64, PackError> {
    let epoch = request.source_date_epoch.unwrap_or(0);
    i64::try_from(epoch).map_err(|_| PackError::Epoch(epoch))
}

/// The same as documents write it.
fn created(request: &PackRequest) -> Result<String, PackError> {
    let seconds = seconds(request)?;
    let time = jiff::Timestamp::from_second(seconds);
    Ok(time.map_err(|_| PackError::Epoch(seconds.unsigned_abs()))?.to_string())
}

fn distinct(binaries: &[Binary]) -> Result<(), PackError> {
    let mut seen: BTreeMap<&Platform, &Binary> = BTreeMap::new();
    for binary in binaries {
        if binary.platform.os == "windows" {
            return Err(PackError::Windows { platform: Box::new(binary.platform.clone()) });
        }
        if let Some(first) = seen.insert(&binary.platform, binary) {
            return Err(PackError::PlatformTwice {
                platform: Box::new(binary.platform.clone()),
                first: first.path.clone(),
                second: binary.path.clone(),
            });
        }
    }
    if binaries.is_empty() { Err(PackError::NoBinaries) } else { Ok(()) }
}

/// What the file system told.
struct Gathered {
    /// One tree per layer with what it is called: that of the files first, if there are some, then one per binary.
    trees: Vec<(String, Tree)>,
    warnings: Vec<Warning>,
}

async fn gather(request: &PackRequest) -> Result<Gathered, PackError> {
    let request = request.clone();
    layers::blocking(move || {
        let mut warnings = Vec::new();
        for binary in &request.binaries {
            warnings.extend(check(binary, request.base.is_some())?);
        }
        let mut files = Tree::default();
        for spec in &request.files {
            files.add(spec)?;
        }
        let mut trees = Vec::new();
        for binary in &request.binaries {
            let mut tree = Tree::default();
            tree.add_program(&binary.path, &request.place)?;
            if let Some(clash) = files.clash(&tree) {
                return Err(clash);
            }
            if request.base.is_none() {
                tree.add_parents();
            }
            trees.push((created_by(&request), tree));
        }
        if !files.is_empty() {
            if request.base.is_none() {
                files.add_parents();
            }
            trees.insert(0, ("polyarch pack: files".to_owned(), files));
        }
        Ok(Gathered { trees, warnings })
    })
    .await
}

/// What the history says of a binary's layer. No path of this machine: the same input gives the same bytes anywhere.
fn created_by(request: &PackRequest) -> String {
    format!("polyarch pack: {}", request.place)
}

/// Writes all layers, as many at once as there are processors.
async fn write_layers(
    request: &PackRequest,
    trees: Vec<(String, Tree)>,
    spool: &Arc<Spool>,
) -> Result<Vec<NewLayer>, PackError> {
    let terms =
        layers::Terms { scratch: request.scratch.clone(), compression: request.compression, time: seconds(request)? };
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let turns = Arc::new(Semaphore::new(at_once));
    // Dropped with this future; then the threads stop at their next read.
    let stop = Stop::new();
    let written = trees.into_iter().map(|(what, tree)| {
        let (turns, watch, terms) = (Arc::clone(&turns), stop.watch(), terms.clone());
        async move {
            let _turn = turns.acquire_owned().await;
            layers::blocking(move || layers::write(&what, &tree, &terms, &watch)).await
        }
    });
    let mut layers = Vec::new();
    for written in join_all(written).await {
        let (layer, file) = written?;
        spool.add_file(layer.descriptor.digest.clone(), file);
        layers.push(layer);
    }
    Ok(layers)
}

fn image(
    request: &PackRequest,
    created: &str,
    binary: &Binary,
    base: Option<BaseImage>,
    new: Vec<NewLayer>,
    spool: &Spool,
) -> Result<PackedImage, PackError> {
    let what = |name: &str| format!("{name} for `{}`", binary.platform);
    let created_by = created_by(request);
    let names = ["polyarch pack: files", &created_by];
    let names = &names[names.len() - new.len()..];
    let added: Vec<Added<'_>> =
        new.iter().zip(names).map(|(layer, created_by)| Added { diff_id: &layer.diff_id, created_by }).collect();
    let config = config::write(request, &binary.platform, created, base.as_ref().map(|base| &base.config), &added)
        .map_err(|error| PackError::Document { what: what("config"), reason: error.to_string() })?;
    let config_descriptor = Descriptor::new(MediaType::OCI_CONFIG, Digest::sha256(&config), config.len() as u64);
    spool.add_bytes(config_descriptor.digest.clone(), Bytes::from(config));

    let mut layers: Vec<Descriptor> = base.as_ref().map(|base| base.layers.clone()).unwrap_or_default();
    layers.extend(new.iter().map(|layer| layer.descriptor.clone()));
    let mut annotations = BTreeMap::new();
    if let (Some(base), Some(from)) = (&base, &request.base) {
        annotations.insert(BASE_DIGEST, base.document.digest().to_string());
        // A name of this machine means nothing elsewhere.
        if matches!(from.store.medium(), Medium::Registry(_)) {
            annotations.insert(BASE_NAME, from.store.spell(&from.target));
        }
    }
    let manifest = config::Manifest {
        schema_version: 2,
        media_type: MediaType::OCI_MANIFEST,
        config: &config_descriptor,
        layers: &layers,
        annotations,
    };
    Ok(PackedImage {
        platform: binary.platform.clone(),
        binary: PathBuf::from(&binary.path),
        document: document(&what("manifest"), &manifest)?,
        base: base.map(|base| base.document.digest().clone()),
        layers: new,
    })
}

fn index(images: &[PackedImage]) -> Result<Document, PackError> {
    let entry =
        |image: &PackedImage| Descriptor { platform: Some(image.platform.clone()), ..image.document.descriptor() };
    let manifests: Vec<Descriptor> = images.iter().map(entry).collect();
    let index = config::Index { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: &manifests };
    document("index", &index)
}

/// Serialises a document, and reads it back as everybody else will.
fn document<T: Serialize>(what: &str, content: &T) -> Result<Document, PackError> {
    let refused = |reason: String| PackError::Document { what: what.to_owned(), reason };
    let bytes = serde_json::to_vec(content).map_err(|error| refused(error.to_string()))?;
    Document::new(None, bytes).map_err(|error| refused(error.to_string()))
}
