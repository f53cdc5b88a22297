//! The file system of an image, in a directory.

use std::fs;
use std::sync::Arc;

use image::{Digest, Document, MediaType, Platform, Target};
use polyarch_pack::{UnpackImageError, UnpackRequest, choose, unpack};
use store::ImageStore;

use crate::workshop::{Workshop, elf, tag};

fn request(shop: &Workshop, store: &Arc<dyn ImageStore>, target: impl Into<Target>, platform: &str) -> UnpackRequest {
    UnpackRequest {
        store: Arc::clone(store),
        target: target.into(),
        platform: Platform::parse(platform).unwrap(),
        directory: shop.path("out/rootfs"),
        privileged: false,
    }
}

/// Names below the directory that would hold the result.
fn left(shop: &Workshop) -> Vec<String> {
    fs::read_dir(shop.path("out")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn the_image_of_the_platform_is_unpacked_and_nothing_else_is_left() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    shop.pack(&shop.request(&["linux/amd64", "linux/arm64"]), &store).await;
    fs::create_dir(shop.path("out")).unwrap();
    for platform in ["linux/arm64", "linux/amd64"] {
        let request = request(&shop, &store, tag("v1"), platform);
        let report = unpack(&request, &choose(&request).await.unwrap()).await.unwrap();
        assert_eq!((report.layers, report.entries, report.platform.as_deref()), (1, 1, Some(platform)));
        assert_eq!(fs::read(shop.path("out/rootfs/app")).unwrap(), elf(platform, None));
        assert_eq!(left(&shop), ["rootfs"]);
        // The next one finds an empty directory, which is as good as none.
        fs::remove_file(shop.path("out/rootfs/app")).unwrap();
    }
}

#[tokio::test]
async fn what_is_there_is_not_touched() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    shop.pack(&shop.request(&["linux/amd64"]), &store).await;
    shop.file("out/rootfs/mine", "x");
    let request = request(&shop, &store, tag("v1"), "linux/amd64");
    let error = unpack(&request, &choose(&request).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().ends_with("rootfs`: the directory is not empty"), "{error}");
    assert_eq!(fs::read(shop.path("out/rootfs/mine")).unwrap(), b"x");
    assert_eq!(left(&shop), ["rootfs"]);
}

#[tokio::test]
async fn a_platform_that_is_missing_is_told_with_those_that_are_there() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    shop.pack(&shop.request(&["linux/amd64", "linux/arm64"]), &store).await;
    let error = choose(&request(&shop, &store, tag("v1"), "linux/s390x")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "unpack `local:docker.io/app:v1`: it has no image for linux/s390x, only linux/amd64, linux/arm64"
    );
}

#[tokio::test]
async fn a_layer_that_is_not_what_the_config_says_leaves_nothing_behind() {
    let shop = Workshop::new();
    let store = shop.local("app").await;
    let report = shop.pack(&shop.request(&["linux/amd64"]), &store).await;
    let good = store.document(&report.images[0].manifest.digest.clone().into()).await.unwrap();
    // The same manifest with another config: diff IDs of something else.
    let config = format!(r#"{{"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#, Digest::sha256(b"else"));
    let digest = Digest::sha256(config.as_bytes());
    let manifest = good.manifest().unwrap();
    let text = String::from_utf8(good.bytes().to_vec())
        .unwrap()
        .replace(manifest.config.digest.as_str(), digest.as_str())
        .replace(&format!("\"size\":{}", manifest.config.size), &format!("\"size\":{}", config.len()));
    let bad = Document::new(Some(&MediaType::from(MediaType::OCI_MANIFEST)), text).unwrap();
    let content = content::ContentStore::open(shop.path("data"), content::Options::default()).await.unwrap();
    let repository = content::RepositoryId::from(&"docker.io/app:v1".parse::<image::Reference>().unwrap());
    let repository = content::RepositoryId { name: image::RepositoryName::parse("app").unwrap(), ..repository };
    content.put_blob_bytes(&repository, &digest, config.into()).await.unwrap();
    store.put_document(&bad, Some(&tag("bad"))).await.unwrap();

    fs::create_dir(shop.path("out")).unwrap();
    let request = request(&shop, &store, tag("bad"), "linux/amd64");
    let error = unpack(&request, &choose(&request).await.unwrap()).await.unwrap_err();
    assert!(matches!(error, UnpackImageError::Layer { .. }), "{error}");
    assert!(error.to_string().contains("but the config says"), "{error}");
    assert!(left(&shop).is_empty());
}
