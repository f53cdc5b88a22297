//! OCI image layouts: what is on the disk before and after.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use image::{Descriptor, Digest, RepositoryName, Tag, Target};
use lab::images::{self, Flavour, Image};
use polyarch_store::{
    BlobOrigin, BlobPlacement, BlobReader, ImageStore, LayoutError, LayoutStore, Location, StoreError, StoreErrorKind,
};
use serde_json::{Value, json};
use tokio::sync::Barrier;

/// A blob in memory.
struct Memory(Bytes);

#[async_trait]
impl BlobOrigin for Memory {
    fn mount_from(&self) -> Option<&RepositoryName> {
        None
    }

    async fn open(&self) -> Result<BlobReader, StoreError> {
        let bytes = self.0.clone();
        Ok(Box::pin(stream::iter([Ok(bytes)])))
    }
}

/// A blob of which nothing ever comes after the first piece.
struct Stuck(Bytes);

#[async_trait]
impl BlobOrigin for Stuck {
    fn mount_from(&self) -> Option<&RepositoryName> {
        None
    }

    async fn open(&self) -> Result<BlobReader, StoreError> {
        use futures_util::StreamExt;
        let bytes = self.0.clone();
        Ok(Box::pin(stream::iter([Ok(bytes)]).chain(stream::pending())))
    }
}

fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

async fn put(store: &LayoutStore, image: &Image, name: Option<&str>) -> Result<(), StoreError> {
    for (descriptor, bytes) in &image.blobs {
        store.place_blob(descriptor, &Memory(bytes.clone())).await?;
    }
    store.put_document(&image.document, name.map(tag).as_ref()).await.map(|_| ())
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn index(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("index.json")).unwrap()).unwrap()
}

fn cause(error: &StoreError) -> &LayoutError {
    error.source.as_ref().unwrap().downcast_ref().unwrap()
}

fn blob_path(directory: &Path, digest: &Digest) -> std::path::PathBuf {
    directory.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

#[tokio::test]
async fn a_new_layout_is_one_for_everybody() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&store, &image, Some("v1")).await.unwrap();
    assert_eq!(names(directory.path()), [".polyarch.lock", "blobs", "index.json", "oci-layout"]);
    assert_eq!(fs::read(directory.path().join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(
        index(directory.path()),
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [{
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": image.digest(),
                "size": image.document.size(),
                "annotations": { "org.opencontainers.image.ref.name": "v1" },
            }],
        })
    );
    assert_eq!(names(&directory.path().join("blobs/sha256")).len(), 3);
}

#[tokio::test]
async fn what_others_wrote_into_the_index_stays_to_the_letter() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let images = ["linux/amd64", "linux/arm64", "linux/riscv64"].map(|p| images::image(p, 1, Flavour::Oci));
    put(&store, &images[0], Some("first")).await.unwrap();
    let entry = format!(
        r#"{{ "vendor.field": 1.50, "digest":"{}",  "size": {}, "mediaType" : "{}", "annotations":{{"org.opencontainers.image.ref.name":"kept","x":"\u0079"}} }}"#,
        images[0].digest(),
        images[0].document.size(),
        images[0].document.media_type(),
    );
    let text =
        format!("{{\n\t\"schemaVersion\": 2,\n\t\"org.example\": [1e0],\n\t\"manifests\": [\n\t\t{entry}\n\t]\n}}\n");
    fs::write(directory.path().join("index.json"), &text).unwrap();
    put(&store, &images[1], Some("added")).await.unwrap();
    let after = fs::read_to_string(directory.path().join("index.json")).unwrap();
    let (before, rest) = after.split_once(&entry).expect("the entry is as it was");
    assert_eq!(before, "{\n\t\"schemaVersion\": 2,\n\t\"org.example\": [1e0],\n\t\"manifests\": [\n\t\t");
    assert!(rest.ends_with("\n\t]\n}\n"), "{rest}");
    // Retagging replaces the one entry; deleting takes it out and leaves what was there before it came.
    put(&store, &images[2], Some("added")).await.unwrap();
    assert_eq!(index(directory.path())["manifests"].as_array().unwrap().len(), 2);
    store.delete().unwrap().delete_document(&tag("added").into()).await.unwrap();
    assert_eq!(fs::read_to_string(directory.path().join("index.json")).unwrap(), text);
    // What is in order is not written again.
    put(&store, &images[0], Some("kept")).await.unwrap();
    assert_eq!(fs::read_to_string(directory.path().join("index.json")).unwrap(), text);
}

