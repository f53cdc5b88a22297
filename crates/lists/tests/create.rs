//! `create` against a registry.

mod support;

use std::time::Duration;

use image::{Digest, MediaType, Platform};
use lab::images::{self, Flavour};
use lab::{Fault, FaultKind};
use polyarch_lists::{InspectForm, ListError};
use support::world::World;
use support::{files, reference};

const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"];

/// Four images of one repository, five layers each: `t/app:i0` … `t/app:i3`.
fn four(world: &World) {
    for (i, platform) in PLATFORMS.into_iter().enumerate() {
        images::image(platform, 5, Flavour::Docker).push(&world.lab, "t/app", Some(&format!("i{i}")));
    }
}

const FOUR: [&str; 4] = ["t/app:i0", "t/app:i1", "t/app:i2", "t/app:i3"];

/// Row 66.
#[tokio::test]
async fn four_images_take_ten_requests_of_which_four_wait_for_one_another() {
    let world = World::bearer();
    four(&world);
    world.lab.set_latency(Duration::from_millis(30), Duration::ZERO);
    let report = world.create("t/app:v1", &FOUR).await.unwrap();
    assert_eq!(report.entries.len(), 4);
    assert_eq!(world.lab.count(), 10, "{:#?}", world.lab.lines());
    assert_eq!(world.lab.count_of("GET", "/token"), 1);
    assert_eq!(world.lab.count_of("GET", "/manifests/"), 5, "four, and the one that was challenged");
    assert_eq!(world.lab.count_of("GET", "/blobs/"), 4);
    assert_eq!(world.lab.depth(), 4, "challenge, token, manifest, config");
}

/// Row 66, from several repositories: one token for all of them.
#[tokio::test]
async fn images_of_several_repositories_take_one_token() {
    let world = World::bearer();
    for (i, platform) in PLATFORMS.into_iter().enumerate() {
        images::image(platform, 2, Flavour::Oci).push(&world.lab, &format!("t/app{i}"), Some("v1"));
    }
    world.create("t/list:v1", &["t/app0:v1", "t/app1:v1", "t/app2:v1", "t/app3:v1"]).await.unwrap();
    assert_eq!(world.lab.count_of("GET", "/token"), 1, "{:#?}", world.lab.lines());
}

/// Row 20.
#[tokio::test]
async fn a_failed_create_leaves_no_list_and_the_retry_succeeds() {
    let world = World::plain();
    four(&world);
    let error = world.create("t/app:v1", &["t/app:i0", "t/app:nope"]).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no such manifest: {}", world.at("t/app:nope")));
    assert!(files(world.config.path()).is_empty());
    world.create("t/app:v1", &["t/app:i0", "t/app:i1"]).await.unwrap();
}

#[tokio::test]
async fn a_failed_amend_leaves_the_list_as_it_was() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &["t/app:i0"]).await.unwrap();
    let before = files(world.config.path());
    let amended = world.create_with("t/app:v1", &["t/app:i1", "t/app:nope"], |request| request.amend = true).await;
    amended.unwrap_err();
    assert_eq!(files(world.config.path()), before);
}

/// Row 22.
#[tokio::test]
async fn an_existing_list_is_refused_before_any_network() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &["t/app:i0"]).await.unwrap();
    world.lab.clear_log();
    let error = world.create("t/app:v1", &["t/app:i1"]).await.unwrap_err();
    assert_eq!(error.to_string(), "refusing to amend an existing manifest list with no --amend flag");
    assert_eq!(world.lab.count(), 0);
}

/// Rows 21 and 23.
#[tokio::test]
async fn amend_creates_a_list_that_is_not_there() {
    let world = World::plain();
    four(&world);
    let report = world.create_with("t/app:v1", &["t/app:i0"], |request| request.amend = true).await.unwrap();
    assert_eq!(report.list, reference(&world.at("t/app:v1")));
    assert_eq!((report.entries.len(), report.kept), (1, 0));
}

/// Rows 24 and 25: docker's way, which is to look at nothing that the list has.
#[tokio::test]
async fn amend_keeps_entries_annotations_and_images_whose_tag_has_moved() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &["t/app:i0", "t/app:i1"]).await.unwrap();
    world.annotate("t/app:v1", "t/app:i0", |request| request.variant = "v9".into()).unwrap();
    let first = world.lab.resolve("t/app", "i0").unwrap();
    let moved = images::maker("linux/amd64").seed(77).make().push(&world.lab, "t/app", Some("i0"));
    assert_ne!(moved.digest, first);
    world.lab.clear_log();
    let amend = |request: &mut polyarch_lists::CreateRequest| request.amend = true;
    let report = world.create_with("t/app:v1", &["t/app:i0", "t/app:i2"], amend).await.unwrap();
    assert_eq!(world.lab.count(), 2, "i2 alone: {:?}", world.lab.lines());
    assert_eq!((report.entries.len(), report.kept), (3, 2));
    assert_eq!(report.entries[0].digest, first);
    assert_eq!(report.entries[0].platform.variant, "v9");
}

