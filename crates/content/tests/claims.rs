//! A push that comes between any two steps of a removal keeps its bytes, and without claims on them one does not.

#[allow(dead_code)] // its faults are for another test
#[path = "support/simulated.rs"]
mod simulated;
mod support;

use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use image::Digest;
use polyarch_content::disk::DiskBlobStore;
use polyarch_content::sqlite::SqliteMetadataStore;
use polyarch_content::{ContentStore, DeleteOptions, GcOptions, Options, Problem};
use simulated::{Gate, Simulated};
use support::{noise, put, repository};

/// More steps than a removal has.
const STEPS: usize = 40;
/// More steps than a push has that nobody holds up.
const PUSH: usize = 60;

/// Does `steps` steps of some work: each from one wait for another thread to the next, whose end is waited for.
async fn steps<F: Future>(mut work: Pin<&mut F>, steps: usize) -> Option<F::Output> {
    let mut left = steps;
    std::future::poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

fn open(disk: &Simulated, database: &Path) -> ContentStore {
    let blobs = DiskBlobStore::over(Path::new("/data"), Arc::new(disk.clone())).unwrap();
    let metadata = SqliteMetadataStore::open(database, Duration::from_secs(5)).unwrap();
    let mut options = Options::default();
    options.inline_limit = 64;
    ContentStore::over(Arc::new(blobs), Arc::new(metadata), options)
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store with bytes that no row speaks of any more.
async fn with_doomed_bytes(disk: &Simulated, database: &Path) -> (ContentStore, Bytes, Digest) {
    let store = open(disk, database);
    let bytes = noise(300, 1);
    let digest = put(&store, &repository("app"), &bytes).await;
    assert!(store.delete_blob(&repository("app"), &digest, DeleteOptions::default()).await.unwrap());
    (store, bytes, digest)
}

/// Whether the bytes of a blob that was acknowledged are lost.
async fn is_lost(store: &ContentStore, digest: &Digest) -> bool {
    assert!(store.blob(&repository("app"), digest).await.unwrap().is_some(), "it was acknowledged");
    let problems = store.verify().await.unwrap().problems;
    let lost = [Problem::BlobMissing { digest: digest.clone() }];
    assert!(problems.is_empty() || problems == lost, "{problems:?}");
    !problems.is_empty()
}

#[tokio::test]
async fn a_push_between_any_two_steps_of_a_removal_keeps_its_bytes() {
    let (directory, options) = (directory(), GcOptions::default());
    for at in 0..STEPS {
        let (store, bytes, digest) =
            with_doomed_bytes(&Simulated::default(), &directory.path().join(at.to_string())).await;
        let app = repository("app");
        let mut removing = pin!(store.collect_garbage(&options));
        let mut pushing = pin!(put(&store, &app, &bytes));
        let removed = steps(removing.as_mut(), at).await;
        // A push that is held up by the removal goes on after it.
        let pushed = steps(pushing.as_mut(), PUSH).await;
        if removed.is_none() {
            removing.await.unwrap();
        }
        if pushed.is_none() {
            pushing.await;
        }
        assert!(!is_lost(&store, &digest).await, "after {at} steps");
    }
}

/// A push that comes when a removal has looked for a row, and has not removed the bytes yet. Whether they are lost.
async fn push_before_the_last_moment(disk: &Simulated) -> bool {
    let directory = directory();
    let (store, bytes, digest) = with_doomed_bytes(disk, &directory.path().join("metadata")).await;
    let (tell, reached) = mpsc::channel();
    let (open, opened) = mpsc::channel();
    disk.stop_removal(Gate { reached: tell, open: opened });
    let (collector, options) = (store.clone(), GcOptions::default());
    let removing = tokio::spawn(async move { collector.collect_garbage(&options).await });
    tokio::task::spawn_blocking(move || reached.recv().unwrap()).await.unwrap();
    let pushing = {
        let (store, bytes) = (store.clone(), bytes.clone());
        tokio::spawn(async move { put(&store, &repository("app"), &bytes).await })
    };
    // Without claims it is done soon; with them it waits until the removal is over.
    let patience = tokio::time::Instant::now() + Duration::from_millis(200);
    while !pushing.is_finished() && tokio::time::Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    open.send(()).unwrap();
    removing.await.unwrap().unwrap();
    pushing.await.unwrap();
    is_lost(&store, &digest).await
}

#[tokio::test]
async fn a_push_waits_for_a_removal_that_has_looked_already() {
    assert!(!push_before_the_last_moment(&Simulated::default()).await);
}

#[tokio::test]
async fn without_claims_on_bytes_that_push_would_be_lost() {
    assert!(push_before_the_last_moment(&Simulated::without_locks()).await, "the test sees no loss");
}
