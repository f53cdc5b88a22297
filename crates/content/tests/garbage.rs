//! Garbage collection: what is kept, what goes, and when.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use image::{Digest, Document, MediaType};
use polyarch_content::{ContentStore, DeleteOptions, GcOptions, GcReport, PutOptions, RepositoryId};
use support::{assert_sound, descriptor, get, index, is_whole, manifest, noise, open, push, put, repository, tag};

const LARGE: usize = 200_000;

/// Keeps nothing for its age.
fn at_once() -> GcOptions {
    let mut options = GcOptions::default();
    options.keep_untagged = Duration::ZERO;
    options.keep_unused_blobs = Duration::ZERO;
    options.keep_history = Duration::ZERO;
    options.sweep_after = Duration::ZERO;
    options.keep_untagged_local = false;
    options
}

async fn collect(store: &ContentStore) -> GcReport {
    store.collect_garbage(&at_once()).await.unwrap()
}

/// Collects until nothing changes any more, and says how many documents and blobs went.
async fn collect_all(store: &ContentStore) -> (u64, u64) {
    let (mut documents, mut blobs) = (0, 0);
    loop {
        let report = collect(store).await;
        documents += report.swept_documents;
        blobs += report.swept_blobs;
        if report.condemned_documents + report.condemned_blobs + report.swept_documents + report.swept_blobs == 0 {
            return (documents, blobs);
        }
    }
}

async fn has(store: &ContentStore, repository: &RepositoryId, document: &Document) -> bool {
    store.resolve(repository, &document.digest().clone().into()).await.unwrap().is_some()
}

/// Makes everything look as if it had been pushed two days ago.
fn age(directory: &Path) {
    let database = rusqlite::Connection::open(directory.join("metadata.sqlite3")).unwrap();
    database
        .execute_batch(
            "UPDATE documents SET referenced_at = referenced_at - 172800000;
             UPDATE repository_blobs SET added_at = added_at - 172800000;
             UPDATE condemned_documents SET condemned_at = condemned_at - 172800000;
             UPDATE condemned_blobs SET condemned_at = condemned_at - 172800000;",
        )
        .unwrap();
}

fn referrer(config: &Bytes, subject: &Document) -> Document {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[],"subject":{}}}"#,
        MediaType::OCI_MANIFEST,
        descriptor(MediaType::OCI_CONFIG, config),
        serde_json::to_string(&subject.descriptor()).unwrap()
    );
    Document::new(None, text.into_bytes()).unwrap()
}

fn blob_files(directory: &Path) -> usize {
    let shards = fs::read_dir(directory.join("blobs/sha256")).unwrap();
    shards.map(|shard| fs::read_dir(shard.unwrap().path()).unwrap().count()).sum()
}

#[tokio::test]
async fn what_nothing_needs_goes_in_a_later_collection_and_its_bytes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let kept = push(&store, &app, Some("v1"), LARGE, 1).await;
    let gone = push(&store, &app, None, LARGE, 2).await;
    assert_eq!(blob_files(directory.path()), 2);

    let mut dry = at_once();
    dry.dry_run = true;
    let planned = store.collect_garbage(&dry).await.unwrap();
    let first = collect(&store).await;
    assert_eq!((planned.epoch, first.epoch), (1, 1));
    assert_eq!((planned.condemned_documents, first.condemned_documents, first.swept_documents), (1, 1, 0));
    assert_eq!((first.kept.tagged, first.kept.used_blobs), (1, 4));

    let planned = store.collect_garbage(&dry).await.unwrap();
    let second = collect(&store).await;
    assert_eq!((planned.swept_documents, second.swept_documents), (1, 1));
    assert_eq!((second.condemned_blobs, second.removed_blobs), (2, 0));
    assert!(!has(&store, &app, &gone).await);

    let third = collect(&store).await;
    assert_eq!((third.swept_blobs, third.removed_blobs, third.removed_bytes), (2, 1, LARGE as u64));
    assert_eq!(blob_files(directory.path()), 1);
    assert!(is_whole(&store, &app, &kept.digest().clone().into()).await);
    let report = store.verify().await.unwrap();
    assert!(report.is_sound() && report.leftovers.is_empty(), "{report:?}");
}