/// Row 25, on request.
#[tokio::test]
async fn refresh_fetches_named_images_again() {
    let world = World::plain();
    four(&world);
    world.create("t/app:v1", &["t/app:i0", "t/app:i1"]).await.unwrap();
    world.annotate("t/app:v1", "t/app:i0", |request| request.variant = "v9".into()).unwrap();
    let moved = images::maker("linux/amd64").seed(77).make().push(&world.lab, "t/app", Some("i0"));
    let report = world
        .create_with("t/app:v1", &["t/app:i0"], |request| (request.amend, request.refresh) = (true, true))
        .await
        .unwrap();
    assert_eq!((report.entries.len(), report.kept), (2, 1));
    assert_eq!(report.entries[0].digest, moved.digest);
    assert_eq!(report.entries[0].platform.variant, "");
}

/// Row 26.
#[tokio::test]
async fn platform_comes_from_the_config_without_regard_to_case() {
    let world = World::plain();
    let config = br#"{"architecture":"arm64","Architecture":"s390x","OS":"windows","os.Version":"10.0.1",
        "OS.features":["win32k"],"VARIANT":"v8"}"#;
    let size = config.len();
    let config = world.lab.put_blob("t/app", config.as_slice());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","size":{size},"digest":"{config}"}},"layers":[]}}"#,
        MediaType::OCI_MANIFEST,
        MediaType::OCI_CONFIG
    );
    world.lab.put_manifest("t/app", Some("odd"), manifest);
    let report = world.create("t/app:v1", &["t/app:odd"]).await.unwrap();
    let want = Platform {
        os: "windows".into(),
        architecture: "s390x".into(),
        os_version: "10.0.1".into(),
        os_features: vec!["win32k".into()],
        variant: "v8".into(),
    };
    assert_eq!(report.entries[0].platform, want);
}

/// Row 27.
#[tokio::test]
async fn an_index_is_taken_apart_with_its_attestations() {
    let world = World::bearer();
    let made: Vec<_> = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 2, Flavour::Oci)).into();
    let index = images::index_with_attestations(&made);
    index.push(&world.lab, "t/app", Some("idx"));
    let report = world.create("t/app:v1", &["t/app:idx"]).await.unwrap();
    assert_eq!(world.lab.count(), 2 + 1 + 4, "{:#?}", world.lab.lines());
    let mut want: Vec<String> =
        index.document.children().iter().map(|child| world.at(&format!("t/app:idx@{}", child.digest))).collect();
    want.sort();
    assert_eq!(report.entries.iter().map(|entry| entry.reference.clone()).collect::<Vec<_>>(), want);
    assert_eq!(report.entries.iter().filter(|entry| entry.attestation_of.is_some()).count(), 2);
    // What the index says of its attestations is said by the list, and nothing of ours.
    let pushed = world.push("t/app:v1").await.unwrap();
    let list = world.lab.manifest("t/app", "v1").unwrap();
    assert_eq!(Digest::sha256(&list), pushed.digest);
    let list = image::Document::new(None, list).unwrap();
    for original in index.document.children() {
        let copied = list.children().into_iter().find(|copied| copied.digest == original.digest).unwrap();
        assert_eq!(copied.annotations, original.annotations);
        assert_eq!(copied.platform, original.platform);
    }
    // It is known by its name: no second look.
    world.lab.clear_log();
    world.create_with("t/app:v1", &["t/app:idx"], |request| request.amend = true).await.unwrap();
    assert_eq!(world.lab.count(), 0);
}

/// Row 27.
#[tokio::test]
async fn parts_of_an_index_can_be_chosen() {
    let world = World::plain();
    let made: Vec<_> = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 2, Flavour::Oci)).into();
    images::index_with_attestations(&made).push(&world.lab, "t/app", Some("idx"));
    let report = world
        .create_with("t/app:one", &["t/app:idx"], |request| request.platforms = vec!["linux/aarch64".parse().unwrap()])
        .await
        .unwrap();
    let mut digests: Vec<_> = report.entries.iter().filter(|e| e.attestation_of.is_none()).map(|e| &e.digest).collect();
    assert_eq!(digests, [made[1].digest()]);
    assert_eq!(report.entries.len(), 2, "with its attestation");
    let report =
        world.create_with("t/app:bare", &["t/app:idx"], |request| request.no_attestations = true).await.unwrap();
    digests = report.entries.iter().map(|entry| &entry.digest).collect();
    let mut want = [made[0].digest(), made[1].digest()];
    want.sort();
    assert_eq!(digests, want);
}

