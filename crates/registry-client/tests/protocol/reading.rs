//! Manifests and blobs, read.

use bytes::Bytes;
use futures_util::StreamExt as _;
use image::{Algorithm, Digest, MediaType, Target};
use lab::images::{Flavour, image, index};
use lab::{Fault, FaultKind, Lab, Quirks};
use polyarch_registry_client::{BlobStream, ClientError, ErrorKind, Verb};

use crate::support::{blob, name, paths, repository, tag};

async fn read(mut stream: BlobStream) -> Result<Vec<u8>, ClientError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn a_manifest_comes_with_its_bytes_as_they_are() {
    let lab = Lab::start();
    for flavour in [Flavour::Oci, Flavour::Docker] {
        let list = index(&[image("linux/amd64", 1, flavour), image("linux/arm64", 1, flavour)], flavour);
        list.push(&lab, "app", Some("v1"));
        let app = repository(&lab, "app");
        let by_tag = app.get_manifest(&tag("v1")).await.unwrap();
        assert_eq!(by_tag.bytes(), list.document.bytes());
        assert_eq!(by_tag.media_type(), list.document.media_type());
        let by_digest = app.get_manifest(&Target::Digest(list.digest().clone())).await.unwrap();
        assert_eq!(by_digest.digest(), list.digest());
        let looked_up = app.head_manifest(&tag("v1")).await.unwrap().unwrap();
        assert_eq!(looked_up, list.document.descriptor());
    }
    let first = &lab.log()[0];
    assert_eq!(first.header("accept-encoding"), Some("identity"));
    assert!(first.header("user-agent").unwrap().starts_with("polyarch/"));
    for media_type in MediaType::DOCUMENTS {
        assert!(first.header("accept").unwrap().contains(media_type));
    }
}

#[tokio::test]
async fn what_is_not_there() {
    let lab = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let app = repository(&lab, "app");
    assert!(app.head_manifest(&tag("v2")).await.unwrap().is_none());
    let error = app.get_manifest(&tag("v2")).await.unwrap_err();
    assert_eq!((error.kind(), error.verb(), error.status()), (ErrorKind::NotFound, Verb::GetManifest, Some(404)));
    assert_eq!(error.codes()[0].code, "MANIFEST_UNKNOWN");
    assert!(error.content_type().unwrap().starts_with("application/json"));
    assert!(error.to_string().starts_with("get the manifest at http://127.0.0.1:"), "{error}");
    assert!(error.to_string().contains("not found (404; MANIFEST_UNKNOWN: manifest unknown"), "{error}");
    let missing = blob(&Bytes::from_static(b"missing"));
    assert!(app.head_blob(&missing.digest).await.unwrap().is_none());
    assert_eq!(app.get_blob(&missing).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(repository(&lab, "nowhere").get_manifest(&tag("v1")).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn without_content_digest_a_look_up_reads_the_manifest() {
    let lab = Lab::builder().quirks(Quirks::no_content_digest()).start();
    let app_image = image("linux/amd64", 1, Flavour::Oci);
    app_image.push(&lab, "app", Some("v1"));
    let app = repository(&lab, "app");
    let found = app.head_manifest(&tag("v1")).await.unwrap().unwrap();
    assert_eq!(found, app_image.document.descriptor());
    assert_eq!(lab.count(), 2);
    let by_digest = app.head_manifest(&app_image.digest().clone().into()).await.unwrap().unwrap();
    assert_eq!(by_digest.digest, *app_image.digest());
    assert_eq!(lab.count(), 3, "the digest was asked for, so it is known");
}

#[tokio::test]
async fn without_head_a_look_up_reads_the_manifest() {
    let lab = Lab::builder().quirks(Quirks { no_head: true, ..Quirks::default() }).start();
    let app_image = image("linux/amd64", 1, Flavour::Oci);
    app_image.push(&lab, "app", Some("v1"));
    let found = repository(&lab, "app").head_manifest(&tag("v1")).await.unwrap().unwrap();
    assert_eq!(found.digest, *app_image.digest());
}

#[tokio::test]
async fn other_digest_algorithms() {
    let lab = Lab::start();
    let bytes = image("linux/amd64", 1, Flavour::Oci).document.bytes().clone();
    let digest = Digest::of(Algorithm::Sha512, &bytes);
    lab.put_manifest_under("app", &digest, MediaType::OCI_MANIFEST, bytes.clone());
    let document = repository(&lab, "app").get_manifest(&digest.clone().into()).await.unwrap();
    assert_eq!(*document.digest(), digest);
}

#[tokio::test]
async fn content_types_with_parameters_and_without() {
    let lab = Lab::builder().quirks(Quirks { content_type_parameters: true, ..Quirks::default() }).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let app = repository(&lab, "app");
    assert_eq!(app.get_manifest(&tag("v1")).await.unwrap().media_type().as_str(), MediaType::OCI_MANIFEST);
    lab.set_quirks(Quirks { no_content_type: true, ..Quirks::default() });
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidDocument);
    assert_eq!(error.content_type(), Some("application/octet-stream"));
    assert!(error.document_error().is_some());
    assert_eq!(app.get_manifest_raw(&tag("v1")).await.unwrap().content_type, "application/octet-stream");
}

#[tokio::test]
async fn blobs_of_all_sizes_are_verified() {
    let lab = Lab::start();
    let app = repository(&lab, "app");
    for size in [0_usize, 1, 70_000, 300 << 10, 3 << 20] {
        let bytes = lab::images::random(size as u64, size as u64);
        lab.put_blob("app", bytes.clone());
        assert_eq!(read(app.get_blob(&blob(&bytes)).await.unwrap()).await.unwrap(), bytes, "{size}");
        assert_eq!(app.head_blob(&blob(&bytes).digest).await.unwrap().unwrap().size, Some(size as u64));
        assert_eq!(app.read_blob(&blob(&bytes), 4 << 20).await.unwrap(), bytes);
    }
    let bytes = Bytes::from_static(b"four");
    lab.put_blob("app", bytes.clone());
    lab.clear_log();
    assert_eq!(app.read_blob(&blob(&bytes), 3).await.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(lab.count(), 0, "known before it is asked for");
}

#[tokio::test]
async fn a_lost_body_is_taken_up_where_it_ended() {
    let lab = Lab::start();
    let bytes = lab::images::random(5, 2 << 20);
    lab.put_blob("app", bytes.clone());
    let app = repository(&lab, "app");
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Truncate(700_000)).once());
    assert_eq!(read(app.get_blob(&blob(&bytes)).await.unwrap()).await.unwrap(), bytes);
    let log = lab.log();
    assert_eq!(log.len(), 2);
    let range = log[1].header("range").unwrap();
    let start: u64 = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!(start > 0 && start <= 700_000, "{range}");
    assert_eq!(log[1].status, 206);

    // Where ranges are not known, what has been seen is skipped.
    lab.set_quirks(Quirks { no_range: true, ..Quirks::default() });
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Truncate(700_000)).once());
    assert_eq!(read(app.get_blob(&blob(&bytes)).await.unwrap()).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_body_that_is_lost_for_good_is_an_error() {
    let lab = Lab::start();
    let bytes = lab::images::random(5, 100_000);
    lab.put_blob("app", bytes.clone());
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Truncate(0)));
    let stream = repository(&lab, "app").get_blob(&blob(&bytes)).await;
    let error = match stream {
        Ok(stream) => read(stream).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(lab.count() <= 6, "{:?}", lab.lines());
}

