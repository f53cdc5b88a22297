//! Whole images and indexes from one store to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::{Platform, Target};
use polyarch_transfer::{CopyReport, CopyRequest, DocumentOutcome, Options, Selection, Silent, TransferError, copy};

use crate::memory::{World, counts, tag};

fn request(world: &Arc<World>, from: &str, to: &str, tags: &[&str]) -> CopyRequest {
    let tags = tags.iter().map(|text| tag(text)).collect();
    CopyRequest::new(world.store(from), Target::Tag(tag("v1")), world.store(to), tags)
}

async fn run(request: &CopyRequest) -> Result<CopyReport, TransferError> {
    copy(request, &Options { concurrency: 100, ..Options::default() }, &Silent).await
}

#[tokio::test(start_paused = true)]
async fn an_index_to_another_registry_is_at_the_floor_of_requests() {
    let world = World::new();
    let (_, root) = world.seed_index("r.io/src");
    let report = run(&request(&world, "r.io/src", "other.io/dst", &["v1"])).await.unwrap();
    let log = world.take_log();
    assert_eq!(log.len(), 87);
    assert_eq!(
        counts(&log),
        BTreeMap::from([("get", 5), ("head", 5), ("place", 24), ("blob", 24), ("upload", 24), ("put", 5)])
    );
    // Root and first tag, images on both sides, place, blob, upload, put images, put index.
    assert_eq!(world.ticks(), 7);
    assert_eq!(report.digest, *root.digest());
    assert_eq!(world.contents("r.io/src"), world.contents("other.io/dst"));
}

#[tokio::test(start_paused = true)]
async fn within_a_registry_blobs_are_mounted() {
    let world = World::new();
    world.seed_index("r.io/src");
    run(&request(&world, "r.io/src", "r.io/dst", &["v1"])).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 5), ("head", 1), ("place", 24), ("put", 5)]));
    assert_eq!(world.ticks(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_target_that_may_have_lost_blobs_is_asked_for_each() {
    let world = World::new();
    world.seed_index("r.io/src");
    let mut request = request(&world, "r.io/src", "other.io/dst", &["v1"]);
    run(&request).await.unwrap();
    world.take_log();
    request.again = true;
    run(&request).await.unwrap();
    let log = counts(&world.take_log());
    assert_eq!((log.get("head"), log.get("place"), log.get("put")), (None, Some(&24), Some(&5)), "{log:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_copy_again_is_two_calls_at_once() {
    let world = World::new();
    world.seed_index("r.io/src");
    let request = request(&world, "r.io/src", "other.io/dst", &["v1"]);
    run(&request).await.unwrap();
    let (before, _) = (world.ticks(), world.take_log());
    let report = run(&request).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 1), ("head", 1)]));
    assert_eq!(world.ticks() - before, 1);
    assert_eq!(report.report.documents[0].outcome, DocumentOutcome::AlreadyThere);
    assert!(request.plan().await.unwrap().plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tag_more_is_asked_for_and_written() {
    let world = World::new();
    world.seed_index("r.io/src");
    run(&request(&world, "r.io/src", "other.io/dst", &["v1"])).await.unwrap();
    world.take_log();
    run(&request(&world, "r.io/src", "other.io/dst", &["v1", "latest"])).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 1), ("head", 2), ("put", 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_tag_in_the_same_repository_moves_nothing() {
    let world = World::new();
    let (_, root) = world.seed_index("r.io/app");
    let report = run(&request(&world, "r.io/app", "r.io/app", &["v2", "v3"])).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 1), ("put", 2)]));
    assert_eq!(world.ticks(), 2);
    assert_eq!(report.report.documents[0].outcome, DocumentOutcome::Pushed);
    assert!(world.contents("r.io/app").2.contains(&("v3".to_owned(), root.digest().clone())));
}

