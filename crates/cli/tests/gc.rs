//! Two processes that collect garbage in the directory of a server that takes pushes, for several rounds: all that was
//! acknowledged and not taken back is there, whole, and nothing else stays.
//!
//! `POLYARCH_LONG` makes it longer.

#![cfg(unix)]
#![allow(clippy::print_stderr)]

mod sandbox;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use image::{Descriptor, Digest, Document, MediaType, Tag, Target};
use registry_client::{ClientOptions, RegistryClient, Repository};
use sandbox::{POLYARCH, Sandbox};
use settings::CredentialStore;

const CLIENTS: u64 = 3;
const GARBAGE: &str =
    "gc --data registry --keep-history 0s --keep-untagged 0s --keep-unused-blobs 0s --sweep-after 0s --json";

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(user: &Sandbox) -> (Server, String) {
    let mut command = user.command(POLYARCH, &["serve", "--listen", "127.0.0.1:0", "--data", "registry"]);
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let host = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}")).to_owned();
    // Nobody reads on; what it still says must not stop it.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    (Server(child), host)
}

/// Bytes that look like nothing, the same for the same seed.
fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.take(length).collect()
}

fn descriptor(media_type: &'static str, bytes: &Bytes) -> Descriptor {
    Descriptor::new(MediaType::new(media_type), Digest::sha256(bytes), bytes.len() as u64)
}

/// An image of two layers that others have too, and a config of its own.
fn image(client: u64, round: u64) -> (Document, Vec<(Descriptor, Bytes)>) {
    let config = Bytes::from(format!(r#"{{"architecture":"amd64","os":"linux","client":{client},"round":{round}}}"#));
    let mut blobs = vec![(descriptor(MediaType::OCI_CONFIG, &config), config)];
    // In files, and in the metadata.
    for (length, seed) in [(70_000, round % 4), (3_000, 10 + (round + client) % 3)] {
        let layer = noise(length, seed);
        blobs.push((descriptor(MediaType::OCI_LAYER_GZIP, &layer), layer));
    }
    let text = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": blobs[0].0,
        "layers": [blobs[1].0, blobs[2].0],
    });
    (Document::new(None, text.to_string().into_bytes()).unwrap(), blobs)
}

/// Pushes as clients do; what a collection took before the manifest came is pushed again. Says how often that was.
async fn push(repository: &Repository, tag: &Tag, client: u64, round: u64) -> u64 {
    let (document, blobs) = image(client, round);
    let mut again = 0;
    loop {
        for (descriptor, bytes) in &blobs {
            repository.push_blob(descriptor, None, bytes).await.unwrap();
        }
        match repository.put_manifest(&document, Some(tag)).await {
            Ok(_) => return again,
            Err(error) if error.codes().iter().all(|code| code.code == "MANIFEST_BLOB_UNKNOWN") => again += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(again < 100, "what is pushed goes at once, again and again");
    }
}

/// What a client did until it was told to stop: where its tags must point. Nothing is taken back of every third.
async fn work(
    repository: Repository,
    client: u64,
    stop: &AtomicBool,
    pushes: &AtomicU64,
    again: &AtomicU64,
) -> BTreeMap<Tag, Option<Digest>> {
    let mut expected = BTreeMap::new();
    let mut round = 0;
    while !stop.load(Ordering::Relaxed) {
        let tag: Tag = format!("c{client}-{}", round % 7).parse().unwrap();
        again.fetch_add(push(&repository, &tag, client, round).await, Ordering::Relaxed);
        let digest = image(client, round).0.digest().clone();
        expected.insert(tag.clone(), Some(digest.clone()));
        match round % 5 {
            1 => {
                repository.delete_manifest(&tag.clone().into()).await.unwrap();
                expected.insert(tag, None);
            }
            3 => {
                repository.delete_manifest(&digest.clone().into()).await.unwrap();
                expected.insert(tag, None);
            }
            _ => {}
        }
        round += 1;
        pushes.fetch_add(1, Ordering::Relaxed);
    }
    expected
}

/// Everything that a tag leads to, with its bytes.
async fn assert_whole(repository: &Repository, tag: &Tag, expected: Option<&Digest>) {
    let found = repository.head_manifest(&Target::Tag(tag.clone())).await.unwrap();
    assert_eq!(found.as_ref().map(|found| &found.digest), expected, "{tag}");
    if expected.is_none() {
        return;
    }
    let document = repository.get_manifest(&Target::Tag(tag.clone())).await.unwrap();
    for child in document.children() {
        let mut bytes = Vec::new();
        let mut stream = repository.get_blob(child).await.unwrap();
        while let Some(chunk) = stream.try_next().await.unwrap() {
            bytes.extend_from_slice(&chunk);
        }
        assert_eq!(Digest::sha256(&bytes), child.digest, "{tag}");
    }
}

#[test]
fn two_processes_that_collect_lose_nothing_that_a_server_acknowledged() {
    let long = std::env::var_os("POLYARCH_LONG").is_some();
    let (rounds, pushes_of_a_round) = if long { (20, 200) } else { (3, 40) };
    let user = Sandbox::new();
    let (_server, host) = serve(&user);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = RegistryClient::new(ClientOptions::default(), Arc::new(CredentialStore::empty()));
    let repository = |number: u64| {
        let name = ["app", "web"][number as usize % 2];
        client.repository(&host.parse().unwrap(), &name.parse().unwrap())
    };
    let (again, collections, swept) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let mut expected: Vec<BTreeMap<Tag, Option<Digest>>> = vec![BTreeMap::new(); CLIENTS as usize];
    for round in 0..rounds {
        let (stop, pushes) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let report: serde_json::Value = serde_json::from_str(&user.words(GARBAGE).success()).unwrap();
                        swept.fetch_add(report["sweptBlobs"].as_u64().unwrap(), Ordering::Relaxed);
                        collections.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let first = collections.load(Ordering::Relaxed);
            let ended = runtime.block_on(async {
                let clients = (0..CLIENTS).map(|number| work(repository(number), number, &stop, &pushes, &again));
                let watching = async {
                    let enough = || {
                        pushes.load(Ordering::Relaxed) >= pushes_of_a_round
                            && collections.load(Ordering::Relaxed) >= first + 6
                    };
                    while !enough() {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    }
                    stop.store(true, Ordering::Relaxed);
                };
                let (ended, ()) = futures_util::future::join(futures_util::future::join_all(clients), watching).await;
                ended
            });
            for (all, ended) in expected.iter_mut().zip(ended) {
                all.extend(ended);
            }
        });
        runtime.block_on(async {
            for (number, tags) in expected.iter().enumerate() {
                for (tag, digest) in tags {
                    assert_whole(&repository(number as u64), tag, digest.as_ref()).await;
                }
            }
        });
        let checked = user.words("fsck --data registry").success();
        assert!(checked.contains("nothing is wrong"), "round {round}: {checked}");
    }
    // What nobody needs goes to the last byte.
    for _ in 0..3 {
        user.words(GARBAGE).success();
    }
    let report: serde_json::Value = serde_json::from_str(&user.words("fsck --data registry --json").success()).unwrap();
    let kept = expected.iter().flat_map(BTreeMap::values).flatten().count() as u64;
    assert_eq!(report["leftovers"], serde_json::json!([]));
    assert!(report["manifests"].as_u64().unwrap() <= kept, "{report}");
    let [again, collections, swept] = [again, collections, swept].map(AtomicU64::into_inner);
    eprintln!("{collections} collections deleted {swept} blobs; {again} pushes had to be done again");
    assert!(swept > 0);
}
