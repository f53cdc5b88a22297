//! `push` to a registry.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use image::{Digest, Document, MediaType, Tag, Target};
use lab::images::{self, Flavour};
use lab::{Fault, FaultKind, Lab, Quirks};
use polyarch_lists::{InspectForm, ListError};
use store::Location;
use support::world::World;
use support::{entry, reference};

const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"];
const FOUR: [&str; 4] = ["t/app:i0", "t/app:i1", "t/app:i2", "t/app:i3"];

fn four(world: &World) {
    for (i, platform) in PLATFORMS.into_iter().enumerate() {
        images::image(platform, 5, Flavour::Docker).push(&world.lab, "t/app", Some(&format!("i{i}")));
    }
}

fn pushed(world: &World, repository: &str, tag: &str) -> Document {
    Document::new(None, world.lab.manifest(repository, tag).expect("it was pushed")).expect("a document")
}

/// Rows 35, 37 and 48: what `inspect` shows is what `push` writes.
#[tokio::test]
async fn pushed_bytes_are_those_that_inspect_shows() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &FOUR).await.unwrap();
    world.annotate("t/app:v1", "t/app:i2", |request| request.os_version = "1.<2>".into()).unwrap();
    let shown = world.shown("t/app:v1", InspectForm::Plain).await;
    assert!(shown.contains(r#""os.version": "1.\u003c2\u003e""#), "{shown}");
    let report = world.push("t/app:v1").await.unwrap();
    let bytes = world.lab.manifest("t/app", "v1").unwrap();
    assert_eq!(shown.as_bytes(), [&bytes[..], b"\n"].concat());
    assert_eq!(report.digest, Digest::sha256(&bytes));
    assert_eq!(world.lab.manifest_type("t/app", "v1").unwrap(), MediaType::DOCKER_LIST);
    assert!(report.children.is_empty());
}

/// Row 66.
#[tokio::test]
async fn push_into_the_same_repository_takes_two_requests() {
    let mut world = World::bearer();
    four(&world);
    world.create("t/app:v1", &FOUR).await.unwrap();
    world.again();
    world.push("t/app:v1").await.unwrap();
    assert_eq!(world.lab.count(), 2, "{:#?}", world.lab.lines());
    assert_eq!(world.lab.count_of("PUT", "/manifests/v1"), 1);
}

/// Rows 50, 54, 64 and 66: images of another repository are mounted and pushed unchanged.
#[tokio::test]
async fn push_into_another_repository_takes_31_requests_and_moves_no_bytes() {
    let mut world = World::bearer();
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    world.again();
    world.lab.set_latency(Duration::from_millis(30), Duration::ZERO);
    let report = world.push("t/list:v1").await.unwrap();
    assert_eq!(world.lab.depth(), 5, "token, is it there, mounts, images, list");
    assert_eq!(world.lab.count(), 31, "{:#?}", world.lab.lines());
    assert_eq!(world.lab.count_of("GET", "/token"), 1);
    assert_eq!(world.lab.count_of("POST", "mount="), 24);
    assert_eq!(world.lab.count_of("PUT", "/manifests/"), 5);
    assert_eq!(world.lab.count_of("GET", "/blobs/"), 0);
    let lines: Vec<String> =
        report.children.iter().map(|child| format!("{} {}", child.reference, child.digest)).collect();
    let want: Vec<String> = FOUR
        .iter()
        .map(|image| world.lab.resolve("t/app", image.trim_start_matches("t/app:")).unwrap())
        .map(|digest| format!("{}@{digest} {digest}", world.at("t/list")))
        .collect();
    assert_eq!(lines, want);
    assert_eq!(report.digest, world.lab.resolve("t/list", "v1").unwrap());
    for child in &report.children {
        assert_eq!(
            world.lab.manifest("t/list", child.digest.as_str()),
            world.lab.manifest("t/app", child.digest.as_str())
        );
    }
}

/// Row 56.
#[tokio::test]
async fn a_second_push_sends_nothing_again() {
    let world = World::plain();
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    let first = world.push("t/list:v1").await.unwrap();
    world.lab.clear_log();
    let second = world.push("t/list:v1").await.unwrap();
    assert_eq!(world.lab.lines(), ["HEAD /v2/t/list/manifests/v1"]);
    assert_eq!((first.children, first.digest), (second.children, second.digest));
}

/// Row 49.
#[tokio::test]
async fn the_first_entry_decides_the_media_type() {
    let world = World::plain();
    images::image("linux/arm64", 1, Flavour::Oci).push(&world.lab, "t/app", Some("a"));
    images::image("linux/amd64", 1, Flavour::Docker).push(&world.lab, "t/app", Some("b"));
    images::image("linux/s390x", 1, Flavour::Oci).push(&world.lab, "t/app", Some("c"));
    world.create("t/app:oci", &["t/app:b", "t/app:a"]).await.unwrap();
    world.create("t/app:docker", &["t/app:b", "t/app:c"]).await.unwrap();
    for (tag, want) in [("oci", MediaType::OCI_INDEX), ("docker", MediaType::DOCKER_LIST)] {
        world.push(&format!("t/app:{tag}")).await.unwrap();
        assert_eq!(world.lab.manifest_type("t/app", tag).unwrap(), want);
        assert_eq!(pushed(&world, "t/app", tag).media_type().as_str(), want);
    }
}

/// Row 51.
#[tokio::test]
async fn purge_removes_the_list_only_after_success() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &FOUR).await.unwrap();
    let kind = FaultKind::Status { status: 403, code: "DENIED".into(), message: "no".into() };
    world.lab.fault(Fault::on("PUT", "/manifests/", kind));
    world.push_with("t/app:v1", |request| request.purge = true).await.unwrap_err();
    let list = reference(&world.at("t/app:v1"));
    assert!(world.drafts.exists(&list).unwrap());
    world.lab.clear_faults();
    let report = world.push_with("t/app:v1", |request| request.purge = true).await.unwrap();
    assert!(report.purged);
    assert!(!world.drafts.exists(&list).unwrap());
}

