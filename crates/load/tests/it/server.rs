//! Against the server that `polyarch serve` runs.

use std::time::Duration;

use content::{ContentStore, RepositoryId};
use polyarch_load::{Scenario, Soak};
use registry::{Options, Server};
use tempfile::TempDir;

use crate::support::{REPOSITORY, measure, options};

struct Running {
    host: String,
    content: ContentStore,
    _directory: TempDir,
}

async fn serve() -> Running {
    let directory = tempfile::tempdir().unwrap();
    let content = ContentStore::open(directory.path(), content::Options::default()).await.unwrap();
    let server = Server::bind("127.0.0.1:0", Options::default(), content.clone()).await.unwrap();
    let host = server.local_addr().to_string();
    tokio::spawn(server.serve(std::future::pending()));
    Running { host, content, _directory: directory }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_scenarios_go_well_and_leave_nothing() {
    let server = serve().await;
    let mut wanted = options(&server.host, &Scenario::ALL, 60);
    wanted.verify = true;
    wanted.threads = 2;
    let report = measure(&wanted).await;
    assert_eq!((report.operations(), report.errors()), (600, 0), "{report:#?}");
    for measured in &report.scenarios {
        assert!(measured.per_second > 0.0 && measured.latency_ms.p50 > 0.0, "{measured:?}");
        assert!(measured.latency_ms.p50 <= measured.latency_ms.p99, "{measured:?}");
        assert!(measured.latency_ms.p99 <= measured.latency_ms.max, "{measured:?}");
    }
    let cleanup = report.cleanup.unwrap();
    assert!(cleanup.manifests > 60 && cleanup.manifests == cleanup.manifests_deleted, "{cleanup:?}");
    assert!(cleanup.blobs > 180 && cleanup.blobs == cleanup.blobs_deleted, "{cleanup:?}");
    let repository = RepositoryId::served(image::RepositoryName::parse(REPOSITORY).unwrap());
    let tags = server.content.tags(&repository, None, 10).await.unwrap();
    assert!(tags.is_none_or(|page| page.items.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_soak_over_many_connections_says_what_memory_did() {
    let server = serve().await;
    let mut wanted = options(&server.host, &[], 0);
    wanted.soak = Some(Soak { duration: Duration::from_secs(4), connections: 60, rate: 200 });
    wanted.pid = cfg!(target_os = "linux").then(std::process::id);
    let report = measure(&wanted).await;
    let soak = report.soak.as_ref().unwrap();
    assert_eq!(report.errors(), 0, "{soak:#?}");
    assert_eq!(soak.load.connections, 60);
    // It keeps to its rate, as far as the machine lets it.
    assert!((100..=1000).contains(&soak.load.operations), "{}", soak.load.operations);
    let kinds: Vec<_> = soak.load.parts.iter().map(|part| part.kind).collect();
    assert!(["pull", "push", "manifest-head", "tags"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    assert_eq!(soak.memory.is_some(), cfg!(target_os = "linux"), "{soak:#?}");
}
