//! The file system of an image, in a directory: layers of one platform, lowest first, each verified.
//!
//! The directory appears whole or not at all: everything is unpacked beside it and renamed into place at the end.

use std::fs::File;
use std::io::{self, BufReader, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt;
use image::{Descriptor, Digest, Document, MediaKind, Platform, PlatformMatcher, Target};
use layer::{Compression, LayerReader, Links, SpecialFiles, UnpackOptions};
use serde::{Deserialize, Serialize};
use store::{ImageStore, StoreError};

/// Indexes may name indexes, but not without end.
const NESTING: usize = 8;
/// A config is read into memory.
const CONFIG_LIMIT: u64 = 8 << 20;
/// No layer that people run is larger; a bomb is.
const LAYER_LIMIT: u64 = 256 << 30;

/// What to unpack, and where to.
#[derive(Clone, Debug)]
pub struct UnpackRequest {
    /// Where the image is.
    pub store: Arc<dyn ImageStore>,
    /// Which one.
    pub target: Target,
    /// For which platform, if it is an index; older variants of the same CPU will do.
    pub platform: Platform,
    /// A directory that is not there yet, or empty.
    pub directory: PathBuf,
    /// Sets owners and makes devices as stated, which takes privileges.
    pub privileged: bool,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnpackReport {
    /// Digest of the image manifest.
    pub digest: Digest,
    /// Its platform, where the index states one.
    pub platform: Option<String>,
    /// Number of layers.
    pub layers: usize,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes in files.
    pub bytes: u64,
    /// Devices and pipes that were left out.
    pub skipped: u64,
}

/// Why an image was not unpacked, as a fragment that reads well after "failed to". Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackImageError {
    /// The store said no.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index has nothing for this platform.
    #[error("unpack `{image}`: it has no image for {wanted}, only {available}")]
    NoPlatform {
        /// The image.
        image: String,
        /// The platform that was asked for.
        wanted: String,
        /// The platforms that it has.
        available: String,
    },
    /// Not something with a file system.
    #[error("unpack `{image}`: {why}")]
    NotAnImage {
        /// The image.
        image: String,
        /// Why not.
        why: String,
    },
    /// A layer is not what it says it is, or is refused.
    #[error("unpack layer `{digest}`: {why}")]
    Layer {
        /// Which layer.
        digest: Digest,
        /// What is wrong.
        why: String,
    },
    /// The system refused.
    #[error("{action} `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl UnpackImageError {
    /// What a person can try.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint.clone(),
            Self::NoPlatform { .. } => Some("choose one of them with `--platform`".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("name a directory that is not there yet".to_owned())
            }
            _ => None,
        }
    }
}

/// What was chosen to be unpacked: the plan, before a byte of a layer is read.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The image manifest.
    pub document: Document,
    /// Its platform, where the index states one.
    pub platform: Option<Platform>,
}

