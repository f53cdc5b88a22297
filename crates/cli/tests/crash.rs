//! Kill -9 at random points: no image that was acknowledged is lost, no store is damaged, a second run succeeds.
//!
//! The seed is printed; `POLYARCH_CRASH_SEED` repeats a run and `POLYARCH_CRASH_ROUNDS` changes the number of kills of
//! each kind (50, so 200 in all).

#![cfg(unix)]
#![allow(clippy::print_stderr)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use image::{Digest, Reference, Tag, Target};

fn rounds() -> u32 {
    std::env::var("POLYARCH_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(50)
}

/// A small deterministic generator (xorshift64*): good enough to spread kills over time.
struct Dice(u64);

impl Dice {
    fn new(name: &str) -> Self {
        let seed = std::env::var("POLYARCH_CRASH_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |elapsed| elapsed.as_nanos() as u64)
        });
        eprintln!("{name}: seed {seed}");
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.next() % (limit.as_micros() as u64).max(1))
    }
}

/// An x86-64 executable that does nothing, of `size` bytes that are different for each `seed`.
fn executable(seed: u64, size: usize) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 62, 0, 1, 0, 0, 0];
    file.extend([0; 8 + 8 + 8 + 4]);
    file.extend([64, 0, 56, 0, 0, 0, 64, 0, 0, 0, 0, 0]);
    let mut dice = Dice(seed | 1);
    while file.len() < size {
        file.extend(dice.next().to_le_bytes());
    }
    file
}

struct World {
    directory: tempfile::TempDir,
    port: u16,
}

