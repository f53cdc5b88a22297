//! Layers on a disk: what they put there, and that nothing outside is ever touched.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use polyarch_layer::{
    Device, Entry, EntryKind, Links, SpecialFiles, TarLimits, TarWriter, UnpackOptions, Unpacked, unpack,
};
use proptest::prelude::*;

const STRICT: UnpackOptions = UnpackOptions {
    limits: TarLimits { entries: 1000, content: 1 << 20, extended: 1 << 16 },
    special_files: SpecialFiles::Refuse,
    links: Links::Refuse,
    owners: false,
};
const WITHIN: UnpackOptions = UnpackOptions { links: Links::WithinRoot, ..STRICT };

/// Directories end with a slash, links have an arrow (`->` symbolic, `=>` hard), everything else is a file that holds its
/// own name.
fn layer(entries: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in entries {
        let (entry, content) = if let Some((path, target)) = text.split_once("->") {
            (Entry::symlink(path, target), "")
        } else if let Some((path, target)) = text.split_once("=>") {
            (Entry::hardlink(path, target), "")
        } else if let Some(path) = text.strip_suffix('/') {
            (Entry::directory(path), "")
        } else {
            (Entry::file(*text, text.len() as u64), *text)
        };
        out.extend(raw(&entry, content.as_bytes()));
    }
    out
}

/// The blocks of an entry whose paths no decent writer would take.
fn raw(entry: &Entry, content: &[u8]) -> Vec<u8> {
    let (kind, link) = match &entry.kind {
        EntryKind::File => (b'0', None),
        EntryKind::Hardlink { target } => (b'1', Some(target)),
        EntryKind::Symlink { target } => (b'2', Some(target)),
        EntryKind::CharacterDevice(_) => (b'3', None),
        EntryKind::BlockDevice(_) => (b'4', None),
        EntryKind::Directory => (b'5', None),
        EntryKind::Fifo => (b'6', None),
    };
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..entry.path.len()].copy_from_slice(&entry.path);
    if let Some(link) = link {
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
    }
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_size(content.len() as u64);
    header.set_mode(entry.mode);
    header.set_uid(entry.uid);
    header.set_gid(entry.gid);
    header.set_mtime(u64::try_from(entry.mtime).unwrap());
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_cksum();
    let mut out = [header.as_bytes(), content].concat();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

/// Everything below a directory: kind and content by path.
fn listing(directory: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            if kind.is_dir() {
                all.insert(name, "/".to_owned());
                open.push(path);
            } else if kind.is_symlink() {
                all.insert(name, format!("->{}", fs::read_link(&path).unwrap().display()));
            } else if kind.is_file() {
                all.insert(name, fs::read_to_string(&path).unwrap());
            } else {
                all.insert(name, "?".to_owned());
            }
        }
    }
    all
}

/// As [`listing`] in one line.
fn names(directory: &Path) -> String {
    let all = listing(directory);
    let shown = |(name, what): (&String, &String)| match what.as_str() {
        "/" => format!("{name}/"),
        link if link.starts_with("->") => format!("{name}{link}"),
        _ => name.clone(),
    };
    all.iter().map(shown).collect::<Vec<_>>().join(" ")
}

/// A directory with the directory to unpack into, and something beside it that must stay as it is.
struct Ground {
    whole: tempfile::TempDir,
    before: BTreeMap<String, String>,
}

impl Ground {
    fn new() -> Self {
        let whole = tempfile::tempdir().unwrap();
        fs::create_dir(whole.path().join("root")).unwrap();
        fs::create_dir(whole.path().join("outside")).unwrap();
        fs::write(whole.path().join("outside/file"), "precious").unwrap();
        let mut ground = Self { whole, before: BTreeMap::new() };
        ground.before = ground.outside();
        ground
    }

    fn root(&self) -> std::path::PathBuf {
        self.whole.path().join("root")
    }

    fn outside(&self) -> BTreeMap<String, String> {
        let mut all = listing(self.whole.path());
        all.retain(|name, _| !name.starts_with("root/"));
        let outside = fs::metadata(self.whole.path().join("outside/file")).unwrap();
        all.insert("outside/file".to_owned(), format!("{:o} {} precious", outside.mode(), outside.nlink()));
        assert_eq!(fs::read_to_string(self.whole.path().join("outside/file")).unwrap(), "precious");
        all
    }

    fn unpack(&self, options: &UnpackOptions, archive: &[u8]) -> Result<Unpacked, String> {
        let result = unpack(archive, &self.root(), options).map_err(|error| error.to_string());
        assert_eq!(self.outside(), self.before, "nothing outside is touched");
        result
    }
}

