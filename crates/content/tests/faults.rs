//! A failure, a full disk and a power cut at every call that a push makes, and that a collection makes.

#[path = "support/simulated.rs"]
mod simulated;
mod support;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use image::Digest;
use polyarch_content::disk::{Disk, DiskBlobStore};
use polyarch_content::sqlite::SqliteMetadataStore;
use polyarch_content::{
    BlobStore, ContentError, ContentStore, GcOptions, GcReport, LeftoverKind, Options, PutOptions, RepositoryId,
    UploadId,
};
use simulated::{Fault, Simulated};
use support::{assert_sound, get, is_whole, manifest, noise, repository, source, tag};

/// Large enough for a file, and for several writes.
const LAYER: usize = 300_000;

fn store(directory: &Path, disk: &Simulated) -> Result<ContentStore, ContentError> {
    let blobs = DiskBlobStore::over(Path::new("/data"), Arc::new(disk.clone()))?;
    let metadata = SqliteMetadataStore::open(&directory.join("metadata.sqlite3"), Duration::from_secs(5))?;
    Ok(ContentStore::over(Arc::new(blobs), Arc::new(metadata), Options::default()))
}

/// What a client does for one image; each answer it gets is written down.
async fn push(
    store: &ContentStore,
    repository: &RepositoryId,
    seed: u64,
    acknowledged: &mut Vec<Digest>,
) -> Result<(), ContentError> {
    let first = noise(LAYER, seed);
    let second = noise(LAYER / 2, seed + 1000);
    let config = Bytes::from(format!(r#"{{"seed":{seed}}}"#));
    // One in chunks, with another process in between; two at once.
    let id = store.start_upload(repository, None).await?.id;
    store.append_upload(repository, &id, None, source(&first.slice(..LAYER / 3))).await?;
    store.append_upload(repository, &id, None, source(&first.slice(LAYER / 3..))).await?;
    store.finish_upload(repository, &id, None, None, &Digest::sha256(&first)).await?;
    acknowledged.push(Digest::sha256(&first));
    for bytes in [&second, &config] {
        let digest = Digest::sha256(bytes);
        store.put_blob(repository, &digest, None, source(bytes)).await?;
        acknowledged.push(digest);
    }
    let document = manifest(&config, &[&first, &second]);
    let name = tag(&format!("t{seed}"));
    store.put_document(repository, &document, &PutOptions::tagged(Some(&name))).await?;
    acknowledged.push(document.digest().clone());
    Ok(())
}

/// Whether all that was acknowledged is there, and nothing is there that is not whole.
async fn check(store: &ContentStore, repository: &RepositoryId, acknowledged: &[Digest], what: &str) {
    for digest in acknowledged {
        let document = store.document(repository, &digest.clone().into()).await.unwrap();
        let there = document.is_some()
            || get(store, repository, digest).await.is_some_and(|bytes| Digest::sha256(&bytes) == *digest);
        assert!(there, "`{digest}` was lost by {what}");
    }
    let tags = store.tags(repository, None, usize::MAX).await.unwrap().map_or(Vec::new(), |page| page.items);
    for name in tags {
        assert!(is_whole(store, repository, &name.clone().into()).await, "`{name}` is not whole after {what}");
    }
    assert_sound(store).await;
}

/// Calls to the disk of one push.
async fn calls_of_a_push() -> u64 {
    let directory = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let store = store(directory.path(), &disk).unwrap();
    disk.take_calls();
    push(&store, &repository("app"), 1, &mut Vec::new()).await.unwrap();
    disk.take_calls()
}

/// Two sessions of one request each: one is finished with all of its bytes, one gets its first.
async fn short_sessions(store: &ContentStore, sessions: &mut Vec<UploadId>) -> Result<(), ContentError> {
    let app = repository("app");
    // Fewer than are handed on at once, and more.
    for (seed, length) in [(5, 100_000), (6, LAYER)] {
        let bytes = noise(length, seed);
        let id = store.start_upload(&app, None).await?.id;
        sessions.push(id.clone());
        store.append_upload(&app, &id, None, source(&bytes)).await?;
        let id = store.start_upload(&app, None).await?.id;
        sessions.push(id.clone());
        store.finish_upload(&app, &id, None, Some(source(&bytes)), &Digest::sha256(&bytes)).await?;
    }
    Ok(())
}

/// What a failed request had written used to stay until a collection looked for it: on a full disk, above all.
#[tokio::test]
async fn a_fault_at_any_call_of_a_session_leaves_no_stage() {
    let directory = quick_directory();
    let mut at = 0;
    loop {
        at += 1;
        let mut failed = false;
        for fault in [Fault::Error, Fault::Full] {
            let place = directory.path().join(format!("{at}{fault:?}"));
            std::fs::create_dir(&place).unwrap();
            let disk = Simulated::default();
            let store = store(&place, &disk).unwrap();
            let mut sessions = Vec::new();
            disk.set_fault(at, fault);
            failed |= short_sessions(&store, &mut sessions).await.is_err();
            disk.clear_fault();
            for id in &sessions {
                store.cancel_upload(&repository("app"), id).await.unwrap();
            }
            let mut left = store.verify().await.unwrap().leftovers;
            left.retain(|item| matches!(item.kind, LeftoverKind::Stage(_)));
            assert_eq!(left, [], "{fault:?} at call {at}");
        }
        if !failed {
            break;
        }
    }
    assert!(at > 10, "{at}");
}

/// The system forgets which bytes it could not write: trying again used to call them durable.
#[tokio::test]
async fn what_was_not_made_durable_is_not_tried_again() {
    for fault in [Fault::Error, Fault::Full] {
        let directory = quick_directory();
        let disk = Simulated::default();
        let store = store(directory.path(), &disk).unwrap();
        let app = repository("app");
        let bytes = noise(LAYER, 1);
        let digest = Digest::sha256(&bytes);
        let id = store.start_upload(&app, None).await.unwrap().id;
        store.append_upload(&app, &id, None, source(&bytes)).await.unwrap();
        disk.set_fault(1, fault);
        let error = store.finish_upload(&app, &id, None, None, &digest).await.unwrap_err();
        assert!(error.to_string().contains("make `/data/uploads/"), "{error}");
        disk.clear_fault();
        let error = store.finish_upload(&app, &id, None, None, &digest).await.unwrap_err();
        assert!(matches!(error, ContentError::UploadUnknown(_)), "{error}");
        store.put_blob(&app, &digest, None, source(&bytes)).await.unwrap();
        check(&store, &app, &[digest], "a blob that was sent again").await;
        assert_eq!(store.verify().await.unwrap().leftovers, []);
    }
}

/// What a request could not write to the end used to stay behind the session's bytes, though the disk was full.
#[tokio::test]
async fn a_full_disk_gets_back_what_a_session_could_not_keep() {
    let directory = quick_directory();
    let (app, bytes) = (repository("app"), noise(2 * LAYER, 1));
    let (digest, rest) = (Digest::sha256(&bytes), bytes.slice(LAYER..));
    for finishes in [false, true] {
        // The first of its writes, one in the middle, the last.
        for at in [1, 17, 30] {
            let place = directory.path().join(format!("{finishes}{at}"));
            std::fs::create_dir(&place).unwrap();
            let disk = Simulated::default();
            let store = store(&place, &disk).unwrap();
            let id = store.start_upload(&app, None).await.unwrap().id;
            store.append_upload(&app, &id, None, source(&bytes.slice(..LAYER))).await.unwrap();
            disk.set_fault(at, Fault::Full);
            let written = if finishes {
                store.finish_upload(&app, &id, None, Some(source(&rest)), &digest).await.map(drop)
            } else {
                store.append_upload(&app, &id, None, source(&rest)).await.map(drop)
            };
            assert!(matches!(written, Err(ContentError::NoSpace { .. })), "{written:?}");
            disk.clear_fault();
            assert_eq!(store.upload(&app, &id).await.unwrap().offset, LAYER as u64);
            let files = disk.list(Path::new("/data/uploads")).unwrap();
            let staged = files.into_iter().map(|file| file.length).sum::<u64>();
            assert_eq!(staged, LAYER as u64, "finishes: {finishes}, write {at}");
            store.finish_upload(&app, &id, Some(LAYER as u64), Some(source(&rest)), &digest).await.unwrap();
            check(&store, &app, std::slice::from_ref(&digest), "a full disk").await;
        }
    }
}

#[tokio::test]
async fn a_fault_at_any_call_is_reported_and_a_second_push_succeeds() {
    let calls = calls_of_a_push().await;
    assert!(calls > 10, "{calls}");
    for fault in [Fault::Error, Fault::Full] {
        for at in 1..=calls {
            let directory = tempfile::tempdir().unwrap();
            let disk = Simulated::default();
            let store = store(directory.path(), &disk).unwrap();
            let app = repository("app");
            let mut acknowledged = Vec::new();
            disk.set_fault(at, fault);
            let pushed = push(&store, &app, 1, &mut acknowledged).await;
            disk.clear_fault();
            if let Err(error) = &pushed {
                let full = matches!(error, ContentError::NoSpace { .. });
                assert!(full == (fault == Fault::Full), "{fault:?} at {at}: {error}");
            }
            let what = format!("{fault:?} at call {at}");
            check(&store, &app, &acknowledged, &what).await;
            push(&store, &app, 1, &mut acknowledged).await.unwrap_or_else(|error| panic!("after {what}: {error}"));
            check(&store, &app, &acknowledged, &what).await;
        }
    }
}

#[tokio::test]
async fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    let calls = calls_of_a_push().await;
    for at in 1..=calls + 1 {
        for choice in [0, 0x1_03, 0x2_07] {
            let directory = tempfile::tempdir().unwrap();
            let disk = Simulated::default();
            let app = repository("app");
            let mut acknowledged = Vec::new();
            let before = store(directory.path(), &disk).unwrap();
            push(&before, &app, 7, &mut acknowledged).await.unwrap();
            disk.set_fault(at, Fault::PowerCut);
            let _ = push(&before, &app, 1, &mut acknowledged).await;
            drop(before);
            let disk = disk.after_power_cut(choice);
            let after = store(directory.path(), &disk).unwrap();
            let what = format!("a power cut at call {at}, choice {choice:x}");
            after.recover().await.unwrap();
            check(&after, &app, &acknowledged, &what).await;
            push(&after, &app, 1, &mut acknowledged).await.unwrap_or_else(|error| panic!("after {what}: {error}"));
            check(&after, &app, &acknowledged, &what).await;
        }
    }
}

#[tokio::test]
async fn a_power_cut_after_settling_needs_no_stage_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Simulated::default();
    let app = repository("app");
    let mut acknowledged = Vec::new();
    let before = store(directory.path(), &disk).unwrap();
    push(&before, &app, 1, &mut acknowledged).await.unwrap();
    let mut blobs = Vec::new();
    for digest in &acknowledged {
        blobs.extend(before.blob(&app, digest).await.unwrap());
    }
    let settler = DiskBlobStore::over(Path::new("/data"), Arc::new(disk.clone())).unwrap();
    settler.settle(&blobs).await.unwrap();
    drop(before);
    let disk = disk.after_power_cut(0);
    let after = store(directory.path(), &disk).unwrap();
    check(&after, &app, &acknowledged, "a power cut after settling").await;
}