#[tokio::test]
async fn an_entry_without_a_tag_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&store, &image, Some("v1")).await.unwrap();
    let mut document = index(directory.path());
    document["manifests"][0]["annotations"] = json!({ "keep": "me" });
    fs::write(directory.path().join("index.json"), document.to_string()).unwrap();
    put(&store, &image, Some("v2")).await.unwrap();
    let after = index(directory.path());
    assert_eq!(after["manifests"].as_array().unwrap().len(), 1);
    let annotations = json!({ "keep": "me", "org.opencontainers.image.ref.name": "v2" });
    assert_eq!(after["manifests"][0]["annotations"], annotations);
}

#[tokio::test]
async fn a_layout_named_without_a_tag_is_its_only_image() {
    let directory = tempfile::tempdir().unwrap();
    let plain = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&plain, &image, Some("v1")).await.unwrap();
    let target = Location::parse("oci:x").unwrap().target();
    assert_eq!(plain.resolve(&target).await.unwrap(), None);
    let sole = plain.clone().sole_entry_as_latest();
    assert_eq!(sole.resolve(&target).await.unwrap().unwrap().digest, *image.digest());
    put(&plain, &image, Some("v2")).await.unwrap();
    assert!(sole.resolve(&target).await.unwrap().is_some(), "two names of one image");
    let other = images::image("linux/arm64", 1, Flavour::Oci);
    put(&plain, &other, Some("v3")).await.unwrap();
    assert_eq!(sole.resolve(&target).await.unwrap(), None);
    put(&plain, &other, Some("latest")).await.unwrap();
    assert_eq!(sole.resolve(&target).await.unwrap().unwrap().digest, *other.digest());
    assert_eq!(sole.resolve(&tag("none").into()).await.unwrap(), None);
}

#[tokio::test]
async fn one_tag_for_two_images_is_not_guessed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let [a, b] = ["linux/amd64", "linux/arm64"].map(|platform| images::image(platform, 1, Flavour::Oci));
    put(&store, &a, Some("v1")).await.unwrap();
    put(&store, &b, Some("v2")).await.unwrap();
    let mut document = index(directory.path());
    document["manifests"][1]["annotations"]["org.opencontainers.image.ref.name"] = json!("v1");
    fs::write(directory.path().join("index.json"), document.to_string()).unwrap();
    let error = store.document(&tag("v1").into()).await.unwrap_err();
    assert!(matches!(cause(&error), LayoutError::Ambiguous { digests, .. } if digests.len() == 2), "{error:?}");
    assert_eq!(error.hint.as_deref(), Some("name one of them: `oci:DIR@DIGEST`"));
    // Writing the tag settles it.
    put(&store, &b, Some("v1")).await.unwrap();
    assert_eq!(store.resolve(&tag("v1").into()).await.unwrap().unwrap().digest, *b.digest());
    assert_eq!(index(directory.path())["manifests"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    let (layer, bytes) = &image.blobs[1];
    fs::write(outside.path().join("secret"), bytes).unwrap();
    let expect_link = |error: StoreError| {
        assert!(matches!(cause(&error), LayoutError::Link(_)), "{error:?}");
        assert_eq!(error.kind, StoreErrorKind::Invalid);
    };
    // A blob that is a link.
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    put(&store, &image, Some("v1")).await.unwrap();
    let path = blob_path(directory.path(), &layer.digest);
    fs::remove_file(&path).unwrap();
    symlink(outside.path().join("secret"), &path).unwrap();
    expect_link(store.blob(layer).await.err().unwrap());
    expect_link(store.has_blob(layer).await.unwrap_err());
    expect_link(store.put_document(&image.document, None).await.unwrap_err());
    // A directory of blobs that is a link: nothing is read from there or written to.
    for part in ["blobs", "blobs/sha256"] {
        let directory = tempfile::tempdir().unwrap();
        let store = LayoutStore::new(directory.path());
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        fs::create_dir_all(directory.path().join(part).parent().unwrap()).unwrap();
        symlink(outside.path(), directory.path().join(part)).unwrap();
        expect_link(store.has_blob(layer).await.unwrap_err());
        expect_link(store.place_blob(layer, &Memory(bytes.clone())).await.unwrap_err());
        assert_eq!(names(outside.path()), ["secret"], "{part}");
    }
    // The files beside the blobs.
    for name in ["index.json", "oci-layout", ".polyarch.lock"] {
        let directory = tempfile::tempdir().unwrap();
        let store = LayoutStore::new(directory.path());
        put(&store, &image, Some("v1")).await.unwrap();
        fs::rename(directory.path().join(name), outside.path().join("moved")).unwrap();
        symlink(outside.path().join("moved"), directory.path().join(name)).unwrap();
        expect_link(put(&store, &image, Some("v2")).await.unwrap_err());
    }
    // The layout's own directory may be one: its user named it.
    let link = outside.path().join("link");
    symlink(directory.path(), &link).unwrap();
    assert!(LayoutStore::new(&link).resolve(&tag("v1").into()).await.unwrap().is_some());
    assert_eq!(LayoutStore::new(&link).medium(), store.medium());
}

#[tokio::test]
async fn neither_pipes_nor_directories_are_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&store, &image, Some("v1")).await.unwrap();
    let (layer, _) = &image.blobs[1];
    let path = blob_path(directory.path(), &layer.digest);
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let error = store.blob(layer).await.err().unwrap();
    assert!(matches!(cause(&error), LayoutError::NotA { expected: "file", .. }), "{error:?}");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(cause(&store.blob(layer).await.err().unwrap()), LayoutError::NotA { .. }));
}