#[tokio::test]
async fn what_is_young_is_kept_for_as_long_as_the_options_say() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let image = push(&store, &app, None, 1000, 1).await;
    let blob = put(&store, &app, &noise(100, 9)).await;
    let options = GcOptions::default();
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.condemned_documents, report.condemned_blobs), (0, 0));
    assert_eq!((report.kept.recent, report.kept.recent_blobs, report.kept.used_blobs), (1, 1, 2));
    age(directory.path());
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.condemned_documents, report.condemned_blobs), (1, 1));
    // The hour from condemned to swept is not over.
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.swept_documents, report.swept_blobs, report.kept.waiting), (0, 0, 2));
    age(directory.path());
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.swept_documents, report.swept_blobs), (1, 1));
    assert!(!has(&store, &app, &image).await);
    assert_eq!(get(&store, &app, &blob).await, None);
}

#[tokio::test]
async fn below_a_tag_and_behind_a_kept_subject_nothing_goes() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let child = push(&store, &app, None, 1000, 1).await;
    let config = noise(50, 3);
    put(&store, &app, &config).await;
    let signature = referrer(&config, &child);
    store.put_document(&app, &signature, &PutOptions::default()).await.unwrap();
    let inner = index(&[&child]);
    let outer = index(&[&inner]);
    store.put_document(&app, &inner, &PutOptions::default()).await.unwrap();
    store.put_document(&app, &outer, &PutOptions::tagged(Some(&tag("v1")))).await.unwrap();
    assert_eq!(collect_all(&store).await, (0, 0));
    let report = collect(&store).await;
    assert_eq!((report.kept.tagged, report.kept.needed), (1, 3));

    store.delete_tag(&app, &tag("v1")).await.unwrap();
    assert_eq!(collect_all(&store).await, (4, 3));
    assert_sound(&store).await;
}

#[tokio::test]
async fn the_age_of_a_document_is_that_of_its_last_reference() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let options = GcOptions::default();
    let (first, second) = (push(&store, &app, Some("v1"), 10, 1).await, push(&store, &app, None, 10, 2).await);
    let list = index(&[&second]);
    store.put_document(&app, &list, &PutOptions::tagged(Some(&tag("list")))).await.unwrap();
    age(directory.path());
    // The tag moves, and the index goes: until now both were needed.
    push(&store, &app, Some("v1"), 10, 3).await;
    store.delete_document(&app, list.digest(), DeleteOptions::default()).await.unwrap();
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.condemned_documents, report.kept.recent), (0, 2));
    assert!(has(&store, &app, &first).await && has(&store, &app, &second).await);
}

#[tokio::test]
async fn whoever_touches_what_is_condemned_keeps_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (app, other) = (repository("app"), repository("other"));
    let options = GcOptions::default();
    let head = push(&store, &app, None, 10, 1).await;
    let read = push(&store, &app, None, 10, 2).await;
    let child = push(&store, &app, None, 10, 3).await;
    let again = push(&store, &app, None, 10, 4).await;
    let tagged = push(&store, &app, None, 10, 5).await;
    let gone = push(&store, &app, None, 10, 6).await;
    let blobs: Vec<_> = (10..14).map(|seed| noise(100, seed)).collect();
    for blob in &blobs {
        put(&store, &app, blob).await;
    }
    let digests: Vec<_> = blobs.iter().map(|blob| Digest::sha256(blob)).collect();
    age(directory.path());
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.condemned_documents, report.condemned_blobs), (6, 4));

    assert!(has(&store, &app, &head).await);
    assert!(store.document(&app, &read.digest().clone().into()).await.unwrap().is_some());
    store.put_document(&app, &index(&[&child]), &PutOptions::tagged(Some(&tag("list")))).await.unwrap();
    store.put_document(&app, &again, &PutOptions::default()).await.unwrap();
    assert!(store.tag(&app, tagged.digest(), &tag("v1")).await.unwrap());
    assert!(store.blob(&app, &digests[0]).await.unwrap().is_some());
    put(&store, &app, &blobs[1]).await;
    assert!(store.mount_blob(&other, &digests[2], &app).await.unwrap().is_some());
    let condemned = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    condemned
        .execute_batch("UPDATE condemned_documents SET condemned_at = 0; UPDATE condemned_blobs SET condemned_at = 0;")
        .unwrap();
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.swept_documents, report.swept_blobs, report.rescued), (1, 1, 0));
    for document in [&head, &read, &child, &again, &tagged] {
        assert!(has(&store, &app, document).await);
    }
    assert!(!has(&store, &app, &gone).await);
    let there: Vec<_> = futures_util::future::join_all(digests.iter().map(|digest| get(&store, &app, digest))).await;
    assert_eq!(there.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, true, false]);
    assert!(get(&store, &other, &digests[2]).await.is_some());
    assert_sound(&store).await;
}

