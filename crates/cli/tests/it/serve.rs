//! `polyarch serve`, and what signals do.

#![cfg(unix)]

use std::time::Duration;

use lab::images::{self, Flavour};
use lab::{Fault, FaultKind, Lab};

#[cfg(target_os = "linux")]
use crate::sandbox::POLYARCH;
use crate::sandbox::{Sandbox, tree};
use crate::support::{AMD64, Running, eventually, program};

#[test]
fn it_serves_until_it_is_told_to_stop_and_what_it_has_stays() {
    let user = Sandbox::new();
    std::fs::write(user.path("here/amd64"), program(AMD64, 1)).unwrap();
    let (server, host) = Running::serve(&user, "registry");
    let image = format!("{host}/app:v1");
    user.polyarch(&["pack", "--push", "-t", &image, "linux/amd64=amd64"]).success();
    let before = user.polyarch(&["manifest", "inspect", "--raw", &image]).success();
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));

    let (server, other) = Running::serve(&user, "registry");
    let again = user.polyarch(&["manifest", "inspect", "--raw", &format!("{other}/app:v1")]).success();
    assert_eq!(before, again);
    server.signal("INT");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn it_is_for_loopback_unless_told_otherwise() {
    let user = Sandbox::new();
    user.words("serve --listen 0.0.0.0:0").fails_with(
        1,
        "error: refused to listen on `0.0.0.0:0`: it is not a loopback address, and everybody could push and delete\n\
         hint: name who may with `--htpasswd`, or say `--allow-anonymous` if that is meant\n",
    );
    let mut server = Running::start(&user, "serve --listen 0.0.0.0:0 --allow-anonymous");
    assert!(server.line().starts_with("listening on http://0.0.0.0:"));
    server.signal("TERM");
    assert_eq!(server.end().0, Some(0));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let user = Sandbox::new();
    let (_server, host) = Running::serve(&user, "registry");
    let refused = user.words(&format!("serve --listen {host} --data elsewhere"));
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.starts_with(&format!("error: failed to listen on `{host}`: ")), "{}", refused.stderr);
}

/// A thousand connections are more than the 1024 files that a shell gives to begin with.
#[cfg(target_os = "linux")]
#[test]
fn it_takes_all_the_files_that_it_may_open() {
    let user = Sandbox::new();
    let line = format!("ulimit -S -n 200; exec {POLYARCH} serve --listen 127.0.0.1:0");
    let mut server = Running::spawn(user.command("/bin/sh", &["-c", &line]));
    assert!(server.line().starts_with("listening on "));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let words: Vec<&str> = files.split_whitespace().collect();
    assert_ne!(words[0], "200");
    assert_eq!(words[0], words[1]);
}

/// Ctrl-C and SIGTERM in the middle of a request that is never answered.
fn stopped_by(signal: &str, code: i32) {
    let lab = Lab::start();
    images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    lab.fault(Fault::on("GET", "/blobs/", FaultKind::Stall(Duration::from_secs(600))));
    let user = Sandbox::new();
    let (list, image) = (lab.reference("app", "list"), lab.reference("app", "v1"));
    for line in [format!("manifest create {list} {image}"), format!("pull {image}")] {
        lab.clear_log();
        let running = Running::start(&user, &line);
        eventually("the request for a blob", || lab.count_of("GET", "/blobs/") > 0);
        running.signal(signal);
        let (exit, stderr, took) = running.end();
        assert_eq!((exit, stderr.as_str()), (Some(code), ""), "{line}");
        assert!(took < Duration::from_secs(2), "{line}: {took:?}");
        let lists = tree(&user.path("docker/manifests"));
        assert!(lists.keys().all(|name| !name.contains("app-list")), "{lists:?}");
    }
    assert_eq!(user.words("images --quiet").success(), "");
    lab.clear_faults();
    user.words(&format!("manifest create {list} {image}")).success();
    user.words(&format!("pull {image}")).success();
}

#[test]
fn row_08_ctrl_c_ends_at_once_with_130_and_leaves_nothing_half_done() {
    stopped_by("INT", 130);
}

#[test]
fn sigterm_ends_at_once_with_143_and_leaves_nothing_half_done() {
    stopped_by("TERM", 143);
}

#[test]
fn row_06_there_is_no_engine_to_talk_to() {
    let lab = Lab::start();
    images::image("linux/amd64", 1, Flavour::Oci).push(&lab, "app", Some("v1"));
    let mut user = Sandbox::new();
    user.set("DOCKER_HOST", "unix:///nowhere");
    user.polyarch(&["manifest", "inspect", &lab.reference("app", "v1")]).success();
}