#[tokio::test]
async fn damage_is_found_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::maker("linux/amd64").size(1 << 20).make();
    put(&store, &image, Some("v1")).await.unwrap();
    let (layer, bytes) = &image.blobs[1];
    let read = async || store.blob(layer).await?.try_collect::<Vec<Bytes>>().await;
    let path = blob_path(directory.path(), &layer.digest);
    let mut changed = bytes.to_vec();
    changed[1000] ^= 1;
    fs::write(&path, &changed).unwrap();
    let error = read().await.unwrap_err();
    assert!(matches!(cause(&error), LayoutError::Content { .. }), "{error:?}");
    assert_eq!(error.kind, StoreErrorKind::Invalid);
    fs::write(&path, &changed[1..]).unwrap();
    assert!(matches!(cause(&read().await.unwrap_err()), LayoutError::Size { .. }));
    // A blob that was cut off is not there: it is written again.
    assert!(!store.has_blob(layer).await.unwrap());
    let placed = store.place_blob(layer, &Memory(bytes.clone())).await.unwrap();
    assert_eq!(placed, BlobPlacement::Copied);
    assert_eq!(read().await.unwrap().concat(), &**bytes);
    // The manifest: another one of the same length, then none.
    let path = blob_path(directory.path(), image.digest());
    let other = String::from_utf8(image.document.bytes().to_vec()).unwrap().replacen("\"layers\"", "\"Layers\"", 1);
    fs::write(&path, other).unwrap();
    let error = store.document(&tag("v1").into()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error:?}");
    fs::remove_file(&path).unwrap();
    let error = store.resolve(&tag("v1").into()).await.unwrap_err();
    assert!(matches!(cause(&error), LayoutError::Lost(digest) if digest == image.digest()), "{error:?}");
}

#[tokio::test]
async fn what_is_no_layout_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub");
    let store = LayoutStore::new(&path);
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    let text = |error: &StoreError| format!("{error}: {}", error.source.as_ref().unwrap());
    let error = store.document(&tag("v1").into()).await.unwrap_err();
    let shown = path.display();
    assert_eq!(text(&error), format!("read `oci:{shown}:v1`: there is no OCI image layout in `{shown}`"));
    assert_eq!(error.kind, StoreErrorKind::NotFound);
    assert!(!path.exists(), "reading creates nothing");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("thesis.tex"), "").unwrap();
    let error = put(&store, &image, Some("v1")).await.unwrap_err();
    assert!(matches!(cause(&error), LayoutError::OtherContent(_)), "{error:?}");
    assert_eq!(names(&path), ["thesis.tex"]);
    for (file, content, want) in [
        ("oci-layout", "{", "`oci-layout` is damaged: "),
        (
            "oci-layout",
            r#"{"imageLayoutVersion":"2.\u001b"}"#,
            r"`oci-layout` states version `2.\u{1b}`, expected `1.0.0`",
        ),
        ("index.json", "[]", "`index.json` is damaged: "),
        (
            "index.json",
            r#"{"schemaVersion":2,"schemaVersion":2,"manifests":[]}"#,
            "`index.json` is damaged: duplicate key",
        ),
        ("index.json", r#"{"schemaVersion":2,"config":{}}"#, "`index.json` is damaged: "),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = LayoutStore::new(directory.path());
        put(&store, &image, Some("v1")).await.unwrap();
        fs::write(directory.path().join(file), content).unwrap();
        for error in [
            store.document(&tag("v1").into()).await.unwrap_err(),
            store.put_document(&image.document, Some(&tag("v2"))).await.unwrap_err(),
        ] {
            assert!(text(&error).contains(want), "{}", text(&error));
        }
        assert_eq!(fs::read_to_string(directory.path().join(file)).unwrap(), content, "left as it was");
    }
}

