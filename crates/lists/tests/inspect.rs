//! `inspect` of local lists and of registries.

mod support;

use image::{Document, MediaType};
use lab::images::{self, Flavour};
use polyarch_lists::{InspectForm, InspectRequest, Origin, inspect};
use serde_json::Value;
use support::reference;
use support::world::World;

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Rows 36 and 41.
#[tokio::test]
async fn an_image_is_shown_as_it_is_but_for_the_indentation() {
    let world = World::plain();
    let manifest = "{ \"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":\
        {\"mediaType\":\"a/b\",\"size\":2,\"digest\":\
        \"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"},\"layers\":[ ],\"z\":1.50e1,\
        \"annotations\":{\"a\":\"<&>\u{2028}\"}}";
    world.lab.put_manifest("t/app", Some("v1"), manifest);
    let want = "{\n\t\"schemaVersion\": 2,\n\t\"mediaType\": \"application/vnd.oci.image.manifest.v1+json\",\n\t\
        \"config\": {\n\t\t\"mediaType\": \"a/b\",\n\t\t\"size\": 2,\n\t\t\"digest\": \
        \"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"\n\t},\n\t\"layers\": [],\n\t\
        \"z\": 1.50e1,\n\t\"annotations\": {\n\t\t\"a\": \"<&>\u{2028}\"\n\t}\n}\n";
    assert_eq!(world.shown("t/app:v1", InspectForm::Plain).await, want);
    assert_eq!(world.lab.count(), 1, "neither config nor anything else: {:?}", world.lab.lines());
}

/// Row 47.
#[tokio::test]
async fn an_index_takes_three_requests() {
    let world = World::bearer();
    let made: Vec<_> = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 1, Flavour::Oci)).into();
    images::index(&made, Flavour::Oci).push(&world.lab, "t/app", Some("idx"));
    world.shown("t/app:idx", InspectForm::Plain).await;
    assert_eq!(world.lab.count(), 3, "{:?}", world.lab.lines());
}

/// Rows 38, 42 and 43.
#[tokio::test]
async fn an_index_is_shown_in_fields_of_docker() {
    let world = World::plain();
    let made = [images::image("linux/arm/v7", 1, Flavour::Oci)];
    let index = images::index_with_attestations(&made);
    index.push(&world.lab, "t/app", Some("idx"));
    let [first, second] = index.document.children()[..] else { panic!("two entries") };
    let want = format!(
        r#"{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.oci.image.index.v1+json",
   "manifests": [
      {{
         "mediaType": "application/vnd.oci.image.manifest.v1+json",
         "size": {},
         "digest": "{}",
         "platform": {{
            "architecture": "arm",
            "os": "linux",
            "variant": "v7"
         }}
      }},
      {{
         "mediaType": "application/vnd.oci.image.manifest.v1+json",
         "size": {},
         "digest": "{}",
         "platform": {{
            "architecture": "unknown",
            "os": "unknown"
         }}
      }}
   ]
}}
"#,
        first.size, first.digest, second.size, second.digest
    );
    assert_eq!(world.shown("t/app:idx", InspectForm::Plain).await, want);
    // Row 39: nothing is lost in the raw form.
    let raw = world.inspect("t/app:idx", InspectForm::Raw).await.unwrap();
    assert_eq!(index.document.bytes(), &raw.output);
    assert_eq!(raw.origin, Origin::Store);
}

