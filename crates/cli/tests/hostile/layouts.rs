//! Image layouts that somebody else filled.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::images::{self, Flavour, Image};

use crate::measured::measure;
use crate::sandbox::Sandbox;
use crate::verdict::one_error;
use crate::world::each;

/// A layout with one image, `v1`.
fn layout(directory: &Path) -> Image {
    let image = images::image("linux/amd64", 1, Flavour::Oci);
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for (descriptor, bytes) in &image.blobs {
        fs::write(blobs.join(descriptor.digest.hex()), bytes).unwrap();
    }
    fs::write(blobs.join(image.digest().hex()), image.document.bytes()).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    write_index(directory, &[serde_json::to_value(image.descriptor()).unwrap()]);
    image
}

fn write_index(directory: &Path, entries: &[serde_json::Value]) {
    let mut entries = entries.to_vec();
    entries[0]["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": "v1" });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": entries });
    fs::write(directory.join("index.json"), index.to_string()).unwrap();
}

struct Place {
    user: Sandbox,
    directory: PathBuf,
    image: Image,
}

impl Place {
    fn blob(&self, number: usize) -> PathBuf {
        self.directory.join("blobs/sha256").join(self.image.blobs[number].0.digest.hex())
    }

    fn manifest(&self) -> PathBuf {
        self.directory.join("blobs/sha256").join(self.image.digest().hex())
    }
}

