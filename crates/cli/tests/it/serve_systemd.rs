//! `polyarch serve` as a service of systemd.

#![cfg(target_os = "linux")]

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::sandbox::{POLYARCH, Sandbox};
use crate::support::Running;

/// Starts it with a socket as systemd does: as descriptor 3, and the process named.
fn activated(user: &Sandbox, socket: OwnedFd, environment: &str, line: &str) -> Running {
    let script = format!("exec 3<&0 0</dev/null; {environment} exec {POLYARCH} {line}");
    let mut command = user.command("sh", &["-c", &script]);
    command.stdin(Stdio::from(socket));
    Running::spawn(command)
}

#[test]
fn it_takes_the_socket_that_systemd_listens_on() {
    let user = Sandbox::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = socket.local_addr().unwrap().to_string();
    let line = "serve --listen 127.0.0.1:1 --data registry";
    let mut server = activated(&user, socket.into(), "LISTEN_FDS=1 LISTEN_PID=$$", line);
    assert_eq!(server.line(), format!("listening on http://{host}"));
    assert_eq!(server.line(), "note: `127.0.0.1:1` is not listened on: systemd handed on a socket");
    // It answers: that there is no such image.
    assert_eq!(user.words(&format!("pull {host}/app:v1")).code, Some(3));
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_socket_that_is_meant_for_another_process_is_left_alone() {
    let user = Sandbox::new();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = socket.local_addr().unwrap().to_string();
    let line = "serve --listen 127.0.0.1:0 --data registry";
    let mut server = activated(&user, socket.into(), "LISTEN_FDS=1 LISTEN_PID=1", line);
    let said = server.line();
    assert!(said.starts_with("listening on http://127.0.0.1:"), "{said}");
    assert_ne!(said, format!("listening on http://{host}"), "it took the socket of another");
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn a_socket_that_others_reach_is_refused_like_an_address_and_what_is_no_socket_too() {
    let user = Sandbox::new();
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let server = activated(&user, socket.into(), "LISTEN_FDS=1 LISTEN_PID=$$", "serve --data registry");
    let (code, said, _) = server.end();
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: refused to listen on `0.0.0.0:"), "{said}");

    let file = std::fs::File::open("/dev/null").unwrap();
    let server = activated(&user, file.into(), "LISTEN_FDS=1 LISTEN_PID=$$", "serve --data registry");
    let (code, said, _) = server.end();
    assert_eq!(code, Some(1));
    assert!(said.starts_with("error: failed to take the socket of systemd: "), "{said}");

    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = activated(&user, socket.into(), "LISTEN_FDS=2 LISTEN_PID=$$", "serve --data registry");
    assert_eq!(
        server.end().1,
        "error: failed to take the socket of systemd: there are 2, and 1 is served\n\
         hint: give the socket unit one `ListenStream=`\n"
    );
}

/// What systemd is told from start to end.
fn told(socket: &UnixDatagram, name: &str) {
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut user = Sandbox::new();
    user.set("NOTIFY_SOCKET", name);
    let (server, host) = Running::serve(&user, "registry");
    assert_eq!(next(), format!("READY=1\nSTATUS=listening on http://{host}"));
    server.signal("HUP");
    assert_eq!(next(), "RELOADING=1");
    assert_eq!(next(), "READY=1");
    server.signal("TERM");
    assert!(next().starts_with("STOPPING=1\n"));
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn systemd_is_told_when_it_is_ready_reloads_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    told(&UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap());
    let name = format!("polyarch-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    told(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"));
}

#[test]
fn the_watchdog_is_fed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut user = Sandbox::new();
    user.set("NOTIFY_SOCKET", &path);
    user.set("WATCHDOG_USEC", "100000");
    let (_server, _) = Running::serve(&user, "registry");
    let mut fed = 0;
    while fed < 3 {
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).unwrap();
        fed += usize::from(&buffer[..length] == b"WATCHDOG=1");
    }
}

#[test]
fn the_units_name_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let service = std::fs::read_to_string(root.join("examples/systemd/polyarch.service")).unwrap();
    let line = service.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/polyarch ")).unwrap();
    let user = Sandbox::new();
    std::fs::write(user.path("here/polyarch.toml"), "").unwrap();
    let line = line.replace("/etc/polyarch/polyarch.toml", "polyarch.toml");
    user.words(&format!("{line} --print-config")).success();
    // Where systemd can be asked, it knows each word.
    let units = ["polyarch.service", "polyarch.socket"].map(|name| root.join("examples/systemd").join(name));
    match std::process::Command::new("systemd-analyze").arg("verify").args(&units).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let unknown = said.lines().find(|line| line.contains("Unknown") || line.contains("Failed to parse"));
            assert_eq!(unknown, None, "{said}");
        }
        #[allow(clippy::print_stderr)]
        Err(_) => eprintln!("skipped: no systemd-analyze"),
    }
}
