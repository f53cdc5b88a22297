//! Repetition, waiting, and how much at once.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lab::images::{Flavour, image, random};
use lab::{Fault, FaultKind, Lab, Quirks};
use polyarch_registry_client::{ClientOptions, ErrorKind, Pacing};

use crate::support::{blob, client_with, in_repository, name, options, repository, tag, user};

fn lab() -> Lab {
    let lab = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    lab
}

#[tokio::test]
async fn what_is_safe_to_repeat_is_repeated() {
    let lab = lab();
    let app = repository(&lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    for fault in
        [FaultKind::status(500), FaultKind::status(502), FaultKind::status(503), FaultKind::Drop, FaultKind::DropAnswer]
    {
        lab.clear_log();
        lab.fault(Fault::on("GET", "/manifests/", fault.clone()).times(2));
        app.get_manifest(&tag("v1")).await.unwrap();
        assert_eq!(lab.count(), 3, "{fault:?}");
        lab.clear_faults();
    }
    let document = image("linux/amd64", 1, Flavour::Oci).document;
    for fault in [FaultKind::status(503), FaultKind::DropAnswer] {
        lab.clear_log();
        lab.fault(Fault::on("PUT", "/manifests/", fault).once());
        app.put_manifest(&document, None).await.unwrap();
        assert_eq!(lab.count(), 2);
    }
    // A mount that was answered into the void.
    lab.fault(Fault::on("POST", "mount=", FaultKind::DropAnswer).once());
    repository(&lab, "copy")
        .mount_blob(&image("linux/amd64", 1, Flavour::Oci).blobs[0].0.digest, Some(&name("app")))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_cannot_get_better_is_not_repeated() {
    let lab = lab();
    let app = repository(&lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    for (status, kind) in [
        (400, ErrorKind::Rejected),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (405, ErrorKind::Unsupported),
        (501, ErrorKind::ServerError),
    ] {
        lab.clear_log();
        lab.fault(Fault::on("GET", "/manifests/", FaultKind::status(status)));
        let error = app.get_manifest(&tag("v1")).await.unwrap_err();
        assert_eq!((error.kind(), lab.count()), (kind, 1), "{status}");
        lab.clear_faults();
    }
    lab.clear_log();
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::status(500)));
    assert_eq!(app.get_manifest(&tag("v1")).await.unwrap_err().status(), Some(500));
    assert_eq!(lab.count(), 4, "the last failure is the answer");
}

#[tokio::test]
async fn retry_after_is_waited_for_if_it_is_short() {
    let lab = lab();
    let app = repository(&lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::RetryAfter(Some(1))).once());
    let begun = Instant::now();
    app.get_manifest(&tag("v1")).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));

    lab.clear_log();
    lab.fault(Fault::on("GET", "/manifests/", FaultKind::RetryAfter(Some(3600))));
    let begun = Instant::now();
    let error = app.get_manifest(&tag("v1")).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!((error.kind(), lab.count()), (ErrorKind::RateLimited, 1));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert_eq!(error.hint(), Some("try again in 3600 s"));
}

#[tokio::test]
async fn a_registry_that_cannot_keep_up_is_asked_for_less() {
    let lab = Lab::builder().latency(Duration::from_millis(10), Duration::ZERO).start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let app = repository(&lab, "app");
    app.get_manifest(&tag("v1")).await.unwrap();
    lab.set_quirks(Quirks::rate_limit(6, Duration::from_millis(50), Some(0)));
    let v1 = tag("v1");
    let results = join_all((0..12).map(|_| app.get_manifest(&v1))).await;
    assert!(results.iter().filter(|result| result.is_ok()).count() >= 6);
    lab.set_quirks(Quirks::default());
    lab.clear_log();
    assert!(join_all((0..24).map(|_| app.get_manifest(&v1))).await.iter().all(Result::is_ok));
    assert!(lab.depth() >= 3, "not all at once any more: {}", lab.depth());
}

#[tokio::test]
async fn small_requests_go_past_big_blobs() {
    let lab = Lab::start();
    image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let bytes = random(1, 200_000);
    lab.put_blob("app", bytes.clone());
    let options = ClientOptions { pacing: Pacing { downloads: 1, big: 1000, ..Pacing::default() }, ..options() };
    let app = in_repository(&client_with(options, &lab, user()), &lab, "app");
    let open = app.get_blob(&blob(&bytes)).await.unwrap();
    app.get_manifest(&tag("v1")).await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(100), app.get_blob(&blob(&bytes))).await;
    assert!(second.is_err(), "the second big one waits for the first");
    drop(open);
    app.get_blob(&blob(&bytes)).await.unwrap();
}

#[tokio::test]
async fn twenty_four_mounts_take_one_round_trip() {
    let step = Duration::from_millis(30);
    for tls in [false, true] {
        let lab = Lab::builder().tls(tls).latency(step, step).auth(lab::Auth::bearer("user", "secret")).start();
        let images: Vec<_> = ["amd64", "arm64", "s390x", "riscv64"]
            .iter()
            .map(|arch| image(&format!("linux/{arch}"), 5, Flavour::Oci))
            .collect();
        for image in &images {
            image.push_blobs(&lab, "app");
        }
        let client = client_with(options(), &lab, user());
        let copy = in_repository(&client, &lab, "copy");
        client.expect(&lab.registry_host(), &name("app"), polyarch_registry_client::Access::Pull);
        copy.head_manifest(&tag("v1")).await.unwrap();
        lab.clear_log();
        let app = name("app");
        let blobs: Vec<_> = images.iter().flat_map(|image| &image.blobs).collect();
        assert_eq!(blobs.len(), 24);
        let begun = Instant::now();
        let mounts = join_all(blobs.iter().map(|(blob, _)| copy.mount_blob(&blob.digest, Some(&app)))).await;
        let took = begun.elapsed();
        assert!(mounts.iter().all(Result::is_ok));
        assert_eq!(lab.count_of("POST", "mount="), 24);
        assert!(lab.count() <= 25, "{:?}", lab.lines());
        if tls {
            assert_eq!(
                (lab.depth(), lab.connections()),
                (2, 0),
                "a token for both, then all of them by one connection"
            );
        }
        assert!(took < step * 20, "one after the other they would take {:?}, not {took:?}", step * 24);
    }
}
