//! Damage of every kind is found by its name, put right without losing anything more, and healed by a push. Beside
//! others who write, a check finds nothing that is not there.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use image::{Digest, Document, MediaType};
use polyarch_content::{
    ContentStore, DeleteOptions, GcOptions, LeftoverKind, Mended, Problem, PutOptions, ReferencePolicy, UploadContent,
};
use support::{assert_sound, descriptor, get, index, is_whole, noise, open, push, put, repository, source, tag};

const LARGE: usize = 200_000;

fn at_once() -> GcOptions {
    let mut options = GcOptions::default();
    options.keep_untagged = Duration::ZERO;
    options.keep_unused_blobs = Duration::ZERO;
    options.keep_history = Duration::ZERO;
    options.sweep_after = Duration::ZERO;
    options
}

fn database(directory: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(directory.join("metadata.sqlite3")).unwrap();
    database.pragma_update(None, "foreign_keys", false).unwrap();
    database
}

fn file(directory: &Path, digest: &Digest) -> PathBuf {
    directory.join("blobs/sha256").join(&digest.hex()[..2]).join(digest.hex())
}

fn layer(image: &Document) -> Digest {
    image.manifest().unwrap().layers[0].digest.clone()
}

/// Repairs what was found, and says what it was.
async fn repair(store: &ContentStore) -> Vec<Problem> {
    let report = store.repair().await.unwrap();
    for (problem, mended) in report.found.problems.iter().zip(&report.problems) {
        assert!(matches!(mended, Mended::Done(_)), "{problem}: {mended:?}");
    }
    assert!(report.is_sound());
    let after = store.verify().await.unwrap();
    assert!(after.is_sound() && after.leftovers.is_empty(), "{after:#?}");
    report.found.problems
}

fn quarantined(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory.join("quarantine")) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn damaged_bytes_go_to_quarantine_and_a_push_heals() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let images = [push(&store, &app, Some("t1"), LARGE, 1).await, push(&store, &app, Some("t2"), LARGE, 2).await];
    let [flipped, cut] = [0, 1].map(|at| layer(&images[at]));
    let lost = layer(&push(&store, &app, Some("t3"), LARGE, 3).await);
    let small = push(&store, &app, Some("t4"), 100, 4).await;
    let inline = layer(&small);

    let mut bytes = fs::read(file(directory.path(), &flipped)).unwrap();
    bytes[77] ^= 4;
    fs::write(file(directory.path(), &flipped), &bytes).unwrap();
    let short = fs::read(file(directory.path(), &cut)).unwrap()[..LARGE / 2].to_vec();
    fs::write(file(directory.path(), &cut), &short).unwrap();
    fs::remove_file(file(directory.path(), &lost)).unwrap();
    let broken = database(directory.path());
    broken.execute("UPDATE blobs SET bytes = x'00' WHERE digest = ?1", [inline.as_str()]).unwrap();

    let problems = repair(&store).await;
    assert_eq!(problems.len(), 4, "{problems:#?}");
    for digest in [&flipped, &cut, &lost, &inline] {
        assert!(problems.iter().any(|problem| problem.to_string().contains(digest.as_str())), "{problems:#?}");
        // Whoever asks is told to push it again.
        assert!(store.blob(&app, digest).await.unwrap().is_none());
    }
    let kept = quarantined(directory.path());
    let name = |digest: &Digest| digest.as_str().replace(':', "-");
    let mut want = vec![(name(&flipped), bytes), (name(&cut), short), (name(&inline), vec![0])];
    want.sort();
    assert!(kept == want, "{:?}", kept.iter().map(|(name, bytes)| (name, bytes.len())).collect::<Vec<_>>());

    // Not even a collection takes a manifest whose blobs are awaited.
    for _ in 0..3 {
        store.collect_garbage(&at_once()).await.unwrap();
    }
    for seed in 1..=3 {
        push(&store, &app, Some(&format!("t{seed}")), LARGE, seed).await;
    }
    push(&store, &app, Some("t4"), 100, 4).await;
    for seed in 1..=4 {
        assert!(is_whole(&store, &app, &tag(&format!("t{seed}")).into()).await);
    }
    for _ in 0..3 {
        store.collect_garbage(&at_once()).await.unwrap();
    }
    assert_sound(&store).await;
    assert!(is_whole(&store, &app, &tag("t1").into()).await);
}

