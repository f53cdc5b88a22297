//! Layouts and labs as others see them. Where skopeo is not, that is said and nothing is tested; with `POLYARCH_REAL` set
//! it has to be there.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use image::Tag;
use lab::Lab;
use lab::images::{self, Flavour};

mod opened;

fn skopeo(arguments: &[&str]) -> Output {
    let output = Command::new("skopeo").args(arguments).output().expect("skopeo is installed");
    assert!(output.status.success(), "skopeo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn spelt(directory: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", directory.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_writes_what_is_read_and_reads_what_is_written() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        assert!(std::env::var_os("POLYARCH_REAL").is_none(), "no skopeo, and `POLYARCH_REAL` says that it is here");
        // Past the harness, which shows what passing tests print to nobody.
        let _ = writeln!(std::io::stderr(), "skipped: no skopeo");
        return;
    }
    let lab = Lab::start();
    let images = [images::image("linux/amd64", 2, Flavour::Oci), images::image("linux/arm64", 2, Flavour::Oci)];
    let index = images::index_with_attestations(&images);
    index.push(&lab, "app", Some("v1"));
    let directory = tempfile::tempdir().unwrap();
    let source = format!("docker://{}", lab.reference("app", "v1"));
    skopeo(&["copy", "--all", "--src-tls-verify=false", &source, &spelt(directory.path(), "v1")]);
    // Read what skopeo wrote, give it another tag, and let skopeo read that.
    let store = opened::layout(directory.path());
    let tag = |text: &str| Tag::parse(text).unwrap();
    let document = store.document(&tag("v1").into()).await.unwrap();
    assert_eq!(document.digest(), index.digest());
    store.put_document(&document, Some(&tag("again"))).await.unwrap();
    let raw = skopeo(&["inspect", "--raw", &spelt(directory.path(), "again")]);
    assert_eq!(raw.stdout, index.document.bytes().to_vec());
    let back = format!("docker://{}", lab.reference("copy", "v1"));
    skopeo(&["copy", "--all", "--dest-tls-verify=false", &spelt(directory.path(), "again"), &back]);
    assert_eq!(lab.resolve("copy", "v1").as_ref(), Some(index.digest()));
    // And skopeo adds to a layout that was begun here.
    skopeo(&["copy", "--all", "--src-tls-verify=false", &source, &spelt(directory.path(), "third")]);
    assert_eq!(store.tags().unwrap().list_tags().await.unwrap(), [tag("again"), tag("third"), tag("v1")]);
}
