//! A big binary is never in memory as a whole. A test binary of its own, because it looks at the process.
#![cfg(target_os = "linux")]

use std::fs;
use std::sync::Arc;

use polyarch_pack::{Binary, ImagePath, Naming, PackRequest, pack};
use store::{ImageStore, LayoutStore};
use transfer::{Options, Silent};

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_binary() {
    const SIZE: u64 = 192 << 20;
    let dir = tempfile::tempdir().unwrap();
    // The header of a static program for amd64, and a long nothing behind it.
    let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    header.resize(64, 0);
    (header[32], header[52], header[54]) = (64, 64, 56);
    let path = dir.path().join("app");
    fs::write(&path, header).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(SIZE).unwrap();

    let binary = Binary { platform: "linux/amd64".parse().unwrap(), path };
    let mut request = PackRequest::new(vec![binary], ImagePath::parse("/app").unwrap(), dir.path());
    // Nothing is saved by compressing, so that the blob is as big as the binary.
    request.compression = polyarch_pack::Compression::None;
    let before = peak();
    let packed = pack(&request).await.unwrap();
    let target: Arc<dyn ImageStore> = Arc::new(LayoutStore::new(dir.path().join("out")));
    let naming = Naming::Index(vec!["v1".parse().unwrap()]);
    let report = packed.write(&target, &naming, &Options::default(), &Silent).await.unwrap();
    assert!(report.transfer.blobs.copied_bytes > SIZE);
    let grown = peak() - before;
    assert!(grown < 24 << 20, "{} MiB more for a binary of {} MiB", grown >> 20, SIZE >> 20);
}