#[tokio::test]
async fn the_same_blob_damaged_twice_is_kept_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    for round in 0..2 {
        let image = push(&store, &app, Some("v1"), LARGE, 1).await;
        fs::write(file(directory.path(), &layer(&image)), format!("round {round}")).unwrap();
        assert_eq!(repair(&store).await.len(), 1);
    }
    let kept: Vec<_> = quarantined(directory.path()).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(kept, [b"round 0", b"round 1"]);
}

#[tokio::test]
async fn a_damaged_manifest_goes_with_its_tags_and_comes_back_by_a_push() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let image = push(&store, &app, Some("v1"), LARGE, 1).await;
    let sized = push(&store, &app, Some("v2"), LARGE, 2).await;
    let broken = database(directory.path());
    broken.execute("UPDATE documents SET bytes = x'7b7d' WHERE digest = ?1", [image.digest().as_str()]).unwrap();
    broken.execute("UPDATE documents SET size = 1 WHERE digest = ?1", [sized.digest().as_str()]).unwrap();
    broken.execute("UPDATE blobs SET size = 1 WHERE digest = ?1", [layer(&sized).as_str()]).unwrap();
    let problems = repair(&store).await;
    let digest = image.digest().to_string();
    assert_eq!(problems[0], Problem::DocumentDamaged { repository: "app".to_owned(), digest: digest.clone() });
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert_eq!(quarantined(directory.path()), [(digest.replace(':', "-"), b"{}".to_vec())]);
    assert!(store.resolve(&app, &tag("v1").into()).await.unwrap().is_none());
    let last = &store.history(&app, &tag("v1"), None, 1).await.unwrap().items[0];
    assert_eq!((last.to.as_ref(), last.actor.as_deref()), (None, Some("fsck")));
    push(&store, &app, Some("v1"), LARGE, 1).await;
    assert!(is_whole(&store, &app, &tag("v1").into()).await && is_whole(&store, &app, &tag("v2").into()).await);
    assert_sound(&store).await;
}

#[tokio::test]
async fn edges_are_written_down_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let one = push(&store, &app, Some("one"), LARGE, 1).await;
    let two = push(&store, &app, None, LARGE, 2).await;
    let list = index(&[&one, &two]);
    store.put_document(&app, &list, &PutOptions::tagged(Some(&tag("list")))).await.unwrap();
    let other = put(&store, &app, &noise(100, 9)).await;
    let lacking = push(&store, &app, Some("lacking"), LARGE, 5).await;
    let misplaced = push(&store, &app, Some("misplaced"), LARGE, 6).await;
    let broken = database(directory.path());
    let id = |digest: &Digest| -> i64 {
        broken.query_row("SELECT id FROM documents WHERE digest = ?1", [digest.as_str()], |row| row.get(0)).unwrap()
    };
    let blob = |digest: &Digest| -> i64 {
        broken.query_row("SELECT id FROM blobs WHERE digest = ?1", [digest.as_str()], |row| row.get(0)).unwrap()
    };
    // An edge that is missing, to a blob and to a child; one too many; one to nowhere; one to what is not held; two that
    // are said to be in another repository, to a config and to a layer.
    broken
        .execute("DELETE FROM blob_edges WHERE document = ?1 AND blob = ?2", [id(one.digest()), blob(&layer(&one))])
        .unwrap();
    broken.execute("DELETE FROM child_edges WHERE child = ?1", [two.digest().as_str()]).unwrap();
    broken.execute("INSERT INTO blob_edges VALUES (?1, ?2, 1)", [id(two.digest()), blob(&other)]).unwrap();
    broken.execute("INSERT INTO blob_edges VALUES (?1, 999999, 1)", [id(two.digest())]).unwrap();
    broken.execute("UPDATE blob_edges SET repository = 999999 WHERE document = ?1", [id(misplaced.digest())]).unwrap();
    broken.execute("UPDATE documents SET subject = 'sha256:00' WHERE digest = ?1", [one.digest().as_str()]).unwrap();
    broken.execute("DELETE FROM repository_blobs WHERE blob = ?1", [blob(&layer(&lacking))]).unwrap();
    let mut kinds: Vec<_> = repair(&store).await.iter().map(Problem::kind).collect();
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            "dangling",
            "edgeExtra",
            "edgeExtra",
            "edgeExtra",
            "edgeExtra",
            "edgeMissing",
            "edgeMissing",
            "edgeMissing",
            "edgeMissing",
            "notHeld"
        ]
    );
    // What the edges keep, they keep again.
    for _ in 0..4 {
        store.collect_garbage(&at_once()).await.unwrap();
    }
    assert!(is_whole(&store, &app, &tag("one").into()).await);
    assert!(is_whole(&store, &app, &two.digest().clone().into()).await);
    assert!(is_whole(&store, &app, &tag("lacking").into()).await);
    assert_eq!(get(&store, &app, &other).await, None);
    assert_sound(&store).await;
}

