//! Big blobs cost time, not memory.

use async_trait::async_trait;
use futures_util::StreamExt as _;
use image::{Descriptor, MediaType};
use lab::{Alpn, Lab, Quirks, Tls};
use polyarch_registry_client::{BlobSource, Placement, Repository, SourceError, SourceStream};

use crate::support::{name, repository};

const SIZE: u64 = 96 << 20;
/// What buffers of both sides may take; the lab is in this process too.
const BUFFERS: u64 = 32 << 20;

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// A blob of one repository as the source of another.
struct Elsewhere(Repository, Descriptor);

#[async_trait]
impl BlobSource for Elsewhere {
    async fn open(&self) -> Result<SourceStream, SourceError> {
        let stream = self.0.get_blob(&self.1).await?;
        Ok(Box::pin(stream.map(|chunk| chunk.map_err(SourceError::from))))
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_big_blob_is_copied_in_flat_memory() {
    for alpn in [Alpn::Http1, Alpn::Both] {
        let lab = Lab::builder()
            .tls(Tls { enabled: true, alpn, ..Tls::default() })
            .quirks(Quirks { forget_blobs_over: Some(1 << 20), no_range: false, ..Quirks::no_mounts() })
            .start();
        let digest = lab.put_seeded_blob("app", 7, SIZE);
        let descriptor = Descriptor::new(MediaType::OCI_LAYER_GZIP, digest, SIZE);
        let app = repository(&lab, "app");
        app.head_blob(&descriptor.digest).await.unwrap();
        let before = resident();
        let (stop, watch) = std::sync::mpsc::channel::<()>();
        let watcher = std::thread::spawn(move || {
            let mut most = 0;
            while watch.recv_timeout(std::time::Duration::from_millis(5)).is_err() {
                most = most.max(resident());
            }
            most
        });
        let copy = app.client().repository(app.host(), &name("copy"));
        let source = Elsewhere(app.clone(), descriptor.clone());
        let placed = copy.push_blob(&descriptor, Some(&name("app")), &source).await.unwrap();
        stop.send(()).unwrap();
        let grown = watcher.join().unwrap().saturating_sub(before);
        assert_eq!(placed, Placement::Uploaded);
        assert!(grown < BUFFERS, "{alpn:?}: {} MiB more than before", grown >> 20);
        assert_eq!(lab.log().iter().map(|request| request.received).sum::<u64>(), SIZE);
    }
}
