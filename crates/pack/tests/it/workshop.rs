//! A place with binaries, files and stores.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use content::ContentStore;
use futures_util::StreamExt;
use image::{Descriptor, Document, RegistryHost, RepositoryName, Tag, Target};
use polyarch_pack::{Binary, ImagePath, Naming, PackReport, PackRequest, pack};
use store::{ImageStore, LayoutStore, LocalStore};
use transfer::{Options, Silent};

/// Machine numbers of ELF, and whether words have 64 bits.
const MACHINES: [(&str, u16, bool); 4] =
    [("linux/amd64", 62, true), ("linux/arm64", 183, true), ("linux/arm/v7", 40, false), ("linux/riscv64", 243, true)];

/// The least that is an ELF program: a header, and an interpreter if it has one.
pub(crate) fn elf(platform: &str, interpreter: Option<&str>) -> Vec<u8> {
    let (_, machine, wide) = MACHINES.iter().find(|(name, ..)| *name == platform).copied().unwrap();
    let (header, entry) = if wide { (64_u16, 56_u16) } else { (52, 32) };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', if wide { 2 } else { 1 }, 1, 1, 0];
    bytes.resize(16, 0);
    let word = |bytes: &mut Vec<u8>, value: u64| {
        if wide { bytes.extend(value.to_le_bytes()) } else { bytes.extend((value as u32).to_le_bytes()) }
    };
    bytes.extend(2_u16.to_le_bytes());
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    for value in [0, u64::from(header), 0] {
        word(&mut bytes, value);
    }
    bytes.extend(0_u32.to_le_bytes());
    for value in [header, entry, u16::from(interpreter.is_some()), if wide { 64 } else { 40 }, 0, 0] {
        bytes.extend(value.to_le_bytes());
    }
    if let Some(path) = interpreter {
        assert!(wide);
        let length = path.len() as u64 + 1;
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(4_u32.to_le_bytes());
        for value in [120, 120, 120, length, length, 1] {
            bytes.extend(u64::to_le_bytes(value));
        }
        bytes.extend(path.bytes().chain([0]));
    }
    bytes
}

pub(crate) struct Workshop {
    dir: tempfile::TempDir,
}

impl Workshop {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("scratch")).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        set_mode(&path, 0o644);
        path
    }

    /// A static program for the platform.
    pub(crate) fn binary(&self, platform: &str) -> Binary {
        let path = self.file(&format!("app-{}", platform.replace('/', "-")), elf(platform, None));
        Binary { platform: platform.parse().unwrap(), path }
    }

    pub(crate) fn request(&self, platforms: &[&str]) -> PackRequest {
        let binaries = platforms.iter().map(|platform| self.binary(platform)).collect();
        PackRequest::new(binaries, ImagePath::parse("/app").unwrap(), self.path("scratch"))
    }

    pub(crate) fn layout(&self, name: &str) -> Arc<dyn ImageStore> {
        Arc::new(LayoutStore::new(self.path(name)))
    }

    pub(crate) async fn local(&self, name: &str) -> Arc<dyn ImageStore> {
        let content = ContentStore::open(&self.path("data"), content::Options::default()).await.unwrap();
        let (host, name) = (RegistryHost::parse("docker.io").unwrap(), RepositoryName::parse(name).unwrap());
        Arc::new(LocalStore::new(content, self.path("data"), host, name))
    }

    /// Packs under the tag `v1`.
    pub(crate) async fn pack(&self, request: &PackRequest, target: &Arc<dyn ImageStore>) -> PackReport {
        let packed = pack(request).await.unwrap();
        packed.write(target, &Naming::Index(vec![tag("v1")]), &Options::default(), &Silent).await.unwrap()
    }
}

pub(crate) fn tag(text: &str) -> Tag {
    Tag::parse(text).unwrap()
}

#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
pub(crate) fn set_mode(_: &Path, _: u32) {}

pub(crate) async fn document(store: &Arc<dyn ImageStore>, target: impl Into<Target>) -> Document {
    store.document(&target.into()).await.unwrap()
}

/// The whole of a blob, which has been verified.
pub(crate) async fn blob(store: &Arc<dyn ImageStore>, descriptor: &Descriptor) -> Vec<u8> {
    let mut reader = store.blob(descriptor).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await {
        bytes.extend_from_slice(&chunk.unwrap());
    }
    bytes
}

pub(crate) async fn config(store: &Arc<dyn ImageStore>, image: &Document) -> serde_json::Value {
    serde_json::from_slice(&blob(store, &image.manifest().unwrap().config).await).unwrap()
}

/// The entries of a layer: path to `MODE SIZE-OR-TARGET MTIME`.
pub(crate) async fn entries(store: &Arc<dyn ImageStore>, layer: &Descriptor) -> BTreeMap<String, String> {
    let bytes = blob(store, layer).await;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    let mut entries = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let what = if let Some(target) = entry.link_name_bytes() {
            format!("-> {}", String::from_utf8_lossy(&target))
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            content.len().to_string()
        };
        let line = format!("{:o} {what} {}", header.mode().unwrap(), header.mtime().unwrap());
        assert!(entries.insert(path, line).is_none(), "twice");
    }
    entries
}