/// Row 52.
#[tokio::test]
async fn lists_that_are_not_there_or_empty_are_told_apart() {
    let world = World::plain();
    let error = world.push("t/app:nope").await.unwrap_err();
    assert_eq!(error.to_string(), format!("No such manifest: {}", world.at("t/app:nope")));
    let list = reference(&world.at("t/app:empty"));
    std::fs::create_dir_all(world.drafts.path(&list)).unwrap();
    let error = world.push("t/app:empty").await.unwrap_err();
    assert_eq!(error.to_string(), format!("{list} not found"));
    assert_eq!(world.lab.count(), 0);
}

/// Row 53.
#[tokio::test]
async fn an_entry_without_platform_is_refused_before_any_network() {
    let world = World::plain();
    let list = reference(&world.at("t/app:v1"));
    let name = world.at("t/other:x");
    for platform in [("", "amd64"), ("linux", "")] {
        let document = support::manifest(MediaType::OCI_MANIFEST, "x");
        let without =
            polyarch_lists::Entry::new(reference(&name), &document, image::Platform::new(platform.0, platform.1));
        world.drafts.create(&list, [&without]).unwrap();
        let error = world.push("t/app:v1").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("manifest {name} must have an OS and Architecture to be pushed to a registry")
        );
        world.drafts.remove(&list).unwrap();
    }
    assert_eq!(world.lab.count(), 0);
}

/// Row 55.
#[tokio::test]
async fn what_cannot_be_mounted_is_copied() {
    let world = World::new(Lab::builder().quirks(Quirks::no_mounts()).start());
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    world.push("t/list:v1").await.unwrap();
    for entry in pushed(&world, "t/list", "v1").children() {
        let child = pushed(&world, "t/list", entry.digest.as_str());
        assert!(child.children().iter().all(|blob| world.lab.has_blob("t/list", &blob.digest)));
    }
}

