//! Stores in memory with a call log: every call takes one tick of a clock that only these tests move, so the time a
//! transfer takes *is* its dependency depth.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{Descriptor, Digest, Document, Hasher, MediaType, Platform, RegistryHost, RepositoryName, Tag, Target};
use store::{BlobOrigin, BlobPlacement, BlobReader, ImageStore, Medium, PutReport, StoreError, StoreErrorKind};
use tokio::time::{Instant, sleep};

/// What one call takes.
pub(crate) const TICK: Duration = Duration::from_secs(1);

/// One call, as `verb what`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) verb: &'static str,
    pub(crate) store: String,
    pub(crate) what: String,
    /// Ticks since the world began.
    pub(crate) at: u64,
}

/// Registries that do not know each other.
pub(crate) struct World {
    inner: Mutex<Inner>,
    start: Instant,
}

#[derive(Default)]
struct Inner {
    repositories: BTreeMap<String, Repository>,
    log: Vec<Call>,
    /// Calls that fail: verb and a part of what they are about.
    faults: Vec<(&'static str, String, StoreErrorKind)>,
    /// Registries that never mount.
    no_mounts: BTreeSet<String>,
    open_bodies: usize,
    most_open_bodies: usize,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeMap<Digest, Bytes>,
    documents: BTreeMap<Digest, Document>,
    tags: BTreeMap<Tag, Digest>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner::default()), start: Instant::now() })
    }

    /// `host/repository`.
    pub(crate) fn store(self: &Arc<Self>, name: &str) -> Arc<dyn ImageStore> {
        let (host, repository) = name.split_once('/').unwrap();
        Arc::new(Memory {
            world: Arc::clone(self),
            host: RegistryHost::parse(host).unwrap(),
            repository: RepositoryName::parse(repository).unwrap(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// The log so far, which is emptied.
    pub(crate) fn take_log(&self) -> Vec<Call> {
        std::mem::take(&mut self.inner().log)
    }

    pub(crate) fn fail(&self, verb: &'static str, what: &str, kind: StoreErrorKind) {
        self.inner().faults.push((verb, what.to_owned(), kind));
    }

    pub(crate) fn heal(&self) {
        self.inner().faults.clear();
    }

    pub(crate) fn never_mount(&self, host: &str) {
        self.inner().no_mounts.insert(host.to_owned());
    }

    pub(crate) fn most_open_bodies(&self) -> usize {
        self.inner().most_open_bodies
    }

    /// Everything that is in a repository, for comparisons.
    pub(crate) fn contents(&self, name: &str) -> (Vec<Digest>, Vec<Digest>, Vec<(String, Digest)>) {
        let inner = self.inner();
        let Some(repository) = inner.repositories.get(name) else { return Default::default() };
        (
            repository.blobs.keys().cloned().collect(),
            repository.documents.keys().cloned().collect(),
            repository.tags.iter().map(|(tag, digest)| (tag.to_string(), digest.clone())).collect(),
        )
    }

    /// A document, without a call.
    pub(crate) fn document(&self, name: &str, digest: &Digest) -> Document {
        self.inner().repositories[name].documents[digest].clone()
    }

    /// Puts a blob without a call.
    pub(crate) fn seed_blob(&self, name: &str, media_type: &str, bytes: impl Into<Bytes>) -> Descriptor {
        let bytes = bytes.into();
        let descriptor = Descriptor::new(media_type, Digest::sha256(&bytes), bytes.len() as u64);
        self.inner().repositories.entry(name.to_owned()).or_default().blobs.insert(descriptor.digest.clone(), bytes);
        descriptor
    }

    /// Puts a document without a call.
    pub(crate) fn seed_document(&self, name: &str, document: &Document, tag: Option<&str>) {
        let mut inner = self.inner();
        let repository = inner.repositories.entry(name.to_owned()).or_default();
        repository.documents.insert(document.digest().clone(), document.clone());
        if let Some(tag) = tag {
            repository.tags.insert(Tag::parse(tag).unwrap(), document.digest().clone());
        }
    }

    /// An image of a config and `layers` layers, which are different for every `salt`.
    pub(crate) fn seed_image(&self, name: &str, platform: &str, layers: usize, salt: &str) -> Document {
        let parsed = Platform::parse(platform).unwrap();
        let config = format!(
            r#"{{"architecture":"{}","os":"{}","variant":"{}","salt":"{salt}"}}"#,
            parsed.architecture, parsed.os, parsed.variant
        );
        let config = self.seed_blob(name, MediaType::OCI_CONFIG, config);
        let layers: Vec<Descriptor> = (0..layers)
            .map(|i| self.seed_blob(name, MediaType::OCI_LAYER_GZIP, format!("layer {i} of {platform} {salt}")))
            .collect();
        let document = manifest(&config, &layers);
        self.seed_document(name, &document, None);
        document
    }

    /// Four images of a config and five layers.
    pub(crate) fn seed_four(&self, name: &str) -> Vec<Document> {
        ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"]
            .iter()
            .map(|platform| self.seed_image(name, platform, 5, "four"))
            .collect()
    }

    /// Four images and the index that lists them, tagged `v1`.
    pub(crate) fn seed_index(&self, name: &str) -> (Vec<Document>, Document) {
        let images = self.seed_four(name);
        let index = index_of(&images);
        self.seed_document(name, &index, Some("v1"));
        (images, index)
    }
}

/// A manifest with a config and layers.
pub(crate) fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Document {
    let value = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": layers,
    });
    Document::new(None, value.to_string()).unwrap()
}

/// An index of images that states a platform for each.
pub(crate) fn index_of(images: &[Document]) -> Document {
    let platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"];
    let entries = images.iter().zip(platforms).map(|(image, platform)| {
        let mut entry = image.descriptor();
        entry.platform = Some(Platform::parse(platform).unwrap());
        entry
    });
    index(&entries.collect::<Vec<_>>())
}

/// An index of entries.
pub(crate) fn index(entries: &[Descriptor]) -> Document {
    let value = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": entries,
    });
    Document::new(None, value.to_string()).unwrap()
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

