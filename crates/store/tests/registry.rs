//! Repositories of registries: how many requests, and what an error says.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{TryStreamExt, stream};
use image::{Descriptor, Digest, Document, RepositoryName, Tag, Target};
use lab::images::{self, Flavour};
use lab::{Auth, Fault, FaultKind, Lab, Mounts, Quirks};
use polyarch_store::{BlobOrigin, BlobPlacement, BlobReader, ImageStore, Location, StoreError, StoreErrorKind};
use registry_client::{ClientError, ErrorKind};

mod opened;

use opened::{registry, stores};

/// A blob of another repository of the same registry, or of none.
struct Origin {
    bytes: Bytes,
    from: Option<RepositoryName>,
}

#[async_trait]
impl BlobOrigin for Origin {
    fn mount_from(&self) -> Option<&RepositoryName> {
        self.from.as_ref()
    }

    async fn open(&self) -> Result<BlobReader, StoreError> {
        let bytes = self.bytes.clone();
        Ok(Box::pin(stream::iter([Ok(bytes)])))
    }
}

/// The verbs and what follows the repository, without session names and digests.
fn shapes(lab: &Lab) -> Vec<String> {
    let shape = |request: lab::Request| {
        let path = request.path().strip_prefix("/v2/app/").unwrap_or(request.path()).to_owned();
        let path = path.split("uploads/").next().unwrap_or_default().to_owned();
        let keys: Vec<&str> = request.query().split('&').filter_map(|pair| pair.split('=').next()).collect();
        let shown = keys.iter().filter(|key| !key.is_empty() && !key.starts_with('_'));
        format!("{} {path} {}", request.method, shown.copied().collect::<Vec<_>>().join(",")).trim().to_owned()
    };
    lab.log().into_iter().map(shape).collect()
}

async fn place(lab: &Lab, size: u64, from: Option<&str>) -> BlobPlacement {
    let bytes = images::random(size, size);
    let descriptor = Descriptor::new("application/octet-stream", Digest::sha256(&bytes), size);
    lab.put_blob("src", bytes.clone());
    let store = registry(lab, "app");
    lab.clear_log();
    let from = from.map(|name| RepositoryName::parse(name).unwrap());
    let placed = store.place_blob(&descriptor, &Origin { bytes: bytes.clone(), from }).await.unwrap();
    assert_eq!(lab.blob("app", &descriptor.digest), Some(bytes));
    assert_eq!(lab.open_uploads(), 0, "no session is left open");
    placed
}

#[tokio::test]
async fn a_mount_is_one_request() {
    let lab = Lab::start();
    for size in [10, 1 << 20] {
        assert_eq!(place(&lab, size, Some("src")).await, BlobPlacement::Mounted);
        assert_eq!(shapes(&lab), ["POST blobs/ from,mount"]);
    }
}

#[tokio::test]
async fn a_mount_that_opens_a_session_goes_on_in_it() {
    let lab = Lab::builder().quirks(Quirks::no_mounts()).start();
    for size in [10, 1 << 20] {
        assert_eq!(place(&lab, size, Some("src")).await, BlobPlacement::Copied);
        assert_eq!(shapes(&lab), ["POST blobs/ from,mount", "PUT blobs/ digest"]);
    }
}

#[tokio::test]
async fn a_small_blob_is_one_request_and_a_big_one_two() {
    let lab = Lab::builder().quirks(Quirks { mounts: Mounts::OnlyWithFrom, ..Quirks::default() }).start();
    assert_eq!(place(&lab, 64 << 10, None).await, BlobPlacement::Copied);
    assert_eq!(shapes(&lab), ["POST blobs/ digest"]);
    assert_eq!(place(&lab, (64 << 10) + 1, None).await, BlobPlacement::Copied);
    assert_eq!(lab.count(), 2, "{:?}", shapes(&lab));
    assert_eq!(lab.count_of("PUT", "digest="), 1);
    lab.set_quirks(Quirks { no_single_post: true, ..Quirks::default() });
    assert_eq!(place(&lab, 100, None).await, BlobPlacement::Copied);
    assert_eq!(shapes(&lab), ["POST blobs/ digest", "PUT blobs/ digest"]);
}

#[tokio::test]
async fn looking_is_one_request_each() {
    let lab = Lab::start();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    image.push(&lab, "app", Some("v1"));
    let store = registry(&lab, "app");
    let target = Target::Tag(Tag::parse("v1").unwrap());
    store.resolve(&target).await.unwrap();
    store.document(&target).await.unwrap();
    store.has_blob(&image.blobs[1].0).await.unwrap();
    store.blob(&image.blobs[1].0).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(
        lab.log().iter().map(|request| request.method.to_string()).collect::<Vec<_>>(),
        ["HEAD", "GET", "HEAD", "GET"]
    );
}