#[tokio::test]
async fn a_redirect_to_another_host_gets_no_credentials() {
    let lab = Lab::builder().auth(lab::Auth::bearer("user", "secret")).start();
    let bytes = lab::images::random(5, 10_000);
    lab.put_blob("app", bytes.clone());
    lab.set_quirks(Quirks { redirect_blobs: Some(format!("localhost:{}", lab.port())), ..Quirks::default() });
    let client = crate::support::client_with(crate::support::options(), &lab, crate::support::user());
    let app = client.repository(&lab.registry_host(), &name("app"));
    assert_eq!(read(app.get_blob(&blob(&bytes)).await.unwrap()).await.unwrap(), bytes);
    let elsewhere: Vec<_> = lab
        .log()
        .into_iter()
        .filter(|request| request.header("host").is_some_and(|host| host.starts_with("localhost")))
        .collect();
    assert_eq!(elsewhere.len(), 1, "{:?}", paths(&lab));
    assert_eq!(elsewhere[0].header("authorization"), None);
    assert_eq!(elsewhere[0].header("cookie"), None);
    // A range goes along.
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Truncate(5000)).nth(2).once());
    lab.clear_log();
    assert_eq!(read(app.get_blob(&blob(&bytes)).await.unwrap()).await.unwrap(), bytes);
    assert_eq!(lab.log().iter().filter(|request| request.header("range").is_some()).count(), 2);
}

/// Whoever passes the bytes on, to a registry that does not look, used to have passed all of them on by then.
#[tokio::test]
async fn the_last_bytes_of_a_wrong_blob_are_not_handed_on() {
    let lab = Lab::start();
    for size in [1, 1000, 400_000] {
        let bytes = lab::images::random(size, size);
        lab.put_blob("app", bytes.clone());
        lab.fault(Fault::on("GET", "/blobs/", FaultKind::WrongBytes));
        let mut stream = repository(&lab, "app").get_blob(&blob(&bytes)).await.unwrap();
        let mut handed_on = 0;
        let error = loop {
            match stream.next().await.unwrap() {
                Ok(chunk) => handed_on += chunk.len() as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::DigestMismatch);
        assert!(handed_on < size, "{handed_on} of {size}");
        lab.clear_faults();
    }
}
