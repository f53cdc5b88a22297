//! Answers that are broken, wrong, endless or late in coming.

use std::time::Duration;

use lab::{Fault, FaultKind, Quirks};

use crate::verdict::{decent, one_error};
use crate::world::{Doing, World, each};

/// Long enough for every retry, too short for a time-out to have been waited for.
const SOON: Duration = Duration::from_secs(15);

struct Case {
    doing: Doing,
    method: &'static str,
    path: &'static str,
    name: String,
    fault: FaultKind,
    code: i32,
    says: &'static str,
}

impl Case {
    fn new(
        doing: Doing,
        (method, path): (&'static str, &'static str),
        fault: FaultKind,
        code: i32,
        says: &'static str,
    ) -> Self {
        let name = format!("{fault:.60?}").chars().take(80).collect();
        Self { doing, method, path, name, fault, code, says }
    }
}

fn check(case: &Case) {
    let world = World::open();
    world.lab.fault(Fault::on(case.method, case.path, case.fault.clone()));
    let measured = world.measure(case.doing);
    let Case { doing, path, name, .. } = case;
    eprintln!("{doing:?} {path} {name}: {:?}\n{}", measured.took, measured.run.stderr);
    assert!(world.lab.count_of(case.method, path) > 0, "{doing:?} {name}: never asked");
    one_error(&measured.run, case.doing.code(case.code), &[case.says]);
    assert!(measured.took < SOON, "{doing:?} {name}: {:?}", measured.took);
    if *doing != Doing::Login {
        measured.within_memory();
    }
    world.lab.clear_faults();
    world.nothing_half_done(*doing);
}