/// Layers one upon the other.
fn stacked(options: &UnpackOptions, layers: &[&[&str]]) -> String {
    let ground = Ground::new();
    for entries in layers {
        ground.unpack(options, &layer(entries)).unwrap();
    }
    names(&ground.root())
}

fn refused(options: &UnpackOptions, entries: &[&str]) -> String {
    Ground::new().unpack(options, &layer(entries)).unwrap_err()
}

#[test]
fn files_directories_and_links_are_put_there() {
    let ground = Ground::new();
    let mut tar = TarWriter::new(Vec::new());
    tar.append(&Entry::directory("d").with_mode(0o750).with_mtime(1000), &b""[..]).unwrap();
    tar.append_bytes(Entry::file("d/f", 0).with_mode(0o4755).with_mtime(2000), b"content").unwrap();
    tar.append(&Entry::hardlink("d/h", "d/f"), &b""[..]).unwrap();
    tar.append(&Entry::symlink("s", "/outside").with_mtime(3000), &b""[..]).unwrap();
    let done = ground.unpack(&STRICT, &tar.finish().unwrap()).unwrap();
    assert_eq!((done.entries, done.bytes), (4, 7));
    assert_eq!(names(&ground.root()), "d/ d/f d/h s->/outside");
    let stat = |name: &str| fs::symlink_metadata(ground.root().join(name)).unwrap();
    assert_eq!((stat("d").permissions().mode() & 0o7777, stat("d").mtime()), (0o750, 1000));
    assert_eq!((stat("d/f").permissions().mode() & 0o7777, stat("d/f").mtime()), (0o755, 2000), "not set-user-ID");
    assert_eq!((stat("d/f").ino(), stat("s").mtime()), (stat("d/h").ino(), 3000));
}

#[test]
fn a_directory_that_may_not_be_written_is_filled_first() {
    let ground = Ground::new();
    let closed = raw(&Entry::directory("d").with_mode(0o500), b"");
    let archive = [closed, layer(&["d/a", "d/b/", "d/b/c"])].concat();
    ground.unpack(&STRICT, &archive).unwrap();
    assert_eq!(names(&ground.root()), "d/ d/a d/b/ d/b/c");
    let mode = fs::metadata(ground.root().join("d")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "its owner may always clear it");
}

#[test]
fn paths_that_lead_out_are_refused() {
    for (entry, why) in [
        ("/etc/passwd", "it is absolute"),
        ("../outside/file", "it has a `..`"),
        ("a/../../outside/file", "it has a `..`"),
        ("../outside/x/", "it has a `..`"),
        ("../x->y", "it has a `..`"),
        ("..", "it has a `..`"),
    ] {
        let error = refused(&WITHIN, &[entry]);
        assert!(error.starts_with("the path `") && error.ends_with(why), "{error}");
    }
    assert_eq!(refused(&WITHIN, &["h=>../outside/file"]), "the path `../outside/file` is refused: it has a `..`");
    assert_eq!(refused(&WITHIN, &["h=>/outside/file"]), "the path `/outside/file` is refused: it is absolute");
    assert_eq!(refused(&WITHIN, &["."]), "the path `.` is refused: it is empty");
    assert_eq!(refused(&WITHIN, &["s->"]), "the path `` is refused: it is empty");
    assert_eq!(stacked(&STRICT, &[&["./", "./a/", "./a//b"]]), "a/ a/b");
}

#[test]
fn a_link_on_the_way_is_refused() {
    for target in ["../outside", "/", ".", "d"] {
        let link = format!("s->{target}");
        for way in ["s/file", "s/x/", "s/x->y", "s/.wh.file", "s/.wh..wh..opq", "h=>s/file"] {
            let error = refused(&STRICT, &["d/", &link, way]);
            assert!(error.ends_with("is refused: it leads through `s`, which is a symbolic link"), "{way}: {error}");
        }
    }
    assert_eq!(
        refused(&STRICT, &["f", "f/x"]),
        "the path `f/x` is refused: it leads through `f`, which is no directory"
    );
}