#[tokio::test]
async fn bytes_stay_for_every_repository_that_holds_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let (app, other) = (repository("app"), repository("other"));
    push(&store, &app, Some("v1"), LARGE, 1).await;
    push(&store, &other, None, LARGE, 1).await;
    assert_eq!(collect_all(&store).await, (1, 2));
    assert_eq!(blob_files(directory.path()), 1);
    assert!(is_whole(&store, &app, &tag("v1").into()).await);
    store.delete_tag(&app, &tag("v1")).await.unwrap();
    assert_eq!(collect_all(&store).await, (1, 2));
    assert_eq!(blob_files(directory.path()), 0);
}

#[tokio::test]
async fn bytes_that_were_pushed_again_before_their_removal_stay() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let bytes = noise(LARGE, 1);
    let digest = put(&store, &app, &bytes).await;
    assert!(store.delete_blob(&app, &digest, DeleteOptions::default()).await.unwrap());
    let waiting = store.verify().await.unwrap();
    assert_eq!((waiting.deleted.files, waiting.deleted.bytes, waiting.leftovers), (1, LARGE as u64, Vec::new()));
    put(&store, &app, &bytes).await;
    let mut options = GcOptions::default();
    options.batch = 1;
    assert_eq!(store.collect_garbage(&options).await.unwrap().removed_blobs, 0);
    assert_eq!(get(&store, &app, &digest).await, Some(bytes));
    assert!(store.delete_blob(&app, &digest, DeleteOptions::default()).await.unwrap());
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!((report.removed_blobs, report.removed_bytes), (1, LARGE as u64));
    let after = store.verify().await.unwrap();
    assert!(after.leftovers.is_empty());
    assert_eq!((after.deleted.files, after.deleted.bytes), (0, 0));
}

#[tokio::test]
async fn a_chain_of_a_thousand_indexes_goes_at_once_and_a_shared_child_stays() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let shared = push(&store, &app, None, 10, 1).await;
    let list = index(&[&shared]);
    store.put_document(&app, &list, &PutOptions::tagged(Some(&tag("list")))).await.unwrap();
    let mut top = shared.clone();
    for _ in 0..1000 {
        top = index(&[&shared, &top]);
        store.put_document(&app, &top, &PutOptions::tagged(Some(&tag("deep")))).await.unwrap();
    }
    assert_eq!(collect_all(&store).await, (0, 0));
    store.delete_tag(&app, &tag("deep")).await.unwrap();
    assert_eq!(collect(&store).await.condemned_documents, 1000);
    assert_eq!(collect(&store).await.swept_documents, 1000);
    assert!(is_whole(&store, &app, &shared.digest().clone().into()).await);
    assert_sound(&store).await;
}

#[tokio::test]
async fn an_index_whose_subject_is_its_child_does_not_keep_itself() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let child = push(&store, &app, None, 10, 1).await;
    let descriptor = serde_json::to_string(&child.descriptor()).unwrap();
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{descriptor}],"subject":{descriptor}}}"#,
        MediaType::OCI_INDEX
    );
    let circle = Document::new(None, text.into_bytes()).unwrap();
    store.put_document(&app, &circle, &PutOptions::tagged(Some(&tag("v1")))).await.unwrap();
    assert_eq!(collect_all(&store).await, (0, 0));
    store.delete_tag(&app, &tag("v1")).await.unwrap();
    assert_eq!(collect_all(&store).await, (2, 2));
}

#[tokio::test]
async fn a_referrer_waits_for_its_subject() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let config = noise(50, 3);
    put(&store, &app, &config).await;
    let layer = noise(10, 4);
    let image = manifest(&config, &[&layer]);
    let signature = referrer(&config, &image);
    store.put_document(&app, &signature, &PutOptions::default()).await.unwrap();
    let options = GcOptions::default();
    assert_eq!(store.collect_garbage(&options).await.unwrap().kept.recent, 1);
    // The subject comes with a tag, much later.
    put(&store, &app, &layer).await;
    store.put_document(&app, &image, &PutOptions::tagged(Some(&tag("v1")))).await.unwrap();
    assert_eq!(collect_all(&store).await, (0, 0));
    assert!(has(&store, &app, &signature).await);
}

#[tokio::test]
async fn a_clock_that_was_ahead_takes_nothing_early() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let image = push(&store, &app, None, 10, 1).await;
    age(directory.path());
    store.collect_garbage(&GcOptions::default()).await.unwrap();
    let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    // Another machine, whose clock is a year ahead, condemned it.
    database.execute_batch("UPDATE condemned_documents SET condemned_at = condemned_at + 31536000000").unwrap();
    let report = store.collect_garbage(&GcOptions::default()).await.unwrap();
    assert_eq!((report.swept_documents, report.kept.waiting), (0, 1));
    assert!(has(&store, &app, &image).await);
    database.execute_batch("UPDATE documents SET referenced_at = referenced_at + 31536000000").unwrap();
    let report = store.collect_garbage(&GcOptions::default()).await.unwrap();
    assert_eq!((report.condemned_documents, report.kept.recent), (0, 1));
}

