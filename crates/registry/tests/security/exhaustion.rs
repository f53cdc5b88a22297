//! Sessions that nobody ends, disks that are full, bodies that do not come.

#[allow(dead_code)] // its other faults are the content store's own tests'
#[path = "../../../content/tests/support/simulated.rs"]
mod simulated;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use content::ContentStore;
use content::disk::DiskBlobStore;
use content::sqlite::SqliteMetadataStore;
use image::Digest;
use polyarch_registry::Options;
use simulated::{Fault, Simulated};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{MANIFEST, Registry, Reply, manifest};

/// A registry whose blobs are on a disk that can be full.
async fn on(disk: &Simulated) -> Registry {
    let directory = tempfile::tempdir().unwrap();
    let blobs = DiskBlobStore::over(Path::new("/data"), Arc::new(disk.clone())).unwrap();
    let metadata =
        SqliteMetadataStore::open(&directory.path().join("metadata.sqlite3"), Duration::from_secs(5)).unwrap();
    let content = ContentStore::over(Arc::new(blobs), Arc::new(metadata), content::Options::default());
    Registry::over(Options::default(), directory, content).await
}

/// Pushes an image of one layer as clients do. The first answer that is no success ends it.
async fn push(registry: &Registry, tag: &str, layer: &[u8]) -> Result<(), Reply> {
    let ok = |reply: Reply| if reply.status < 300 { Ok(reply) } else { Err(reply) };
    let session = ok(registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await)?;
    let session = session.header("location").unwrap().to_owned();
    let half = layer.len() / 2;
    ok(registry.send("PATCH", &session, &[], &layer[..half]).await)?;
    let path = format!("{session}?digest={}", Digest::sha256(layer));
    ok(registry.send("PUT", &path, &[], &layer[half..]).await)?;
    let path = format!("/v2/app/blobs/uploads/?digest={}", Digest::sha256(b"{}"));
    ok(registry.send("POST", &path, &[], b"{}").await)?;
    let image = manifest(b"{}", &[layer], "");
    ok(registry.put_manifest(&format!("/v2/app/manifests/{tag}"), MANIFEST, image.as_bytes()).await)?;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_said_reads_go_on_and_writes_resume() {
    let disk = Simulated::default();
    let registry = on(&disk).await;
    let old = vec![b'a'; 200_000];
    push(&registry, "old", &old).await.unwrap();
    disk.take_calls();
    push(&registry, "measured", &vec![b'b'; 200_000]).await.unwrap();
    let calls = disk.take_calls();
    assert!(calls > 5, "{calls}");
    let mut refused = 0;
    for at in 1..=calls {
        let layer = vec![at as u8; 200_000 + at as usize];
        let tag = format!("t{at}");
        disk.set_fault(at, Fault::Full);
        let pushed = push(&registry, &tag, &layer).await;
        disk.clear_fault();
        if let Err(reply) = pushed {
            assert_eq!((reply.status, reply.code().as_str()), (507, "UNAVAILABLE"), "call {at}: {reply:?}");
            refused += 1;
            let blob = registry.get(&format!("/v2/app/blobs/{}", Digest::sha256(&layer))).await;
            assert!(blob.status == 404 || blob.body == layer, "half a blob after call {at}");
            assert_eq!(registry.head(&format!("/v2/app/manifests/{tag}")).await.status, 404);
        }
        let blob = registry.get(&format!("/v2/app/blobs/{}", Digest::sha256(&old))).await;
        assert_eq!(blob.body, old, "a read after call {at}");
        push(&registry, &tag, &layer).await.unwrap_or_else(|reply| panic!("again after call {at}: {reply:?}"));
    }
    assert!(refused > 3, "{refused} of {calls}");
    assert!(registry.content.verify().await.unwrap().is_sound());
}

#[tokio::test]
async fn sessions_that_nobody_ends_hold_no_file_and_are_dropped_in_time() {
    let mut registry = Registry::start().await;
    let uploads = registry.directory.path().join("uploads");
    let before = fs::read_dir(&uploads).map_or(0, Iterator::count);
    let mut sessions = Vec::new();
    for _ in 0..300 {
        let reply = registry.send("POST", "/v2/app/blobs/uploads/", &[], b"").await;
        sessions.push(reply.header("location").unwrap().to_owned());
    }
    assert_eq!(fs::read_dir(&uploads).map_or(0, Iterator::count), before, "a session costs a row");
    // Some with bytes: in the row, and in a file.
    assert_eq!(registry.send("PATCH", &sessions[0], &[], b"few").await.status, 202);
    assert_eq!(registry.send("PATCH", &sessions[1], &[], &vec![b'x'; 300_000]).await.status, 202);
    let bytes = |files: fs::ReadDir| files.flatten().map(|file| file.metadata().unwrap().len()).sum::<u64>();
    assert_eq!(bytes(fs::read_dir(&uploads).unwrap()), 300_000);
    registry.stop().await;
    let mut options = content::Options::default();
    options.upload_expiry = Duration::ZERO;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let content = ContentStore::open(registry.directory.path(), options).await.unwrap();
    let directory = std::mem::replace(&mut registry.directory, tempfile::tempdir().unwrap());
    let registry = Registry::over(Options::default(), directory, content).await;
    for session in &sessions {
        assert_eq!(registry.get(session).await.status, 404);
    }
    // Names that are kept ready for others have no bytes.
    assert_eq!(bytes(fs::read_dir(&uploads).unwrap()), 0);
}

#[tokio::test]
async fn bodies_that_trickle_in_hold_up_nobody_else() {
    let mut options = Options::default();
    options.body_timeout = Duration::from_millis(700);
    let registry = Registry::with(options).await;
    registry.image("app", Some("v1"), "1").await;
    let mut slow = Vec::new();
    for n in 0..60 {
        let mut stream = registry.connect().await;
        let head = match n % 3 {
            0 => "PUT /v2/app/manifests/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{".to_owned(),
            1 => "POST /v2/app/blobs/uploads/?digest=sha256:00 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
                .to_owned(),
            _ => format!(
                "POST /v2/app/blobs/uploads/?digest={} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx",
                Digest::sha256(b"")
            ),
        };
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(registry.get("/v2/app/manifests/v1").await.status, 200);
    }
    push(&registry, "quick", b"layer").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    for mut stream in slow {
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "still open");
        assert!(matches!(Reply::parse(&answer).status, 400 | 408), "{}", String::from_utf8_lossy(&answer));
    }
}