/// Row 27.
#[tokio::test]
async fn strict_refuses_an_index_in_words_of_docker() {
    let world = World::plain();
    images::index(&[images::image("linux/amd64", 1, Flavour::Oci)], Flavour::Oci).push(
        &world.lab,
        "t/app",
        Some("idx"),
    );
    let error = world.create_with("t/app:v1", &["t/app:idx"], |request| request.strict = true).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} is a manifest list", world.at("t/app:idx")));
    assert!(files(world.config.path()).is_empty());
}

#[tokio::test]
async fn a_refreshed_index_loses_what_it_no_longer_lists() {
    let world = World::plain();
    let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 1, Flavour::Oci));
    images::index(&[amd64.clone(), arm64], Flavour::Oci).push(&world.lab, "t/app", Some("idx"));
    world.create("t/app:v1", &["t/app:idx"]).await.unwrap();
    let newer = images::maker("linux/arm64").seed(3).make();
    images::index(&[amd64.clone(), newer.clone()], Flavour::Oci).push(&world.lab, "t/app", Some("idx"));
    let report = world
        .create_with("t/app:v1", &["t/app:idx"], |request| (request.amend, request.refresh) = (true, true))
        .await
        .unwrap();
    let mut want = [amd64.digest().clone(), newer.digest().clone()];
    want.sort();
    assert_eq!(report.entries.iter().map(|entry| entry.digest.clone()).collect::<Vec<_>>(), want);
    assert_eq!(files(world.config.path()).len(), 3);
}

/// Row 28; row 65 for what docker would call the same.
#[tokio::test]
async fn missing_is_told_from_forbidden() {
    let world = World::plain();
    four(&world);
    let error = world.create("t/app:v1", &["t/app:nope"]).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no such manifest: {}", world.at("t/app:nope")));
    for (status, code, message, want) in [
        (401, "UNAUTHORIZED", "authentication is needed", "unauthorized: authentication is needed"),
        (403, "DENIED", "not for you", "denied: not for you"),
        (429, "TOOMANYREQUESTS", "slow down", "toomanyrequests: slow down"),
        (500, "UNKNOWN", "", "received unexpected HTTP status: 500 Internal Server Error"),
    ] {
        world.lab.clear_faults();
        let kind = FaultKind::Status { status, code: code.into(), message: message.into() };
        world.lab.fault(Fault::on("GET", "/manifests/i0", kind));
        let error = world.create("t/app:v1", &["t/app:i0"]).await.unwrap_err();
        assert_eq!(error.to_string(), want);
        assert!(matches!(error, ListError::Source { .. }));
    }
    assert!(files(world.config.path()).is_empty());
}

/// Row 29.
#[tokio::test]
async fn oci_and_docker_images_go_into_one_list() {
    let world = World::plain();
    images::image("linux/arm64", 1, Flavour::Oci).push(&world.lab, "t/app", Some("b-oci"));
    images::image("linux/amd64", 1, Flavour::Docker).push(&world.lab, "t/app", Some("a-docker"));
    world.create("t/app:v1", &["t/app:b-oci", "t/app:a-docker"]).await.unwrap();
    let shown = world.shown("t/app:v1", InspectForm::Plain).await;
    assert!(shown.contains(&format!("\"mediaType\": \"{}\"", MediaType::DOCKER_LIST)), "{shown}");
    assert!(shown.contains(MediaType::OCI_MANIFEST) && shown.contains(MediaType::DOCKER_MANIFEST), "{shown}");
}

/// Row 30.
#[tokio::test]
async fn the_same_source_twice_is_one_entry_and_one_read() {
    let world = World::plain();
    four(&world);
    let report = world.create("t/app:v1", &["t/app:i0", "t/app:i0"]).await.unwrap();
    assert_eq!(report.entries.len(), 1);
    assert_eq!(world.lab.count(), 2, "{:?}", world.lab.lines());
    // Two names of one image are two entries, as with docker, but its config is read once.
    world.lab.tag("t/app", "same", &report.entries[0].digest);
    world.lab.clear_log();
    let report = world.create("t/app:v2", &["t/app:i0", "t/app:same"]).await.unwrap();
    assert_eq!(report.entries.len(), 2);
    assert_eq!(world.lab.count(), 3, "{:?}", world.lab.lines());
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
}

