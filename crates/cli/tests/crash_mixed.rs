//! Kill -9 of a server under mixed load: two clients push, move and delete tags, put indexes and delete by digest, and
//! garbage is collected all the while by processes that are killed, too. After each kill: what was acknowledged is there to
//! the byte, what was deleted is not, no tag is listed that answers 404, and a check of the directory finds nothing.
//!
//! The seed is printed; `POLYARCH_CRASH_SEED` repeats a run. Four rounds, or fifty with `POLYARCH_LONG`, or as many as that
//! says.

#![cfg(unix)]
#![allow(clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use image::{Digest, Document, MediaType};

const TAGS: usize = 8;

fn rounds() -> u32 {
    match std::env::var("POLYARCH_LONG") {
        Ok(text) => text.parse().ok().filter(|rounds| *rounds > 1).unwrap_or(50),
        Err(_) => 4,
    }
}

/// A small deterministic generator (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// What became of a request without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// It was never sent.
    Unsent,
    /// It may have been done.
    Unknown,
}

fn request(port: u16, method: &str, path: &str, media_type: &str, body: &[u8]) -> Result<Reply, Lost> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|_| Lost::Unsent)?;
    let lost = |_| Lost::Unknown;
    stream.set_read_timeout(Some(Duration::from_secs(60))).map_err(lost)?;
    let mut sent = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    if !media_type.is_empty() {
        let _ = write!(sent, "Content-Type: {media_type}\r\n");
    }
    let _ = write!(sent, "Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(sent.as_bytes()).map_err(lost)?;
    stream.write_all(body).map_err(lost)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(lost)?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or(Lost::Unknown)?;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).ok_or(Lost::Unknown)?;
    let body = answer[end + 4..].to_vec();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    if method != "HEAD" && length.is_some_and(|length| length != body.len()) {
        return Err(Lost::Unknown);
    }
    assert_ne!(status, 500, "{method} {path}: {head}");
    Ok(Reply { status, head, body })
}

/// Where a tag may point: one possibility is knowledge; several, if an answer did not come.
type Possible = BTreeSet<Option<Digest>>;

/// A client, alone with a repository, that writes down what it was told.
struct Client {
    repository: String,
    port: u16,
    dice: Dice,
    tags: BTreeMap<String, Possible>,
    documents: BTreeMap<Digest, Document>,
    answers: Arc<AtomicU64>,
}

impl Client {
    fn new(number: usize, port: u16, seed: u64, answers: &Arc<AtomicU64>) -> Self {
        let tags = (0..TAGS).map(|tag| (format!("t{tag}"), Possible::from([None]))).collect();
        Self {
            repository: format!("crash/client{number}"),
            port,
            dice: Dice(seed | 1),
            tags,
            documents: BTreeMap::new(),
            answers: answers.clone(),
        }
    }

    fn ask(&self, method: &str, end: &str, media_type: &str, body: &[u8]) -> Result<Reply, Lost> {
        let reply = request(self.port, method, &format!("/v2/{}/{end}", self.repository), media_type, body);
        if reply.is_ok() {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        reply
    }

    fn known(&self, tag: &str) -> Option<&Option<Digest>> {
        let possible = &self.tags[tag];
        (possible.len() == 1).then(|| possible.first()).flatten()
    }

    fn some_tag(&mut self) -> String {
        format!("t{}", self.dice.below(TAGS))
    }

    /// Does one thing. An error: the server is not there.
    fn step(&mut self) -> Result<(), Lost> {
        match self.dice.below(10) {
            0..4 => self.push(),
            4 => self.move_tag(),
            5 => self.push_index(),
            6 => self.delete_tag(),
            7 => self.delete_document(),
            _ => self.read(),
        }
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<bool, Lost> {
        let end = format!("blobs/uploads/?digest={}", Digest::sha256(bytes));
        Ok(self.ask("POST", &end, "", bytes)?.status == 201)
    }

    fn push(&mut self) -> Result<(), Lost> {
        let length = [100, 3_000, 70_000, 300_000][self.dice.below(4)];
        let layer = self.dice.bytes(length);
        let config = format!(r#"{{"architecture":"amd64","os":"linux","seed":{}}}"#, self.dice.next());
        if !self.blob(&layer)? || !self.blob(config.as_bytes())? {
            return Ok(());
        }
        let descriptor = |media_type: &str, bytes: &[u8]| {
            format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":{}}}"#, Digest::sha256(bytes), bytes.len())
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{},"layers":[{}]}}"#,
            MediaType::OCI_MANIFEST,
            descriptor(MediaType::OCI_CONFIG, config.as_bytes()),
            descriptor(MediaType::OCI_LAYER, &layer)
        );
        let tag = self.some_tag();
        self.put(&tag, Document::new(None, manifest.into_bytes()).unwrap())
    }

    /// What garbage collection took before the manifest came is said, and nothing changes.
    fn put(&mut self, tag: &str, document: Document) -> Result<(), Lost> {
        let digest = document.digest().clone();
        let reply = self.ask("PUT", &format!("manifests/{tag}"), document.media_type().as_str(), document.bytes());
        self.documents.insert(digest.clone(), document);
        let possible = self.tags.get_mut(tag).unwrap();
        match reply {
            Ok(reply) if reply.status == 201 => *possible = Possible::from([Some(digest)]),
            Ok(reply) => assert_eq!(reply.status, 400, "{} {}", reply.head, String::from_utf8_lossy(&reply.body)),
            Err(Lost::Unknown) => drop(possible.insert(Some(digest))),
            Err(Lost::Unsent) => return Err(Lost::Unsent),
        }
        Ok(())
    }

    fn move_tag(&mut self) -> Result<(), Lost> {
        let (from, to) = (self.some_tag(), self.some_tag());
        let Some(Some(digest)) = self.known(&from).cloned() else { return Ok(()) };
        let document = self.documents[&digest].clone();
        self.put(&to, document)
    }

    fn push_index(&mut self) -> Result<(), Lost> {
        let (one, two, tag) = (self.some_tag(), self.some_tag(), self.some_tag());
        let (Some(Some(one)), Some(Some(two))) = (self.known(&one).cloned(), self.known(&two).cloned()) else {
            return Ok(());
        };
        // Indexes of indexes would grow without end.
        if [&one, &two].iter().any(|digest| self.documents[*digest].index().is_some()) {
            return Ok(());
        }
        let entries = [one, two].map(|digest| serde_json_text(&self.documents[&digest]));
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#,
            MediaType::OCI_INDEX,
            entries.join(",")
        );
        self.put(&tag, Document::new(None, text.into_bytes()).unwrap())
    }