#[test]
fn a_link_that_is_followed_stays_within_the_root() {
    let below = &["usr/", "usr/lib/", "usr/lib/old", "lib->usr/lib", "out->../../outside", "root->/", "up->usr/lib/.."];
    for (entry, put) in [
        ("lib/new", "usr/lib/new"),
        ("out/file", "outside/file"),
        ("root/usr/x", "usr/x"),
        ("up/lib/new", "usr/lib/new"),
        ("root/out/../x", ""),
    ] {
        let ground = Ground::new();
        ground.unpack(&WITHIN, &layer(below)).unwrap();
        let result = ground.unpack(&WITHIN, &layer(&[entry]));
        if put.is_empty() {
            assert!(result.unwrap_err().ends_with("it has a `..`"));
        } else {
            result.unwrap();
            assert_eq!(fs::read_to_string(ground.root().join(put)).unwrap(), entry);
        }
    }
    assert!(!stacked(&WITHIN, &[below, &["lib/.wh.old"]]).contains("old"));
    let circle = refused(&WITHIN, &["a->b", "b->a", "a/x"]);
    assert!(circle.ends_with("which is one link too many"), "{circle}");
}

#[test]
fn a_link_is_replaced_and_not_written_through() {
    let ground = Ground::new();
    ground.unpack(&STRICT, &layer(&["s->../outside/file", "s"])).unwrap();
    assert_eq!(listing(&ground.root())["s"], "s");
    ground.unpack(&STRICT, &layer(&["d->../outside", "d/", "d/file"])).unwrap();
    assert_eq!(names(&ground.root()), "d/ d/file s");
    ground.unpack(&STRICT, &layer(&["d->../outside"])).unwrap();
    assert_eq!(names(&ground.root()), "d->../outside s");
    // A second name for a link is a link, and what replaces it replaces the name.
    ground.unpack(&STRICT, &layer(&["h=>d", "h"])).unwrap();
    assert_eq!(names(&ground.root()), "d->../outside h s");
}

#[test]
fn a_hard_link_leads_to_a_file_that_is_there() {
    assert_eq!(stacked(&STRICT, &[&["a"], &["b=>a"]]), "a b", "also in a layer below");
    assert_eq!(stacked(&STRICT, &[&["a", "a=>a"]]), "a", "to itself it is nothing new");
    assert!(refused(&STRICT, &["b=>a"]).contains("linking to a file that is not there"));
    assert!(refused(&STRICT, &["d/", "b=>d"]).contains("which is a directory"));
    assert!(refused(&STRICT, &["b=>x/y/a"]).contains("linking to a file that is not there"));
}

#[test]
fn whiteouts_hide_what_was_below() {
    let below: &[&str] = &["a", "d/", "d/x", "d/y/", "d/y/z", "s->d"];
    for (upper, left) in [
        (&[".wh.a"][..], "d/ d/x d/y/ d/y/z s->d"),
        (&[".wh.d"], "a s->d"),
        (&["d/.wh.x"], "a d/ d/y/ d/y/z s->d"),
        (&["d/.wh..wh..opq"], "a d/ s->d"),
        (&["d/new", "d/.wh..wh..opq"], "a d/ d/new s->d"),
        (&["d/y/new", "d/.wh..wh..opq"], "a d/ d/y/ d/y/new s->d"),
        (&[".wh.d", "d/", "d/new"], "a d/ d/new s->d"),
        (&["d/", "d/new", ".wh.d"], "a d/ d/new s->d"),
        (&["a", ".wh.a"], "a d/ d/x d/y/ d/y/z s->d"),
        (&[".wh.s"], "a d/ d/x d/y/ d/y/z"),
        (&[".wh.nothing", "no/such/.wh.x", "no/.wh..wh..opq"], "a d/ d/x d/y/ d/y/z s->d"),
        (&[".wh..wh.plnk", ".wh..wh.aufs"], "a d/ d/x d/y/ d/y/z s->d"),
        (&["./.wh..wh..opq"], ""),
    ] {
        assert_eq!(stacked(&STRICT, &[below, upper]), left, "{upper:?}");
    }
    for bad in [".wh.", ".wh...", ".wh..", "d/.wh..."] {
        let error = refused(&STRICT, &["d/", bad]);
        assert_eq!(error, format!("`{bad}` is a whiteout of nothing that could be taken away"));
    }
}