/// Row 16.
#[tokio::test]
async fn two_sources_with_one_file_name_are_refused_and_none_is_lost() {
    let world = World::plain();
    images::image("linux/amd64", 1, Flavour::Oci).push(&world.lab, "t/app", Some("amd64-v1"));
    images::image("linux/arm64", 1, Flavour::Oci).push(&world.lab, "t/app-amd64", Some("v1"));
    let error = world.create("t/app:v1", &["t/app:amd64-v1", "t/app-amd64:v1"]).await.unwrap_err();
    let name = format!("{}_t_app-amd64-v1", world.lab.host().replace(':', "-"));
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` and `{}` have one name in docker's store, `{name}`: one of them would be lost",
            world.at("t/app:amd64-v1"),
            world.at("t/app-amd64:v1")
        )
    );
    assert_eq!(world.lab.count(), 0);
    assert!(files(world.config.path()).is_empty());
    world.create("t/app:v1", &["t/app:amd64-v1"]).await.unwrap();
    let amended = world.create_with("t/app:v1", &["t/app-amd64:v1"], |request| request.amend = true).await;
    assert!(matches!(amended, Err(ListError::Collision { .. })));
    // By digest it goes.
    let digest = world.lab.resolve("t/app-amd64", "v1").unwrap();
    let named = format!("t/app-amd64:v1@{digest}");
    let report = world.create_with("t/app:v1", &[&named], |request| request.amend = true).await.unwrap();
    assert_eq!(report.entries.len(), 2);
}

/// Rows 11 and 12.
#[tokio::test]
async fn a_digest_is_asked_for_also_where_there_is_a_tag() {
    let world = World::plain();
    four(&world);
    let first = world.lab.resolve("t/app", "i0").unwrap();
    images::maker("linux/amd64").seed(77).make().push(&world.lab, "t/app", Some("i0"));
    let named = format!("t/app:i0@{first}");
    let report = world.create("t/app:v1", &[&named]).await.unwrap();
    assert_eq!(report.entries[0].digest, first);
    assert_eq!(report.entries[0].reference, world.at(&named));
    assert_eq!(world.lab.count_of("GET", "/manifests/i0"), 0);
    // The answer is verified.
    let other = world.lab.resolve("t/app", "i1").unwrap();
    let bytes = world.lab.manifest("t/app", "i0").unwrap();
    world.lab.put_manifest_under("t/app", &other, MediaType::DOCKER_MANIFEST, bytes);
    let error = world.create("t/app:v2", &[&format!("t/app@{other}")]).await.unwrap_err();
    assert!(matches!(&error, ListError::Source { .. }), "{error}");
}

/// Row 10.
#[tokio::test]
async fn names_that_are_none_are_refused_in_words_of_docker() {
    let world = World::plain();
    let said = |list: &str, image: &str| {
        let request = polyarch_lists::CreateRequest {
            list: list.into(),
            images: vec![image.into()],
            ..polyarch_lists::CreateRequest::default()
        };
        let (drafts, stores) = (world.drafts.clone(), world.stores.clone());
        async move { polyarch_lists::create(&request, &drafts, &stores).await.unwrap_err().to_string() }
    };
    let upper = "invalid reference format: repository name (library/UPPER) must be lowercase";
    assert_eq!(said("UPPER", "x").await, format!("error parsing name for manifest list UPPER: {upper}"));
    assert_eq!(said("x", "UPPER").await, upper);
    assert_eq!(said("x", "a b").await, "invalid reference format");
    assert_eq!(said("x", "local:UPPER").await, upper);
    assert_eq!(said("x", "oci:").await, "oci:: `oci:` names no directory: expected `oci:DIR[:TAG][@DIGEST]`");
    assert_eq!(world.lab.count(), 0);
}

/// Row 45.
#[tokio::test]
async fn schema_1_is_refused_by_name() {
    let world = World::plain();
    let schema1 = r#"{"schemaVersion":1,"name":"t/app","tag":"old","architecture":"amd64","fsLayers":[],"history":[]}"#;
    world.lab.put_manifest_as("t/app", Some("old"), MediaType::DOCKER_SCHEMA1_SIGNED, schema1);
    let want =
        format!("unsupported manifest media type and no default available: {}", MediaType::DOCKER_SCHEMA1_SIGNED);
    assert_eq!(world.create("t/app:v1", &["t/app:old"]).await.unwrap_err().to_string(), want);
    assert_eq!(world.inspect("t/app:old", InspectForm::Plain).await.unwrap_err().to_string(), want);
}

#[tokio::test]
async fn an_image_whose_config_tells_nothing_is_refused_with_its_reason() {
    let world = World::plain();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    image.push(&world.lab, "t/app", Some("a"));
    let config = image.document.children()[0].digest.clone();
    world.lab.delete_blob("t/app", &config);
    let error = world.create("t/app:v1", &["t/app:a"]).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot tell the platform of {}: its config {config}: ", world.at("t/app:a"))),
        "{error}"
    );
    // An artifact has no platform and says so; that is known before the push.
    images::artifact("a/b", "x", None).push(&world.lab, "t/app", Some("artifact"));
    let report = world.create("t/app:v1", &["t/app:artifact"]).await.unwrap();
    assert!(report.notes[0].contains("has no platform"), "{:?}", report.notes);
}
