//! Manifests put, blobs uploaded and mounted, things deleted.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use image::{Digest, Tag};
use lab::images::{Flavour, artifact, image, random};
use lab::{Auth, Fault, FaultKind, Lab, Location, Mounts, Quirks};
use polyarch_registry_client::{BlobSource, ErrorKind, Mount, Placement, SinglePost, SourceError, SourceStream, Verb};

use crate::support::{blob, client_with, in_repository, name, options, paths, repository, tag, user};

/// A source in chunks that counts how often it is opened.
struct Chunks(Bytes, AtomicUsize);

impl Chunks {
    fn new(bytes: &Bytes) -> Self {
        Self(bytes.clone(), AtomicUsize::new(0))
    }
}

#[async_trait]
impl BlobSource for Chunks {
    async fn open(&self) -> Result<SourceStream, SourceError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let chunks: Vec<_> = self.0.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
        Ok(Box::pin(stream::iter(chunks)))
    }
}

/// A source that fails after its first bytes.
struct Failing;

#[async_trait]
impl BlobSource for Failing {
    async fn open(&self) -> Result<SourceStream, SourceError> {
        let chunks = vec![Ok(Bytes::from_static(&[0; 1000])), Err("the disk is gone".into())];
        Ok(Box::pin(stream::iter(chunks)))
    }
}

#[tokio::test]
async fn a_manifest_is_put_under_tag_and_digest() {
    let lab = Lab::start();
    let app_image = image("linux/amd64", 1, Flavour::Oci);
    app_image.push_blobs(&lab, "app");
    let app = repository(&lab, "app");
    let v1 = Tag::parse("v1").unwrap();
    for tag in [Some(&v1), None] {
        let put = app.put_manifest(&app_image.document, tag).await.unwrap();
        assert_eq!(put.digest.as_ref(), Some(app_image.digest()));
        assert_eq!(put.subject, None);
        assert!(put.location.is_some());
    }
    assert_eq!(lab.manifest("app", "v1").unwrap(), *app_image.document.bytes());
    assert_eq!(lab.log()[0].header("content-type"), Some(app_image.document.media_type().as_str()));

    let signature = artifact("application/x-signature", "sig", Some(&app_image.descriptor()));
    signature.push_blobs(&lab, "app");
    let put = app.put_manifest(&signature.document, None).await.unwrap();
    assert_eq!(put.subject.as_ref(), Some(app_image.digest()));

    lab.set_quirks(Quirks::no_content_digest());
    let put = app.put_manifest(&app_image.document, Some(&v1)).await.unwrap();
    assert_eq!(put.digest, None, "tolerated");
}