#[tokio::test(start_paused = true)]
async fn without_a_tag_it_can_be_had_by_digest() {
    let world = World::new();
    let (_, root) = world.seed_index("r.io/src");
    let request = request(&world, "r.io/src", "other.io/dst", &[]);
    run(&request).await.unwrap();
    let (_, documents, tags) = world.contents("other.io/dst");
    assert!(documents.contains(root.digest()) && tags.is_empty());
    world.take_log();
    let report = run(&request).await.unwrap();
    assert!(report.report.documents.iter().all(|document| document.outcome == DocumentOutcome::AlreadyThere));
}

#[tokio::test(start_paused = true)]
async fn images_that_are_there_are_not_moved_again() {
    let world = World::new();
    let (images, _) = world.seed_index("r.io/src");
    for (i, image) in images[..3].iter().enumerate() {
        world.seed_document("r.io/src", image, Some(&format!("image{i}")));
        let from = Target::Tag(tag(&format!("image{i}")));
        let one = CopyRequest::new(world.store("r.io/src"), from, world.store("other.io/dst"), vec![tag("x")]);
        run(&one).await.unwrap();
    }
    world.take_log();
    run(&request(&world, "r.io/src", "other.io/dst", &["v1"])).await.unwrap();
    let log = world.take_log();
    assert_eq!(
        counts(&log),
        BTreeMap::from([("get", 5), ("head", 5), ("place", 6), ("blob", 6), ("upload", 6), ("put", 2)])
    );
}

#[tokio::test(start_paused = true)]
async fn one_platform_of_an_index_is_that_image() {
    let world = World::new();
    let (images, _) = world.seed_index("r.io/src");
    let mut request = request(&world, "r.io/src", "other.io/dst", &["v1"]);
    let platforms = vec![Platform::parse("linux/arm64").unwrap()];
    request.selection = Selection { platforms, ..Selection::default() };
    let report = run(&request).await.unwrap();
    assert_eq!(report.digest, *images[1].digest());
    let (blobs, documents, tags) = world.contents("other.io/dst");
    assert_eq!((blobs.len(), documents), (6, vec![images[1].digest().clone()]));
    assert_eq!(tags, [("v1".to_owned(), images[1].digest().clone())]);
}

#[tokio::test(start_paused = true)]
async fn one_platform_that_is_there_without_its_tag_gets_the_tag() {
    let world = World::new();
    let (images, _) = world.seed_index("r.io/src");
    run(&request(&world, "r.io/src", "other.io/dst", &["v1"])).await.unwrap();
    world.take_log();
    let mut request = request(&world, "r.io/src", "other.io/dst", &["arm64"]);
    let platforms = vec![Platform::parse("linux/arm64").unwrap()];
    request.selection = Selection { platforms, ..Selection::default() };
    run(&request).await.unwrap();
    assert_eq!(counts(&world.take_log())["put"], 1);
    assert!(world.contents("other.io/dst").2.contains(&("arm64".to_owned(), images[1].digest().clone())));
}

#[tokio::test(start_paused = true)]
async fn some_platforms_of_an_index_are_the_index_without_the_others() {
    let world = World::new();
    let (images, root) = world.seed_index("r.io/src");
    let mut request = request(&world, "r.io/src", "other.io/dst", &["v1"]);
    let platforms = ["linux/arm/v7", "linux/amd64"].iter().map(|text| Platform::parse(text).unwrap()).collect();
    request.selection = Selection { platforms, ..Selection::default() };
    let report = run(&request).await.unwrap();
    let (blobs, documents, _) = world.contents("other.io/dst");
    assert_eq!((blobs.len(), documents.len()), (12, 3));
    let kept = world.document("other.io/dst", &report.digest);
    let entries = |document: &image::Document| document.index().unwrap().manifests.clone();
    assert_eq!(entries(&kept), [entries(&root)[0].clone(), entries(&root)[2].clone()]);
    assert!(documents.contains(images[0].digest()) && documents.contains(images[2].digest()));
    assert_eq!(report.report.documents.len(), 3);
}