/// Where databases of tests are that are not about their durability.
fn quick_directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A store with images that are needed, and others that nothing needs; some layers are shared. Returns what is needed.
async fn store_with_garbage(store: &ContentStore) -> Vec<Digest> {
    let app = repository("app");
    let mut needed = Vec::new();
    push(store, &app, 1, &mut needed).await.unwrap();
    push(store, &app, 2, &mut needed).await.unwrap();
    for seed in [3, 4] {
        push(store, &app, seed, &mut Vec::new()).await.unwrap();
        assert!(store.delete_tag(&app, &tag(&format!("t{seed}"))).await.unwrap().is_some());
    }
    let config = Bytes::from("{}");
    store.put_blob_bytes(&app, &Digest::sha256(&config), config.clone()).await.unwrap();
    store.put_document(&app, &manifest(&config, &[&noise(LAYER, 1)]), &PutOptions::default()).await.unwrap();
    needed
}

async fn collect(store: &ContentStore) -> Result<GcReport, ContentError> {
    let mut options = GcOptions::default();
    (options.keep_untagged, options.keep_history) = (Duration::ZERO, Duration::ZERO);
    (options.keep_unused_blobs, options.sweep_after) = (Duration::ZERO, Duration::ZERO);
    options.batch = 2;
    store.collect_garbage(&options).await
}