/// Row 44.
#[tokio::test]
async fn nested_empty_and_sparse_indexes_are_shown() {
    let world = World::plain();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    let inner = images::index(std::slice::from_ref(&image), Flavour::Oci);
    images::nested(&[inner]).push(&world.lab, "t/app", Some("nested"));
    for form in [InspectForm::Plain, InspectForm::Verbose] {
        let report = world.inspect("t/app:nested", form).await.unwrap();
        let shown = value(std::str::from_utf8(&report.output).unwrap());
        let (media_type, count) = match form {
            InspectForm::Verbose => (&shown[0]["Descriptor"]["mediaType"], shown.as_array().unwrap().len()),
            _ => (&shown["manifests"][0]["mediaType"], shown["manifests"].as_array().unwrap().len()),
        };
        assert_eq!((media_type.as_str(), count), (Some(MediaType::OCI_INDEX), 1));
        assert_eq!(report.notes.len(), usize::from(form == InspectForm::Verbose), "{:?}", report.notes);
    }
    images::index(&[], Flavour::Oci).push(&world.lab, "t/app", Some("empty"));
    assert_eq!(
        world.shown("t/app:empty", InspectForm::Plain).await,
        "{\n   \"schemaVersion\": 2,\n   \"mediaType\": \"application/vnd.oci.image.index.v1+json\",\n   \
         \"manifests\": []\n}\n"
    );
    assert_eq!(world.shown("t/app:empty", InspectForm::Verbose).await, "[]\n");
    images::index(std::slice::from_ref(&image), Flavour::Oci).push(&world.lab, "t/sparse", Some("v1"));
    world.lab.delete("t/sparse", image.digest().as_str());
    let plain = value(&world.shown("t/sparse:v1", InspectForm::Plain).await);
    assert_eq!(plain["manifests"][0]["digest"], image.digest().as_str());
    let report = world.inspect("t/sparse:v1", InspectForm::Verbose).await.unwrap();
    assert!(report.notes[0].ends_with("is not there"), "{:?}", report.notes);
    let shown = value(std::str::from_utf8(&report.output).unwrap());
    assert_eq!(shown[0]["Descriptor"]["platform"]["architecture"], "amd64");
    assert!(shown[0].get("Raw").is_none());
}

/// Row 46.
#[tokio::test]
async fn what_is_no_image_is_shown_too() {
    let world = World::plain();
    images::artifact("application/vnd.example", "x", None).push(&world.lab, "t/app", Some("artifact"));
    let plain = value(&world.shown("t/app:artifact", InspectForm::Plain).await);
    assert_eq!(plain["artifactType"], "application/vnd.example");
    let verbose = value(&world.shown("t/app:artifact", InspectForm::Verbose).await);
    assert_eq!(verbose["Descriptor"]["platform"], serde_json::json!({ "architecture": "", "os": "" }));
    // A config that is no JSON: a chart, say.
    let config = world.lab.put_blob("t/app", &b"not JSON"[..]);
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"a/b","size":8,"digest":"{config}"}},"layers":[]}}"#,
        MediaType::OCI_MANIFEST
    );
    world.lab.put_manifest("t/app", Some("chart"), manifest);
    let report = world.inspect("t/app:chart", InspectForm::Verbose).await.unwrap();
    assert!(report.notes[0].starts_with("cannot tell the platform of "), "{:?}", report.notes);
    let shown = value(std::str::from_utf8(&report.output).unwrap());
    assert_eq!(shown["Descriptor"]["platform"], serde_json::json!({ "architecture": "", "os": "" }));
}

/// Row 40.
#[tokio::test]
async fn verbose_forms_name_each_image() {
    let world = World::plain();
    let image = images::image("linux/arm64", 1, Flavour::Docker);
    image.push(&world.lab, "t/app", Some("a"));
    let shown = value(&world.shown("t/app:a", InspectForm::Verbose).await);
    assert_eq!(shown["Ref"], world.at("t/app:a"));
    assert_eq!(shown["SchemaV2Manifest"]["schemaVersion"], 2);
    assert_eq!(shown.as_object().unwrap().keys().collect::<Vec<_>>(), ["Ref", "Descriptor", "Raw", "SchemaV2Manifest"]);
    images::index(std::slice::from_ref(&image), Flavour::Docker).push(&world.lab, "t/app", Some("idx"));
    let shown = value(&world.shown("t/app:idx", InspectForm::Verbose).await);
    assert_eq!(shown[0]["Ref"], world.at(&format!("t/app:idx@{}", image.digest())));
    // A digest of the list is replaced by that of the image.
    let index = world.lab.resolve("t/app", "idx").unwrap();
    let shown = value(&world.shown(&format!("t/app@{index}"), InspectForm::Verbose).await);
    assert_eq!(shown[0]["Ref"], world.at(&format!("t/app@{}", image.digest())));
    // In a local list it is the name of the source.
    world.create("t/app:v1", &["t/app:a"]).await.unwrap();
    let shown = value(&world.shown("t/app:v1", InspectForm::Verbose).await);
    assert_eq!(shown[0]["Ref"], world.at("t/app:a"));
}