#[tokio::test]
async fn a_registry_that_took_something_else_is_an_error() {
    let lab = Lab::start();
    let app_image = image("linux/amd64", 1, Flavour::Oci);
    app_image.push_blobs(&lab, "app");
    lab.fault(Fault::on("PUT", "/manifests/", FaultKind::WrongDigest));
    let error = repository(&lab, "app").put_manifest(&app_image.document, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
}

#[tokio::test]
async fn a_manifest_whose_blobs_are_missing_is_refused_with_the_registry_s_words() {
    let lab = Lab::start();
    let error =
        repository(&lab, "app").put_manifest(&image("linux/amd64", 1, Flavour::Oci).document, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert_eq!(error.codes()[0].code, "MANIFEST_BLOB_UNKNOWN");
    assert!(error.codes()[0].has_detail);
}

#[tokio::test]
async fn the_cheapest_way_to_place_a_blob() {
    let lab = Lab::start();
    let small = random(1, 1000);
    let big = random(2, 300_000);
    let app = repository(&lab, "app");

    // Small: one request.
    assert_eq!(app.push_blob(&blob(&small), None, &small).await.unwrap(), Placement::Uploaded);
    assert_eq!(lab.count(), 1);
    assert_eq!(lab.blob("app", &blob(&small).digest).unwrap(), small);

    // Bigger: look-up and session in one, then the bytes.
    lab.clear_log();
    let source = Chunks::new(&big);
    assert_eq!(app.push_blob(&blob(&big), None, &source).await.unwrap(), Placement::Uploaded);
    assert_eq!(lab.count(), 2);
    assert_eq!(lab.blob("app", &blob(&big).digest).unwrap(), big);

    // Again: it is there.
    lab.clear_log();
    assert_eq!(app.push_blob(&blob(&big), None, &source).await.unwrap(), Placement::Mounted);
    assert_eq!(lab.count(), 1);
    assert_eq!(source.1.load(Ordering::SeqCst), 1, "not read again");

    // From another repository: one request, whatever the size.
    for bytes in [&small, &big] {
        lab.clear_log();
        let copy = repository(&lab, "copy");
        assert_eq!(copy.push_blob(&blob(bytes), Some(&name("app")), bytes).await.unwrap(), Placement::Mounted);
        assert_eq!(lab.lines().len(), 1);
        assert!(
            lab.lines()[0].starts_with("POST /v2/copy/blobs/uploads/?from=app&mount=sha256%3A"),
            "{:?}",
            lab.lines()
        );
    }
    assert_eq!(lab.open_uploads(), 0);
}

#[tokio::test]
async fn the_session_that_a_mount_opened_takes_the_bytes() {
    let lab = Lab::builder().quirks(Quirks::no_mounts()).start();
    for (n, size) in [1000_u64, 300_000].into_iter().enumerate() {
        let bytes = random(size, size);
        lab.put_blob("app", bytes.clone());
        lab.clear_log();
        let copy = repository(&lab, "copy");
        assert_eq!(
            copy.push_blob(&blob(&bytes), Some(&name("app")), &bytes).await.unwrap(),
            Placement::Uploaded,
            "{n}"
        );
        assert_eq!(lab.count(), 2, "{:?}", lab.lines());
        assert_eq!(lab.blob("copy", &blob(&bytes).digest).unwrap(), bytes);
        assert_eq!(lab.open_uploads(), 0);
    }
}

#[tokio::test]
async fn front_ends_that_refuse_what_they_do_not_know_are_asked_plainly() {
    let big = random(2, 300_000);
    for status in [400, 403, 404, 405] {
        let lab = Lab::builder().quirks(Quirks { mounts: Mounts::Refused(status), ..Quirks::default() }).start();
        lab.put_blob("app", big.clone());
        let copy = repository(&lab, "copy");
        assert_eq!(
            copy.push_blob(&blob(&big), Some(&name("app")), &big).await.unwrap(),
            Placement::Uploaded,
            "{status}"
        );
    }
    let lab = Lab::builder().quirks(Quirks { no_single_post: true, ..Quirks::default() }).start();
    let app = repository(&lab, "app");
    for (seed, requests) in [(1, 2), (2, 2)] {
        let small = random(seed, 1000);
        lab.clear_log();
        app.push_blob(&blob(&small), None, &small).await.unwrap();
        assert_eq!(lab.count(), requests);
        // The second time the body is not sent in vain.
        assert_eq!(lab.log()[0].received, if seed == 1 { 1000 } else { 0 });
    }
}

#[tokio::test]
async fn an_upload_that_is_lost_begins_anew_with_a_fresh_body() {
    let lab = Lab::start();
    let bytes = random(3, 400_000);
    let app = repository(&lab, "app");
    for fault in [FaultKind::DropUpload(100_000), FaultKind::DropAnswer, FaultKind::status(503), FaultKind::status(404)]
    {
        lab.delete_blob("app", &blob(&bytes).digest);
        lab.clear_faults();
        lab.clear_log();
        lab.fault(Fault::on("PUT", "/blobs/uploads/", fault.clone()).once());
        let source = Chunks::new(&bytes);
        let placed = app.push_blob(&blob(&bytes), None, &source).await;
        assert!(placed.is_ok(), "{fault:?}: {placed:?}");
        assert_eq!(lab.blob("app", &blob(&bytes).digest).unwrap(), bytes, "{fault:?}");
        assert!(source.1.load(Ordering::SeqCst) <= 2);
    }
}

#[tokio::test]
async fn a_source_that_fails_is_not_taken_for_the_network() {
    let lab = Lab::start();
    for size in [5_000, 500_000] {
        let mut descriptor = blob(&Bytes::from_static(b"x"));
        descriptor.size = size;
        let error = repository(&lab, "app").push_blob(&descriptor, None, &Failing).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source, "{error:?}");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is gone");
    }
    // Of another length than it should be.
    let bytes = random(1, 100_000);
    for size in [99_999, 100_001] {
        let mut descriptor = blob(&bytes);
        descriptor.size = size;
        let error = repository(&lab, "app").push_blob(&descriptor, None, &Chunks::new(&bytes)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Source, "{error:?}");
    }
}

#[tokio::test]
async fn verbs_of_uploads_one_by_one() {
    let lab = Lab::start();
    let app = repository(&lab, "app");
    let bytes = random(4, 100_000);
    let descriptor = blob(&bytes);

    let session = app.start_upload().await.unwrap();
    assert_eq!(app.upload_status(&session).await.unwrap(), 0);
    app.cancel_upload(session).await.unwrap();
    assert_eq!(lab.open_uploads(), 0);

    let Mount::Session(session) = app.mount_blob(&descriptor.digest, None).await.unwrap() else { panic!("not there") };
    app.upload_monolithic(session, &descriptor, &Chunks::new(&bytes)).await.unwrap();
    assert!(matches!(app.mount_blob(&descriptor.digest, None).await.unwrap(), Mount::Mounted));
    assert!(matches!(app.upload_single_post(&descriptor, bytes.clone()).await.unwrap(), SinglePost::Done));

    app.delete_blob(&descriptor.digest).await.unwrap();
    assert!(!lab.has_blob("app", &descriptor.digest));
    let session = app.start_upload().await.unwrap();
    lab.clear_log();
    app.upload_chunked(session, &descriptor, &Chunks::new(&bytes), 30_000).await.unwrap();
    assert_eq!(lab.count_of("PATCH", ""), 4);
    let ranges: Vec<_> = lab.log().iter().filter_map(|r| r.header("content-range").map(str::to_owned)).collect();
    assert_eq!(ranges, ["0-29999", "30000-59999", "60000-89999", "90000-99999"]);
    assert_eq!(lab.blob("app", &descriptor.digest).unwrap(), bytes);

    let wrong = Digest::sha256(b"other");
    let session = app.start_upload().await.unwrap();
    let mut descriptor = descriptor;
    descriptor.digest = wrong;
    let error = app.upload_monolithic(session, &descriptor, &bytes).await.unwrap_err();
    assert_eq!((error.kind(), error.codes()[0].code.as_str()), (ErrorKind::Rejected, "DIGEST_INVALID"));
}

#[tokio::test]
async fn chunks_are_as_long_as_the_registry_wants_them() {
    let lab = Lab::builder().quirks(Quirks { chunk_minimum: Some(40_000), ..Quirks::default() }).start();
    let app = repository(&lab, "app");
    let bytes = random(4, 100_000);
    let session = app.start_upload().await.unwrap();
    assert_eq!(session.chunk_minimum(), Some(40_000));
    app.upload_chunked(session, &blob(&bytes), &bytes, 1000).await.unwrap();
    assert_eq!(lab.count_of("PATCH", ""), 3);
}

#[tokio::test]
async fn a_front_end_that_takes_no_long_bodies_gets_short_ones() {
    // By HTTP/2: a server that closes an HTTP/1.1 connection in the middle of a body takes its own answer with it.
    let lab = Lab::builder().tls(true).start();
    let bytes = random(4, 1_300_000);
    lab.fault(Fault::on("PUT", "/blobs/uploads/", FaultKind::status(413)).once());
    let app = repository(&lab, "app");
    app.push_blob(&blob(&bytes), None, &Chunks::new(&bytes)).await.unwrap();
    assert_eq!(lab.count_of("PATCH", ""), 3, "{:?}", paths(&lab));
    assert_eq!(lab.blob("app", &blob(&bytes).digest).unwrap(), bytes);
}

#[tokio::test]
async fn an_upload_location_on_another_host_gets_no_credentials() {
    let bytes = random(4, 100_000);
    for (location, elsewhere) in [(Location::Absolute, false), (Location::OtherHost(String::new()), true)] {
        let lab = Lab::builder().auth(Auth::bearer("user", "secret")).start();
        let location = match location {
            Location::OtherHost(_) => Location::OtherHost(format!("localhost:{}", lab.port())),
            other => other,
        };
        lab.set_quirks(Quirks { location, ..Quirks::default() });
        let client = client_with(options(), &lab, user());
        let app = in_repository(&client, &lab, "app");
        app.push_blob(&blob(&bytes), None, &bytes).await.unwrap();
        assert_eq!(lab.blob("app", &blob(&bytes).digest).unwrap(), bytes);
        let put = lab.log().into_iter().find(|request| request.method == "PUT").unwrap();
        assert_eq!(put.header("host").unwrap().starts_with("localhost"), elsewhere);
        assert_eq!(put.header("authorization").is_none(), elsewhere);
    }
}

#[tokio::test]
async fn deletes() {
    let lab = Lab::start();
    let app_image = image("linux/amd64", 1, Flavour::Oci);
    app_image.push(&lab, "app", Some("v1"));
    lab.tag("app", "v2", app_image.digest());
    let app = repository(&lab, "app");
    app.delete_manifest(&tag("v1")).await.unwrap();
    assert_eq!(lab.tags("app"), ["v2"]);
    app.delete_manifest(&app_image.digest().clone().into()).await.unwrap();
    assert!(lab.tags("app").is_empty());
    let error = app.delete_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!((error.kind(), error.verb()), (ErrorKind::NotFound, Verb::DeleteManifest));
    lab.set_quirks(Quirks { no_delete: true, ..Quirks::default() });
    assert_eq!(app.delete_manifest(&tag("v2")).await.unwrap_err().kind(), ErrorKind::Unsupported);
}
