//! Ctrl-C ends a command at once, whatever it waits for, and nothing half-done stays behind.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lab::{Fault, FaultKind, Lab, Quirks};

use crate::sandbox::{POLYARCH, Sandbox};
use crate::verdict::INNARDS;
use crate::world::{Doing, SECRETS, World, basic, bearer, each, names};

/// At once, for a machine that does other things too.
const AT_ONCE: Duration = Duration::from_secs(2);
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Waits until something is so.
#[track_caller]
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a signal and waits for the end: the exit code and what was said on stderr.
#[track_caller]
fn signal(mut child: Child, name: &str) -> (Option<i32>, String) {
    let started = Instant::now();
    let sent = std::process::Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > AT_ONCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still there {AT_ONCE:?} after {name}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let mut stderr = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut stderr).unwrap();
    }
    for bad in INNARDS.iter().chain(&SECRETS) {
        assert!(!stderr.contains(bad), "{bad}: {stderr}");
    }
    (status.code(), stderr)
}

fn start(world: &World, doing: Doing) -> Child {
    let arguments = world.arguments(doing);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    world.user.command(POLYARCH, &arguments).spawn().unwrap()
}

#[test]
fn a_registry_that_stalls_does_not_keep_anybody() {
    let stall = || FaultKind::Stall(FOR_EVER);
    let cases = vec![
        (Doing::Create, "GET", "/manifests/", stall()),
        (Doing::Create, "GET", "/manifests/", FaultKind::StallBody(10)),
        (Doing::Create, "GET", "/blobs/", stall()),
        (Doing::Create, "GET", "/blobs/", FaultKind::StallBody(10)),
        (Doing::Create, "", "/token", stall()),
        (Doing::Inspect, "GET", "/manifests/", stall()),
        (Doing::Pull, "GET", "/manifests/", stall()),
        (Doing::Pull, "GET", "/blobs/", stall()),
        (Doing::Pull, "GET", "/blobs/", FaultKind::StallBody(10)),
        (Doing::Push, "HEAD", "/manifests/", stall()),
        (Doing::Push, "POST", "/uploads/", stall()),
        (Doing::Push, "PUT", "/manifests/", stall()),
        (Doing::PushList, "POST", "/uploads/", stall()),
        (Doing::PushList, "PUT", "/manifests/", stall()),
        // While it waits to try again.
        (Doing::Pull, "GET", "/manifests/", FaultKind::RetryAfter(Some(50))),
    ];
    each(&cases, |(doing, method, path, fault)| {
        for (name, code) in [("INT", 130), ("TERM", 143)] {
            let world = World::new(Lab::builder().auth(bearer()));
            world.lab.fault(Fault::on(method, path, fault.clone()));
            let child = start(&world, *doing);
            eventually("the request", || world.lab.count_of(method, path) > 0);
            std::thread::sleep(Duration::from_millis(30));
            let (ended, stderr) = signal(child, name);
            assert_eq!(ended, Some(code), "{doing:?} {path} {fault:?}: {stderr}");
            assert!(!stderr.contains("error"), "{stderr}");
            world.lab.clear_faults();
            if *doing != Doing::PushList {
                world.nothing_half_done(*doing);
            }
            // And what was begun can be finished.
            let run = world.run(*doing);
            assert_eq!(run.code, Some(0), "{}", run.shown());
        }
    });
}

/// In the middle of big bodies, in both directions.
#[test]
fn bodies_under_way_are_dropped() {
    for quirks in [Quirks::default(), Quirks { forget_blobs_over: Some(1 << 20), ..Quirks::default() }] {
        let world = World::new(Lab::builder().quirks(quirks));
        let digest = world.lab.put_seeded_blob("big", 1, 400 << 20);
        let config = world.lab.put_blob("big", r#"{"os":"linux","architecture":"amd64"}"#);
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":37}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":{}}}]}}"#,
            400 << 20
        );
        world.lab.put_manifest("big", Some("v1"), manifest);
        let staged = || {
            let bytes = |name: &String| {
                std::fs::metadata(world.user.path("data/uploads").join(name)).map_or(0, |metadata| metadata.len())
            };
            names(&world.user.path("data/uploads")).iter().map(bytes).sum::<u64>()
        };
        let child = world.user.command(POLYARCH, &["pull", &world.at("big:v1")]).spawn().unwrap();
        eventually("some bytes", || staged() > 1 << 20);
        let (code, stderr) = signal(child, "INT");
        assert_eq!(code, Some(130), "{stderr}");
        assert_eq!(staged(), 0, "{:?}", names(&world.user.path("data/uploads")));
        world.nothing_half_done(Doing::Pull);
    }
}