/// Row 55.
#[tokio::test]
async fn foreign_layers_are_left_where_they_are() {
    let world = World::plain();
    images::maker("windows(10.0.1)/amd64").foreign(1).flavour(Flavour::Docker).make().push(
        &world.lab,
        "t/app",
        Some("w"),
    );
    world.create("t/list:v1", &["t/app:w"]).await.unwrap();
    world.push("t/list:v1").await.unwrap();
    assert_eq!(world.lab.count_of("POST", "mount="), 2, "{:?}", world.lab.lines());
}

/// Row 57.
#[tokio::test]
async fn errors_of_the_registry_are_prefixed_as_by_docker() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &FOUR).await.unwrap();
    let digest = world.lab.resolve("t/app", "i0").unwrap();
    world.lab.delete("t/app", digest.as_str());
    let said = world.push("t/app:v1").await.unwrap_err().to_string();
    let at = world.at("t/app:v1");
    assert!(said.starts_with(&format!("failed to put manifest {at}: manifest blob unknown: ")), "{said}");
    for (kind, want) in [
        (FaultKind::Status { status: 403, code: "DENIED".into(), message: "no".into() }, "denied: no"),
        (FaultKind::Status { status: 401, code: "UNAUTHORIZED".into(), message: "who?".into() }, "unauthorized: who?"),
        (
            FaultKind::Body {
                status: 400,
                content_type: "application/json".into(),
                body: r#"{"details":"hm"}"#.into(),
            },
            "unknown: hm",
        ),
        (
            FaultKind::Body { status: 500, content_type: "text/html".into(), body: "<p>".into() },
            "received unexpected HTTP status: 500 Internal Server Error",
        ),
    ] {
        world.lab.clear_faults();
        world.lab.fault(Fault::on("PUT", "/manifests/", kind));
        let error = world.push("t/app:v1").await.unwrap_err();
        assert_eq!(error.to_string(), format!("failed to put manifest {at}: {want}"));
    }
}

#[tokio::test]
async fn a_failed_push_says_what_was_pushed_and_the_second_finishes() {
    let world = World::plain();
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    let kind = FaultKind::Status { status: 403, code: "DENIED".into(), message: "no".into() };
    world.lab.fault(Fault::on("PUT", "/manifests/v1", kind).once());
    let error = world.push("t/list:v1").await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to put manifest {}: denied: no", world.at("t/list:v1")));
    let hint = error.hint().unwrap();
    assert!(hint.contains("4 manifests and 24 blobs were pushed"), "{hint}");
    world.push("t/list:v1").await.unwrap();
    assert_eq!(pushed(&world, "t/list", "v1").children().len(), 4);
}

/// Row 58.
#[tokio::test]
async fn a_registry_that_reports_no_digest_is_believed() {
    let world = World::new(Lab::builder().quirks(Quirks::no_content_digest()).start());
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    let report = world.push("t/list:v1").await.unwrap();
    assert_eq!(report.digest, world.lab.resolve("t/list", "v1").unwrap());
    assert_eq!(report.children.len(), 4);
}

#[tokio::test]
async fn several_tags_are_written_at_once() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &FOUR).await.unwrap();
    let tags = ["v1", "v1.2", "latest"].map(|tag| Tag::parse(tag).unwrap());
    let report = world.push_with("t/app:v1", |request| request.tags = tags.into()).await.unwrap();
    let places: Vec<_> = report.references.iter().map(ToString::to_string).collect();
    assert_eq!(places, ["t/app:v1", "t/app:v1.2", "t/app:latest"].map(|name| world.at(name)));
    for tag in ["v1", "v1.2", "latest"] {
        assert_eq!(world.lab.resolve("t/app", tag).unwrap(), report.digest);
    }
}

