//! Walks: what is read, how deep, what is left out, what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use image::{Descriptor, Document, MediaType, Platform, Target};
use polyarch_transfer::{Attestations, Collection, Selection, TransferError, WalkLimits, collect};

use crate::memory::{World, counts, index, index_of, manifest, tag};

fn platforms(texts: &[&str]) -> Selection {
    let platforms = texts.iter().map(|text| Platform::parse(text).unwrap()).collect();
    Selection { platforms, ..Selection::default() }
}

async fn walk(world: &Arc<World>, root: &Document, selection: &Selection) -> Result<Collection, TransferError> {
    world.seed_document("r.io/app", root, Some("walk"));
    let store = world.store("r.io/app");
    collect(&*store, &Target::Tag(tag("walk")), selection, &WalkLimits::default()).await
}

fn entry(document: &Document, platform: Option<&str>) -> Descriptor {
    let mut entry = document.descriptor();
    entry.platform = platform.map(|text| Platform::parse(text).unwrap());
    entry
}

fn attestation(world: &Arc<World>, of: &Document) -> Descriptor {
    let config = world.seed_blob("r.io/app", MediaType::OCI_CONFIG, format!(r#"{{"of":"{}"}}"#, of.digest()));
    let document = manifest(&config, &[]);
    world.seed_document("r.io/app", &document, None);
    let mut entry = entry(&document, Some("unknown/unknown"));
    for (key, value) in
        [("vnd.docker.reference.type", "attestation-manifest"), ("vnd.docker.reference.digest", of.digest().as_str())]
    {
        entry.annotations.insert(key.to_owned(), value.into());
    }
    entry
}

fn digests(collection: &Collection) -> Vec<String> {
    collection.nodes.iter().map(|node| node.document.digest().to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn children_are_read_at_once_and_come_before_their_index() {
    let world = World::new();
    let (images, root) = world.seed_index("r.io/app");
    let collection = walk(&world, &root, &Selection::all()).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 5)]));
    assert_eq!(world.ticks(), 2);
    let want: Vec<String> = images.iter().chain([&root]).map(|document| document.digest().to_string()).collect();
    assert_eq!(digests(&collection), want);
    assert_eq!(collection.root().digest(), root.digest());
    assert_eq!(collection.nodes[0].descriptor.platform, Some(Platform::parse("linux/amd64").unwrap()));
    assert_eq!(collection.nodes[0].parent.as_ref(), Some(root.digest()));
    assert!(collection.is_whole());
}