#[tokio::test]
async fn leftovers_go_and_what_is_not_from_here_is_moved_away() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let store = open(root).await;
    let app = repository("app");
    let image = push(&store, &app, Some("v1"), LARGE, 1).await;
    let session = store.start_upload(&app, None).await.unwrap().id;
    let upload = store.append_upload(&app, &session, None, source(&noise(LARGE, 5))).await.unwrap();
    let UploadContent::Staged(stage) = &upload.content else { panic!("{upload:?}") };

    let orphan = noise(LARGE, 6);
    let wrong = Digest::sha256(b"something else");
    for (path, bytes) in [
        (file(root, &Digest::sha256(&orphan)), &orphan[..]),
        (file(root, &wrong), b"damaged"),
        (root.join("blobs/sha256/zz-not-a-blob"), b"stray"),
        (root.join("blobs/sha256/00").join(Digest::sha256(b"x").hex()), b"x"),
        (root.join("uploads/README"), b"hello"),
        (root.join("uploads/00000000-0000-4000-8000-000000000001"), b"half a lay"),
    ] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let report = store.repair().await.unwrap();
    assert!(report.found.is_sound());
    let kinds =
        |wanted: fn(&LeftoverKind) -> bool| report.found.leftovers.iter().filter(|item| wanted(&item.kind)).count();
    assert_eq!(kinds(|kind| matches!(kind, LeftoverKind::Blob(_))), 2, "{:#?}", report.found.leftovers);
    assert_eq!(kinds(|kind| matches!(kind, LeftoverKind::Stage(_))), 1);
    assert_eq!(kinds(|kind| matches!(kind, LeftoverKind::Unknown)), 3);
    assert!(report.leftovers.iter().all(|mended| matches!(mended, Mended::Done(_))), "{report:#?}");
    let kept: Vec<_> = quarantined(root).into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(kept.len(), 4);
    for bytes in [&b"damaged"[..], b"stray", b"x", b"hello"] {
        assert!(kept.iter().any(|kept| kept == bytes), "{kept:?}");
    }
    assert!(root.join("uploads").join(stage.as_str()).exists(), "a session is no leftover");
    assert_eq!(store.upload(&app, &session).await.unwrap().offset, LARGE as u64);
    let after = store.verify().await.unwrap();
    assert!(after.is_sound() && after.leftovers.is_empty(), "{after:#?}");
    assert!(is_whole(&store, &app, &image.digest().clone().into()).await);
}

#[tokio::test]
async fn a_blob_that_was_deleted_by_force_frees_its_bytes_and_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (app, other) = (repository("app"), repository("other"));
    let image = push(&store, &app, Some("v1"), LARGE, 1).await;
    push(&store, &other, Some("v1"), LARGE, 1).await;
    assert!(store.delete_blob(&app, &layer(&image), DeleteOptions::default()).await.unwrap());
    assert_sound(&store).await;
    assert!(is_whole(&store, &other, &tag("v1").into()).await, "another repository keeps it");
    assert!(store.delete_blob(&other, &layer(&image), DeleteOptions::default()).await.unwrap());
    assert_eq!(store.collect_garbage(&GcOptions::default()).await.unwrap().removed_blobs, 1);
    assert!(!file(directory.path(), &layer(&image)).exists());
    assert_sound(&store).await;
    put(&store, &app, &noise(LARGE, 1)).await;
    assert!(is_whole(&store, &app, &tag("v1").into()).await);
    for _ in 0..3 {
        store.collect_garbage(&at_once()).await.unwrap();
    }
    assert!(is_whole(&store, &app, &tag("v1").into()).await, "its edge is back");
}