/// Rows 17 and 52.
#[tokio::test]
async fn two_arguments_look_at_the_store_alone() {
    let world = World::plain();
    images::image("linux/arm64", 1, Flavour::Oci).push(&world.lab, "t/app", Some("a"));
    world.create("t/app:v1", &["t/app:a"]).await.unwrap();
    world.lab.clear_log();
    let look = |list: &str, image: &str| {
        let request = InspectRequest { list: Some(world.at(list)), image: world.at(image), form: InspectForm::Plain };
        let (drafts, stores) = (world.drafts.clone(), world.stores.clone());
        async move { inspect(&request, &drafts, &stores).await }
    };
    let report = look("t/app:v1", "t/app:a").await.unwrap();
    assert!(report.output.starts_with(b"{\n\t\"schemaVersion\": 2"));
    assert_eq!(report.origin, Origin::Draft);
    // The image is named, also where it is the list that is missing.
    for (list, image) in [("t/app:v1", "t/app:b"), ("t/app:nope", "t/app:a")] {
        let error = look(list, image).await.unwrap_err();
        assert_eq!(error.to_string(), format!("No such manifest: {}", world.at(image)));
    }
    assert_eq!(world.lab.count(), 0);
}

/// Row 18.
#[tokio::test]
async fn a_local_list_hides_the_one_in_the_registry() {
    let world = World::plain();
    images::image("linux/arm64", 1, Flavour::Oci).push(&world.lab, "t/app", Some("a"));
    world.lab.tag("t/app", "v1", &world.lab.resolve("t/app", "a").unwrap());
    world.create("t/app:v1", &["t/app:a"]).await.unwrap();
    world.lab.clear_log();
    let report = world.inspect("t/app:v1", InspectForm::Plain).await.unwrap();
    assert_eq!((report.origin, report.notes.len(), world.lab.count()), (Origin::Draft, 1, 0));
    let raw = world.inspect("t/app:v1", InspectForm::Raw).await.unwrap();
    assert_eq!([&raw.output[..], b"\n"].concat(), report.output);
}

/// Row 19: docker crashes, or asks the registry without a word.
#[tokio::test]
async fn a_damaged_local_list_is_passed_over_with_a_note() {
    let world = World::plain();
    let image = images::image("linux/arm64", 1, Flavour::Oci);
    image.push(&world.lab, "t/app", Some("v1"));
    for damage in ["{}", "null", "{bad"] {
        let directory = world.drafts.path(&reference(&world.at("t/app:v1")));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("x"), damage).unwrap();
        let report = world.inspect("t/app:v1", InspectForm::Raw).await.unwrap();
        assert_eq!(image.document.bytes(), &report.output);
        assert!(report.notes[0].contains("is damaged"), "{:?}", report.notes);
    }
}

#[tokio::test]
async fn a_missing_image_is_named() {
    let world = World::plain();
    let error = world.inspect("t/app:nope", InspectForm::Plain).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no such manifest: {}", world.at("t/app:nope")));
}

/// What the raw form of a list is parses as what it says it is.
#[tokio::test]
async fn the_raw_form_of_a_local_list_is_a_document() {
    let world = World::plain();
    images::image("linux/arm64", 1, Flavour::Oci).push(&world.lab, "t/app", Some("a"));
    world.create("t/app:v1", &["t/app:a"]).await.unwrap();
    let raw = world.inspect("t/app:v1", InspectForm::Raw).await.unwrap().output;
    assert_eq!(Document::new(None, raw).unwrap().media_type().as_str(), MediaType::OCI_INDEX);
}
