//! Challenges that make no sense, lead astray or never end, and token servers that fail.

use std::time::Duration;

use lab::{Auth, Bearer, Fault, FaultKind, Lab};

use crate::verdict::one_error;
use crate::world::{Doing, PASSWORD, World, bearer, each};

fn rules() -> Bearer {
    let Auth::Bearer(rules) = bearer() else { unreachable!("it is") };
    rules
}

/// Every token is refused the moment it is given.
#[test]
fn a_registry_that_never_takes_a_token_is_left() {
    let cases = Doing::ALL;
    each(&cases, |&doing| {
        let world = World::open();
        world.lab.set_auth(Bearer { lifetime: Some(Duration::ZERO), ..rules() });
        let measured = world.measure(doing);
        eprintln!("{doing:?} {:?}\n{}{:#?}", measured.took, measured.run.stderr, world.lab.lines());
        one_error(&measured.run, doing.code(4), &[]);
        assert!(measured.took < Duration::from_secs(10));
        // A challenge, a token and another try, for what goes out first and for what waited.
        assert!(world.lab.count() <= 24, "{doing:?}: {:#?}", world.lab.lines());
        world.nothing_half_done(doing);
    });
}

/// A password that is wrong is said to be, without a loop.
#[test]
fn credentials_that_are_refused_are_said_to_be() {
    for auth in [Auth::basic("user", "other"), Auth::bearer("user", "other")] {
        for doing in Doing::ALL {
            let world = World::open();
            world.lab.set_auth(auth.clone());
            let run = world.run(doing);
            one_error(&run, doing.code(4), &[]);
            assert!(run.stderr.contains("hint: ") && run.stderr.contains("polyarch login"), "{}", run.shown());
            assert!(world.lab.count() <= 12, "{doing:?}: {:#?}", world.lab.lines());
        }
    }
}

#[test]
fn nobody_who_is_logged_in_nowhere_is_sent_round_in_circles() {
    for auth in [Auth::basic("user", PASSWORD), bearer()] {
        for doing in [Doing::Create, Doing::Inspect, Doing::Pull, Doing::Push, Doing::PushList] {
            let world = World::open();
            std::fs::write(world.user.path("docker/config.json"), "{}").unwrap();
            world.lab.set_auth(auth.clone());
            let run = world.run(doing);
            one_error(&run, doing.code(4), &[]);
            assert!(run.stderr.contains("polyarch login"), "{}", run.shown());
            assert!(world.lab.count() <= 12, "{doing:?}: {:#?}", world.lab.lines());
        }
    }
}

#[test]
fn a_token_server_that_fails_is_an_error_of_its_own() {
    let json = |body: &str| FaultKind::Body { status: 200, content_type: "application/json".into(), body: body.into() };
    let mut cases = Vec::new();
    for doing in Doing::ALL {
        for (fault, code) in [
            (FaultKind::status(401), 4),
            (FaultKind::status(403), 4),
            (FaultKind::status(404), 1),
            (FaultKind::status(500), 1),
            (FaultKind::status(429), 6),
            (FaultKind::RetryAfter(Some(86_400)), 6),
            (FaultKind::Drop, 5),
            (FaultKind::RedirectLoop, 1),
            (FaultKind::Gzip, 1),
            (FaultKind::Endless, 1),
            (FaultKind::ControlCharacters, 1),
            (json(""), 1),
            (json("[]"), 1),
            (json("{}"), 1),
            (json(r#"{"token":""}"#), 1),
            (json(r#"{"token":7}"#), 1),
            (json(r#"{"token":"a\r\nX-Evil: 1"}"#), 1),
            (json(r#"{"token":"\u001b[31m"}"#), 1),
            (json(&format!(r#"{{"token":{}}}"#, "[".repeat(100_000))), 1),
            (json(&format!(r#"{{"token":"{}"}}"#, "x".repeat(900_000))), 1),
            (json(r#"{"token":"t","expires_in":-1}"#), 4),
            (json(r#"{"token":"t","expires_in":1e400}"#), 1),
            (json(r#"{"token":"t","expires_in":18446744073709551615}"#), 4),
            (json("<html>log in here</html>"), 1),
        ] {
            cases.push((doing, fault, code));
        }
    }
    each(&cases, |(doing, fault, code)| {
        let world = World::open();
        world.lab.set_auth(bearer());
        world.lab.fault(Fault::on("", "/token", fault.clone()));
        let measured = world.measure(*doing);
        eprintln!("{doing:?} {fault:.40?} {:?}\n{}", measured.took, measured.run.stderr);
        one_error(&measured.run, doing.code(*code), &[]);
        assert!(measured.took < Duration::from_secs(15));
        if *doing != Doing::Login {
            measured.within_memory();
        }
        assert!(world.lab.log().iter().all(|request| request.header("x-evil").is_none()));
        world.lab.clear_faults();
        world.lab.set_auth(Auth::None);
        world.nothing_half_done(*doing);
    });
}

#[test]
fn a_realm_that_is_no_place_for_a_password_is_not_asked() {
    let long = format!("https://{}.example/", "x".repeat(5_000));
    let cases: Vec<(&str, i32)> = vec![
        ("", 4),
        ("token", 4),
        ("//elsewhere.invalid/token", 4),
        ("file:///etc/passwd", 4),
        ("ftp://127.0.0.1/token", 4),
        ("javascript:alert(1)", 4),
        ("unix:///var/run/docker.sock", 4),
        ("https://", 4),
        ("https://user:pass@auth.invalid/token", 4),
        ("https://[::1", 4),
        ("https://auth.invalid:99999/token", 4),
        (&long, 4),
        // Not this machine, and in plain text.
        ("http://192.0.2.1/token", 1),
        ("http://auth.invalid/token", 1),
        ("http://127.0.0.1.auth.invalid/token", 1),
        ("http://localhost.auth.invalid/token", 1),
    ];
    for tls in [false, true] {
        each(&cases, |(realm, code)| {
            let world = World::new(Lab::builder().tls(tls));
            world.lab.set_auth(Bearer { realm: Some((*realm).to_owned()), ..rules() });
            for doing in Doing::ALL {
                let measured = world.measure(doing);
                one_error(&measured.run, doing.code(*code), &[]);
                assert!(measured.took < Duration::from_secs(5), "{realm}: something was waited for");
            }
            let asked = world.lab.log().iter().filter(|request| request.header("authorization").is_some()).count();
            assert_eq!(asked, 0, "{realm}: {:#?}", world.lab.lines());
        });
    }
}