/// Finds the image manifest for the platform that is asked for.
pub async fn choose(request: &UnpackRequest) -> Result<Chosen, UnpackImageError> {
    let image = request.store.spell(&request.target);
    let matcher = PlatformMatcher::new(&request.platform);
    let mut document = request.store.document(&request.target).await?;
    let mut platform = None;
    for _ in 0..NESTING {
        let Some(index) = document.index() else { return Ok(Chosen { document, platform }) };
        let selection = matcher.select(index.manifests.iter().map(|entry| entry.platform.as_ref()));
        let Some(chosen) = selection.chosen() else {
            let available: Vec<String> = selection.available().iter().map(ToString::to_string).collect();
            let available = if available.is_empty() { "none that it names".to_owned() } else { available.join(", ") };
            return Err(UnpackImageError::NoPlatform { image, wanted: request.platform.to_string(), available });
        };
        platform.clone_from(&index.manifests[chosen].platform);
        let digest = index.manifests[chosen].digest.clone();
        document = request.store.document(&Target::Digest(digest)).await?;
    }
    Err(UnpackImageError::NotAnImage { image, why: format!("indexes are nested deeper than {NESTING} levels") })
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

/// Unpacks what [`choose`] chose.
pub async fn unpack(request: &UnpackRequest, chosen: &Chosen) -> Result<UnpackReport, UnpackImageError> {
    let image = request.store.spell(&request.target);
    let refuse = |why: String| UnpackImageError::NotAnImage { image: image.clone(), why };
    let Some(manifest) = chosen.document.manifest() else { return Err(refuse("it is an index".to_owned())) };
    if manifest.config.media_type.kind() != MediaKind::Config {
        return Err(refuse(format!("its config is `{}`, not an image config", manifest.config.media_type)));
    }
    if manifest.config.size > CONFIG_LIMIT {
        return Err(refuse(format!("its config has {} bytes, more than {CONFIG_LIMIT}", manifest.config.size)));
    }
    let mut config = Vec::new();
    copy(&request.store, &manifest.config, &mut config).await?;
    let config: Config = serde_json::from_slice(&config).map_err(|error| refuse(format!("its config: {error}")))?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, ids) = (manifest.layers.len(), diff_ids.len());
        return Err(refuse(format!("it has {layers} layers, but its config names {ids}")));
    }

    let (temporary, parent) = prepare(&request.directory)?;
    let mut report = UnpackReport {
        digest: chosen.document.digest().clone(),
        platform: chosen.platform.as_ref().map(ToString::to_string),
        layers: manifest.layers.len(),
        entries: 0,
        bytes: 0,
        skipped: 0,
    };
    for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
        // The blob is verified before a byte of it is unpacked.
        let mut spooled = tempfile::tempfile_in(&parent).map_err(io_at("make a temporary file in", &parent))?;
        copy(&request.store, descriptor, &mut spooled).await?;
        let (directory, descriptor, privileged) = (temporary.path().to_owned(), descriptor.clone(), request.privileged);
        let work = tokio::task::spawn_blocking(move || apply(spooled, &descriptor, &diff_id, &directory, privileged));
        let done = match work.await {
            Ok(done) => done?,
            Err(stopped) => return Err(io_at("unpack into", &request.directory)(io::Error::other(stopped))),
        };
        report.entries += done.entries;
        report.bytes += done.bytes;
        report.skipped += done.skipped;
    }
    // Renaming over an empty directory replaces it; over anything else it fails.
    std::fs::rename(temporary.path(), &request.directory)
        .map_err(io_at("move what was unpacked to", &request.directory))?;
    // Its old name is gone: there is nothing left to remove.
    let _ = temporary.keep();
    Ok(report)
}

/// A new directory beside `directory`, with the permissions that a root directory has.
fn prepare(directory: &Path) -> Result<(tempfile::TempDir, PathBuf), UnpackImageError> {
    match std::fs::read_dir(directory).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            let full = io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty");
            return Err(io_at("unpack into", directory)(full));
        }
        Ok(false) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_at("unpack into", directory)(error)),
    }
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let temporary = tempfile::Builder::new()
        .prefix(".polyarch-unpack-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(&parent)
        .map_err(io_at("make a directory in", &parent))?;
    Ok((temporary, parent))
}

fn io_at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> UnpackImageError {
    let path = path.to_owned();
    move |source| UnpackImageError::Io { action, path, source }
}

/// Reads a blob to its end, which the store only gives if digest and size are right.
async fn copy(
    store: &Arc<dyn ImageStore>,
    descriptor: &Descriptor,
    sink: &mut (impl Write + Send),
) -> Result<(), UnpackImageError> {
    let mut blob = store.blob(descriptor).await?;
    while let Some(chunk) = blob.next().await {
        sink.write_all(&chunk?).map_err(|source| UnpackImageError::Layer {
            digest: descriptor.digest.clone(),
            why: format!("writing it to a temporary file: {source}"),
        })?;
    }
    Ok(())
}

fn apply(
    mut spooled: File,
    descriptor: &Descriptor,
    diff_id: &Digest,
    directory: &Path,
    privileged: bool,
) -> Result<layer::Unpacked, UnpackImageError> {
    let refuse = |why: String| UnpackImageError::Layer { digest: descriptor.digest.clone(), why };
    let compression = Compression::of(&descriptor.media_type).map_err(|error| refuse(error.to_string()))?;
    spooled.rewind().map_err(|error| refuse(error.to_string()))?;
    let mut reader = LayerReader::new(BufReader::with_capacity(256 << 10, spooled), compression, LAYER_LIMIT)
        .map_err(|error| refuse(error.to_string()))?;
    let options = UnpackOptions {
        links: Links::WithinRoot,
        special_files: if privileged { SpecialFiles::Create } else { SpecialFiles::Skip },
        owners: privileged,
        ..UnpackOptions::default()
    };
    let done = layer::unpack(&mut reader, directory, &options).map_err(|error| refuse(error.to_string()))?;
    let (actual, _) = reader.finish().map_err(|error| refuse(error.to_string()))?;
    if actual != *diff_id {
        return Err(refuse(format!("its contents are `{actual}`, but the config says `{diff_id}`")));
    }
    Ok(done)
}
