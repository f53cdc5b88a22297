//! A big blob is never in memory as a whole. A test binary of its own, because it looks at the process.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use image::{Descriptor, MediaType, RegistryHost, Target};
use lab::{Lab, Quirks};
use polyarch_transfer::{CopyRequest, Options, Silent, copy};
use registry_client::{ClientOptions, CredentialSource, RegistryClient};
use settings::{CredentialError, Credentials};
use store::{Location, Stores};

struct Nobody;

impl CredentialSource for Nobody {
    fn lookup(&self, _: &RegistryHost) -> Result<Credentials, CredentialError> {
        Ok(Credentials::Anonymous)
    }
}

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_blobs() {
    const SIZE: u64 = 96 << 20;
    let from = Lab::start();
    let to = Lab::builder().quirks(Quirks { forget_blobs_over: Some(1 << 20), ..Quirks::default() }).start();
    let config = Descriptor::new(MediaType::OCI_CONFIG, from.put_blob("app", "{}"), 2);
    let layers: Vec<Descriptor> = (1..4)
        .map(|seed| Descriptor::new(MediaType::OCI_LAYER_GZIP, from.put_seeded_blob("app", seed, SIZE), SIZE))
        .collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "config": config, "layers": layers,
    });
    from.put_manifest("app", Some("v1"), manifest.to_string());

    let dir = tempfile::tempdir().unwrap();
    let client = RegistryClient::new(ClientOptions::default(), Arc::new(Nobody));
    let stores = Stores::new(client, dir.path().join("data"));
    let source = stores.open(&Location::parse(&format!("{}/app:v1", from.host())).unwrap()).await.unwrap();
    let layout = format!("oci:{}:v1", dir.path().join("layout").display());
    let before = peak();
    for target in [format!("{}/app:v1", to.host()), layout, "local:app:v1".to_owned()] {
        let target = stores.open_for_writing(&Location::parse(&target).unwrap()).await.unwrap();
        let v1: image::Tag = "v1".parse().unwrap();
        let request = CopyRequest::new(Arc::clone(&source), Target::Tag(v1.clone()), target, vec![v1]);
        let report = copy(&request, &Options::default(), &Silent).await.unwrap();
        assert_eq!(report.report.blobs.copied_bytes, 3 * SIZE + 2);
        // Source, client and target are all in this process.
        let grown = peak() - before;
        assert!(grown < 40 << 20, "{} MiB more for blobs of {} MiB", grown >> 20, SIZE >> 20);
    }
}