/// A server that takes connections and says nothing, not even in TLS.
#[test]
fn a_server_that_says_nothing_does_not_keep_anybody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let user = Sandbox::new();
    let image = format!("{address}/app:v1");
    for arguments in [&["pull", &image][..], &["manifest", "inspect", &image], &["manifest", "create", "a", &image]] {
        let child = user.command(POLYARCH, arguments).spawn().unwrap();
        let (connection, _) = listener.accept().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let (code, stderr) = signal(child, "INT");
        assert_eq!((code, stderr.as_str()), (Some(130), ""), "{arguments:?}");
        drop(connection);
    }
}

/// What blocks is not the network: a helper that asks somebody, a reader that does not read.
#[test]
fn what_waits_for_another_program_ends_too() {
    let mut world = World::open();
    world.lab.set_auth(basic());
    crate::files::helper(&mut world.user, "touch \"$HOME/asked-$1\"; exec sleep 20 > /dev/null 2>&1");
    let asked = world.user.path("home/asked-get");
    for doing in [Doing::Create, Doing::Pull, Doing::Push] {
        let child = start(&world, doing);
        eventually("the helper", || asked.exists());
        let (code, stderr) = signal(child, "INT");
        assert_eq!(code, Some(130), "{doing:?}: {stderr}");
        std::fs::remove_file(&asked).unwrap();
    }
    // After the registry has let the user in: nothing waits for the network any more.
    let asked = world.user.path("home/asked-store");
    let host = world.lab.host();
    let mut command = world.user.command(POLYARCH, &["login", "-u", "user", "--password-stdin", &host]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, crate::world::PASSWORD.as_bytes()).unwrap();
    drop(stdin);
    eventually("the helper", || asked.exists());
    let (code, stderr) = signal(child, "INT");
    assert_eq!(code, Some(130), "login: {stderr}");
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_anybody() {
    let world = World::open();
    let annotation = "x".repeat(2 << 20);
    let image = lab::images::maker("linux/amd64").annotation("long", &annotation).make();
    image.push(&world.lab, "app", Some("long"));
    let image = world.at("app:long");
    let child = world.user.command(POLYARCH, &["manifest", "inspect", &image]).spawn().unwrap();
    eventually("the request", || world.lab.count_of("GET", "/manifests/long") > 0);
    std::thread::sleep(Duration::from_millis(300));
    let (code, stderr) = signal(child, "INT");
    assert_eq!(code, Some(130), "{stderr}");

    // A pipe that nobody reads from, to be opened for writing.
    let pipe = world.user.path("here/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let list = world.at("lists:v1");
    let child =
        world.user.command(POLYARCH, &["manifest", "push", "--digest-file", pipe.to_str().unwrap(), &list]).spawn();
    eventually("the push", || world.lab.resolve("lists", "v1").is_some());
    std::thread::sleep(Duration::from_millis(300));
    let (code, stderr) = signal(child.unwrap(), "INT");
    assert_eq!(code, Some(130), "{stderr}");
}

/// What a command keeps outside its own directories while it runs.
#[test]
fn nothing_stays_in_the_directory_for_temporary_files() {
    let mut world = World::open();
    let temporary = world.user.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    world.user.set("TMPDIR", &temporary);
    world.lab.fault(Fault::on("GET", "/manifests/", FaultKind::Stall(FOR_EVER)));
    let list = world.at("lists:v1");
    let other = world.at("other:v1");
    let child =
        world.user.command(POLYARCH, &["manifest", "create", "--dry-run", "--amend", &list, &other]).spawn().unwrap();
    eventually("the request", || world.lab.count_of("GET", "/manifests/") > 0);
    let (code, _) = signal(child, "INT");
    assert_eq!(code, Some(130));
    assert_eq!(names(&temporary), [""; 0]);
}
