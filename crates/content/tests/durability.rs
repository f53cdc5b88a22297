//! What is acknowledged stays: counted in fsyncs, and tried with SIGKILL.
//!
//! Tests whose names begin with `child_` do nothing by themselves: others run them in processes of their own.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use image::{Digest, Target};
use polyarch_content::disk::{DiskBlobStore, RealDisk};
use polyarch_content::sqlite::SqliteMetadataStore;
use polyarch_content::{ContentStore, DeleteOptions, Options, PutOptions, RepositoryId};
use support::{assert_sound, is_whole, manifest, noise, open, push, repository, source, tag};

/// Fsyncs that an image of one layer may cost.
const MOST_SYNCS: u64 = 4;

struct Counted {
    store: ContentStore,
    disk: RealDisk,
    metadata: SqliteMetadataStore,
}

impl Counted {
    fn open(directory: &Path) -> Self {
        let disk = RealDisk::default();
        let blobs = DiskBlobStore::over(directory, Arc::new(disk.clone())).unwrap();
        let metadata = SqliteMetadataStore::open(&directory.join("metadata.sqlite3"), Duration::from_secs(5)).unwrap();
        let store = ContentStore::over(Arc::new(blobs), Arc::new(metadata.clone()), Options::default());
        Self { store, disk, metadata }
    }

    fn syncs(&self) -> u64 {
        self.disk.file_syncs() + self.disk.directory_syncs() + self.metadata.durable_commits()
    }
}

/// Pushes as a registry's client does: a session for each blob, its bytes, its digest; then the manifest.
async fn push_in_sessions(store: &ContentStore, repository: &RepositoryId, name: &str, layer: usize, seed: u64) {
    let layer = noise(layer, seed);
    let config = Bytes::from(format!(r#"{{"architecture":"amd64","os":"linux","seed":{seed}}}"#));
    for bytes in [&layer, &config] {
        let id = store.start_upload(repository, None).await.unwrap().id;
        store.append_upload(repository, &id, None, source(bytes)).await.unwrap();
        store.finish_upload(repository, &id, None, None, &Digest::sha256(bytes)).await.unwrap();
    }
    let document = manifest(&config, &[&layer]);
    store.put_document(repository, &document, &PutOptions::tagged(Some(&tag(name)))).await.unwrap();
}

#[tokio::test]
async fn an_image_of_one_layer_costs_at_most_4_fsyncs() {
    let directory = tempfile::tempdir().unwrap();
    let counted = Counted::open(directory.path());
    let app = repository("app");
    push_in_sessions(&counted.store, &app, "warm", 1 << 20, 0).await;
    for (seed, (layer, want)) in [(1000, 3), (64 << 10, 3), (1 << 20, 4), (5 << 20, 4)].into_iter().enumerate() {
        let before = counted.syncs();
        push_in_sessions(&counted.store, &app, "v1", layer, seed as u64 + 1).await;
        let cost = counted.syncs() - before;
        assert!(cost == want && cost <= MOST_SYNCS, "{layer} bytes cost {cost} fsyncs");
    }
    // Over many images, the stages made ahead of need cost next to nothing.
    let before = counted.syncs();
    for seed in 100..300 {
        push_in_sessions(&counted.store, &app, "v1", 100_000, seed).await;
    }
    let cost = counted.syncs() - before;
    assert!(cost <= 200 * MOST_SYNCS + 8, "200 images cost {cost} fsyncs");
}

#[tokio::test]
async fn images_that_arrive_together_share_their_commits() {
    let directory = tempfile::tempdir().unwrap();
    let counted = Counted::open(directory.path());
    let app = repository("app");
    push_in_sessions(&counted.store, &app, "warm", 1000, 0).await;
    let before = counted.metadata.durable_commits();
    let pushes: Vec<_> = (1..=32)
        .map(|seed| {
            let (store, app) = (counted.store.clone(), app.clone());
            tokio::spawn(async move { push_in_sessions(&store, &app, &format!("v{seed}"), 1000, seed).await })
        })
        .collect();
    for push in pushes {
        push.await.unwrap();
    }
    let commits = counted.metadata.durable_commits() - before;
    assert!(commits < 3 * 32, "96 writes took {commits} commits");
    assert_sound(&counted.store).await;
}

#[tokio::test]
async fn an_operation_that_fails_takes_no_other_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let app = repository("app");
    let good = push(&store, &app, None, 100, 1).await;
    let bad = manifest(&noise(10, 9), &[]);
    let puts: Vec<_> = (0..64)
        .map(|n| {
            let (store, app) = (store.clone(), app.clone());
            let document = if n % 2 == 0 { good.clone() } else { bad.clone() };
            tokio::spawn(async move {
                let options = PutOptions::tagged(Some(&tag(&format!("t{n}"))));
                store.put_document(&app, &document, &options).await.is_ok()
            })
        })
        .collect();
    for (n, put) in puts.into_iter().enumerate() {
        assert_eq!(put.await.unwrap(), n % 2 == 0);
    }
    assert_eq!(store.tags(&app, None, 100).await.unwrap().unwrap().items.len(), 32);
    assert_sound(&store).await;
}

fn child(name: &str, directory: &Path, argument: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    child_arguments(&mut command, name, directory, argument);
    command
}

fn child_arguments(command: &mut Command, name: &str, directory: &Path, argument: &str) {
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env("CONTENT_TEST_DIRECTORY", directory).env("CONTENT_TEST_ARGUMENT", argument);
}

/// The directory and argument that a parent gave; `None` if there is none.
fn given() -> Option<(std::path::PathBuf, String)> {
    Some((std::env::var_os("CONTENT_TEST_DIRECTORY")?.into(), std::env::var("CONTENT_TEST_ARGUMENT").ok()?))
}

fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "\n{line}").unwrap();
    stdout.flush().unwrap();
}

