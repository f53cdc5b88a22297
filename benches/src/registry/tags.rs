//! The same scenarios in a repository of few and of many tags.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use content::{ContentStore, PutOptions, RepositoryId};
use image::{Digest, Document, MediaType, RepositoryName, Tag};
use load::{Amount, Scenario};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::Wishes;
use crate::rounds::measure;
use crate::server::Peer;
use crate::spread;

const REPOSITORY: &str = "bench/tags";
/// How many documents are put at once: those that wait together are committed together.
const AT_ONCE: usize = 512;

pub(crate) async fn few_and_many(wishes: &Wishes, peer: &Peer) -> Result<(), String> {
    println!("| tags | scenario | per second | server CPU | p99 |");
    println!("|--:|---|--:|--:|--:|");
    let mut notes = Vec::new();
    for tags in [10, wishes.tags] {
        let begun = Instant::now();
        let directory = fill(tags).await.map_err(|error| error.to_string())?;
        let filled = begun.elapsed().as_secs_f64();
        let path = directory.path().to_owned();
        let server = peer.start_in(directory)?;
        let start_up = server.start_up.as_secs_f64() * 1000.0;
        std::thread::sleep(Duration::from_secs(1));
        let memory = || load::sample(server.pid()).map(|sample| sample.resident as f64 / f64::from(1 << 20));
        let at_rest = memory().map_err(|error| error.to_string())?;
        let scenarios = [Scenario::ManifestByTag, Scenario::ManifestByDigest, Scenario::Tags, Scenario::ImagePush];
        let amount = Amount::For(Duration::from_secs(wishes.seconds));
        for measured in measure(&server, &scenarios, amount, Some(REPOSITORY), false).await? {
            let cost = measured.server.map(|server| server.microseconds_per_operation).unwrap_or_default();
            println!(
                "| {tags} | {} | {:.0} | {cost:.0} µs | {:.2} ms |",
                measured.scenario, measured.per_second, measured.latency_ms.p99
            );
        }
        // Some systems take pages back from their cache of files soon after they were written: the disk is not measured.
        read_all(&path).map_err(|error| error.to_string())?;
        let spread =
            spread::pull(&server, REPOSITORY, tags, wishes.seconds).await.map_err(|error| error.to_string())?;
        println!(
            "| {tags} | manifest by any tag | {:.0} | {:.0} µs | {:.2} ms |",
            spread.per_second,
            spread.cost.as_secs_f64() * 1e6,
            spread.p99.as_secs_f64() * 1e3
        );
        let after = memory().map_err(|error| error.to_string())?;
        notes.push(format!(
            "{tags} tags of as many manifests: put in {filled:.1} s, first answer {start_up:.0} ms after the start, \
             {at_rest:.1} MiB resident then and {after:.1} MiB afterwards"
        ));
        drop(server.stop());
    }
    println!();
    for note in notes {
        println!("{note}");
    }
    Ok(())
}

/// Reads what lies in a directory, so that it is in the system's cache.
fn read_all(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            io::copy(&mut fs::File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

/// A data directory with a repository of `count` manifests, each with a tag.
async fn fill(count: usize) -> Result<TempDir, Box<dyn std::error::Error>> {
    let directory = tempfile::Builder::new().prefix("polyarch-bench-").tempdir()?;
    let store = ContentStore::open(directory.path(), content::Options::default()).await?;
    let repository = Arc::new(RepositoryId::served(RepositoryName::parse(REPOSITORY)?));
    let (config, layer) = (&b"{}"[..], &b"layer"[..]);
    for blob in [config, layer] {
        store.put_blob_bytes(&repository, &Digest::sha256(blob), blob.into()).await?;
    }
    let descriptor = |media_type: &str, bytes: &[u8]| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::sha256(bytes), bytes.len())
    };
    let begin = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}],"annotations":{{"number":""#,
        MediaType::OCI_MANIFEST,
        descriptor(MediaType::OCI_CONFIG, config),
        descriptor(MediaType::OCI_LAYER, layer),
    );
    let mut putting = JoinSet::new();
    for number in 0..count {
        if putting.len() >= AT_ONCE
            && let Some(put) = putting.join_next().await
        {
            put??;
        }
        let document = Document::new(Some(&MediaType::new(MediaType::OCI_MANIFEST)), format!("{begin}{number}\"}}}}"))?;
        let tag = Tag::parse(&format!("v{number}"))?;
        let (store, repository) = (store.clone(), repository.clone());
        putting.spawn(async move {
            store.put_document(&repository, &document, &PutOptions::tagged(Some(&tag))).await.map(drop)
        });
    }
    while let Some(put) = putting.join_next().await {
        put??;
    }
    Ok(directory)
}
