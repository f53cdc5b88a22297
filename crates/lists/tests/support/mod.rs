//! What the tests of this crate share: entries to put into drafts, and the real docker CLI.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod world;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use image::{Digest, Document, MediaType, Platform, Reference};
use polyarch_lists::Entry;

/// What a command printed and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

/// The real docker CLI.
#[derive(Clone, Debug)]
pub(crate) struct Docker(PathBuf);

impl Docker {
    /// The docker CLI of this machine, of the version that is compared with: others word things differently, and older
    /// ones know no OCI images. `None`: there is none, and the test that asked is skipped, by name.
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|directory| directory.join("docker")).find(|path| {
            let said = Command::new(path).arg("--version").output();
            said.is_ok_and(|said| said.stdout.starts_with(b"Docker version 28."))
        });
        if found.is_none() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("a test");
            // Past the test runner's capture: a test that did nothing must not look like one that passed.
            let _ = writeln!(std::io::stderr(), "skipped: no docker CLI of version 28: {name}");
        }
        found.map(Self)
    }

    /// Runs `docker manifest` with a configuration directory.
    pub(crate) fn manifest(&self, config: &Path, arguments: &[&str]) -> Said {
        let output = Command::new(&self.0)
            .arg("--config")
            .arg(config)
            .arg("manifest")
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", config)
            // There is no daemon, and none is needed.
            .env("DOCKER_HOST", "tcp://127.0.0.1:1")
            .stdin(Stdio::null())
            .output()
            .expect("docker runs");
        Said {
            out: String::from_utf8(output.stdout).expect("docker prints text"),
            err: String::from_utf8(output.stderr).expect("docker prints text"),
            code: output.status.code(),
        }
    }
}

pub(crate) fn reference(text: &str) -> Reference {
    Reference::parse(text).expect("a reference")
}

/// A manifest with everything that Go writes in its own way: space, HTML, a number of many spellings.
pub(crate) fn manifest(media_type: &str, salt: &str) -> Document {
    let text = format!(
        "{{\n  \"schemaVersion\": 2, \"mediaType\": \"{media_type}\",\n  \"config\": {{\"mediaType\":\"a/b\",\"size\":2,\
         \"digest\":\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"}},\n  \"layers\": [ ],\
         \"x-number\": 1.50e1, \"annotations\": {{\"salt\":\"{salt}\", \"html\": \"<a>&\u{2028}é\"}}\n}}\n"
    );
    Document::new(Some(&MediaType::from(media_type)), text).expect("a manifest")
}

pub(crate) fn entry(name: &str, platform: &str) -> Entry {
    let media_type = if name.contains("docker") { MediaType::DOCKER_MANIFEST } else { MediaType::OCI_MANIFEST };
    let platform = Platform::parse(platform).expect("a platform");
    Entry::new(reference(name), &manifest(media_type, name), platform)
}

/// All files of docker's store below a configuration directory, by path, with their bytes as text.
pub(crate) fn files(config: &Path) -> Vec<(String, String)> {
    let root = config.join("manifests");
    let mut found = Vec::new();
    let Ok(lists) = std::fs::read_dir(&root) else { return found };
    for list in lists.flatten() {
        let name = list.file_name().into_string().expect("a name");
        let Ok(entries) = std::fs::read_dir(list.path()) else {
            found.push((name, "(a file)".to_owned()));
            continue;
        };
        found.push((format!("{name}/"), String::new()));
        for entry in entries.flatten() {
            let text = std::fs::read(entry.path()).expect("a readable file");
            found.push((
                format!("{name}/{}", entry.file_name().to_string_lossy()),
                String::from_utf8_lossy(&text).into_owned(),
            ));
        }
    }
    found.sort();
    found
}

pub(crate) fn digest_of(text: &str) -> Digest {
    Digest::sha256(text.as_bytes())
}