#[tokio::test]
async fn an_index_keeps_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    let list = images::index(std::slice::from_ref(&image), Flavour::Oci);
    put(&store, &image, Some("child")).await.unwrap();
    store.put_document(&list.document, Some(&tag("list"))).await.unwrap();
    let outer = images::nested(std::slice::from_ref(&list));
    store.put_document(&outer.document, Some(&tag("outer"))).await.unwrap();
    store.delete().unwrap().delete_document(&tag("list").into()).await.unwrap();
    let delete = async |digest: &Digest| store.delete().unwrap().delete_document(&digest.clone().into()).await;
    for part in [image.digest(), list.digest()] {
        let error = delete(part).await.unwrap_err();
        assert!(matches!(cause(&error), LayoutError::PartOfIndex), "{error:?}");
        assert_eq!(error.kind, StoreErrorKind::Denied);
    }
    assert!(store.resolve(&tag("child").into()).await.unwrap().is_some(), "nothing was half-done");
    for part in [outer.digest(), list.digest(), image.digest()] {
        delete(part).await.unwrap();
    }
    // A config is no document, and is not deleted as one.
    let error = delete(&image.blobs[0].0.digest).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound);
    assert!(store.has_blob(&image.blobs[0].0).await.unwrap());
}

#[tokio::test]
async fn a_write_that_is_given_up_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let bytes = images::random(1, 100_000);
    let descriptor = Descriptor::new("x", Digest::sha256(&bytes), 100_000);
    let stuck = Stuck(bytes.slice(..50_000));
    let write = store.place_blob(&descriptor, &stuck);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), write).await.is_err());
    let clean = || names(directory.path()).iter().all(|name| !name.starts_with(".polyarch-"));
    for _ in 0..100 {
        if clean() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(clean(), "{:?}", names(directory.path()));
    assert!(!store.has_blob(&descriptor).await.unwrap());
}

#[tokio::test]
async fn what_a_crash_left_behind_is_swept_away_a_day_later() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&store, &image, Some("v1")).await.unwrap();
    for (name, hours) in [(".polyarch-old", 25), (".polyarch-new", 1)] {
        let file = fs::File::create(directory.path().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(hours * 3600)).unwrap();
    }
    put(&store, &image, Some("v2")).await.unwrap();
    assert_eq!(names(directory.path()), [".polyarch-new", ".polyarch.lock", "blobs", "index.json", "oci-layout"]);
    // A crash between the layout's two files leaves a layout with nothing in it.
    fs::remove_file(directory.path().join("index.json")).unwrap();
    assert_eq!(store.resolve(&tag("v1").into()).await.unwrap(), None);
    put(&store, &image, Some("v3")).await.unwrap();
    assert_eq!(store.tags().unwrap().list_tags().await.unwrap(), [tag("v3")]);
}

#[tokio::test]
async fn referrers_of_the_fall_back_tag_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let store = LayoutStore::new(directory.path());
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&store, &image, Some("v1")).await.unwrap();
    let artifact = images::artifact("application/sbom", "x", Some(&image.document.descriptor()));
    let listing = images::index(std::slice::from_ref(&artifact), Flavour::Oci);
    put(&store, &artifact, None).await.unwrap();
    let mut document = index(directory.path());
    document["manifests"].as_array_mut().unwrap().truncate(1);
    fs::write(directory.path().join("index.json"), document.to_string()).unwrap();
    let lister = store.referrers().unwrap();
    assert_eq!(lister.list_referrers(image.digest()).await.unwrap(), []);
    let fallback = tag(&format!("sha256-{}", image.digest().hex()));
    store.put_document(&listing.document, Some(&fallback)).await.unwrap();
    let found = lister.list_referrers(image.digest()).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].digest, *artifact.digest());
    let target = Target::Tag(fallback);
    assert!(store.resolve(&target).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_begin_a_layout_together_do_not_take_each_other_for_strangers() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let store = LayoutStore::new(dir.path().join("new"));
        let together = Arc::new(Barrier::new(16));
        let writers = (0..16).map(|writer| {
            let (store, together) = (store.clone(), Arc::clone(&together));
            let bytes = Bytes::from(format!("{round} {writer}"));
            tokio::spawn(async move {
                let descriptor = Descriptor::new("x", Digest::sha256(&bytes), bytes.len() as u64);
                together.wait().await;
                store.place_blob(&descriptor, &Memory(bytes)).await
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap().unwrap();
        }
    }
}
