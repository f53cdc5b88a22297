//! What all clients of a run share.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use image::{Digest, MediaType};
use settings::Secret;

use crate::body::{Body, Family, Filler, TAIL};
use crate::connection::Connector;
use crate::options::Stop;

/// Bytes of a layer of `image-push`.
pub(crate) const LAYER: u64 = 64 << 10;
/// Bytes of a small blob.
pub(crate) const SMALL: u64 = 1 << 10;
/// Bytes of layers under mixed load: below and above what registries keep beside their metadata.
const MIXED: [u64; 4] = [2 << 10, 8 << 10, 32 << 10, 128 << 10];
/// The tag that everybody reads.
pub(crate) const TAG: &str = "bench";

/// What all clients of a run share.
pub(crate) struct Shared {
    pub(crate) connector: Connector,
    /// Headers of every request.
    pub(crate) headers: Vec<u8>,
    /// The header that says who we are. It may change while we run: tokens end.
    authorization: RwLock<Option<Arc<[u8]>>>,
    /// `http://host:port` or `https://host:port`, as upload locations may begin.
    pub(crate) origin: String,
    pub(crate) repository: String,
    pub(crate) filler: Filler,
    pub(crate) layers: Family,
    pub(crate) small: Family,
    pub(crate) large: Family,
    mixed: Vec<Family>,
    pub(crate) prepared: OnceLock<Prepared>,
    /// Whether somebody has read the large blob and found it whole.
    pub(crate) large_is_verified: AtomicBool,
    pub(crate) verify: bool,
    pub(crate) patience: Duration,
    pub(crate) stop: Stop,
    run: u64,
    made: AtomicU64,
    pub(crate) live: Live,
}

/// Counts that can be looked at while it runs.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) operations: AtomicU64,
    pub(crate) errors: AtomicU64,
    /// In nanoseconds.
    pub(crate) highest: AtomicU64,
}

/// What is there before anything is measured.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) image: Image,
    pub(crate) small: Blob,
    pub(crate) large: Option<Blob>,
    /// Whether the registry deletes manifests, and blobs.
    pub(crate) deletes: Deletes,
}

/// What a registry lets us delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deletes {
    pub(crate) manifests: bool,
    pub(crate) blobs: bool,
}

/// A blob that was made here.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    size: u64,
    tail: [u8; TAIL],
}

impl Blob {
    pub(crate) fn body<'a>(&'a self, filler: &'a Filler) -> Body<'a> {
        Body::of(filler, self.size, &self.tail)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }
}

/// An image that was made here.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) layer: Blob,
    pub(crate) config: Vec<u8>,
    pub(crate) config_digest: Digest,
    pub(crate) manifest: Vec<u8>,
    pub(crate) digest: Digest,
}

/// What a client has pushed and not deleted.
#[derive(Debug, Default)]
pub(crate) struct Pushed {
    pub(crate) manifests: BTreeSet<Digest>,
    pub(crate) blobs: BTreeSet<Digest>,
}

impl Pushed {
    pub(crate) fn merge(&mut self, other: Self) {
        self.manifests.extend(other.manifests);
        self.blobs.extend(other.blobs);
    }
}

/// How requests go out.
pub(crate) struct Way {
    pub(crate) connector: Connector,
    pub(crate) origin: String,
    /// The value of `Host`.
    pub(crate) authority: String,
}

impl Shared {
    pub(crate) fn new(way: Way, run: u64, options: &crate::LoadOptions, stop: Stop) -> Self {
        let filler = Filler::new(run);
        let headers =
            format!("Host: {}\r\nUser-Agent: polyarch-bench/{}\r\n", way.authority, env!("CARGO_PKG_VERSION"));
        Self {
            connector: way.connector,
            headers: headers.into_bytes(),
            authorization: RwLock::new(None),
            origin: way.origin,
            repository: options.repository.to_string(),
            layers: Family::new(&filler, LAYER),
            small: Family::new(&filler, SMALL),
            // Hashed once, which for 100 MiB takes a moment.
            large: Family::new(&filler, options.large),
            mixed: MIXED.iter().map(|&size| Family::new(&filler, size)).collect(),
            filler,
            prepared: OnceLock::new(),
            large_is_verified: AtomicBool::new(false),
            verify: options.verify,
            patience: options.patience,
            stop,
            run,
            made: AtomicU64::new(0),
            live: Live::default(),
        }
    }

    /// Sets who we are from now on.
    pub(crate) fn authorize(&self, value: Option<&Secret>) {
        let line = value.map(|value| Arc::from(format!("Authorization: {}\r\n", value.reveal()).into_bytes()));
        *self.authorization.write().unwrap_or_else(PoisonError::into_inner) = line;
    }

    pub(crate) fn authorization(&self) -> Option<Arc<[u8]>> {
        self.authorization.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A blob that nobody has.
    pub(crate) fn blob(&self, family: &Family) -> Blob {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let mut tail = [0; TAIL];
        tail.copy_from_slice(format!("{:032x}{number:032x}", self.run).as_bytes());
        Blob { digest: family.digest(&tail), size: family.size(), tail }
    }

    /// An image that nobody has.
    pub(crate) fn image(&self, layers: &Family) -> Image {
        let layer = self.blob(layers);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
            layer.digest
        );
        let config_digest = Digest::sha256(config.as_bytes());
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{config_digest}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            MediaType::OCI_MANIFEST,
            MediaType::OCI_CONFIG,
            config.len(),
            MediaType::OCI_LAYER,
            layer.digest,
            layer.size,
        );
        let digest = Digest::sha256(manifest.as_bytes());
        Image { layer, config: config.into_bytes(), config_digest, manifest: manifest.into_bytes(), digest }
    }

    /// One of the sizes of mixed load.
    pub(crate) fn mixed_layers(&self, draw: u64) -> &Family {
        &self.mixed[(draw % MIXED.len() as u64) as usize]
    }
}