/// As docker does: the digest in the name is not looked at, the list goes under its own.
#[tokio::test]
async fn a_list_named_by_digest_is_pushed_under_its_own_digest() {
    let world = World::plain();
    four(&world);
    let name = format!("t/app@{}", Digest::sha256(b"whatever"));
    world.create(&name, &FOUR).await.unwrap();
    let report = world.push(&name).await.unwrap();
    assert!(world.lab.manifest("t/app", report.digest.as_str()).is_some());
    assert_eq!(report.references[0].to_string(), world.at(&format!("t/app@{}", report.digest)));
}

#[tokio::test]
async fn a_plan_can_be_looked_at_and_sends_nothing() {
    let world = World::plain();
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    world.lab.clear_log();
    let request = polyarch_lists::PushRequest { list: world.at("t/list:v1"), ..Default::default() };
    let plan = polyarch_lists::plan_push(&request, &world.drafts, &world.stores).await.unwrap();
    let verbs: Vec<_> = plan.steps().iter().map(|step| step.action.verb()).collect();
    let count = |verb: &str| verbs.iter().filter(|found| **found == verb).count();
    assert_eq!((count("mount"), count("put"), count("tag")), (24, 4, 1), "{}", plan.plan());
    assert_eq!(world.lab.count(), 0);
}

/// Images of another registry are copied, which docker refuses to do.
#[tokio::test]
async fn images_of_another_registry_are_copied() {
    let world = World::plain();
    let other = Lab::start();
    let image = images::image("linux/amd64", 3, Flavour::Oci);
    image.push(&other, "far/app", Some("v1"));
    let far = other.reference("far/app", "v1");
    world.create("t/app:v1", &[&far]).await.unwrap();
    let report = world.push("t/app:v1").await.unwrap();
    assert_eq!(report.children.len(), 1);
    assert_eq!(world.lab.manifest("t/app", image.digest().as_str()).unwrap(), image.document.bytes());
    assert!(image.document.children().iter().all(|blob| world.lab.has_blob("t/app", &blob.digest)));
}

/// Puts an image into the local store or a layout.
async fn store_image(world: &World, location: &str, image: &images::Image) {
    let location = Location::parse(location).unwrap();
    let target = world.stores.open_for_writing(&location).await.unwrap();
    let source = Lab::start();
    image.push(&source, "x", Some("y"));
    let origin = Location::parse(&source.reference("x", "y")).unwrap();
    let origin = world.stores.open(&origin).await.unwrap();
    let mut plan = transfer::Plan::new(target);
    plan.add_image(image.document.clone(), origin).unwrap();
    if let Target::Tag(tag) = location.target() {
        plan.tag(image.digest(), tag).unwrap();
    }
    plan.run(&transfer::Options::default(), &transfer::Silent).await.unwrap();
}

#[tokio::test]
async fn images_that_are_in_no_registry_are_pushed_with_the_list() {
    let world = World::plain();
    let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 2, Flavour::Oci));
    let layout = world.data.path().join("layout");
    let layout = format!("oci:{}:v1", layout.display());
    store_image(&world, "local:app:v1", &amd64).await;
    store_image(&world, &layout, &arm64).await;
    let report = world.create("t/app:v1", &["local:app:v1", &layout]).await.unwrap();
    assert_eq!(world.lab.count(), 0);
    let sources: Vec<_> = report.entries.iter().map(|entry| entry.source.clone().unwrap()).collect();
    assert!(sources.contains(&"local:docker.io/library/app:v1".to_owned()) && sources.contains(&layout), "{sources:?}");
    // They go by the name that they will have.
    let names: Vec<_> = report.entries.iter().map(|entry| entry.reference.clone()).collect();
    assert!(names.contains(&world.at(&format!("t/app@{}", amd64.digest()))), "{names:?}");
    // They are found by the name that they had.
    world.annotate("t/app:v1", "local:app:v1", |request| request.variant = "v3".into()).unwrap();
    let amended = world.create_with("t/app:v1", &["local:app:v1"], |request| request.amend = true).await.unwrap();
    assert_eq!(amended.kept, 2);
    assert_eq!(arm64.document.bytes(), &world.inspect(&layout, InspectForm::Raw).await.unwrap().output);
    let report = world.push("t/app:v1").await.unwrap();
    assert_eq!(report.children.len(), 2);
    let list = pushed(&world, "t/app", "v1");
    assert!(list.children().iter().all(|entry| entry.annotations.is_empty()));
    for image in [&amd64, &arm64] {
        assert_eq!(world.lab.manifest("t/app", image.digest().as_str()).unwrap(), image.document.bytes());
    }
    let error = world.create("t/app:v2", &["local:nope"]).await.unwrap_err();
    assert_eq!(error.to_string(), "no such manifest: local:docker.io/library/nope:latest");
}