/// Condemns, deletes manifests, deletes blobs and their bytes: until one fails.
async fn collect_all(store: &ContentStore) -> Result<(), ContentError> {
    for _ in 0..3 {
        collect(store).await?;
    }
    Ok(())
}

/// What is needed is there, and a further collection finishes the work: nothing else is.
async fn check_finished(store: &ContentStore, needed: &[Digest], what: &str) {
    let app = repository("app");
    check(store, &app, needed, what).await;
    collect_all(store).await.unwrap_or_else(|error| panic!("after {what}: {error}"));
    check(store, &app, needed, what).await;
    let report = store.verify().await.unwrap();
    assert!(report.leftovers.is_empty(), "after {what}: {:#?}", report.leftovers);
    assert_eq!(report.deleted.files, 0, "after {what}");
    assert_eq!((report.documents, report.blobs), (2, 6), "after {what}");
}

#[tokio::test]
async fn a_fault_at_any_call_of_a_sweep_loses_nothing_and_another_finishes_it() {
    let directory = quick_directory();
    let world = async |number: u64| {
        let disk = Simulated::default();
        let place = directory.path().join(number.to_string());
        std::fs::create_dir(&place).unwrap();
        let store = store(&place, &disk).unwrap();
        let needed = store_with_garbage(&store).await;
        disk.take_calls();
        (disk, store, needed)
    };
    let (disk, store, needed) = world(0).await;
    collect_all(&store).await.unwrap();
    let calls = disk.take_calls();
    // A lock and a removal for each of four blobs.
    assert!(calls >= 8, "{calls}");
    check_finished(&store, &needed, "nothing").await;
    for at in 1..=calls {
        let (disk, store, needed) = world(at).await;
        disk.set_fault(at, Fault::Error);
        let collected = collect_all(&store).await;
        disk.clear_fault();
        assert!(matches!(collected, Err(ContentError::Io { .. })), "call {at}: {collected:?}");
        check_finished(&store, &needed, &format!("a fault at call {at}")).await;
    }
}