#[test]
fn special_files_need_permission() {
    let special = [
        raw(&Entry::new("null", EntryKind::CharacterDevice(Device { major: 1, minor: 3 })), b""),
        raw(&Entry::new("disk", EntryKind::BlockDevice(Device { major: 8, minor: 0 })), b""),
        raw(&Entry::new("pipe", EntryKind::Fifo), b""),
    ];
    for (archive, what) in special.iter().zip(["a character device", "a block device", "a named pipe"]) {
        let error = Ground::new().unpack(&STRICT, archive).unwrap_err();
        assert!(error.ends_with(&format!("is {what}, which is not unpacked here")), "{error}");
    }
    let ground = Ground::new();
    let done =
        ground.unpack(&UnpackOptions { special_files: SpecialFiles::Skip, ..STRICT }, &special.concat()).unwrap();
    assert_eq!((done.skipped, done.entries, names(&ground.root())), (3, 0, String::new()));
    let pipe = UnpackOptions { special_files: SpecialFiles::Create, ..STRICT };
    ground.unpack(&pipe, &special[2]).unwrap();
    assert_eq!(listing(&ground.root())["pipe"], "?");
}

/// Pipes and devices used to lose what the umask has.
#[test]
fn special_files_have_the_mode_that_is_stated() {
    let made = UnpackOptions { special_files: SpecialFiles::Create, ..STRICT };
    for mode in [0o666, 0o600, 0o1777, 0o000] {
        let ground = Ground::new();
        let mut pipe = Entry::new("pipe", EntryKind::Fifo);
        pipe.mode = mode;
        ground.unpack(&made, &raw(&pipe, b"")).unwrap();
        assert_eq!(fs::symlink_metadata(ground.root().join("pipe")).unwrap().mode() & 0o7777, mode, "{mode:o}");
    }
}

#[test]
fn limits_hold_for_what_is_unpacked() {
    let ground = Ground::new();
    let big = vec![0; (1 << 20) + 1];
    let error = ground.unpack(&STRICT, &raw(&Entry::file("big", 0), &big)).unwrap_err();
    assert_eq!(error, "the archive has more than 1048576 bytes of content");
    assert_eq!(names(&ground.root()), "");
    let cut = &raw(&Entry::file("cut", 0), &[7; 5000])[..2000];
    assert_eq!(ground.unpack(&STRICT, cut).unwrap_err(), "the archive is cut off at byte 2000");
}

#[test]
fn a_deep_tree_is_made_and_removed() {
    let deep = "d/".repeat(40) + "f";
    assert!(stacked(&STRICT, &[&[&deep]]).ends_with("/f"));
    assert_eq!(stacked(&STRICT, &[&[&deep], &[".wh.d"]]), "");
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c", "outside", "file", "..", "."]).prop_map(str::to_owned)
}

fn hostile_path() -> impl Strategy<Value = String> {
    let names = prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"));
    (names, prop::bool::weighted(0.1)).prop_map(|(path, absolute)| if absolute { format!("/{path}") } else { path })
}

fn hostile_entry() -> impl Strategy<Value = String> {
    let target = prop_oneof![
        hostile_path(),
        prop::sample::select(vec![
            "..",
            "/",
            "../outside",
            "../../outside",
            "a/../../outside",
            "../outside/file",
            "../root"
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        3 => hostile_path(),
        2 => hostile_path().prop_map(|path| path + "/"),
        3 => (hostile_path(), target).prop_map(|(path, target)| format!("{path}->{target}")),
        2 => (hostile_path(), hostile_path()).prop_map(|(path, target)| format!("{path}=>{target}")),
        1 => (hostile_path(), name()).prop_map(|(path, name)| format!("{path}/.wh.{name}")),
        1 => hostile_path().prop_map(|path| format!("{path}/.wh..wh..opq")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_outside_is_ever_touched(
        layers in prop::collection::vec(prop::collection::vec(hostile_entry(), 1..8), 1..4),
        follow in any::<bool>(),
    ) {
        let ground = Ground::new();
        let options = if follow { WITHIN } else { STRICT };
        for entries in &layers {
            // One entry an archive, so that one that is refused does not keep the rest from being tried.
            for entry in entries {
                let _ = ground.unpack(&options, &layer(&[entry]));
            }
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            let _ = ground.unpack(&options, &layer(&entries));
        }
    }

    #[test]
    fn what_is_packed_is_unpacked(files in prop::collection::btree_map("([a-c]/){0,3}f[0-9]", "[a-z]{0,20}", 0..8)) {
        let mut tar = TarWriter::in_order(Vec::new());
        for (path, content) in &files {
            tar.append_bytes(Entry::file(path.as_str(), 0), content.as_bytes()).unwrap();
        }
        let ground = Ground::new();
        ground.unpack(&STRICT, &tar.finish().unwrap()).unwrap();
        let mut found = listing(&ground.root());
        found.retain(|_, what| what != "/");
        prop_assert_eq!(found, files);
    }
}
