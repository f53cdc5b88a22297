//! What every store must do, whatever its medium.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Algorithm, Descriptor, Digest, MediaType, RepositoryName, Tag, Target};
use lab::images::{self, Flavour};
use lab::{Lab, Quirks};
use polyarch_store::{BlobOrigin, BlobPlacement, BlobReader, ImageStore, StoreError, StoreErrorKind};

mod opened;

use opened::{layout, local, registry};

/// A blob in memory, in small pieces, that counts how often it was asked for.
struct Memory {
    bytes: Bytes,
    opened: AtomicUsize,
    fails: bool,
}

impl Memory {
    fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), opened: AtomicUsize::new(0), fails: false }
    }
}

#[async_trait]
impl BlobOrigin for Memory {
    fn mount_from(&self) -> Option<&RepositoryName> {
        None
    }

    async fn open(&self) -> Result<BlobReader, StoreError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let bytes = self.bytes.clone();
        let pieces: Vec<_> =
            (0..bytes.len()).step_by(100_000).map(|at| Ok(bytes.slice(at..bytes.len().min(at + 100_000)))).collect();
        let last =
            self.fails.then(|| Err(StoreError::new(StoreErrorKind::RateLimited, "read the other side").hint("wait")));
        Ok(Box::pin(stream::iter(pieces.into_iter().chain(last))))
    }
}

fn blob(bytes: &Bytes, algorithm: Algorithm) -> Descriptor {
    Descriptor::new("application/octet-stream", Digest::of(algorithm, bytes), bytes.len() as u64)
}

async fn read(store: &dyn ImageStore, descriptor: &Descriptor) -> Result<Bytes, StoreError> {
    let pieces: Vec<Bytes> = store.blob(descriptor).await?.try_collect().await?;
    Ok(pieces.concat().into())
}

async fn place_all(store: &dyn ImageStore, image: &images::Image) {
    for (descriptor, bytes) in &image.blobs {
        store.place_blob(descriptor, &Memory::new(bytes.clone())).await.unwrap();
    }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

async fn exercise(store: &dyn ImageStore) {
    nothing_there(store).await;
    blobs(store).await;
    documents(store).await;
    indexes(store).await;
    referrers(store).await;
    deletion(store).await;
}

async fn nothing_there(store: &dyn ImageStore) {
    let target = Target::Tag(tag("none"));
    assert_eq!(store.resolve(&target).await.unwrap(), None);
    let error = store.document(&target).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound, "{error:?}");
    assert!(error.to_string().contains(&store.spell(&target)), "{error}");
    let absent = blob(&Bytes::from_static(b"absent"), Algorithm::Sha256);
    assert!(!store.has_blob(&absent).await.unwrap());
    let error = read(store, &absent).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound, "{error:?}");
    assert_eq!(store.resolve(&absent.digest.clone().into()).await.unwrap(), None);
}

async fn blobs(store: &dyn ImageStore) {
    for (size, algorithm) in [
        (0, Algorithm::Sha256),
        (10, Algorithm::Sha256),
        (64 << 10, Algorithm::Sha256),
        (3 << 20, Algorithm::Sha256),
        (200_000, Algorithm::Sha512),
    ] {
        let bytes = images::random(size, size);
        let descriptor = blob(&bytes, algorithm);
        let origin = Memory::new(bytes.clone());
        let placed = store.place_blob(&descriptor, &origin).await.unwrap();
        assert_eq!(placed, BlobPlacement::Copied, "{size}");
        // Twice where a registry takes no body with the first request.
        assert!((1..=2).contains(&origin.opened.load(Ordering::SeqCst)), "{size}");
        assert!(store.has_blob(&descriptor).await.unwrap(), "{size}");
        assert_eq!(read(store, &descriptor).await.unwrap(), bytes, "{size}");
        store.place_blob(&descriptor, &origin).await.unwrap();
    }
    // What is not what it should be, or does not come to its end, is not kept.
    for size in [100, 300_000] {
        let bytes = images::random(size + 1, size);
        let descriptor = blob(&bytes, Algorithm::Sha256);
        let other = Memory::new(images::random(size + 2, size));
        assert!(store.place_blob(&descriptor, &other).await.is_err());
        let shorter = Memory::new(bytes.slice(1..));
        assert!(store.place_blob(&descriptor, &shorter).await.is_err());
        let broken = Memory { fails: true, ..Memory::new(bytes.slice(..50)) };
        let error = store.place_blob(&descriptor, &broken).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::RateLimited, "{error:?}");
        assert_eq!(error.hint.as_deref(), Some("wait"));
        assert!(!store.has_blob(&descriptor).await.unwrap());
    }
    // A descriptor that lies about the size is found out at the end.
    let bytes = images::random(7, 1000);
    store.place_blob(&blob(&bytes, Algorithm::Sha256), &Memory::new(bytes.clone())).await.unwrap();
    let lie = Descriptor { size: 999, ..blob(&bytes, Algorithm::Sha256) };
    assert!(read(store, &lie).await.is_err());
}