/// One file that could not be removed used to keep all that came after it on the disk, for ever.
#[tokio::test]
async fn bytes_that_cannot_be_removed_do_not_keep_others() {
    // The lock of the first, and its removal.
    for at in [1, 2] {
        let directory = quick_directory();
        let disk = Simulated::default();
        let store = store(directory.path(), &disk).unwrap();
        let needed = store_with_garbage(&store).await;
        disk.set_fault(at, Fault::Error);
        let collected = collect_all(&store).await;
        assert!(matches!(collected, Err(ContentError::Io { .. })), "{collected:?}");
        disk.clear_fault();
        check(&store, &repository("app"), &needed, "a file that could not be removed").await;
        assert_eq!(store.verify().await.unwrap().deleted.files, 1, "call {at}");
        check_finished(&store, &needed, "a file that could not be removed").await;
    }
}

#[tokio::test]
async fn a_power_cut_at_any_call_of_a_sweep_loses_nothing() {
    let directory = quick_directory();
    let mut at = 0;
    loop {
        at += 1;
        let place = directory.path().join(at.to_string());
        std::fs::create_dir(&place).unwrap();
        let disk = Simulated::default();
        let before = store(&place, &disk).unwrap();
        let needed = store_with_garbage(&before).await;
        disk.set_fault(at, Fault::PowerCut);
        let collected = collect_all(&before).await;
        drop(before);
        if collected.is_ok() {
            break;
        }
        for choice in [0, 0x1_03] {
            let after = store(&place, &disk.after_power_cut(choice)).unwrap();
            after.recover().await.unwrap();
            let what = format!("a power cut at call {at}, choice {choice:x}");
            check(&after, &repository("app"), &needed, &what).await;
        }
    }
    assert!(at > 8, "{at}");
}

#[tokio::test]
async fn a_collection_that_dies_after_any_step_is_finished_by_another() {
    let directory = quick_directory();
    let (mut dead, mut whole) = (0, 0);
    for steps in 0..200 {
        let place = directory.path().join(steps.to_string());
        std::fs::create_dir(&place).unwrap();
        let disk = Simulated::default();
        let store = store(&place, &disk).unwrap();
        let needed = store_with_garbage(&store).await;
        let mut left = steps;
        let done = {
            let mut collecting = pin!(collect_all(&store));
            std::future::poll_fn(|context| {
                if left == 0 {
                    return Poll::Ready(None);
                }
                left -= 1;
                collecting.as_mut().poll(context).map(Some)
            })
            .await
        };
        check_finished(&store, &needed, &format!("the end after {steps} steps")).await;
        // On a busy machine one may find all that it would wait for done, and need fewer steps than the others.
        if let Some(done) = done {
            done.unwrap();
            whole += 1;
            if whole == 5 {
                break;
            }
        } else {
            dead += 1;
        }
    }
    assert!(dead > 20, "{dead}");
}