#[tokio::test]
async fn two_collections_at_once_do_the_work_of_one_while_images_are_pushed() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let stores = [open(directory.path()).await, open(directory.path()).await, open(directory.path()).await];
    let pushing = async {
        for round in 0..15u64 {
            // The same bytes come and go.
            let image = push(&stores[2], &app, Some("v1"), 70_000, round % 3).await;
            assert!(is_whole(&stores[2], &app, &tag("v1").into()).await, "round {round}");
            if round % 2 == 0 {
                stores[2].delete_document(&app, image.digest(), DeleteOptions::default()).await.unwrap();
            }
        }
    };
    let sweeping = async |store: &ContentStore| {
        for _ in 0..15 {
            // Young blobs are kept: the push of the moment is acknowledged piece by piece.
            let mut options = at_once();
            options.keep_unused_blobs = Duration::from_secs(5);
            store.collect_garbage(&options).await.unwrap();
        }
    };
    tokio::join!(pushing, sweeping(&stores[0]), sweeping(&stores[1]));
    collect_all(&stores[0]).await;
    assert!(store_is_clean(&stores[0]).await);
}

async fn store_is_clean(store: &ContentStore) -> bool {
    let report = store.verify().await.unwrap();
    report.is_sound() && report.leftovers.is_empty()
}

#[tokio::test]
async fn a_directory_of_version_1_is_taken_over() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    push(&store, &app, Some("v1"), LARGE, 1).await;
    let orphan = noise(LARGE, 7);
    let digest = put(&store, &app, &orphan).await;
    drop(store);
    let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    // As version 1 had it, with the row of a blob that was deleted.
    database
        .execute_batch(
            "DROP TABLE collections; DROP TABLE condemned_documents; DROP TABLE condemned_blobs;
             DROP TABLE doomed_bytes; DROP INDEX documents_by_age; DROP TABLE tag_history;
             DROP TRIGGER blob_edges_repository; DROP INDEX blob_edges_by_blob; ALTER TABLE blob_edges DROP COLUMN repository;
             CREATE INDEX blob_edges_by_blob ON blob_edges (blob); PRAGMA user_version = 1;",
        )
        .unwrap();
    database
        .execute(
            "DELETE FROM repository_blobs WHERE blob = (SELECT id FROM blobs WHERE digest = ?1)",
            [digest.as_str()],
        )
        .unwrap();
    drop(database);
    let store = open(directory.path()).await;
    assert!(is_whole(&store, &app, &tag("v1").into()).await);
    assert_eq!(collect(&store).await.removed_blobs, 1);
    assert!(store_is_clean(&store).await);
    assert_eq!(blob_files(directory.path()), 1);
}

#[tokio::test]
async fn images_of_the_local_store_stay_without_a_tag_until_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let local = RepositoryId::local("registry.example.com".parse().unwrap(), "app".parse().unwrap());
    let served = repository("app");
    let pulled = push(&store, &local, None, LARGE, 1).await;
    let child = push(&store, &local, None, 10, 2).await;
    let list = index(&[&child]);
    store.put_document(&local, &list, &PutOptions::default()).await.unwrap();
    let untagged = push(&store, &served, None, 10, 3).await;
    let mut options = at_once();
    options.keep_untagged_local = true;
    for _ in 0..4 {
        store.collect_garbage(&options).await.unwrap();
    }
    assert!(is_whole(&store, &local, &pulled.digest().clone().into()).await);
    assert!(has(&store, &local, &list).await && has(&store, &local, &child).await);
    assert!(!has(&store, &served, &untagged).await);
    assert_eq!(store.collect_garbage(&options).await.unwrap().kept.untagged_local, 3);

    // Who asks once and then thinks better of it loses nothing in between.
    options.keep_untagged_local = false;
    assert_eq!(store.collect_garbage(&options).await.unwrap().condemned_documents, 3);
    options.keep_untagged_local = true;
    assert_eq!(store.collect_garbage(&options).await.unwrap().rescued, 3);
    options.keep_untagged_local = false;
    for _ in 0..4 {
        store.collect_garbage(&options).await.unwrap();
    }
    assert!(!has(&store, &local, &pulled).await && !has(&store, &local, &child).await);
    assert!(store_is_clean(&store).await);
}
