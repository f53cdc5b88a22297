//! Where tags pointed before, and the way back.

mod support;

use std::time::{Duration, SystemTime};

use polyarch_content::{ContentStore, DeleteOptions, GcOptions, PutOptions};
use support::{assert_sound, is_whole, open, push, repository, tag};

fn at_once() -> GcOptions {
    let mut options = GcOptions::default();
    options.keep_untagged = Duration::ZERO;
    options.keep_unused_blobs = Duration::ZERO;
    options.sweep_after = Duration::ZERO;
    options
}

async fn collect_all(store: &ContentStore, options: &GcOptions) -> u64 {
    let mut documents = 0;
    for _ in 0..4 {
        documents += store.collect_garbage(options).await.unwrap().swept_documents;
    }
    documents
}

/// An instant that is surely after what came before it, and before what comes after it.
async fn instant() -> SystemTime {
    tokio::time::sleep(Duration::from_millis(5)).await;
    let now = SystemTime::now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    now
}

#[tokio::test]
async fn every_move_of_a_tag_is_written_down_with_who_did_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let name = tag("v1");
    let began = instant().await;
    let first = push(&store.acting_for("ann"), &app, Some("v1"), 10, 1).await;
    // What moves nothing is no move.
    push(&store.acting_for("bob"), &app, Some("v1"), 10, 1).await;
    let second = push(&store.acting_for("bob"), &app, Some("v1"), 10, 2).await;
    store.delete_tag(&app, &name).await.unwrap();
    assert!(store.tag(&app, first.digest(), &name).await.unwrap());
    store.acting_for("eve").delete_document(&app, first.digest(), DeleteOptions::default()).await.unwrap();
    let (one, two) = (Some(first.digest().clone()), Some(second.digest().clone()));
    let page = store.history(&app, &name, None, 10).await.unwrap();
    assert!(!page.more);
    let moves: Vec<_> =
        page.items.iter().map(|item| (item.from.clone(), item.to.clone(), item.actor.as_deref())).collect();
    assert_eq!(
        moves,
        [
            (one.clone(), None, Some("eve")),
            (None, one.clone(), None),
            (two.clone(), None, None),
            (one.clone(), two, Some("bob")),
            (None, one, Some("ann")),
        ]
    );
    let now = instant().await;
    assert!(page.items.iter().all(|item| began < item.at && item.at < now));
    let last = store.history(&app, &name, Some(page.items[3].number), 10).await.unwrap();
    assert_eq!((last.items.as_slice(), last.more), (&page.items[4..], false));
    let newest = store.history(&app, &name, None, 2).await.unwrap();
    assert_eq!((newest.items.as_slice(), newest.more), (&page.items[..2], true));
    assert!(store.history(&app, &tag("v2"), None, 10).await.unwrap().items.is_empty());
    assert!(store.history(&repository("other"), &name, None, 10).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_put_that_is_refused_is_no_move() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    push(&store, &app, Some("v1"), 10, 1).await;
    let other = push(&store, &app, None, 10, 2).await;
    let mut options = PutOptions::tagged(Some(&tag("v1")));
    options.condition = polyarch_content::TagCondition::Absent;
    store.put_document(&app, &other, &options).await.unwrap_err();
    assert_eq!(store.history(&app, &tag("v1"), None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_tag_can_be_read_as_of_a_time_and_moved_back_while_its_target_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let name = tag("v1");
    let before = instant().await;
    let first = push(&store, &app, Some("v1"), 200_000, 1).await;
    let between = instant().await;
    let second = push(&store, &app, Some("v1"), 10, 2).await;
    let after = instant().await;
    let never = push(&store, &app, Some("other"), 10, 3).await;

    let mut kept = at_once();
    kept.keep_history = Duration::from_secs(60);
    assert_eq!(collect_all(&store, &kept).await, 0);
    assert_eq!(store.collect_garbage(&kept).await.unwrap().kept.history, 1);
    let at = async |time| store.resolve_at(&app, &name, time).await.unwrap().map(|record| record.digest);
    assert_eq!(at(before).await, None);
    assert_eq!(at(between).await.as_ref(), Some(first.digest()));
    assert_eq!(at(after).await.as_ref(), Some(second.digest()));

    assert!(!store.restore(&app, &name, never.digest()).await.unwrap());
    assert!(store.acting_for("ann").restore(&app, &name, first.digest()).await.unwrap());
    assert!(is_whole(&store, &app, &name.clone().into()).await);
    let page = store.history(&app, &name, None, 1).await.unwrap();
    assert_eq!((page.items[0].to.as_ref(), page.items[0].actor.as_deref()), (Some(first.digest()), Some("ann")));

    // Now the second is what the tag left, and its time is over.
    kept.keep_history = Duration::ZERO;
    assert_eq!(collect_all(&store, &kept).await, 1);
    assert!(!store.restore(&app, &name, second.digest()).await.unwrap());
    assert_eq!(at(after).await, None);
    assert!(is_whole(&store, &app, &name.clone().into()).await);
    assert_sound(&store).await;
}

#[tokio::test]
async fn tags_of_a_directory_without_history_begin_theirs_where_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let store = open(directory.path()).await;
    let image = push(&store, &app, Some("v1"), 10, 1).await;
    drop(store);
    let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    // With an edge from nowhere, as only damage makes one: the directory opens all the same.
    database
        .execute_batch(
            "DROP TABLE tag_history;
             DROP TRIGGER blob_edges_repository; DROP INDEX blob_edges_by_blob; ALTER TABLE blob_edges DROP COLUMN repository;
             CREATE INDEX blob_edges_by_blob ON blob_edges (blob); PRAGMA user_version = 2;
             PRAGMA foreign_keys = false; INSERT INTO blob_edges (document, blob) VALUES (999999, 1);",
        )
        .unwrap();
    drop(database);
    let store = open(directory.path()).await;
    let page = store.history(&app, &tag("v1"), None, 10).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!((page.items[0].from.as_ref(), page.items[0].to.as_ref()), (None, Some(image.digest())));
    push(&store, &app, Some("v1"), 10, 2).await;
    assert!(store.restore(&app, &tag("v1"), image.digest()).await.unwrap());
}

/// Makes all moves so far look older.
fn age(directory: &std::path::Path, days: u64) {
    let database = rusqlite::Connection::open(directory.join("metadata.sqlite3")).unwrap();
    database.execute("UPDATE tag_history SET at = at - ?1", [days * 86_400_000]).unwrap();
}

#[tokio::test]
async fn old_moves_are_forgotten_but_not_where_a_tag_was_when_the_rest_begins() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let name = tag("v1");
    let mut images = Vec::new();
    for seed in 0..50 {
        images.push(push(&store, &app, Some("v1"), 10, seed).await);
    }
    push(&store, &app, Some("gone"), 10, 1).await;
    store.delete_tag(&app, &tag("gone")).await.unwrap();
    push(&store, &app, Some("only"), 10, 2).await;
    age(directory.path(), 7);
    let begins = SystemTime::now() - Duration::from_secs(6 * 86_400);
    push(&store, &app, Some("v1"), 10, 50).await;
    age(directory.path(), 3);
    push(&store, &app, Some("v1"), 10, 51).await;
    let count = async |name: &str| store.history(&app, &tag(name), None, 1000).await.unwrap().items.len();

    // Ten days ago; a week is kept, and a day beyond.
    let mut options = GcOptions::default();
    options.batch = 7;
    options.keep_history = Duration::from_secs(10 * 86_400);
    assert_eq!(store.collect_garbage(&options).await.unwrap().pruned_moves, 0);
    options.keep_history = Duration::from_secs(7 * 86_400);
    let report = store.collect_garbage(&options).await.unwrap();
    assert_eq!(report.pruned_moves, 49 + 2);
    assert_eq!((count("v1").await, count("gone").await, count("only").await), (3, 0, 1));
    assert_eq!(store.collect_garbage(&options).await.unwrap().pruned_moves, 0);
    let then = store.resolve_at(&app, &name, begins).await.unwrap().unwrap();
    assert_eq!(&then.digest, images[49].digest());

    // However often a tag moves, a week later there is one move of it.
    age(directory.path(), 30);
    assert_eq!(store.collect_garbage(&options).await.unwrap().pruned_moves, 2);
    assert_eq!(count("v1").await, 1);
    assert_sound(&store).await;
}
