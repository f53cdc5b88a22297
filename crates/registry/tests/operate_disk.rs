//! A disk that gets full: what was there stays, nothing is half there, and it goes on when there is room.
//!
//! Each test has a small disk of its own in memory, which only root can make.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stderr)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use content::GcOptions;
use image::Digest;
use polyarch_registry::{DiskSpace, Options};
use support::{MANIFEST, Registry, Reply, manifest};
use tempfile::TempDir;

const MIB: usize = 1 << 20;

struct SmallDisk {
    directory: TempDir,
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.directory.path()).output();
    }
}

impl SmallDisk {
    /// `None`: this user cannot mount.
    fn new(test: &str, mebibytes: usize) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m,mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { directory });
        }
        eprintln!("skipped: {test}: this user cannot mount a small disk");
        None
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn registry(&self, options: Options) -> Registry {
        Registry::at(tempfile::tempdir().unwrap(), &self.data(), options).await
    }

    /// Leaves so many bytes free.
    async fn fill(&self, registry: &Registry, leave: usize) {
        let free = registry.content.space().await.unwrap().unwrap().free;
        let size = usize::try_from(free).unwrap() - leave;
        std::fs::write(self.directory.path().join("filler"), vec![0; size]).unwrap();
    }

    fn make_room(&self) {
        std::fs::remove_file(self.directory.path().join("filler")).unwrap();
    }

    /// Files of upload sessions that hold bytes.
    fn stages(&self) -> Vec<u64> {
        let files = std::fs::read_dir(self.data().join("uploads")).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).filter(|length| *length > 0).collect()
    }
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let pattern: Vec<u8> = (0..=250u8).map(|byte| byte ^ seed).collect();
    let mut bytes = pattern.repeat(length / pattern.len() + 1);
    bytes.truncate(length);
    bytes
}

fn assert_full(reply: &Reply) {
    assert_eq!((reply.status, &*reply.code()), (507, "UNAVAILABLE"), "{reply:?}");
    assert!(String::from_utf8_lossy(&reply.body).contains("disk is full"), "{reply:?}");
}

/// How many bytes a session says that it has.
async fn offset(registry: &Registry, session: &str) -> usize {
    let reply = registry.get(session).await;
    assert_eq!(reply.status, 204, "{reply:?}");
    match reply.header("range") {
        Some("0-0") | None => 0,
        Some(range) => range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1,
    }
}

async fn session(registry: &Registry) -> String {
    let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.header("location").unwrap().to_owned()
}