#[tokio::test(start_paused = true)]
async fn an_image_is_one_call() {
    let world = World::new();
    let image = world.seed_image("r.io/app", "linux/amd64", 5, "one");
    let collection = walk(&world, &image, &Selection::all()).await.unwrap();
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 1)]));
    assert_eq!((collection.nodes.len(), collection.images().count()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_index_within_an_index_is_followed_and_a_document_is_read_once() {
    let world = World::new();
    let images = world.seed_four("r.io/app");
    let inner = index_of(&images);
    world.seed_document("r.io/app", &inner, None);
    let outer = index(&[entry(&inner, None), entry(&images[0], Some("linux/amd64")), entry(&inner, None)]);
    let collection = walk(&world, &outer, &Selection::all()).await.unwrap();
    // The outer index, the inner one and an image, three more images.
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 6)]));
    assert_eq!(collection.nodes.len(), 12);
    assert_eq!(collection.nodes.iter().map(|node| node.depth).max(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn platforms_are_picked_in_any_spelling_and_attestations_follow_their_image() {
    let world = World::new();
    let images = world.seed_four("r.io/app");
    let mut entries: Vec<Descriptor> = vec![attestation(&world, &images[1]), attestation(&world, &images[0])];
    entries.extend(index_of(&images).index().unwrap().manifests.iter().cloned());
    let root = index(&entries);

    let arm64 = walk(&world, &root, &platforms(&["linux/arm64/v8"])).await.unwrap();
    let kept: Vec<_> = arm64.images().map(|node| node.descriptor.clone()).collect();
    assert_eq!(kept, [entries[0].clone(), entries[3].clone()]);
    assert_eq!(arm64.left_out.len(), 4);
    assert!(!arm64.is_whole());
    // The root, the image and its attestation: nothing is read in order to be thrown away.
    assert_eq!(counts(&world.take_log()), BTreeMap::from([("get", 3)]));

    let bare = Selection { attestations: Attestations::Drop, ..Selection::default() };
    let bare = walk(&world, &root, &bare).await.unwrap();
    assert_eq!(bare.images().count(), 4);
    assert_eq!(bare.left_out, entries[..2]);
}

#[tokio::test(start_paused = true)]
async fn an_attestation_of_an_image_that_is_not_listed_stays_only_in_a_whole_index() {
    let world = World::new();
    let images = world.seed_four("r.io/app");
    let orphan = attestation(&world, &images[3]);
    let root = index(&[entry(&images[0], Some("linux/amd64")), orphan.clone()]);
    assert!(walk(&world, &root, &Selection::all()).await.unwrap().is_whole());
    let picked = walk(&world, &root, &platforms(&["linux/amd64"])).await.unwrap();
    assert_eq!(picked.left_out, [orphan]);
}

#[tokio::test(start_paused = true)]
async fn where_the_index_is_silent_the_config_tells_the_platform() {
    let world = World::new();
    let images = world.seed_four("r.io/app");
    let root = index(&[entry(&images[0], None), entry(&images[2], None)]);
    let picked = walk(&world, &root, &platforms(&["linux/arm"])).await.unwrap();
    assert_eq!(picked.left_out, [entry(&images[0], None)]);
    let lone = walk(&world, &images[2], &platforms(&["linux/arm/v7"])).await.unwrap();
    assert_eq!(lone.nodes.len(), 1);
    let error = walk(&world, &images[2], &platforms(&["linux/amd64"])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("find `linux/amd64` in r.io/app@{}: it has `linux/arm/v7`", images[2].digest())
    );
}

#[tokio::test(start_paused = true)]
async fn a_platform_that_is_missing_is_named_with_those_that_are_there() {
    let world = World::new();
    let (_, root) = world.seed_index("r.io/app");
    let error = walk(&world, &root, &platforms(&["linux/arm64", "windows/amd64", "linux/s390x"])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "find `windows/amd64`, `linux/s390x` in r.io/app@{}: \
             it has `linux/amd64`, `linux/arm64`, `linux/arm/v7`, `linux/riscv64`",
            root.digest()
        )
    );
    assert_eq!(error.hint().unwrap(), "name one of these with `--platform`");
}

#[tokio::test(start_paused = true)]
async fn an_index_that_lies_about_a_size_is_refused() {
    let world = World::new();
    let images = world.seed_four("r.io/app");
    let mut lie = entry(&images[0], Some("linux/amd64"));
    lie.size += 1;
    let error = walk(&world, &index(&[lie]), &Selection::all()).await.unwrap_err();
    assert!(matches!(error, TransferError::Contradiction { .. }), "{error}");
    let mut lie = entry(&images[0], Some("linux/amd64"));
    lie.media_type = MediaType::from(MediaType::OCI_INDEX);
    let error = walk(&world, &index(&[lie]), &Selection::all()).await.unwrap_err();
    assert!(error.to_string().contains("the index says `application/vnd.oci.image.index.v1+json`"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn towers_and_bombs_of_indexes_are_refused() {
    let world = World::new();
    let mut tower = world.seed_image("r.io/app", "linux/amd64", 1, "tower");
    for _ in 0..9 {
        tower = index(&[entry(&tower, None)]);
        world.seed_document("r.io/app", &tower, None);
    }
    let error = walk(&world, &tower, &Selection::all()).await.unwrap_err();
    assert!(error.to_string().ends_with("indexes are nested deeper than 8 levels"), "{error}");

    let mut bomb = world.seed_image("r.io/app", "linux/amd64", 1, "bomb");
    for _ in 0..6 {
        bomb = index(&vec![entry(&bomb, None); 10]);
        world.seed_document("r.io/app", &bomb, None);
    }
    let error = walk(&world, &bomb, &Selection::all()).await.unwrap_err();
    assert!(error.to_string().ends_with("more than 4096 entries"), "{error}");

    let image = world.seed_image("r.io/app", "linux/amd64", 1, "wide");
    let wide = index(&vec![entry(&image, None); 5000]);
    let error = walk(&world, &wide, &Selection::all()).await.unwrap_err();
    assert!(error.to_string().ends_with("more than 4096 entries"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_named() {
    let world = World::new();
    let store = world.store("r.io/app");
    let none = collect(&*store, &Target::Tag(tag("none")), &Selection::all(), &WalkLimits::default()).await;
    let error = none.unwrap_err();
    assert_eq!(error.to_string(), "read r.io/app:none");
    assert_eq!(error.store_error().unwrap().to_string(), "find none in r.io/app");
}