/// Pushes, moves, deletes, mounts, leaves uploads half done.
async fn work(store: &ContentStore, client: u64, stop: &AtomicBool, done: &AtomicU64) {
    let app = repository(["app", "web"][client as usize % 2]);
    let other = repository(["web", "app"][client as usize % 2]);
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        let seed = 10 * client + rounds % 4;
        let image = push(store, &app, Some(&format!("c{client}")), 70_000, seed).await;
        let shared = put(store, &app, &noise(80_000, rounds % 3)).await;
        let _ = store.mount_blob(&other, &shared, &app).await.unwrap();
        let id = store.start_upload(&app, None).await.unwrap().id;
        store.append_upload(&app, &id, None, source(&noise(90_000, rounds))).await.unwrap();
        match rounds % 3 {
            0 => drop(store.cancel_upload(&app, &id).await.unwrap()),
            1 => {
                let digest = Digest::sha256(&noise(90_000, rounds));
                store.finish_upload(&app, &id, None, None, &digest).await.unwrap();
                store.delete_blob(&app, &digest, DeleteOptions::default()).await.unwrap();
            }
            _ => {}
        }
        if rounds.is_multiple_of(2) {
            store.delete_document(&app, image.digest(), DeleteOptions::default()).await.unwrap();
        } else {
            assert!(is_whole(store, &app, &tag(&format!("c{client}")).into()).await);
        }
        rounds += 1;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

async fn collect(store: &ContentStore, stop: &AtomicBool) {
    let mut options = at_once();
    options.keep_unused_blobs = Duration::from_secs(5);
    while !stop.load(Ordering::Relaxed) {
        store.collect_garbage(&options).await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_others_nothing_is_found_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let stores = [open(directory.path()).await, open(directory.path()).await, open(directory.path()).await];
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let checking = async {
        let mut round = 0;
        while round < 12 || done.load(Ordering::Relaxed) < 40 {
            round += 1;
            let report = stores[2].verify().await.unwrap();
            assert!(report.is_sound(), "round {round}: {:#?}", report.problems);
            // Bytes whose row went wait for the collection that is at work.
            assert!(report.leftovers.is_empty(), "round {round}: {:#?}", report.leftovers);
            let repaired = stores[2].repair().await.unwrap();
            assert!(repaired.found.is_sound(), "round {round}: {:#?}", repaired.found.problems);
        }
        stop.store(true, Ordering::Relaxed);
    };
    let clients = [work(&stores[0], 0, &stop, &done), work(&stores[1], 1, &stop, &done)];
    tokio::join!(checking, futures_util::future::join_all(clients), collect(&stores[1], &stop));
    assert_sound(&stores[0]).await;
    assert!(quarantined(directory.path()).is_empty());
}

/// They were told one by one as left over, though nothing is wrong with them.
#[tokio::test]
async fn bytes_that_the_next_collection_removes_are_not_left_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let mut digests = Vec::new();
    for seed in 1..=3 {
        digests.push(put(&store, &app, &noise(LARGE, seed)).await);
    }
    for digest in &digests[..2] {
        assert!(store.delete_blob(&app, digest, DeleteOptions::careful()).await.unwrap());
    }
    // One has no row and is not deleted: somebody put the file there.
    let orphan = noise(LARGE, 9);
    let stray = file(directory.path(), &Digest::sha256(&orphan));
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::write(&stray, &orphan).unwrap();
    let report = store.repair().await.unwrap();
    assert_eq!((report.found.deleted.files, report.found.deleted.bytes), (2, 2 * LARGE as u64));
    assert_eq!(report.found.leftovers.len(), 1, "{:#?}", report.found.leftovers);
    assert!(report.found.is_sound() && !stray.exists() && file(directory.path(), &digests[0]).exists());
    store.collect_garbage(&GcOptions::default()).await.unwrap();
    assert_eq!(store.verify().await.unwrap().deleted.files, 0);
    assert!(!file(directory.path(), &digests[0]).exists() && file(directory.path(), &digests[2]).exists());
}

/// A repair used to forget that an index waits for a blob.
#[tokio::test]
async fn an_index_that_was_repaired_still_waits_for_its_blob() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let blob = noise(100, 1);
    let entry = descriptor(MediaType::OCI_LAYER_GZIP, &blob);
    let text = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entry}]}}"#, MediaType::OCI_INDEX);
    let cache = Document::new(None, text.into_bytes()).unwrap();
    let mut options = PutOptions::tagged(Some(&tag("cache")));
    options.references = ReferencePolicy::Sparse;
    store.put_document(&app, &cache, &options).await.unwrap();
    database(directory.path()).execute_batch("DELETE FROM child_edges").unwrap();
    assert!(matches!(&repair(&store).await[..], [Problem::EdgeMissing { .. }]));
    let digest = put(&store, &app, &blob).await;
    assert_sound(&store).await;
    assert!(store.delete_blob(&app, &digest, DeleteOptions::careful()).await.is_err());
}