async fn documents(store: &dyn ImageStore) {
    let image = images::maker("linux/amd64").layers(2).foreign(1).make();
    let error = store.put_document(&image.document, Some(&tag("v1"))).await.unwrap_err();
    assert!(error.to_string().contains(&store.spell(&tag("v1").into())), "{error}");
    assert_eq!(store.resolve(&tag("v1").into()).await.unwrap(), None);
    place_all(store, &image).await;
    let by_digest = Target::Digest(image.digest().clone());
    let report = store.put_document(&image.document, None).await.unwrap();
    assert_eq!(report.reported_digest.as_ref(), Some(image.digest()));
    assert_eq!(store.resolve(&by_digest).await.unwrap(), Some(image.document.descriptor()));
    assert_eq!(store.document(&by_digest).await.unwrap().bytes(), image.document.bytes());
    assert_eq!(store.resolve(&tag("v1").into()).await.unwrap(), None);
    store.put_document(&image.document, Some(&tag("v1"))).await.unwrap();
    store.put_document(&image.document, Some(&tag("v2"))).await.unwrap();
    store.put_document(&image.document, Some(&tag("v2"))).await.unwrap();
    for name in ["v1", "v2"] {
        let document = store.document(&tag(name).into()).await.unwrap();
        assert_eq!((document.digest(), document.bytes()), (image.digest(), image.document.bytes()));
        assert_eq!(document.media_type().as_str(), MediaType::OCI_MANIFEST);
    }
    assert_eq!(store.tags().unwrap().list_tags().await.unwrap(), [tag("v1"), tag("v2")]);
    // A tag moves; what it left is still there.
    let other = images::image("linux/arm64", 1, Flavour::Docker);
    place_all(store, &other).await;
    store.put_document(&other.document, Some(&tag("v2"))).await.unwrap();
    assert_eq!(store.resolve(&tag("v2").into()).await.unwrap(), Some(other.document.descriptor()));
    assert_eq!(store.resolve(&tag("v1").into()).await.unwrap(), Some(image.document.descriptor()));
    assert!(store.resolve(&by_digest).await.unwrap().is_some());
    assert_eq!(store.tags().unwrap().list_tags().await.unwrap(), [tag("v1"), tag("v2")]);
}

async fn indexes(store: &dyn ImageStore) {
    let images = [images::image("linux/amd64", 1, Flavour::Oci), images::image("linux/arm/v7", 1, Flavour::Oci)];
    let index = images::index_with_attestations(&images);
    assert!(store.put_document(&index.document, Some(&tag("list"))).await.is_err(), "its children are not there");
    for image in &index.images {
        place_all(store, image).await;
        store.put_document(&image.document, None).await.unwrap();
    }
    store.put_document(&index.document, Some(&tag("list"))).await.unwrap();
    let nested = images::nested(std::slice::from_ref(&index));
    store.put_document(&nested.document, Some(&tag("nested"))).await.unwrap();
    let read = store.document(&tag("nested").into()).await.unwrap();
    assert_eq!(read.index().unwrap().manifests[0].digest, *index.digest());
    assert_eq!(store.document(&index.digest().clone().into()).await.unwrap().bytes(), index.document.bytes());
    let docker = images::index(&index.images[..2], Flavour::Docker);
    store.put_document(&docker.document, Some(&tag("docker-list"))).await.unwrap();
    let found = store.resolve(&tag("docker-list").into()).await.unwrap().unwrap();
    assert_eq!(found.media_type.as_str(), MediaType::DOCKER_LIST);
}