    fn delete_tag(&mut self) -> Result<(), Lost> {
        let tag = self.some_tag();
        let reply = self.ask("DELETE", &format!("manifests/{tag}"), "", b"");
        let possible = self.tags.get_mut(&tag).unwrap();
        match reply {
            Ok(reply) if reply.status == 404 => {
                assert!(possible.contains(&None), "{tag} was acknowledged and is gone: {possible:?}");
                *possible = Possible::from([None]);
            }
            Ok(reply) => {
                assert_eq!(reply.status, 202, "{}", reply.head);
                assert_ne!(*possible, Possible::from([None]), "{tag} came back");
                *possible = Possible::from([None]);
            }
            Err(Lost::Unknown) => drop(possible.insert(None)),
            Err(Lost::Unsent) => return Err(Lost::Unsent),
        }
        Ok(())
    }

    fn delete_document(&mut self) -> Result<(), Lost> {
        let tag = self.some_tag();
        let Some(Some(digest)) = self.known(&tag).cloned() else { return Ok(()) };
        let gone = match self.ask("DELETE", &format!("manifests/{digest}"), "", b"") {
            Ok(reply) if reply.status == 202 => true,
            // An index needs it.
            Ok(reply) if reply.status == 409 => return Ok(()),
            Ok(reply) => panic!("{tag} pointed to `{digest}`, which is gone: {}", reply.head),
            Err(Lost::Unknown) => false,
            Err(Lost::Unsent) => return Err(Lost::Unsent),
        };
        for possible in self.tags.values_mut().filter(|possible| possible.contains(&Some(digest.clone()))) {
            possible.insert(None);
            if gone {
                possible.remove(&Some(digest.clone()));
            }
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Lost> {
        let tag = self.some_tag();
        let known = self.known(&tag).cloned();
        match self.ask("GET", &format!("manifests/{tag}"), "", b"") {
            Ok(reply) => {
                let found = (reply.status == 200).then(|| Digest::sha256(&reply.body));
                assert!(known.is_none_or(|known| known == found), "{tag}: {}", reply.head);
                Ok(())
            }
            Err(Lost::Unknown) => Ok(()),
            Err(Lost::Unsent) => Err(Lost::Unsent),
        }
    }

    /// Everything that must be there, and nothing else. What was not known is known after it.
    fn check(&mut self) {
        let listed = self.ask("GET", "tags/list", "", b"").unwrap();
        let listed = String::from_utf8_lossy(&listed.body).into_owned();
        for tag in self.tags.keys().cloned().collect::<Vec<_>>() {
            let reply = self.ask("GET", &format!("manifests/{tag}"), "", b"").unwrap();
            let found = (reply.status == 200).then(|| Digest::sha256(&reply.body));
            let possible = &self.tags[&tag];
            assert!(possible.contains(&found), "{}:{tag} is {found:?} and not one of {possible:?}", self.repository);
            assert_eq!(listed.contains(&format!("\"{tag}\"")), found.is_some(), "{tag} in {listed}");
            if let Some(digest) = &found {
                self.whole(digest);
            }
            self.tags.insert(tag, Possible::from([found]));
        }
    }

    /// A document, and all below it, to the byte.
    fn whole(&self, digest: &Digest) {
        let document = &self.documents[digest];
        let reply = self.ask("GET", &format!("manifests/{digest}"), "", b"").unwrap();
        assert_eq!((reply.status, &*reply.body), (200, &**document.bytes()), "{digest}");
        for child in document.children() {
            if document.index().is_some() {
                self.whole(&child.digest);
            } else {
                let reply = self.ask("GET", &format!("blobs/{}", child.digest), "", b"").unwrap();
                assert_eq!((reply.status, Digest::sha256(&reply.body)), (200, child.digest.clone()), "of {digest}");
            }
        }
    }
}

fn serde_json_text(document: &Document) -> String {
    let descriptor = document.descriptor();
    format!(
        r#"{{"mediaType":"{}","digest":"{}","size":{}}}"#,
        descriptor.media_type.as_str(),
        descriptor.digest,
        descriptor.size
    )
}

/// A process of ours that does not outlive the test.
struct Process(Child);

impl Process {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn polyarch(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_polyarch"));
    command.args(arguments).env_clear().env("HOME", home);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn serve(home: &Path, data: &str, port: u16) -> Process {
    let listen = format!("127.0.0.1:{port}");
    let process = Process(polyarch(home, &["serve", "--listen", &listen, "--data", data]).spawn().unwrap());
    let begun = Instant::now();
    while TcpStream::connect(&listen).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the registry does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

/// Collects garbage as greedily as can be, again and again; every other time the process is killed on its way.
fn collect(home: PathBuf, data: String, stop: Arc<AtomicBool>, seed: u64) -> std::thread::JoinHandle<(u32, u32)> {
    std::thread::spawn(move || {
        let arguments = [
            "gc",
            "--data",
            &data,
            "--keep-history",
            "0s",
            "--keep-untagged",
            "0s",
            "--keep-unused-blobs",
            "0s",
            "--sweep-after",
            "0s",
        ];
        let mut dice = Dice(seed | 1);
        let (mut runs, mut kills) = (0, 0);
        if !polyarch(&home, &["gc", "--help"]).status().unwrap().success() {
            return (collect_here(&data, &stop), 0);
        }
        while !stop.load(Ordering::Relaxed) {
            let mut process = Process(polyarch(&home, &arguments).spawn().unwrap());
            if dice.below(2) == 0 {
                std::thread::sleep(Duration::from_millis(10 + dice.below(200) as u64));
                process.kill();
                kills += 1;
            } else {
                let status = process.0.wait().unwrap();
                assert!(status.success(), "gc: {status}");
                runs += 1;
            }
        }
        (runs, kills)
    })
}

/// As [`collect`], by the library.
fn collect_here(data: &str, stop: &AtomicBool) -> u32 {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut options = content::GcOptions::default();
    (options.keep_history, options.keep_untagged) = (Duration::ZERO, Duration::ZERO);
    (options.keep_unused_blobs, options.sweep_after) = (Duration::ZERO, Duration::ZERO);
    let mut runs = 0;
    runtime.block_on(async {
        let store = content::ContentStore::open(data, content::Options::default()).await.unwrap();
        while !stop.load(Ordering::Relaxed) {
            store.collect_garbage(&options).await.unwrap();
            runs += 1;
        }
    });
    runs
}

fn assert_sound(data: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = content::ContentStore::open(data, content::Options::default()).await.unwrap();
        let report = store.verify().await.unwrap();
        assert!(report.is_sound(), "{:#?}", report.problems);
    });
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_deleted_comes_back() {
    let seed = std::env::var("POLYARCH_CRASH_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |elapsed| elapsed.as_nanos() as u64));
    eprintln!("mixed load: seed {seed}");
    let mut dice = Dice(seed | 1);
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data").display().to_string();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let answers = Arc::new(AtomicU64::new(0));
    let mut clients: Vec<Client> = (0..2).map(|number| Client::new(number, port, dice.next(), &answers)).collect();
    let (mut collections, mut killed_collections) = (0, 0);
    for _ in 0..rounds() {
        let mut server = serve(home.path(), &data, port);
        let stop = Arc::new(AtomicBool::new(false));
        let collector = collect(home.path().to_owned(), data.clone(), stop.clone(), dice.next());
        let wanted = answers.load(Ordering::Relaxed) + 30;
        let working: Vec<_> = clients
            .into_iter()
            .map(|mut client| {
                let stop = stop.clone();
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) && client.step() != Err(Lost::Unsent) {}
                    client
                })
            })
            .collect();
        // Not before there is something to lose, however slow this machine is now.
        let begun = Instant::now();
        while answers.load(Ordering::Relaxed) < wanted && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(dice.below(400) as u64));
        server.kill();
        stop.store(true, Ordering::Relaxed);
        clients = working.into_iter().map(|client| client.join().unwrap()).collect();
        let (runs, kills) = collector.join().unwrap();
        collections += runs;
        killed_collections += kills;
        assert_sound(&data);
        let server = serve(home.path(), &data, port);
        for client in &mut clients {
            client.check();
        }
        drop(server);
    }
    assert_sound(&data);
    eprintln!(
        "{} kills of the server, {} answers, {collections} collections, {killed_collections} more that were killed",
        rounds(),
        answers.load(Ordering::Relaxed)
    );
}
