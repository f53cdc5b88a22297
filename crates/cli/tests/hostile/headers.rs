//! Heads of answers that no library would send, and headers that try to become something else.

use std::time::Duration;

use crate::measured::measure;
use crate::raw::{Raw, answer};
use crate::sandbox::Sandbox;
use crate::verdict::{decent, one_error};
use crate::world::{PASSWORD, SECRETS, World, each, log_in};

/// Exit codes that a command other than `manifest` can fail with over the network.
const FAILURES: [i32; 6] = [1, 3, 4, 5, 6, 7];

/// Pulls from a server that answers everything with these bytes.
#[track_caller]
fn pull(bytes: &[u8]) -> (crate::sandbox::Run, Vec<String>) {
    let user = Sandbox::new();
    let sent = bytes.to_vec();
    let server = Raw::start(move |_| sent.clone());
    log_in(&user, &server.host());
    let measured = measure(&user, &["pull", &server.reference("app", "v1")]);
    eprintln!("{:.100} {:?}\n{}", String::from_utf8_lossy(bytes), measured.took, measured.run.stderr);
    let code = measured.run.code.unwrap_or_default();
    assert!(FAILURES.contains(&code), "{}", measured.run.shown());
    one_error(&measured.run, code, &[]);
    measured.within_memory();
    assert!(measured.took < Duration::from_secs(15), "{:?}", measured.took);
    (measured.run, server.heads())
}

#[test]
fn heads_that_make_no_sense() {
    let cases: Vec<Vec<u8>> = [
        "",
        "\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200\r\n\r\n",
        "HTTP/1.1 99 Low\r\n\r\n",
        "HTTP/1.1 999 High\r\n\r\n",
        "HTTP/1.1 9999 Higher\r\n\r\n",
        "HTTP/1.1 -1 Minus\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nzz\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nNo colon\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\n: no name\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nA: folded\r\n over lines\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nDocker-Content-Digest: sha256:../../../etc/passwd\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
        "HTTP/1.1 500 \u{1b}[31mred\u{7}\r\nContent-Length: 0\r\n\r\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([
        // A bare line end or a bare return within a value, and bytes that are no text.
        b"HTTP/1.1 200 OK\r\nContent-Type: a\rX-Evil: 1\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Type: \x1b[31m\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe\x9b31m\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        b"HTTP/1.1 404 Not Found\r\nContent-Type: \xc2\x9b31m\r\nContent-Length: 2\r\n\r\n\xc2\x9b".to_vec(),
        b"HTTP/1.1 429 Wait\r\nRetry-After: \x9b\r\nContent-Length: 0\r\n\r\n".to_vec(),
        [&b"HTTP/1.1 200 OK\r\nContent-Type: "[..], &b"x".repeat(100_000), b"\r\nContent-Length: 2\r\n\r\n{}"].concat(),
        [b"HTTP/1.1 200 OK\r\n".to_vec(), b"A: b\r\n".repeat(5000), b"Content-Length: 2\r\n\r\n{}".to_vec()].concat(),
    ])
    .collect();
    each(&cases, |bytes| {
        pull(bytes);
    });
}

#[test]
fn informational_answers_are_not_listened_to_for_ever() {
    let user = Sandbox::new();
    let server = Raw::endless(
        |_| b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(50),
    );
    let mut child = user.command(crate::sandbox::POLYARCH, &["pull", &server.reference("app", "v1")]).spawn().unwrap();
    // The time-out for a head is a minute, so what is looked at is that nothing is piled up until then.
    let mut peak = 0;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(30));
        peak = peak.max(crate::measured::high_water(&child).unwrap_or(0));
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(peak <= crate::measured::MEMORY, "{} kB", peak / 1024);
}

#[test]
fn challenges_that_make_no_sense() {
    let cases: Vec<Vec<u8>> = [
        "",
        "Bearer",
        "Bearer realm",
        "Bearer realm=",
        "Bearer realm=\"",
        "Bearer realm=\"\\\"",
        "Bearer realm=\"http://127.0.0.1:1/%0d%0aX-Evil:%201\"",
        "Bearer realm=\"http://127.0.0.1:1/\",service=\"%0d%0aX-Evil: 1\",scope=\"repository:a b:pull\"",
        "Bearer service=\"x\",realm=file:///etc/passwd",
        "Negotiate, NTLM, Digest realm=\"x\"",
        "Basic",
        "Basic realm=\"\u{1b}[31m\"",
        "Basic realm=\"\u{9b}31m\"",
        ",,,,,,,,",
        "=,=,=",
        "\"\"\"\"",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .chain([b"a,".repeat(30_000), b"Bearer realm=x, ".repeat(4_000), vec![0xff; 1000], b"Basic a\rb".to_vec()])
    .collect();
    each(&cases, |challenge| {
        let head = [
            &b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: "[..],
            challenge,
            b"\r\nConnection: close\r\n\r\n",
        ]
        .concat();
        let (run, heads) = pull(&head);
        // `Basic` is a challenge that a password answers; that it is still refused then is the registry's affair.
        let is_basic = String::from_utf8_lossy(challenge).trim_start().starts_with("Basic");
        for head in heads {
            assert!(!head.to_lowercase().contains("\nx-evil"), "{head}");
            assert!(is_basic || !head.contains(SECRETS[2]), "{head}");
        }
        assert!(!run.stderr.contains(PASSWORD));
    });
}

/// Where an upload goes on is what a registry chooses: whatever it writes must stay one request line.
#[test]
fn upload_locations_that_try_to_become_something_else() {
    let stranger = std::sync::Arc::new(Raw::start(|_| answer("201 Created", &[], b"")));
    let there = stranger.host();
    let cases: Vec<String> = vec![
        "/v2/fresh/blobs/uploads/1%0d%0aX-Evil:%201?a=%0d%0aX-Evil:%201".to_owned(),
        "/v2/fresh/blobs/uploads/1\tX-Evil: 1".to_owned(),
        "/v2/fresh/blobs/uploads/../../../../token".to_owned(),
        "?_state=1".to_owned(),
        String::new(),
        "#".to_owned(),
        format!("//{there}/x"),
        format!("\\\\{there}\\x"),
        format!("http:\\\\{there}/x"),
        format!("http://user:{PASSWORD}x@{there}/x"),
        format!("HTTP://{}/x", there.to_uppercase()),
        "file:///etc/passwd".to_owned(),
        "http://[".to_owned(),
        "http://192.0.2.1:99999/".to_owned(),
        "data:text/plain,x".to_owned(),
    ];
    each(&cases, |location| {
        use lab::{Fault, FaultKind, Lab, Quirks};

        let world = World::new(Lab::builder().auth(crate::world::basic()));
        world.lab.set_quirks(Quirks { no_single_post: true, ..Quirks::no_mounts() });
        world.lab.fault(Fault::on("POST", "/uploads/", FaultKind::Header("location".into(), location.clone())));
        for doing in crate::world::Doing::WRITING {
            let measured = world.measure(doing);
            let run = &measured.run;
            eprintln!("{doing:?} {location}\n{}", run.shown());
            decent(run);
            assert_ne!(run.code, Some(0), "{}", run.shown());
            crate::verdict::only_error(run, &[]);
            assert!(measured.took < Duration::from_secs(15));
        }
        for request in world.lab.log() {
            assert_eq!(request.header("x-evil"), None, "{}", request.line());
        }
    });
    for head in stranger.heads() {
        let head = head.to_lowercase();
        assert!(!head.contains("authorization") && !head.contains("x-evil"), "{head}");
    }
}
