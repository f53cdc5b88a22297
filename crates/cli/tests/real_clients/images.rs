//! Images for the clients to push: archives as `docker save` writes them, made with GNU tar.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::Digest;
use serde_json::json;

use crate::clients::{self, native};
use crate::sandbox::Sandbox;
use crate::world::World;

/// An image in an archive.
pub(crate) struct Archive {
    /// Such as `linux/arm64`.
    pub(crate) platform: &'static str,
    /// The file.
    pub(crate) path: PathBuf,
    /// The name that is in the archive.
    pub(crate) name: String,
    /// The digest of its configuration: what Docker Engine calls its ID.
    pub(crate) id: String,
    /// The digests of its layers before compression.
    pub(crate) layers: Vec<String>,
    /// The program in it.
    pub(crate) program: Program,
}

/// A static program.
pub(crate) struct Program {
    /// Where it stands in the image, and what is to be given to it.
    pub(crate) command: Vec<String>,
    /// What it prints then.
    pub(crate) says: String,
    /// Itself.
    pub(crate) bytes: Vec<u8>,
}

impl Program {
    /// The words of its command.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.command.iter().map(String::as_str).collect()
    }

    /// One of `examples/hello`.
    pub(crate) fn hello(world: &World, platform: &'static str) -> Self {
        let name = format!("hello-{}", suffix(platform));
        Self {
            command: vec!["/hello".to_owned()],
            says: format!("hello from {platform}\n"),
            bytes: std::fs::read(world.hello().join(name)).unwrap(),
        }
    }

    /// Debian's busybox: this machine's, or the one that `testing/real-clients.sh` fetched for another.
    fn busybox(platform: &'static str) -> Option<Self> {
        let path = if platform == native() {
            clients::find("busybox")?
        } else {
            let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
            let path = cache.join(format!("real-clients/busybox-{}", suffix(platform)));
            if !path.is_file() {
                clients::skip(&format!("no busybox for {platform}; another program takes its place"));
                return None;
            }
            path
        };
        let bytes = std::fs::read(path).unwrap();
        // A dynamic one cannot run alone in an image.
        if names_interpreter(&bytes) {
            clients::missing(&format!("no static busybox for {platform}"));
            return None;
        }
        let says = format!("busybox for {platform}");
        let command = ["/busybox", "echo", &says].map(str::to_owned).to_vec();
        Some(Self { command, says: format!("{says}\n"), bytes })
    }
}

/// Whether an ELF file of 64 bits asks for a dynamic linker: whether one of its program headers is `PT_INTERP`.
fn names_interpreter(file: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        file.get(at..at + size)
            .map_or(0, |bytes| bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table.saturating_add(index * size), 4) == 3)
}

/// `arm-v7` for `linux/arm/v7`.
pub(crate) fn suffix(platform: &str) -> String {
    platform.trim_start_matches("linux/").replace('/', "-")
}

/// The four platforms of `examples/hello`, in the order of its output.
pub(crate) const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"];

/// busybox for this machine and for another one; where it is missing, a program of `examples/hello`.
pub(crate) fn busybox(world: &World) -> Vec<Archive> {
    let foreign = if native() == "linux/arm64" { "linux/amd64" } else { "linux/arm64" };
    let program = |platform| Program::busybox(platform).unwrap_or_else(|| Program::hello(world, platform));
    [native(), foreign].map(|platform| archive(&world.sandbox, platform, program(platform))).into()
}

/// The programs of `examples/hello`.
pub(crate) fn hello(world: &World) -> Vec<Archive> {
    PLATFORMS.map(|platform| archive(&world.sandbox, platform, Program::hello(world, platform))).into()
}

/// Makes an image of two layers: some megabytes, so that clients send them in pieces, and the program.
fn archive(sandbox: &Sandbox, platform: &'static str, program: Program) -> Archive {
    let suffix = suffix(platform);
    let directory = sandbox.path(&format!("archives/{suffix}"));
    let name = program.command[0].trim_start_matches('/').to_owned();
    for layer in ["data", "program"] {
        std::fs::create_dir_all(directory.join(layer)).unwrap();
    }
    std::fs::write(directory.join("data/data"), noise(platform, 3 << 20)).unwrap();
    let binary = directory.join("program").join(name);
    std::fs::write(&binary, &program.bytes).unwrap();
    std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let layers = ["data", "program"].map(|layer| {
        tar(&directory.join(layer), &directory.join(format!("{layer}.tar")), &["."]);
        Digest::sha256(&std::fs::read(directory.join(format!("{layer}.tar"))).unwrap()).to_string()
    });
    let mut parts = platform.split('/');
    let mut config = json!({
        "os": parts.next(),
        "architecture": parts.next(),
        "config": {"Cmd": program.command},
        "rootfs": {"type": "layers", "diff_ids": layers},
    });
    if let Some(variant) = parts.next() {
        config["variant"] = variant.into();
    }
    let config = config.to_string();
    let name = format!("localhost/made:{suffix}");
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["data.tar", "program.tar"]}]);
    std::fs::write(directory.join("config.json"), &config).unwrap();
    std::fs::write(directory.join("manifest.json"), manifest.to_string()).unwrap();
    let path = sandbox.path(&format!("archives/{suffix}.tar"));
    tar(&directory, &path, &["manifest.json", "config.json", "data.tar", "program.tar"]);
    let id = Digest::sha256(config.as_bytes()).to_string();
    Archive { platform, path, name, id, layers: layers.into(), program }
}

fn tar(directory: &Path, target: &Path, names: &[&str]) {
    let made = Command::new("tar")
        .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar", "-C"])
        .arg(directory)
        .arg("-cf")
        .arg(target)
        .args(names)
        .status()
        .unwrap();
    assert!(made.success(), "tar");
}

/// Bytes that do not compress, different for each seed.
fn noise(seed: &str, size: usize) -> Vec<u8> {
    let mut state =
        seed.bytes().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| (state ^ u64::from(byte)).rotate_left(9));
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}