async fn referrers(store: &dyn ImageStore) {
    let subject = store.resolve(&tag("v1").into()).await.unwrap().unwrap();
    let lister = store.referrers().unwrap();
    assert_eq!(lister.list_referrers(&subject.digest).await.unwrap(), []);
    for kind in ["application/sbom", "application/signature"] {
        let artifact = images::artifact(kind, kind.to_owned(), Some(&subject));
        place_all(store, &artifact).await;
        store.put_document(&artifact.document, None).await.unwrap();
    }
    let mut found = lister.list_referrers(&subject.digest).await.unwrap();
    found.sort_by(|a, b| a.artifact_type.cmp(&b.artifact_type));
    let types: Vec<_> = found.iter().filter_map(|found| found.artifact_type.as_deref()).collect();
    assert_eq!(types, ["application/sbom", "application/signature"]);
    assert_eq!(found[0].annotation("org.example.kind"), Some("application/sbom"));
}

async fn deletion(store: &dyn ImageStore) {
    let delete = store.delete().unwrap();
    let moved = store.resolve(&tag("v2").into()).await.unwrap().unwrap();
    delete.delete_document(&tag("v2").into()).await.unwrap();
    assert_eq!(store.resolve(&tag("v2").into()).await.unwrap(), None);
    assert!(store.resolve(&moved.digest.clone().into()).await.unwrap().is_some());
    store.put_document(&store.document(&moved.digest.clone().into()).await.unwrap(), Some(&tag("a"))).await.unwrap();
    delete.delete_document(&moved.digest.clone().into()).await.unwrap();
    for target in [Target::Tag(tag("a")), Target::Digest(moved.digest.clone())] {
        assert_eq!(store.resolve(&target).await.unwrap(), None);
        let error = delete.delete_document(&target).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::NotFound, "{error:?}");
    }
    let tags = store.tags().unwrap().list_tags().await.unwrap();
    assert_eq!(tags, [tag("docker-list"), tag("list"), tag("nested"), tag("v1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry() {
    let lab = Lab::builder().auth(lab::Auth::bearer("user", "secret")).start();
    exercise(&*registry(&lab, "app")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_over_tls() {
    let lab = Lab::builder().tls(true).start();
    exercise(&*registry(&lab, "app")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_little() {
    let quirks = Quirks {
        no_content_digest: true,
        plain_errors: true,
        content_type_parameters: true,
        no_single_post: true,
        mounts: lab::Mounts::Session,
        page: Some(1),
        ..Quirks::default()
    };
    let lab = Lab::builder().quirks(quirks).start();
    let store = registry(&lab, "app");
    nothing_there(&*store).await;
    blobs(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_store() {
    let directory = tempfile::tempdir().unwrap();
    exercise(&*local(directory.path(), "app").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout() {
    let directory = tempfile::tempdir().unwrap();
    exercise(&*layout(&directory.path().join("made/on/the/way"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_opened_by_two() {
    let directory = tempfile::tempdir().unwrap();
    let stores: Vec<Arc<dyn ImageStore>> = (0..2).map(|_| layout(directory.path())).collect();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    place_all(&*stores[0], &image).await;
    let puts = (0..40).map(|i| {
        let (store, document) = (stores[i % 2].clone(), image.document.clone());
        async move { store.put_document(&document, Some(&tag(&format!("t{i:02}")))).await.map(|_| ()) }
    });
    let done: Vec<_> = stream::iter(puts).buffer_unordered(40).collect().await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert_eq!(stores[0].tags().unwrap().list_tags().await.unwrap().len(), 40);
}