#[test]
fn a_manifest_that_is_not_what_it_says_is_refused() {
    let mut cases = Vec::new();
    for doing in Doing::READING {
        for (fault, code, says) in [
            (FaultKind::WrongDigest, 7, "the digest is wrong"),
            (FaultKind::WrongBytes, 7, "the digest is wrong"),
            (FaultKind::Longer(5), 7, "the digest is wrong"),
            (FaultKind::Shorter(5), 7, "the digest is wrong"),
            (FaultKind::ContentLength(1 << 40), 7, "more than 4194304 bytes"),
            (FaultKind::ContentLength(2000), 5, "the connection failed"),
            (FaultKind::Truncate(10), 5, "the connection failed"),
            (FaultKind::Endless, 7, "more than 4194304 bytes"),
            (FaultKind::Gzip, 7, "compressed (`gzip`) although that was not asked for"),
            (FaultKind::Drop, 5, "the connection failed"),
            (FaultKind::Raw(b"SSH-2.0-nonsense\r\n\r\n".to_vec()), 5, "the connection failed"),
            (FaultKind::Raw(b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n".to_vec()), 5, "the connection failed"),
            (FaultKind::Raw(vec![b'x'; 4 << 20]), 5, "the connection failed"),
        ] {
            cases.push(Case::new(doing, ("GET", "/manifests/"), fault, code, says));
        }
    }
    each(&cases, check);
}

#[test]
fn a_blob_that_is_not_what_it_says_is_refused() {
    let mut cases = Vec::new();
    for doing in [Doing::Create, Doing::Pull] {
        for (fault, code, says) in [
            (FaultKind::WrongBytes, 7, "the digest is wrong"),
            (FaultKind::Longer(5), 7, "the length is wrong"),
            (FaultKind::Shorter(5), 7, "the length is wrong"),
            (FaultKind::ContentLength(1 << 40), 7, "the length is wrong"),
            (FaultKind::Truncate(0), 5, "the connection failed"),
            (FaultKind::Endless, 7, "the length is wrong"),
            (FaultKind::Gzip, 7, "compressed (`gzip`) although that was not asked for"),
            (FaultKind::Drop, 5, "the connection failed"),
        ] {
            cases.push(Case::new(doing, ("GET", "/blobs/"), fault, code, says));
        }
    }
    each(&cases, check);
}

#[test]
fn every_status_has_its_exit_code() {
    let mut cases = Vec::new();
    for (status, code) in [
        (400, 1),
        (401, 4),
        (402, 1),
        (403, 4),
        (404, 3),
        (405, 1),
        (418, 1),
        (429, 6),
        (500, 1),
        (501, 1),
        (503, 1),
        (300, 7),
        (304, 7),
    ] {
        for (doing, path) in [
            (Doing::Create, "/manifests/"),
            (Doing::Inspect, "/manifests/"),
            (Doing::Pull, "/manifests/"),
            (Doing::Pull, "/blobs/"),
            (Doing::Login, "/v2/"),
        ] {
            cases.push(Case::new(doing, ("GET", path), FaultKind::status(status), code, ""));
        }
        let put = ("PUT", "/manifests/v1");
        let fault = || FaultKind::status(status);
        cases.push(Case::new(Doing::PushList, put, fault(), code, "failed to put manifest "));
        cases.push(Case::new(Doing::Push, put, fault(), code, "failed to transfer to "));
    }
    each(&cases, |case| {
        if case.doing == Doing::PushList {
            let world = World::open();
            world.lab.fault(Fault::on(case.method, case.path, case.fault.clone()));
            let run = world.run(case.doing);
            decent(&run);
            assert_eq!(run.code, Some(1), "{}", run.shown());
            crate::verdict::only_error(&run, &[case.says]);
        } else {
            check(case);
        }
    });
}

/// Docker says `no such manifest` for nearly everything; scripts take it for "not there".
#[test]
fn only_what_is_not_there_is_no_such_manifest() {
    for (status, missing) in [(404, true), (401, false), (403, false), (429, false), (500, false)] {
        let world = World::open();
        let (code, message) = (if missing { "MANIFEST_UNKNOWN" } else { "DENIED" }.into(), "a reason".into());
        world.lab.fault(Fault::on("GET", "/manifests/", FaultKind::Status { status, code, message }));
        let run = world.run(Doing::Inspect);
        one_error(&run, 1, &[]);
        assert_eq!(run.stderr.contains("no such manifest: "), missing, "{status}: {}", run.shown());
    }
}

#[test]
fn a_registry_that_wants_patience_gets_it_and_is_left_in_the_end() {
    for doing in Doing::READING {
        // Without a time: four attempts. With one that nobody waits for: one.
        for (fault, requests) in [(FaultKind::RetryAfter(None), 4), (FaultKind::RetryAfter(Some(86_400)), 1)] {
            let world = World::open();
            world.lab.fault(Fault::on("GET", "/manifests/", fault.clone()));
            let run = world.run(doing);
            one_error(&run, doing.code(6), &["too"]);
            assert_eq!(world.lab.count_of("GET", "/manifests/"), requests, "{doing:?} {fault:?}");
        }
    }
    // One that says when, and means it.
    let world = World::open();
    world.lab.fault(Fault::on("GET", "/manifests/", FaultKind::RetryAfter(Some(1))).once());
    let measured = world.measure(Doing::Inspect);
    measured.run.clone().success();
    assert!(measured.took >= Duration::from_secs(1), "{:?}", measured.took);
    // A limit that ends.
    let world = World::open();
    world.lab.set_quirks(Quirks::rate_limit(2, Duration::from_millis(300), None));
    world.run(Doing::Create).success();
}

#[test]
fn a_retry_after_beyond_all_bounds_is_not_waited_for() {
    for value in ["18446744073709551615", "99999999999999999999999", "-1", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"] {
        let world = World::open();
        world.lab.fault(Fault::on("GET", "/manifests/", FaultKind::Header("retry-after".into(), value.into())));
        world.lab.fault(Fault::on("GET", "/manifests/", FaultKind::status(429)));
        let measured = world.measure(Doing::Pull);
        one_error(&measured.run, 6, &[]);
        assert!(measured.took < SOON, "{value}: {:?}", measured.took);
    }
}

/// What a write was answered with, and what is there.
#[test]
fn an_upload_that_goes_wrong_is_an_error_and_never_a_digest() {
    let mut cases = Vec::new();
    for doing in Doing::WRITING {
        cases.push((doing, "PUT", "/manifests/v1", FaultKind::WrongDigest, 7));
        cases.push((doing, "PUT", "/manifests/v1", FaultKind::Drop, 5));
        cases.push((doing, "PUT", "/manifests/v1", FaultKind::Endless, 0));
    }
    for (method, path, fault, code) in [
        ("POST", "/blobs/uploads/", FaultKind::Drop, 5),
        ("POST", "/blobs/uploads/", FaultKind::status(403), 4),
        ("POST", "/blobs/uploads/", FaultKind::status(500), 1),
    ] {
        cases.push((Doing::Push, method, path, fault.clone(), code));
        cases.push((Doing::PushList, method, path, fault, code));
    }
    each(&cases, |(doing, method, path, fault, code)| {
        let world = World::open();
        world.lab.fault(Fault::on(method, path, fault.clone()));
        let measured = world.measure(*doing);
        let run = &measured.run;
        eprintln!("{doing:?} {method} {path} {fault:?}: {:?}\n{}", measured.took, run.shown());
        decent(run);
        measured.within_memory();
        assert!(measured.took < SOON);
        if *code == 0 {
            // It was written; that the answer does not end is the registry's affair.
            assert_eq!(run.code, Some(0), "{}", run.shown());
            return;
        }
        assert_eq!(run.code, Some(doing.code(*code)), "{}", run.shown());
        crate::verdict::only_error(run, &[]);
        let last = run.stdout.lines().next_back().unwrap_or_default();
        assert!(!last.starts_with("sha256:"), "a digest of what failed: {}", run.shown());
    });
}

#[test]
fn a_head_that_does_not_end_is_not_collected() {
    use crate::raw::Raw;

    for (start, more) in [
        (&b"HTTP/1.1 200 OK\r\n"[..], &b"X-More: and more of it\r\n"[..]),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        (b"HTTP/1.1 404 ", b"Not Found, not found at all, and still not found"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", b"a body of an error that never ends, of no known length. "),
        (b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nerror\r\n"),
    ] {
        let user = crate::sandbox::Sandbox::new();
        let server = Raw::endless(move |_| start.to_vec(), more.repeat(100));
        let measured = crate::measured::measure(&user, &["pull", &server.reference("app", "v1")]);
        eprintln!("{:?} {} kB\n{}", measured.took, measured.peak / 1024, measured.run.stderr);
        assert!([3, 5].contains(&measured.run.code.unwrap_or_default()), "{}", measured.run.shown());
        one_error(&measured.run, measured.run.code.unwrap_or_default(), &[]);
        measured.within_memory();
        assert!(measured.took < SOON, "{:?}", measured.took);
    }
}
