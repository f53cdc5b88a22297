//! The local store: what its repositories share, and what they keep apart.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use image::{Digest, RepositoryName, Tag, Target};
use lab::Lab;
use lab::images::{self, Flavour, Image};
use polyarch_store::{BlobOrigin, BlobPlacement, BlobReader, ImageStore, Location, Medium, StoreError, StoreErrorKind};

mod opened;

/// A blob in memory that may be asked for or not.
struct Memory(Option<Bytes>);

#[async_trait]
impl BlobOrigin for Memory {
    fn mount_from(&self) -> Option<&RepositoryName> {
        None
    }

    async fn open(&self) -> Result<BlobReader, StoreError> {
        let bytes = self.0.clone().expect("nobody needs to read it");
        Ok(Box::pin(stream::iter([Ok(bytes)])))
    }
}

async fn put(store: &dyn ImageStore, image: &Image, tag: &str) {
    for (descriptor, bytes) in &image.blobs {
        store.place_blob(descriptor, &Memory(Some(bytes.clone()))).await.unwrap();
    }
    store.put_document(&image.document, Some(&Tag::parse(tag).unwrap())).await.unwrap();
}

fn v1() -> Target {
    Target::Tag(Tag::parse("v1").unwrap())
}

#[tokio::test]
async fn repositories_share_blobs_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let app = opened::local(data.path(), "app").await;
    let image = images::maker("linux/amd64").size(100_000).make();
    put(&*app, &image, "v1").await;
    for name in ["other", "ghcr.io/library/app", "127.0.0.1:5000/library/app"] {
        let other = opened::local(data.path(), name).await;
        assert_eq!(other.resolve(&v1()).await.unwrap(), None, "{name}");
        for (descriptor, _) in &image.blobs {
            assert!(!other.has_blob(descriptor).await.unwrap(), "{name}");
            let placed = other.place_blob(descriptor, &Memory(None)).await.unwrap();
            assert_eq!(placed, BlobPlacement::Mounted, "{name}");
            let again = other.place_blob(descriptor, &Memory(None)).await.unwrap();
            assert_eq!(again, BlobPlacement::AlreadyThere, "{name}");
        }
        assert_eq!(other.medium(), Medium::Local(data.path().to_owned()));
        assert_ne!(other.spell(&v1()), app.spell(&v1()));
    }
    assert_eq!(app.spell(&v1()), "local:docker.io/library/app:v1");
}

/// A push from a damaged data directory used to send all of the bytes before it noticed.
#[tokio::test]
async fn the_last_bytes_of_a_blob_that_went_bad_are_not_handed_on() {
    let data = tempfile::tempdir().unwrap();
    let store = opened::local(data.path(), "app").await;
    let image = images::maker("linux/amd64").size(700_000).make();
    put(&*store, &image, "v1").await;
    let layer = &image.blobs[1].0;
    let name = layer.digest.hex();
    let path = data.path().join("blobs/sha256").join(&name[..2]).join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1000] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let mut reader = store.blob(layer).await.unwrap();
    let mut handed_on = 0;
    let error = loop {
        match reader.next().await.unwrap() {
            Ok(piece) => handed_on += piece.len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error:?}");
    assert!(0 < handed_on && handed_on < layer.size, "{handed_on} of {}", layer.size);
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn an_index_keeps_its_children() {
    let data = tempfile::tempdir().unwrap();
    let store = opened::local(data.path(), "app").await;
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    put(&*store, &image, "v1").await;
    let list = images::index(std::slice::from_ref(&image), Flavour::Oci);
    let tag = Tag::parse("list").unwrap();
    store.put_document(&list.document, Some(&tag)).await.unwrap();
    let delete = async |digest: &Digest| store.delete().unwrap().delete_document(&digest.clone().into()).await;
    let error = delete(image.digest()).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Denied, "{error:?}");
    assert_eq!(error.hint.as_deref(), Some("remove what it is part of first"));
    delete(list.digest()).await.unwrap();
    delete(image.digest()).await.unwrap();
}

#[tokio::test]
async fn a_location_leads_to_its_store() {
    let lab = Lab::start();
    let data = tempfile::tempdir().unwrap();
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    image.push(&lab, "app", Some("v1"));
    let layout = data.path().join("layout");
    let stores = opened::stores(&lab, &data.path().join("data"));
    let names = [lab.reference("app", "v1"), "local:app:v1".to_owned(), format!("oci:{}:v1", layout.display())];
    let mut from = None;
    for name in &names {
        let location = Location::parse(name).unwrap();
        let store = stores.open_for_writing(&location).await.unwrap();
        if from.is_some() {
            put(&*store, &image, "v1").await;
        }
        let document = stores.open(&location).await.unwrap().document(&location.target()).await.unwrap();
        assert_eq!(document.bytes(), image.document.bytes(), "{name}");
        let read = store.blob(&image.blobs[1].0).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(read.concat(), &*image.blobs[1].1, "{name}");
        from = Some(store);
    }
    let bare = Location::parse(&format!("oci:{}", layout.display())).unwrap();
    assert!(stores.open(&bare).await.unwrap().resolve(&bare.target()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_data_directory_that_is_none_is_said_once_it_is_needed() {
    let lab = Lab::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let stores = opened::stores(&lab, file.path());
    let error = stores.open(&Location::parse("local:app").unwrap()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("open the local store at `{}`", file.path().display()));
    assert_eq!(error.kind, StoreErrorKind::Io, "{error:?}");
    stores.open(&Location::parse(&lab.reference("app", "v1")).unwrap()).await.unwrap();
}
