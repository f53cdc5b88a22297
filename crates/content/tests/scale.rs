//! A million tags: as fast as ten, and open at once. Only in the long tests; `POLYARCH_LONG` may say how many instead.

#![allow(clippy::print_stderr)] // figures, and what was skipped

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use image::{Document, Target};
use polyarch_content::{ContentStore, PutOptions, RepositoryId};
use support::{manifest, open, put, repository, tag};

/// Puts that share commits.
const TOGETHER: usize = 256;
/// Look-ups of one measurement.
const LOOKUPS: usize = 5_000;

async fn fill(store: &ContentStore, repository: &RepositoryId, range: std::ops::Range<usize>, template: &str) {
    stream::iter(range)
        .for_each_concurrent(TOGETHER, |n| async move {
            // Each its own document, of the size that one of an image has.
            let text = template.replacen(
                "\"schemaVersion\"",
                &format!("\"annotations\":{{\"n\":\"{n}\"}},\"schemaVersion\""),
                1,
            );
            let document = Document::new(None, text.into_bytes()).unwrap();
            let options = PutOptions::tagged(Some(&tag(&format!("v{n}"))));
            store.put_document(repository, &document, &options).await.unwrap();
        })
        .await;
}

/// Time of one look-up by tag, anywhere among `tags`.
async fn look_up(store: &ContentStore, repository: &RepositoryId, tags: usize) -> Duration {
    let begun = Instant::now();
    for n in 0..LOOKUPS {
        // Steps of a large prime touch all of them in no order.
        let target = Target::from(tag(&format!("v{}", n * 7_368_787 % tags)));
        assert!(store.document(repository, &target).await.unwrap().is_some());
    }
    begun.elapsed() / u32::try_from(LOOKUPS).unwrap()
}

#[cfg(target_os = "linux")]
fn resident_mebibytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn look_ups_among_a_million_tags_are_as_fast_as_among_ten() {
    let Some(long) = std::env::var_os("POLYARCH_LONG") else {
        eprintln!("skipped: look_ups_among_a_million_tags_are_as_fast_as_among_ten needs POLYARCH_LONG");
        return;
    };
    let tags = long.to_str().and_then(|text| text.parse().ok()).filter(|tags| *tags >= 1000).unwrap_or(1_000_000);
    let directory = tempfile::tempdir().unwrap();
    let app = repository("team/app");
    let store = open(directory.path()).await;
    let (config, layer) = (Bytes::from_static(b"{}"), support::noise(1024, 1));
    put(&store, &app, &config).await;
    put(&store, &app, &layer).await;
    let document = manifest(&config, &[&layer, &layer, &layer]);
    let template = std::str::from_utf8(document.bytes()).unwrap().to_owned();
    fill(&store, &app, 0..10, &template).await;
    look_up(&store, &app, 10).await;
    let few = look_up(&store, &app, 10).await;
    let begun = Instant::now();
    fill(&store, &app, 10..tags, &template).await;
    let filled = begun.elapsed();
    drop(store);

    let begun = Instant::now();
    let store = open(directory.path()).await;
    assert!(store.document(&app, &Target::from(tag("v1"))).await.unwrap().is_some());
    let opened = begun.elapsed();
    look_up(&store, &app, tags).await;
    let many = look_up(&store, &app, tags).await;
    eprintln!(
        "{tags} tags put in {filled:?}; opened, with the first look-up, in {opened:?}; {few:?} and {many:?} each"
    );
    assert!(opened < Duration::from_secs(2), "{opened:?}");
    // Documents come from the system's cache instead of our own: a copy more, and no search.
    assert!(many < few * 4 + Duration::from_micros(20), "{few:?} among ten, {many:?} among {tags}");
    #[cfg(target_os = "linux")]
    {
        let resident = resident_mebibytes();
        eprintln!("{resident} MiB resident");
        assert!(resident < 200, "{resident} MiB");
    }
}
