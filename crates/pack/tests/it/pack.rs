//! Images without a base.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use image::Platform;
use polyarch_pack::{FileSpec, ImagePath, Naming, PackError, pack};
use transfer::{DocumentOutcome, Options, Silent};

use crate::workshop::{Workshop, blob, config, document, elf, entries, set_mode, tag};

const FOUR: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"];

fn spec(source: std::path::PathBuf, destination: &str) -> FileSpec {
    FileSpec { source, destination: ImagePath::parse(destination).unwrap() }
}

#[tokio::test]
async fn four_binaries_are_an_index_of_four_images() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    let report = shop.pack(&shop.request(&FOUR), &store).await;
    let index = document(&store, tag("v1")).await;
    assert_eq!(report.index.unwrap().digest, *index.digest());
    let entries_of_index = &index.index().unwrap().manifests;
    let platforms: Vec<String> =
        entries_of_index.iter().map(|entry| entry.platform.as_ref().unwrap().to_string()).collect();
    assert_eq!(platforms, FOUR);
    for (entry, platform) in entries_of_index.iter().zip(FOUR) {
        let image = document(&store, entry.digest.clone()).await;
        let layers = &image.manifest().unwrap().layers;
        assert_eq!(layers.len(), 1);
        let size = elf(platform, None).len();
        assert_eq!(entries(&store, &layers[0]).await, BTreeMap::from([("app".to_owned(), format!("755 {size} 0"))]));
        let config = config(&store, &image).await;
        let stated = Platform::parse(platform).unwrap();
        assert_eq!(config["architecture"], stated.architecture);
        assert_eq!(config["variant"].as_str().unwrap_or_default(), stated.variant);
        assert_eq!(config["created"], "1970-01-01T00:00:00Z");
        assert_eq!(config["config"], serde_json::json!({"Entrypoint": ["/app"]}));
        let plain = {
            let mut plain = Vec::new();
            let compressed = blob(&store, &layers[0]).await;
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(compressed.as_slice()), &mut plain).unwrap();
            image::Digest::sha256(&plain)
        };
        assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([plain.as_str()]));
        assert_eq!(config["history"][0]["created_by"], "polyarch pack: /app");
    }
    assert_eq!(report.images.len(), 4);
    assert_eq!(report.transfer.blobs.copied, 8);
    assert!(report.warnings.is_empty());
}