#[tokio::test]
async fn annotations_of_entries_are_pushed() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &FOUR).await.unwrap();
    let annotations = vec![("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())];
    world.annotate("t/app:v1", "t/app:i1", |request| request.annotations = annotations).unwrap();
    let report = world.push("t/app:v1").await.unwrap();
    assert_eq!(report.notes.len(), 1, "Docker's type has no annotations: {:?}", report.notes);
    let list = pushed(&world, "t/app", "v1");
    assert_eq!(list.children()[1].annotations.keys().collect::<Vec<_>>(), ["a", "b"]);
}

/// A draft of docker 20 has no raw bytes: the manifest is read from where the image is.
#[tokio::test]
async fn drafts_without_raw_bytes_are_pushed() {
    let world = World::plain();
    let image = images::image("linux/amd64", 1, Flavour::Docker);
    image.push(&world.lab, "t/app", Some("a"));
    world.create("t/list:v1", &["t/app:a"]).await.unwrap();
    let list = reference(&world.at("t/list:v1"));
    let file = world.drafts.path(&list).join(format!("{}_t_app-a", world.lab.host().replace(':', "-")));
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once("\"Raw\":").unwrap();
    let (_, after) = rest.split_once(',').unwrap();
    std::fs::write(&file, format!("{before}{after}")).unwrap();
    world.push("t/list:v1").await.unwrap();
    assert_eq!(world.lab.manifest("t/list", image.digest().as_str()).unwrap(), image.document.bytes());
}

#[tokio::test]
async fn an_entry_whose_bytes_were_changed_is_refused() {
    let world = World::plain();
    let list = reference(&world.at("t/list:v1"));
    let name = world.at("t/app:a");
    let stored = entry(&name, "linux/amd64");
    world.drafts.create(&list, [&stored]).unwrap();
    let file = world.drafts.path(&list).join(format!("{}_t_app-a", world.lab.host().replace(':', "-")));
    let text = std::fs::read_to_string(&file).unwrap().replace("\"Raw\":\"ewog", "\"Raw\":\"ewogewog");
    std::fs::write(&file, text).unwrap();
    let error = world.push("t/list:v1").await.unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with(&format!("internal digest mismatch for {name}: expected sha256:")), "{said}");
    assert!(matches!(error, ListError::DigestMismatch { .. }));
    assert_eq!(world.lab.count(), 0);
}

#[tokio::test]
async fn progress_is_reported_while_it_runs() {
    let world = World::plain();
    four(&world);
    world.create("t/list:v1", &FOUR).await.unwrap();
    let seen = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&seen);
    let progress = move |event: &transfer::Event<'_>| {
        if matches!(event, transfer::Event::Finished { .. }) {
            *counter.lock().unwrap() += 1;
        }
    };
    let request = polyarch_lists::PushRequest { list: world.at("t/list:v1"), ..Default::default() };
    let plan = polyarch_lists::plan_push(&request, &world.drafts, &world.stores).await.unwrap();
    let steps = plan.steps().len();
    plan.run(&transfer::Options::default(), &progress).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), steps);
}
