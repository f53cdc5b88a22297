//! What a collection says that it would do is what it does, in whatever state the store is.

#[path = "support/scheduler.rs"]
#[allow(dead_code)] // only its numbers are needed
mod scheduler;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use polyarch_content::{
    ContentStore, DeleteOptions, GcAction, GcItem, GcKind, GcOptions, GcReport, PutOptions, RepositoryId,
};
use scheduler::Random;
use support::{index, noise, open, push, put, repository, tag};

const DAY: u64 = 86_400;

async fn collect(store: &ContentStore, options: &GcOptions) -> (GcReport, BTreeSet<String>) {
    let mut items = Vec::new();
    let report = store.collect_garbage_telling(options, &mut |item| items.push(item)).await.unwrap();
    (report, items.iter().map(shown).collect())
}

fn shown(item: &GcItem) -> String {
    format!("{item:?}")
}

fn local(name: &str) -> RepositoryId {
    RepositoryId::local("registry.example.com".parse().unwrap(), name.parse().unwrap())
}

/// Something that a client or a person might do.
async fn step(store: &ContentStore, repositories: &[RepositoryId], random: &mut Random) {
    let repository = &repositories[random.below(repositories.len())];
    let name = format!("t{}", random.below(3));
    let large = [70_000, 10][random.below(2)];
    let seed = random.below(5) as u64;
    match random.below(8) {
        0 => drop(push(store, repository, Some(&name), large, seed).await),
        1 => drop(push(store, repository, None, large, seed).await),
        2 => drop(put(store, repository, &noise(large, 100 + seed)).await),
        3 => drop(store.delete_tag(repository, &tag(&name)).await.unwrap()),
        4 => {
            let (first, second) =
                (push(store, repository, None, large, seed).await, push(store, repository, None, 20, 9).await);
            let list = index(&[&first, &second]);
            let name = tag(&name);
            let tagged = PutOptions::tagged(Some(&name).filter(|_| seed > 1));
            store.put_document(repository, &list, &tagged).await.unwrap();
        }
        5 => {
            let digest = image::Digest::sha256(&noise(large, 100 + seed));
            store.delete_blob(repository, &digest, DeleteOptions::careful()).await.unwrap();
        }
        6 => {
            if let Some(record) = store.resolve(repository, &tag(&name).into()).await.unwrap() {
                store.delete_document(repository, &record.digest, DeleteOptions::default()).await.unwrap();
            }
        }
        _ => drop(store.mount_blob(repository, &image::Digest::sha256(&noise(large, seed)), &repositories[0]).await),
    }
}

#[tokio::test]
async fn the_plan_is_what_is_done() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let database = rusqlite::Connection::open(directory.path().join("metadata.sqlite3")).unwrap();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    let repositories = [repository("app"), repository("web"), local("app")];
    let mut random = Random::new(7);
    let mut done = GcReport::default();
    for round in 0..60 {
        for _ in 0..random.below(6) {
            step(&store, &repositories, &mut random).await;
        }
        // Never just at the edge of a day: time goes on between the plan and the run.
        let older = random.below(3) as u64 * (DAY + 60) * 1000;
        for statement in [
            "UPDATE documents SET referenced_at = referenced_at - ?1",
            "UPDATE repository_blobs SET added_at = added_at - ?1",
            "UPDATE condemned_documents SET condemned_at = condemned_at - ?1",
            "UPDATE condemned_blobs SET condemned_at = condemned_at - ?1",
            "UPDATE tag_history SET at = at - ?1",
        ] {
            database.execute(statement, [older]).unwrap();
        }
        let mut options = GcOptions::default();
        options.list = true;
        options.batch = 1 + random.below(4);
        options.keep_history = Duration::from_secs(random.below(3) as u64 * DAY);
        options.keep_untagged_local = random.below(3) > 0;
        let mut dry = options.clone();
        dry.dry_run = true;
        let planned = collect(&store, &dry).await;
        let ran = collect(&store, &options).await;
        assert_eq!(planned, ran, "round {round}, {options:?}");
        done.condemned_documents += ran.0.condemned_documents;
        done.swept_documents += ran.0.swept_documents;
        done.swept_blobs += ran.0.swept_blobs;
        done.removed_blobs += ran.0.removed_blobs;
        done.pruned_moves += ran.0.pruned_moves;
        done.rescued += ran.0.rescued;
        assert!(store.verify().await.unwrap().is_sound());
    }
    // It was about something.
    for (what, count) in [
        ("condemned", done.condemned_documents),
        ("deleted manifests", done.swept_documents),
        ("deleted blobs", done.swept_blobs),
        ("removed bytes", done.removed_blobs),
        ("forgot moves", done.pruned_moves),
    ] {
        assert!(count > 4, "{what} only {count}: {done:?}");
    }
}

#[tokio::test]
async fn each_thing_is_told_with_where_and_since_when() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let began = std::time::SystemTime::now() - Duration::from_millis(1);
    let image = push(&store, &app, None, 70_000, 1).await;
    let mut options = GcOptions::default();
    (options.list, options.sweep_after, options.keep_untagged) = (true, Duration::ZERO, Duration::ZERO);
    let mut items = Vec::new();
    for _ in 0..2 {
        store.collect_garbage_telling(&options, &mut |item| items.push(item)).await.unwrap();
    }
    let [condemned, deleted] = &items[..] else { panic!("{items:?}") };
    assert_eq!((condemned.action, condemned.kind), (GcAction::Condemn, GcKind::Manifest));
    assert_eq!((deleted.action, deleted.kind), (GcAction::Delete, GcKind::Manifest));
    for item in [condemned, deleted] {
        assert_eq!((item.repository.as_ref(), &item.digest, item.size), (Some(&app), image.digest(), image.size()));
        assert!(item.since.is_some_and(|since| began < since), "{item:?}");
    }
}