/// A mark that shows in the list of system calls.
fn mark(name: &str) {
    let _ = std::fs::metadata(format!("/polyarch-mark-{name}"));
}

#[tokio::test]
async fn child_that_pushes_one_image() {
    let Some((directory, _)) = given() else { return };
    let store = open(&directory).await;
    let app = repository("app");
    push_in_sessions(&store, &app, "warm", 1 << 20, 0).await;
    mark("begin");
    push_in_sessions(&store, &app, "v1", 1 << 20, 1).await;
    mark("end");
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_counts_the_same_fsyncs() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("calls");
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync,statx,stat,newfstatat"]);
    command.arg("-o").arg(&log).arg(std::env::current_exe().unwrap());
    child_arguments(&mut command, "child_that_pushes_one_image", &directory.path().join("data"), "");
    let run = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !run.is_ok_and(|status| status.success()) {
        say("skipped: no strace");
        return;
    }
    let calls = std::fs::read_to_string(&log).unwrap();
    let between = calls.split("polyarch-mark-begin").nth(1).unwrap().split("polyarch-mark-end").next().unwrap();
    let syncs: Vec<_> = between.lines().filter(|line| line.contains("sync")).collect();
    let begun = syncs.iter().filter(|line| !line.contains("resumed>")).count() as u64;
    assert!((1..=MOST_SYNCS).contains(&begun), "{syncs:#?}");
}

/// Pushes, moves tags and deletes until it is killed, and says what is done after each.
#[tokio::test]
async fn child_that_is_killed() {
    let Some((directory, argument)) = given() else { return };
    let store = open(&directory).await;
    let app = repository("app");
    let base: u64 = argument.parse().unwrap();
    say("READY");
    for n in base.. {
        let name = format!("t{n}");
        if n % 2 == 0 {
            push_in_sessions(&store, &app, &name, 70_000 + (n as usize % 7) * 40_000, n).await;
        } else {
            push(&store, &app, Some(&name), 500, n).await;
        }
        say(&format!("PUSHED {n}"));
        if n % 5 == 4 {
            let gone = format!("t{}", n - 2);
            let target = Target::from(tag(&gone));
            if let Some(record) = store.resolve(&app, &target).await.unwrap() {
                say(&format!("DELETING {}", n - 2));
                store.delete_document(&app, &record.digest, DeleteOptions::careful()).await.unwrap();
                say(&format!("DELETED {}", n - 2));
            }
        }
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_to_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let app = repository("app");
    let (mut pushed, mut unsure, mut deleted) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for round in 0..12u64 {
        // Two writers at once, as a server and a command line may be.
        let children: Vec<_> = [0, 500_000]
            .into_iter()
            .map(|base| {
                let first = base + round * 10_000;
                child("child_that_is_killed", directory.path(), &first.to_string())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        std::thread::sleep(Duration::from_millis(60 + round * 37 % 200));
        for mut running in children {
            let begun = Instant::now();
            running.kill().unwrap();
            let lines = BufReader::new(running.stdout.take().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let mut words = line.split(' ');
                let (Some(verb), Some(Ok(n))) = (words.next(), words.next().map(str::parse::<u64>)) else { continue };
                match verb {
                    "PUSHED" => drop(pushed.insert(n)),
                    "DELETING" => drop(unsure.insert(n)),
                    "DELETED" => {
                        unsure.remove(&n);
                        deleted.insert(n);
                    }
                    _ => {}
                }
            }
            running.wait().unwrap();
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
        let store = open(directory.path()).await;
        for n in &pushed {
            let there = is_whole(&store, &app, &tag(&format!("t{n}")).into()).await;
            assert!(there || deleted.contains(n) || unsure.contains(n), "image {n} was lost in round {round}");
            assert!(!there || !deleted.contains(n), "image {n} came back in round {round}");
        }
        for name in store.tags(&app, None, usize::MAX).await.unwrap().map_or(Vec::new(), |page| page.items) {
            assert!(is_whole(&store, &app, &name.clone().into()).await, "tag `{name}` leads to nothing whole");
        }
        assert_sound(&store).await;
    }
    assert!(pushed.len() > 20, "only {} images were pushed: the test tests nothing", pushed.len());
}