/// How often each verb was called.
pub(crate) fn counts(log: &[Call]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for call in log {
        *counts.entry(call.verb).or_default() += 1;
    }
    counts
}

struct Memory {
    world: Arc<World>,
    host: RegistryHost,
    repository: RepositoryName,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Memory {
    fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// Logs the call, takes a tick, and fails if that is what was ordered.
    async fn call(&self, verb: &'static str, what: &str) -> Result<(), StoreError> {
        let at = self.world.ticks();
        let call = Call { verb, store: self.name(), what: what.to_owned(), at };
        self.world.inner().log.push(call);
        sleep(TICK).await;
        let inner = self.world.inner();
        let fault = inner.faults.iter().find(|(v, w, _)| *v == verb && format!("{} {what}", self.name()).contains(w));
        match fault {
            Some((_, _, kind)) => {
                Err(StoreError::new(*kind, format!("{verb} {}", self.name())).because("ordered to fail"))
            }
            None => Ok(()),
        }
    }

    fn not_found(&self, what: &impl fmt::Display) -> StoreError {
        StoreError::new(StoreErrorKind::NotFound, format!("find {what} in {}", self.name()))
    }

    fn find(&self, target: &Target) -> Option<Document> {
        let inner = self.world.inner();
        let repository = inner.repositories.get(&self.name())?;
        let digest = match target {
            Target::Tag(tag) => repository.tags.get(tag)?,
            Target::Digest(digest) => digest,
        };
        repository.documents.get(digest).cloned()
    }

    fn has(&self, repository: &str, digest: &Digest) -> bool {
        self.world.inner().repositories.get(repository).is_some_and(|r| r.blobs.contains_key(digest))
    }

    fn keep(&self, digest: &Digest, bytes: Bytes) {
        let mut inner = self.world.inner();
        inner.repositories.entry(self.name()).or_default().blobs.insert(digest.clone(), bytes);
    }
}

/// Counts a body as open until it is dropped.
struct OpenBody(Arc<World>);

impl OpenBody {
    fn new(world: &Arc<World>) -> Self {
        let mut inner = world.inner();
        inner.open_bodies += 1;
        inner.most_open_bodies = inner.most_open_bodies.max(inner.open_bodies);
        drop(inner);
        Self(Arc::clone(world))
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        self.0.inner().open_bodies -= 1;
    }
}

#[async_trait]
impl ImageStore for Memory {
    fn medium(&self) -> Medium {
        Medium::Registry(self.host.clone())
    }