#[tokio::test]
async fn one_token_does_for_all_repositories_that_were_opened() {
    let lab = Lab::builder().auth(Auth::bearer("user", "secret")).latency(Duration::from_millis(50), Duration::ZERO);
    let lab = lab.start();
    let image = images::image("linux/amd64", 5, Flavour::Oci);
    let nowhere = tempfile::tempdir().unwrap();
    let stores = stores(&lab, nowhere.path());
    let mut sources = Vec::new();
    for name in ["a", "b", "c"] {
        image.push(&lab, name, Some("v1"));
        let location = Location::parse(&lab.reference(name, "v1")).unwrap();
        sources.push((location.target(), stores.open(&location).await.unwrap()));
    }
    let target = Location::parse(&lab.reference("app", "v1")).unwrap();
    let target: Arc<dyn ImageStore> = stores.open_for_writing(&target).await.unwrap();
    assert_eq!(lab.count(), 0, "opening sends nothing");
    let documents: Vec<Document> =
        join_all(sources.iter().map(|(target, store)| async { store.document(target).await.unwrap() })).await;
    let from = Some(RepositoryName::parse("a").unwrap());
    let origin = Origin { bytes: Bytes::new(), from };
    let placed = documents[0].children().into_iter().map(|blob| target.place_blob(blob, &origin));
    for placed in join_all(placed).await {
        assert_eq!(placed.unwrap(), BlobPlacement::Mounted);
    }
    target.put_document(&documents[0], Some(&Tag::parse("v1").unwrap())).await.unwrap();
    assert_eq!(lab.count_of("", "/token"), 1);
    // 401, token, 3 manifests, 6 mounts, 1 manifest.
    assert_eq!(lab.count(), 12, "{:?}", lab.lines());
    assert_eq!(lab.depth(), 5);
}

#[tokio::test]
async fn errors_say_what_they_are_and_keep_their_cause() {
    let lab = Lab::start();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    image.push(&lab, "app", Some("v1"));
    let target = Target::Tag(Tag::parse("v1").unwrap());
    for (fault, kind, client_kind) in [
        (FaultKind::status(404), StoreErrorKind::NotFound, ErrorKind::NotFound),
        (FaultKind::status(403), StoreErrorKind::Denied, ErrorKind::Denied),
        (FaultKind::status(401), StoreErrorKind::Unauthorized, ErrorKind::Unauthorized),
        (FaultKind::RetryAfter(Some(3600)), StoreErrorKind::RateLimited, ErrorKind::RateLimited),
        (FaultKind::status(405), StoreErrorKind::Unsupported, ErrorKind::Unsupported),
        (FaultKind::status(500), StoreErrorKind::Other, ErrorKind::ServerError),
        (FaultKind::Drop, StoreErrorKind::Network, ErrorKind::Network),
        (FaultKind::WrongBytes, StoreErrorKind::Invalid, ErrorKind::DigestMismatch),
        (FaultKind::WrongDigest, StoreErrorKind::Invalid, ErrorKind::DigestMismatch),
    ] {
        let lab_fault = Fault::on("GET", "/manifests/", fault.clone());
        lab.fault(lab_fault);
        let error = registry(&lab, "app").document(&target).await.unwrap_err();
        assert_eq!(error.kind, kind, "{fault:?}: {error:?}");
        let cause: &ClientError = error.source.as_ref().unwrap().downcast_ref().unwrap();
        assert_eq!(cause.kind(), client_kind, "{fault:?}: {error:?}");
        assert_eq!(error.to_string(), format!("get the manifest `{}`", lab.reference("app", "v1")));
        lab.clear_faults();
    }
    let blob = &image.blobs[1].0;
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::WrongBytes));
    let read = registry(&lab, "app").blob(blob).await.unwrap().try_collect::<Vec<_>>().await;
    let error = read.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error:?}");
    assert_eq!(error.to_string(), format!("get the blob `{}/app@{}`", lab.host(), blob.digest));
    let gone = lab.host();
    let store = registry(&lab, "app");
    drop(lab);
    let error = store.document(&target).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Network, "{error:?}");
    assert!(error.to_string().contains(&gone));
}

/// Referrers that a registry does not keep itself were lost: nobody wrote them under the fall-back tag.
#[tokio::test]
async fn referrers_are_noted_where_the_registry_does_not_keep_them() {
    for quirks in [Quirks::default(), Quirks::no_referrers()] {
        let keeps_them = quirks == Quirks::default();
        let lab = Lab::builder().quirks(quirks).start();
        let subject = images::image("linux/amd64", 1, Flavour::Oci);
        subject.push(&lab, "app", Some("v1"));
        let store = registry(&lab, "app");
        let artifacts: Vec<_> = ["a/1", "a/2", "a/3"]
            .map(|kind| images::artifact(kind, kind.to_owned(), Some(&subject.descriptor())))
            .into();
        for artifact in &artifacts {
            artifact.push_blobs(&lab, "app");
        }
        // All at once: each of them changes the same index.
        let puts = artifacts.iter().map(|artifact| store.put_document(&artifact.document, None));
        for put in join_all(puts).await {
            put.unwrap();
        }
        let mut found = store.referrers().unwrap().list_referrers(subject.digest()).await.unwrap();
        found.sort_by(|a, b| a.artifact_type.cmp(&b.artifact_type));
        let kinds: Vec<_> = found.iter().map(|found| found.artifact_type.as_deref().unwrap()).collect();
        assert_eq!(kinds, ["a/1", "a/2", "a/3"]);
        for (found, artifact) in found.iter().zip(&artifacts) {
            assert_eq!(&found.digest, artifact.digest());
            assert_eq!(found.annotation("org.example.kind"), found.artifact_type.as_deref());
        }
        let fallback = format!("sha256-{}", subject.digest().hex());
        assert_eq!(lab.tags("app").contains(&fallback), !keeps_them, "{:?}", lab.tags("app"));
        // A document without a subject costs nothing more.
        lab.clear_log();
        store.put_document(&subject.document, None).await.unwrap();
        assert_eq!(lab.count(), 1, "{:#?}", lab.lines());
    }
}