impl World {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { directory: tempfile::tempdir().unwrap(), port }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn image(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/crash/app:{tag}", self.port)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_polyarch"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn must(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a command and kills it after `delay`. Whether it was done before.
    fn run_and_kill(&self, arguments: &[&str], delay: Duration) -> bool {
        let mut child = self.command(arguments).spawn().unwrap();
        std::thread::sleep(delay);
        let done = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        done.is_some_and(|status| status.success())
    }

    /// How long a command takes when nobody kills it: kills are spread over that time.
    fn duration_of(&self, arguments: &[&str]) -> Duration {
        let started = Instant::now();
        self.must(arguments);
        started.elapsed()
    }

    fn write_executable(&self, name: &str, seed: u64, size: usize) -> String {
        let path = self.path(name);
        fs::write(&path, executable(seed, size)).unwrap();
        format!("linux/amd64={}", path.display())
    }

    fn serve(&self) -> Server {
        let listen = format!("127.0.0.1:{}", self.port);
        let data = self.path("registry").display().to_string();
        let child =
            self.command(&["serve", "--listen", &listen, "--data", &data]).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&listen).is_err() {
            assert!(Instant::now() < deadline, "the registry does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Server(child)
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

/// Opens the store, as the next process would, and checks every row, edge and byte of it.
fn assert_sound(data: &Path) -> content::ContentStore {
    block_on(async {
        let store = content::ContentStore::open(data, content::Options::default()).await.unwrap();
        let report = store.verify().await.unwrap();
        assert!(report.is_sound(), "{:#?}", report.problems);
        store
    })
}

#[test]
fn pack_survives_kills() {
    let world = World::new();
    let mut dice = Dice::new("pack");
    let data = world.path("local").display().to_string();
    let first = world.write_executable("first", 1, 200_000);
    let whole = world.duration_of(&["pack", "--data", &data, "-t", &world.image("first"), &first]);
    let mut finished = 0;
    for round in 0..rounds() {
        let binary = world.write_executable("binary", dice.next(), 200_000);
        let name = world.image(&format!("r{round}"));
        let arguments = ["pack", "--data", &data, "-t", &name, &binary];
        let done = world.run_and_kill(&arguments, dice.below(whole));
        finished += u32::from(done);
        let store = assert_sound(Path::new(&data));
        let reference = Reference::parse(&name).unwrap();
        let id = content::RepositoryId::from(&reference);
        if done {
            assert!(block_on(store.resolve(&id, &reference.target())).unwrap().is_some(), "{name} was acknowledged");
        }
        drop(store);
        world.must(&arguments);
    }
    let store = assert_sound(Path::new(&data));
    let reference = Reference::parse(&world.image("first")).unwrap();
    let found = block_on(store.resolve(&content::RepositoryId::from(&reference), &reference.target())).unwrap();
    assert!(found.is_some(), "the image made before all kills is still there");
    eprintln!("{} kills of pack, {finished} of them came too late", rounds());
}

#[test]
fn push_survives_kills() {
    let world = World::new();
    let mut dice = Dice::new("push");
    let _server = world.serve();
    let data = world.path("local").display().to_string();
    let pack = |tag: &str, seed: u64| {
        let binary = world.write_executable("binary", seed, 300_000);
        let name = world.image(tag);
        world.must(&["pack", "--data", &data, "-t", &name, &binary]);
        name
    };
    let name = pack("first", dice.next());
    let whole = world.duration_of(&["push", "--data", &data, &name]);
    let mut finished = 0;
    for round in 0..rounds() {
        let name = pack(&format!("r{round}"), dice.next());
        let arguments = ["push", "--data", &data, &name];
        let done = world.run_and_kill(&arguments, dice.below(whole));
        finished += u32::from(done);
        let store = assert_sound(&world.path("registry"));
        let reference = Reference::parse(&name).unwrap();
        let id = content::RepositoryId::served(reference.repository().clone());
        if done {
            assert!(block_on(store.resolve(&id, &reference.target())).unwrap().is_some(), "{name} was acknowledged");
        }
        drop(store);
        world.must(&arguments);
    }
    eprintln!("{} kills of push, {finished} of them came too late", rounds());
}

#[test]
fn manifest_create_survives_kills() {
    let world = World::new();
    let mut dice = Dice::new("manifest create");
    let _server = world.serve();
    let data = world.path("local").display().to_string();
    for tag in ["a", "b", "c"] {
        let binary = world.write_executable("binary", dice.next(), 1000);
        world.must(&["pack", "--data", &data, "--push", "-t", &world.image(tag), &binary]);
    }
    let (a, b, c) = (world.image("a"), world.image("b"), world.image("c"));
    let lists = world.path(".docker/manifests");
    let first = world.image("first");
    let whole = world.duration_of(&["manifest", "create", &first, &a, &b, &c]);
    let mut finished = 0;
    for round in 0..rounds() {
        let list = world.image(&format!("list{round}"));
        let done = world.run_and_kill(&["manifest", "create", &list, &a, &b, &c], dice.below(whole));
        finished += u32::from(done);
        let directory = lists.join(list.replace(':', "-").replace('/', "_"));
        match fs::read_dir(&directory) {
            Ok(entries) => {
                assert_eq!(entries.count(), 3, "{}: a list is there whole or not at all", directory.display());
                world.must(&["manifest", "inspect", &list, &a]);
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
                assert!(!done, "{list} was acknowledged");
            }
        }
        world.must(&["manifest", "create", "--amend", &list, &a, &b, &c]);
        world.must(&["manifest", "push", &list]);
    }
    assert_eq!(fs::read_dir(lists.join(first.replace(':', "-").replace('/', "_"))).unwrap().count(), 3);
    assert_sound(&world.path("registry"));
    eprintln!("{} kills of manifest create, {finished} of them came too late", rounds());
}

#[test]
fn the_server_survives_kills_under_pushes() {
    let world = Arc::new(World::new());
    let mut dice = Dice::new("serve");
    let data = world.path("local").display().to_string();
    let images: u32 = rounds() * 4;
    for number in 0..images {
        let binary = world.write_executable("binary", dice.next(), 100_000);
        world.must(&["pack", "--data", &data, "-t", &world.image(&format!("i{number}")), &binary]);
    }
    let acknowledged: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..2)
        .map(|client| {
            let (world, acknowledged, stop) = (world.clone(), acknowledged.clone(), stop.clone());
            let data = data.clone();
            std::thread::spawn(move || {
                for number in (0..images).cycle().filter(|number| number % 2 == client) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if world.run(&["push", "--data", &data, &world.image(&format!("i{number}"))]).status.success() {
                        acknowledged.lock().unwrap().insert(number);
                    }
                }
            })
        })
        .collect();
    for _ in 0..rounds() {
        let mut server = world.serve();
        std::thread::sleep(Duration::from_millis(20) + dice.below(Duration::from_millis(300)));
        let before: Vec<u32> = acknowledged.lock().unwrap().iter().copied().collect();
        server.0.kill().unwrap();
        server.0.wait().unwrap();
        let store = assert_sound(&world.path("registry"));
        assert_served(&store, &world, &before);
    }
    let server = world.serve();
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    for number in 0..images {
        world.must(&["push", "--data", &data, &world.image(&format!("i{number}"))]);
    }
    drop(server);
    let store = assert_sound(&world.path("registry"));
    assert_served(&store, &world, &(0..images).collect::<Vec<_>>());
    eprintln!("{} kills of serve, {} images acknowledged between them", rounds(), acknowledged.lock().unwrap().len());
}

/// Each of these images is served under its tag, with the digest that it has on this side.
fn assert_served(store: &content::ContentStore, world: &World, numbers: &[u32]) {
    block_on(async {
        let local = content::ContentStore::open(world.path("local"), content::Options::default()).await.unwrap();
        for number in numbers {
            let reference = Reference::parse(&world.image(&format!("i{number}"))).unwrap();
            let target = Target::Tag(Tag::parse(&format!("i{number}")).unwrap());
            let want: Digest =
                local.resolve(&content::RepositoryId::from(&reference), &target).await.unwrap().unwrap().digest;
            let served = content::RepositoryId::served(reference.repository().clone());
            let found = store.resolve(&served, &target).await.unwrap().map(|record| record.digest);
            assert_eq!(found, Some(want), "{reference} was acknowledged");
        }
    });
}
