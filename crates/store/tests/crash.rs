//! A process that writes into a layout is killed at any moment: what it had finished is there and whole.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use image::{RepositoryName, Tag};
use lab::images;
use polyarch_store::{BlobOrigin, BlobReader, ImageStore, LayoutStore, StoreError};

/// Tells the test program that it is the one to be killed, and where to write.
const DIRECTORY: &str = "POLYARCH_TEST_LAYOUT";
const ROUNDS: u64 = 25;

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

fn tag(number: u64) -> Tag {
    Tag::parse(&format!("v{number}")).unwrap()
}

/// What is killed. It says on standard error which tag it has finished.
async fn write_without_end(directory: OsString) {
    let store = LayoutStore::new(directory);
    let seed = u64::from(std::process::id());
    for number in 0.. {
        let image = images::maker("linux/amd64").layers(2).size(20_000).seed(seed * 1000 + number).make();
        for (descriptor, bytes) in &image.blobs {
            store.place_blob(descriptor, &Memory(bytes.clone())).await.unwrap();
        }
        let tag = tag(number % 7);
        store.put_document(&image.document, Some(&tag)).await.unwrap();
        // In one piece, so that a line is either there or not.
        let line = format!("done {tag} {}\n", image.digest());
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
}

async fn check(directory: &Path) -> usize {
    let store = LayoutStore::new(directory);
    let Ok(tags) = store.tags().unwrap().list_tags().await else { return 0 };
    for tag in &tags {
        let document = store.document(&tag.clone().into()).await.unwrap();
        for child in document.children() {
            store.blob(child).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
        }
    }
    tags.len()
}

/// The test starts itself again as the process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_layout_survives_being_killed_at_any_moment() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return write_without_end(directory).await;
    }
    let directory = tempfile::tempdir().unwrap();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_layout_survives_being_killed_at_any_moment", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let reading = std::thread::spawn(move || said.lines().map_while(Result::ok).last());
        tokio::time::sleep(Duration::from_millis(5 + (round * 37) % 120)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let last = reading.join().unwrap();
        check(directory.path()).await;
        // The last one that was said to be done is there: its tag is not used again for six more.
        if let Some(line) = last.as_deref().and_then(|line| line.strip_prefix("done ")) {
            let (tag, digest) = line.split_once(' ').unwrap();
            let found = LayoutStore::new(directory.path()).resolve(&Tag::parse(tag).unwrap().into()).await.unwrap();
            assert_eq!(found.unwrap().digest.as_str(), digest, "round {round}");
        }
    }
    assert!(check(directory.path()).await > 0, "something was written at all");
    // Whoever was killed holds no lock.
    let image = images::image("linux/amd64", 1, images::Flavour::Oci);
    let store = LayoutStore::new(directory.path());
    for (descriptor, bytes) in &image.blobs {
        store.place_blob(descriptor, &Memory(bytes.clone())).await.unwrap();
    }
    store.put_document(&image.document, Some(&tag(100))).await.unwrap();
}