#[tokio::test]
async fn the_same_input_gives_the_same_digests_wherever_and_whenever() {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let shop = Workshop::new();
        let files = shop.file("etc/app.conf", "a=1");
        shop.file("etc/b/c", "c");
        for dir in ["etc", "etc/b"] {
            set_mode(&shop.path(dir), 0o755);
        }
        let mut request = shop.request(&FOUR);
        request.files = vec![spec(shop.path("etc"), "/etc/app")];
        request.labels = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let packed = pack(&request).await.unwrap();
        fs::File::options().write(true).open(files).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let again = pack(&request).await.unwrap();
        assert_eq!(packed.index().digest(), again.index().digest());
        digests.push(packed.index().bytes().clone());

        request.source_date_epoch = Some(1_700_000_000);
        let later = pack(&request).await.unwrap();
        assert_ne!(later.index().digest(), packed.index().digest());
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
async fn source_date_epoch_is_every_time_in_the_image() {
    let shop = Workshop::new();
    let store = shop.layout("out");
    let mut request = shop.request(&["linux/arm64"]);
    request.source_date_epoch = Some(1_700_000_000);
    shop.pack(&request, &store).await;
    let index = document(&store, tag("v1")).await;
    let image = document(&store, index.index().unwrap().manifests[0].digest.clone()).await;
    let config = config(&store, &image).await;
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(config["history"][0]["created"], "2023-11-14T22:13:20Z");
    let entries = entries(&store, &image.manifest().unwrap().layers[0]).await;
    assert!(entries["app"].ends_with(" 1700000000"));

    request.source_date_epoch = Some(u64::MAX);
    assert!(matches!(pack(&request).await.unwrap_err(), PackError::Epoch(_)));
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_one_layer_for_all_platforms_below_the_binary() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    shop.file("www/index.html", "<p>");
    shop.file("www/run", "#!/bin/sh");
    for (path, mode) in [("www", 0o750), ("www/index.html", 0o600), ("www/run", 0o4755)] {
        set_mode(&shop.path(path), mode);
    }
    std::os::unix::fs::symlink("index.html", shop.path("www/link")).unwrap();
    let mut request = shop.request(&["linux/amd64", "linux/arm64"]);
    request.place = ImagePath::parse("/usr/bin/app").unwrap();
    request.files = vec![
        spec(shop.path("www"), "/srv/www"),
        spec(shop.file("conf", "x"), "/etc/conf"),
        spec(shop.path("www/index.html"), "/srv/www/copy.html"),
    ];
    let report = shop.pack(&request, &store).await;
    // Two configs, two binaries, and the files once.
    assert_eq!(report.transfer.blobs.copied, 5);
    assert_eq!(report.images[0].layers[0], report.images[1].layers[0]);
    assert_ne!(report.images[0].layers[1], report.images[1].layers[1]);
    let want = [
        ("etc/", "755 0 0"),
        ("etc/conf", "644 1 0"),
        ("srv/", "755 0 0"),
        ("srv/www/", "750 0 0"),
        ("srv/www/copy.html", "600 3 0"),
        ("srv/www/index.html", "600 3 0"),
        ("srv/www/link", "777 -> index.html 0"),
        ("srv/www/run", "4755 9 0"),
    ];
    let want: BTreeMap<_, _> = want.iter().map(|(path, line)| ((*path).to_owned(), (*line).to_owned())).collect();
    assert_eq!(entries(&store, &report.images[0].layers[0].descriptor).await, want);
    let size = elf("linux/amd64", None).len();
    let want = [("usr/", "755 0 0"), ("usr/bin/", "755 0 0"), ("usr/bin/app", &format!("755 {size} 0"))];
    let want: BTreeMap<_, _> = want.iter().map(|(path, line)| ((*path).to_owned(), (*line).to_owned())).collect();
    assert_eq!(entries(&store, &report.images[0].layers[1].descriptor).await, want);
    let image = document(&store, report.images[0].manifest.digest.clone()).await;
    let config = config(&store, &image).await;
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/usr/bin/app"]));
    assert_eq!(config["history"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_file_in_the_place_of_the_binary_is_refused() {
    let shop = Workshop::new();
    let mut request = shop.request(&["linux/amd64"]);
    request.files = vec![spec(shop.file("x", "x"), "/app")];
    let error = pack(&request).await.unwrap_err();
    assert!(error.to_string().ends_with("at `/app`"), "{error}");
}

#[tokio::test]
async fn one_image_per_platform_each_with_its_tag() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    let packed = pack(&shop.request(&FOUR)).await.unwrap();
    let naming = Naming::Single(vec![tag("v1")]);
    let report = packed.write(&store, &naming, &Options::default(), &Silent).await.unwrap();
    assert_eq!(report.index, None);
    let tags: Vec<String> = report.images.iter().map(|image| image.tags[0].to_string()).collect();
    assert_eq!(tags, ["v1-amd64", "v1-arm64", "v1-arm-v7", "v1-riscv64"]);
    for image in &report.images {
        let there = document(&store, image.tags[0].clone()).await;
        assert_eq!(*there.digest(), image.manifest.digest);
    }
    assert_eq!(store.tags().unwrap().list_tags().await.unwrap().len(), 4);

    let long = Naming::Single(vec![tag(&"t".repeat(125))]);
    let error = packed.plan(&store, &long).unwrap_err();
    assert!(error.to_string().starts_with("make a tag for `linux/amd64` of `ttt"), "{error}");
}

#[tokio::test]
async fn the_same_image_again_is_nothing_to_do() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    let request = shop.request(&FOUR);
    shop.pack(&request, &store).await;
    let report = shop.pack(&request, &store).await;
    assert!(report.transfer.documents.iter().all(|document| document.outcome == DocumentOutcome::AlreadyThere));
    assert_eq!(report.transfer.blobs.copied, 0);
}

#[tokio::test]
async fn what_is_packed_can_be_written_to_several_stores() {
    let shop = Workshop::new();
    let packed = pack(&shop.request(&FOUR)).await.unwrap();
    let naming = Naming::Index(vec![tag("v1")]);
    for store in [shop.layout("a"), shop.local("app").await] {
        let plan = packed.plan(&store, &naming).unwrap();
        assert_eq!(plan.steps().iter().filter(|step| step.action.verb() == "copy").count(), 8);
        packed.write(&store, &naming, &Options::default(), &Silent).await.unwrap();
        assert_eq!(document(&store, tag("v1")).await.digest(), packed.index().digest());
    }
}

#[tokio::test]
async fn nothing_is_left_in_the_scratch_directory() {
    let shop = Workshop::new();
    let request = shop.request(&FOUR);
    let packed = pack(&request).await.unwrap();
    assert_eq!(fs::read_dir(shop.path("scratch")).unwrap().count(), 0);
    drop(packed);

    let mut request = request;
    request.scratch = shop.path("none");
    let error = pack(&request).await.unwrap_err();
    assert!(matches!(error, PackError::Layer { .. }), "{error}");
}

#[tokio::test]
async fn a_base_that_is_not_there_is_named() {
    let shop = Workshop::new();
    let mut request = shop.request(&["linux/amd64"]);
    let store = shop.local("base").await;
    request.base = Some(polyarch_pack::Base { store: Arc::clone(&store), target: tag("none").into() });
    let error = pack(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "read the base image local:docker.io/base:none");
    assert!(error.store_error().is_some());
}

#[tokio::test]
async fn layers_can_be_zstd() {
    let shop = Workshop::new();
    let store = shop.layout("out");
    let mut request = shop.request(&["linux/amd64"]);
    request.compression = polyarch_pack::Compression::Zstd;
    let report = shop.pack(&request, &store).await;
    let layer = &report.images[0].layers[0].descriptor;
    assert_eq!(layer.media_type.as_str(), image::MediaType::OCI_LAYER_ZSTD);
    assert_eq!(blob(&store, layer).await[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}