async fn until_ready(registry: &Registry, want: u16) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = registry.get("/readyz").await;
        if reply.status == want {
            return reply;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{reply:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn pushes_are_refused_before_the_disk_is_full_and_taken_again_when_it_has_room() {
    let Some(disk) = SmallDisk::new("pushes_are_refused_before_the_disk_is_full", 32) else { return };
    let mut options = Options::default();
    options.disk_space = DiskSpace { warn_below: 16 * MIB as u64, refuse_below: 12 * MIB as u64 };
    options.metrics = true;
    let mut registry = disk.registry(options).await;
    until_ready(&registry, 200).await;
    let image = registry.image("app", Some("v1"), "1").await;

    // What is announced and does not fit is refused before a byte of it is taken.
    let large = bytes(28 * MIB, 1);
    let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(&large));
    assert_full(&registry.send("POST", &path, &[], &large).await);
    assert_eq!(disk.stages(), [0; 0]);

    // What is not announced is taken as far as there is room.
    let upload = session(&registry).await;
    let mut chunked = Vec::new();
    for part in large.chunks(MIB) {
        chunked.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        chunked.extend_from_slice(part);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let reply = registry.send("PATCH", &upload, &[("Transfer-Encoding", "chunked")], &chunked).await;
    assert_full(&reply);
    let kept = offset(&registry, &upload).await;
    // What comes while the disk is asked how much room it has may count twice for a moment.
    assert!((6 * MIB..20 * MIB).contains(&kept), "{kept}");
    assert_eq!(reply.header("range"), Some(&*format!("0-{}", kept - 1)), "{reply:?}");

    // It stays full until there is room, for manifests too; reads and deletions go on.
    disk.fill(&registry, 8 * MIB).await;
    let reply = until_ready(&registry, 503).await;
    assert_eq!(reply.json()["reasons"][0]["code"], "disk-full", "{reply:?}");
    assert_full(&registry.put_manifest("/v2/app/manifests/v2", MANIFEST, &image).await);
    assert_full(&registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await);
    assert_eq!(registry.get("/v2/app/manifests/v1").await.body, image);
    let metrics = String::from_utf8(registry.get("/metrics").await.body).unwrap();
    assert!(metrics.contains("polyarch_registry_disk_full 1\n"), "{metrics}");
    assert_eq!(registry.send("DELETE", "/v2/app/manifests/v1", &[], b"").await.status, 202);
    assert_eq!(registry.send("DELETE", &upload, &[], b"").await.status, 204);
    disk.make_room();

    until_ready(&registry, 200).await;
    assert_eq!(registry.put_manifest("/v2/app/manifests/v2", MANIFEST, &image).await.status, 201);
    registry.stop().await;
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_an_upload_leaves_no_half_blob() {
    let Some(disk) = SmallDisk::new("a_disk_that_is_full_in_the_middle_of_an_upload", 48) else { return };
    // Nothing is watched: the disk itself says no.
    let mut registry = disk.registry(Options::default()).await;
    let image = registry.image("app", Some("v1"), "1").await;
    let large = bytes(12 * MIB, 2);
    let digest = Digest::sha256(&large);
    let (first, rest) = large.split_at(2 * MIB);
    let upload = session(&registry).await;
    assert_eq!(registry.send("PATCH", &upload, &[], first).await.status, 202);

    // Condemned, so that whoever reads it would have that noted.
    let condemned = registry.image("old", None, "3").await;
    let unused = registry.blob("old", b"nobody needs this").await;
    let mut gc = GcOptions::default();
    (gc.keep_untagged, gc.keep_unused_blobs) = Default::default();
    let report = registry.content.collect_garbage(&gc).await.unwrap();
    assert!(report.condemned_documents > 0 && report.condemned_blobs > 0, "{report:?}");

    disk.fill(&registry, 4 * MIB).await;
    // At once, a new session, and a session that has something already.
    let other = bytes(9 * MIB, 3);
    let at_once = format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(&other));
    assert_full(&registry.send("POST", &at_once, &[], &other).await);
    assert_full(&registry.send("PATCH", &upload, &[], rest).await);
    assert_eq!(offset(&registry, &upload).await, first.len());
    assert_full(&registry.send("PUT", &format!("{upload}?digest={digest}"), &[], rest).await);
    assert_eq!(offset(&registry, &upload).await, first.len());

    // Not a byte more: metadata cannot be written either, and is still read.
    let left = std::fs::OpenOptions::new().append(true).open(disk.directory.path().join("filler")).unwrap();
    let mut left = std::io::BufWriter::with_capacity(4096, left);
    while std::io::Write::write_all(&mut left, &[0; 4096]).is_ok() {}
    drop(left.into_parts());
    for n in 0..20 {
        // What the database has room for inside may be taken; nothing else is, and all is answered for.
        let other = manifest(b"{}", &[], &format!(r#","annotations":{{"n":"{n}","x":"{}"}}"#, "x".repeat(60_000)));
        let config = Digest::sha256(b"{}");
        let reply = registry.send("POST", &format!("/v2/b{n}/blobs/uploads/?digest={config}"), &[], b"{}").await;
        assert!(matches!(reply.status, 201 | 507), "{reply:?}");
        let reply = registry.put_manifest(&format!("/v2/b{n}/manifests/v1"), MANIFEST, other.as_bytes()).await;
        assert!(matches!(reply.status, 201 | 400 | 507), "{reply:?}");
        let want = if reply.status == 201 { 200 } else { 404 };
        assert_eq!(registry.get(&format!("/v2/b{n}/manifests/v1")).await.status, want);
    }
    assert_eq!(registry.get("/v2/app/manifests/v1").await.body, image);
    assert_eq!(registry.get("/v2/app/tags/list").await.status, 200);
    let manifest = Digest::sha256(&condemned);
    assert_eq!(registry.get(&format!("/v2/old/blobs/{unused}")).await.body, b"nobody needs this");
    assert_eq!(registry.get(&format!("/v2/old/manifests/{manifest}")).await.body, condemned);
    assert_eq!(registry.head(&format!("/v2/old/manifests/{manifest}")).await.status, 200);
    for blob in [&digest, &Digest::sha256(&other)] {
        assert_eq!(registry.get(&format!("/v2/app/blobs/{blob}")).await.status, 404);
    }

    disk.make_room();
    assert_eq!(offset(&registry, &upload).await, first.len());
    let range = format!("{}-{}", first.len(), large.len() - 1);
    let reply = registry.send("PATCH", &upload, &[("Content-Range", &range)], rest).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(registry.send("PUT", &format!("{upload}?digest={digest}"), &[], b"").await.status, 201);
    assert!(registry.get(&format!("/v2/app/blobs/{digest}")).await.body == large, "other bytes");
    assert_eq!(registry.send("POST", &at_once, &[], &other).await.status, 201);
    assert_eq!(disk.stages(), [0; 0], "something of a failed upload is left");
    registry.image("app", Some("v2"), "2").await;
    let report = registry.content.verify().await.unwrap();
    assert!(report.is_sound(), "{report:?}");
    registry.stop().await;
}