#[test]
fn a_layout_that_is_damaged_or_leads_elsewhere_is_refused() {
    type Damage = Box<dyn Fn(&Place) + Send + Sync>;
    /// Which of the commands fail: those that read the document, the config, a layer.
    const DOCUMENT: usize = 3;
    const CONFIG: usize = 2;
    const LAYER: usize = 1;
    let index = |text: Vec<u8>| -> Damage {
        Box::new(move |place| fs::write(place.directory.join("index.json"), &text).unwrap())
    };
    let marker = |text: &'static str| -> Damage {
        Box::new(move |place| fs::write(place.directory.join("oci-layout"), text).unwrap())
    };
    fn replaced(path: &Path, make: impl Fn(&Path)) {
        fs::remove_file(path).unwrap();
        make(path);
    }
    fn fifo(path: &Path) {
        assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
    }
    fn flip(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let mut cases: Vec<(&str, usize, Damage)> = vec![
        ("no index.json", DOCUMENT, Box::new(|place| fs::remove_file(place.directory.join("index.json")).unwrap())),
        ("no oci-layout", DOCUMENT, Box::new(|place| fs::remove_file(place.directory.join("oci-layout")).unwrap())),
        ("no blobs", DOCUMENT, Box::new(|place| fs::remove_dir_all(place.directory.join("blobs")).unwrap())),
        ("other version", DOCUMENT, marker(r#"{"imageLayoutVersion":"2.0.0\u001b[31m"}"#)),
        ("no version", DOCUMENT, marker("{}")),
        ("no JSON", DOCUMENT, marker("\u{1b}[31m")),
        ("a flipped document", DOCUMENT, Box::new(|place| flip(&place.manifest()))),
        ("a flipped config", CONFIG, Box::new(|place| flip(&place.blob(0)))),
        ("a flipped layer", LAYER, Box::new(|place| flip(&place.blob(1)))),
        (
            "a longer config",
            CONFIG,
            Box::new(|place| {
                let bytes = [fs::read(place.blob(0)).unwrap(), b" ".to_vec()].concat();
                fs::write(place.blob(0), bytes).unwrap();
            }),
        ),
        (
            "a layer that is all there is",
            LAYER,
            Box::new(|place| {
                fs::File::options().write(true).open(place.blob(1)).unwrap().set_len(1 << 40).unwrap();
            }),
        ),
        (
            "a document that is all there is",
            DOCUMENT,
            Box::new(|place| {
                fs::File::options().write(true).open(place.manifest()).unwrap().set_len(1 << 40).unwrap();
            }),
        ),
        (
            "an index that is all there is",
            DOCUMENT,
            Box::new(|place| {
                fs::File::create(place.directory.join("index.json")).unwrap().set_len(1 << 40).unwrap();
            }),
        ),
        (
            "index.json is a link",
            DOCUMENT,
            Box::new(|place| {
                replaced(&place.directory.join("index.json"), |path| symlink("/etc/passwd", path).unwrap());
            }),
        ),
        ("index.json is a pipe", DOCUMENT, Box::new(|place| replaced(&place.directory.join("index.json"), fifo))),
        (
            "oci-layout is a directory",
            DOCUMENT,
            Box::new(|place| {
                replaced(&place.directory.join("oci-layout"), |path| fs::create_dir(path).unwrap());
            }),
        ),
        (
            "a document is a link",
            DOCUMENT,
            Box::new(|place| {
                replaced(&place.manifest(), |path| symlink("/etc/passwd", path).unwrap());
            }),
        ),
        (
            "a config is a link to itself",
            CONFIG,
            Box::new(|place| {
                replaced(&place.blob(0), |path| symlink(path, path).unwrap());
            }),
        ),
        (
            "a layer is a link to the same bytes",
            LAYER,
            Box::new(|place| {
                let copy = place.user.path("here/copy");
                fs::rename(place.blob(1), &copy).unwrap();
                symlink(&copy, place.blob(1)).unwrap();
            }),
        ),
        ("a layer is a pipe", LAYER, Box::new(|place| replaced(&place.blob(1), fifo))),
        (
            "a config is a device",
            CONFIG,
            Box::new(|place| {
                replaced(&place.blob(0), |path| symlink("/dev/zero", path).unwrap());
            }),
        ),
        (
            "blobs is a link",
            DOCUMENT,
            Box::new(|place| {
                let moved = place.user.path("here/moved");
                fs::rename(place.directory.join("blobs"), &moved).unwrap();
                symlink(&moved, place.directory.join("blobs")).unwrap();
            }),
        ),
        (
            "an entry of another size",
            DOCUMENT,
            Box::new(|place| {
                let mut entry = serde_json::to_value(place.image.descriptor()).unwrap();
                entry["size"] = 5.into();
                write_index(&place.directory, &[entry]);
            }),
        ),
        (
            "an entry that leads out",
            DOCUMENT,
            Box::new(|place| {
                let mut entry = serde_json::to_value(place.image.descriptor()).unwrap();
                entry["digest"] = "sha256:../../../../etc/passwd".into();
                write_index(&place.directory, &[entry]);
            }),
        ),
    ];
    for text in ["", "{", "[]", "null", "{\"schemaVersion\":2}", "{\"manifests\":7}", "\u{1b}[31m"] {
        cases.push(("index.json", DOCUMENT, index(text.as_bytes().to_vec())));
    }
    cases.push(("index.json is deep", DOCUMENT, index("[".repeat(1 << 20).into_bytes())));
    cases.push(("index.json is huge", DOCUMENT, index(vec![b' '; 33 << 20])));

    each(&cases, |(name, depth, damage)| {
        let user = Sandbox::new();
        let directory = user.path("here/layout");
        let image = layout(&directory);
        let place = Place { user, directory, image };
        let check = |arguments: &[&str], fails: bool, code: &[i32]| {
            let measured = measure(&place.user, arguments);
            eprintln!("{name}: {}\n{}", measured.run.line, measured.run.shown());
            measured.within_memory();
            assert!(measured.took < Duration::from_secs(10), "{:?}", measured.took);
            if fails {
                let found = measured.run.code.unwrap_or_default();
                assert!(code.contains(&found), "{name}: {}", measured.run.shown());
                one_error(&measured.run, found, &[]);
            } else {
                assert_eq!(measured.run.code, Some(0), "{name}: {}", measured.run.shown());
            }
        };
        // That it works where nothing is damaged.
        check(&["manifest", "inspect", "oci:layout:v1"], false, &[]);
        check(&["unpack", "--platform", "linux/amd64", "oci:layout:v1", "before"], false, &[]);
        damage(&place);
        check(&["manifest", "inspect", "oci:layout:v1"], *depth >= DOCUMENT, &[1]);
        check(&["manifest", "create", "list", "oci:layout:v1"], *depth >= CONFIG, &[1]);
        check(
            &["unpack", "--platform", "linux/amd64", "oci:layout:v1", "after"],
            *depth >= CONFIG || *depth == LAYER,
            &[1, 3, 7],
        );
        if *depth >= CONFIG {
            assert!(!place.user.path("docker/manifests/docker.io_library_list-latest").exists());
        }
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert!(!text(&place.user.path("here/after")).contains("root:"));
    });
}