    fn repository(&self) -> Option<&RepositoryName> {
        Some(&self.repository)
    }

    fn spell(&self, target: &Target) -> String {
        match target {
            Target::Tag(tag) => format!("{}:{tag}", self.name()),
            Target::Digest(digest) => format!("{}@{digest}", self.name()),
        }
    }

    async fn resolve(&self, target: &Target) -> Result<Option<Descriptor>, StoreError> {
        self.call("head", &target.to_string()).await?;
        Ok(self.find(target).map(|document| document.descriptor()))
    }

    async fn document(&self, target: &Target) -> Result<Document, StoreError> {
        self.call("get", &target.to_string()).await?;
        self.find(target).ok_or_else(|| self.not_found(target))
    }

    async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, StoreError> {
        self.call("blob", descriptor.digest.as_str()).await?;
        let bytes = {
            let inner = self.world.inner();
            inner.repositories.get(&self.name()).and_then(|r| r.blobs.get(&descriptor.digest)).cloned()
        };
        let bytes = bytes.ok_or_else(|| self.not_found(&descriptor.digest))?;
        let open = OpenBody::new(&self.world);
        let half = bytes.len() / 2;
        let chunks = [bytes.slice(..half), bytes.slice(half..)];
        Ok(Box::pin(stream::iter(chunks).map(move |chunk| {
            let _open = &open;
            Ok(chunk)
        })))
    }

    async fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, StoreError> {
        self.call("head-blob", descriptor.digest.as_str()).await?;
        Ok(self.has(&self.name(), &descriptor.digest))
    }

    async fn place_blob(&self, descriptor: &Descriptor, origin: &dyn BlobOrigin) -> Result<BlobPlacement, StoreError> {
        self.call("place", descriptor.digest.as_str()).await?;
        if self.has(&self.name(), &descriptor.digest) {
            return Ok(BlobPlacement::AlreadyThere);
        }
        let mounts = !self.world.inner().no_mounts.contains(self.host.as_str());
        if let Some(from) = origin.mount_from().filter(|_| mounts) {
            let from = format!("{}/{from}", self.host);
            let bytes = {
                let inner = self.world.inner();
                inner.repositories.get(&from).and_then(|r| r.blobs.get(&descriptor.digest)).cloned()
            };
            if let Some(bytes) = bytes {
                self.keep(&descriptor.digest, bytes);
                return Ok(BlobPlacement::Mounted);
            }
        }
        let mut reader = origin.open().await?;
        self.call("upload", descriptor.digest.as_str()).await?;
        let (mut bytes, mut hasher) = (Vec::new(), Hasher::new(descriptor.digest.algorithm()));
        while let Some(chunk) = reader.next().await {
            let chunk = chunk?;
            hasher.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(hasher.finish(), descriptor.digest);
        self.keep(&descriptor.digest, bytes.into());
        Ok(BlobPlacement::Copied)
    }

    async fn put_document(&self, document: &Document, tag: Option<&Tag>) -> Result<PutReport, StoreError> {
        let what = tag.map_or_else(|| document.digest().to_string(), ToString::to_string);
        self.call("put", &what).await?;
        for child in document.children() {
            let there = match document.index() {
                Some(_) => self.find(&Target::Digest(child.digest.clone())).is_some(),
                None => !child.urls.is_empty() || self.has(&self.name(), &child.digest),
            };
            if !there {
                let error = StoreError::new(StoreErrorKind::Invalid, format!("put {}", document.digest()));
                return Err(error.because(format!("unknown: {}", child.digest)));
            }
        }
        let mut inner = self.world.inner();
        let repository = inner.repositories.entry(self.name()).or_default();
        repository.documents.insert(document.digest().clone(), document.clone());
        if let Some(tag) = tag {
            repository.tags.insert(tag.clone(), document.digest().clone());
        }
        Ok(PutReport { reported_digest: Some(document.digest().clone()) })
    }
}
