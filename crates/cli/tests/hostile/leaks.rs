//! Credentials go to the registry and its token server, and nowhere else: no other host, no output, no file.

use std::time::Duration;

use lab::{Auth, Fault, FaultKind, Lab, Location, Quirks};

use crate::raw::{Raw, answer};
use crate::verdict::{decent, one_error};
use crate::world::{Doing, IDENTITY, SECRETS, World, basic, bearer, each};

/// A host that nobody has credentials for, that would like to have some.
fn stranger() -> Raw {
    Raw::start(|_| {
        answer(
            "401 Unauthorized",
            &[("www-authenticate", "Basic realm=\"please\""), ("content-type", "text/plain")],
            b"no",
        )
    })
}

#[track_caller]
fn learnt_nothing(stranger: &Raw, what: &str) {
    for head in stranger.heads() {
        assert!(!head.to_lowercase().contains("authorization"), "{what}: {head}");
        assert!(!head.to_lowercase().contains("cookie"), "{what}: {head}");
        assert!(SECRETS.iter().all(|secret| !head.contains(secret)), "{what}: {head}");
    }
}

/// Whether the lab itself was shown credentials: else nothing would have been tested.
#[track_caller]
fn was_trusted(lab: &Lab) {
    assert!(lab.log().iter().any(|request| request.headers.contains_key("authorization")), "{:#?}", lab.lines());
}

#[test]
fn a_redirect_to_another_host_takes_no_credentials_along() {
    let mut cases = Vec::new();
    for auth in [basic(), bearer()] {
        for (doing, method, path) in [
            (Doing::Create, "GET", "/manifests/"),
            (Doing::Create, "GET", "/blobs/"),
            (Doing::Inspect, "GET", "/manifests/"),
            (Doing::Pull, "GET", "/manifests/"),
            (Doing::Pull, "GET", "/blobs/"),
            (Doing::Push, "POST", "/blobs/uploads/"),
            (Doing::Push, "PUT", "/manifests/"),
            (Doing::PushList, "POST", "/blobs/uploads/"),
            (Doing::PushList, "PUT", "/manifests/"),
            (Doing::Login, "GET", "/v2/"),
        ] {
            cases.push((auth.clone(), doing, method, path));
        }
    }
    each(&cases, |(auth, doing, method, path)| {
        let what = format!("{doing:?} {method} {path}");
        let stranger = stranger();
        let world = World::new(Lab::builder().auth(auth.clone()));
        let to = format!("http://{}/elsewhere?x=1", stranger.host());
        world.lab.fault(Fault::on(method, path, FaultKind::Redirect(to)));
        let run = world.run(*doing);
        eprintln!("{what}: {}", run.stderr);
        decent(&run);
        assert_ne!(run.code, Some(0), "{}", run.shown());
        assert!(!stranger.heads().is_empty(), "{what}: the redirect was not followed\n{}", run.shown());
        learnt_nothing(&stranger, &what);
        if *path == "/blobs/" || *doing == Doing::Push {
            was_trusted(&world.lab);
        }
    });
}

/// Object storage behind a registry takes what comes without credentials.
#[test]
fn content_that_another_host_keeps_is_fetched_and_sent_without_credentials() {
    for auth in [basic(), bearer()] {
        let world = World::new(Lab::builder().auth(auth));
        // The lab under another name is another host, and its log shows what came along.
        let elsewhere = format!("localhost:{}", world.lab.port());
        world.lab.set_quirks(Quirks {
            redirect_blobs: Some(elsewhere.clone()),
            location: Location::OtherHost(elsewhere),
            no_single_post: true,
            ..Quirks::default()
        });
        world.run(Doing::Pull).success();
        world.run(Doing::Push).success();
        world.run(Doing::Create).success();
        let (storage, registry): (Vec<_>, Vec<_>) =
            world.lab.log().into_iter().partition(|request| request.path().starts_with("/_lab/storage/"));
        assert!(storage.iter().any(|request| request.method == "GET"), "{:#?}", world.lab.lines());
        assert!(storage.iter().any(|request| request.method == "PUT"), "{:#?}", world.lab.lines());
        for request in storage {
            assert_eq!(request.header("authorization"), None, "{}", request.line());
        }
        assert!(registry.iter().any(|request| request.header("authorization").is_some()));
    }
}

#[test]
fn a_token_server_that_redirects_gets_nothing_forwarded() {
    // By GET with a password, and by POST with an identity token.
    for identity in [false, true] {
        let stranger = stranger();
        let world = World::new(Lab::builder().auth(bearer()));
        if identity {
            let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"{IDENTITY}"}}}}}}"#, world.lab.host());
            std::fs::write(world.user.path("docker/config.json"), config).unwrap();
            world.run(Doing::Inspect).success();
            assert_eq!(world.lab.count_of("POST", "/token"), 1);
            world.forget();
        }
        world.lab.fault(Fault::on("", "/token", FaultKind::Redirect(format!("http://{}/token", stranger.host()))));
        for doing in [Doing::Create, Doing::Inspect, Doing::Pull, Doing::Push, Doing::PushList, Doing::Login] {
            let run = world.run(doing);
            one_error(&run, doing.code(if identity && doing != Doing::Login { 1 } else { 4 }), &[]);
            world.forget();
        }
        learnt_nothing(&stranger, "token");
        // By POST the whole secret stands in the body: it is not even tried.
        assert!(stranger.heads().iter().all(|head| head.starts_with("GET ")), "{:#?}", stranger.heads());
    }
}

#[test]
fn a_redirect_from_https_to_plain_http_is_not_followed() {
    let stranger = stranger();
    for auth in [Auth::None, basic(), bearer()] {
        let world = World::new(Lab::builder().tls(true).auth(auth));
        world.lab.fault(Fault::on("GET", "/manifests/", FaultKind::Redirect(format!("http://{}/x", stranger.host()))));
        for doing in Doing::READING {
            let run = world.run(doing);
            one_error(&run, doing.code(7), &["it leads from HTTPS to plain HTTP"]);
        }
    }
    assert_eq!(stranger.heads(), [""; 0]);
}

/// Whatever the verbosity.
#[test]
fn no_log_has_a_secret() {
    for (tls, auth, identity) in
        [(false, basic(), false), (true, basic(), false), (true, bearer(), false), (true, bearer(), true)]
    {
        let mut world = World::new(Lab::builder().tls(tls).auth(auth));
        if identity {
            let config = format!(r#"{{"auths":{{"{}":{{"identitytoken":"{IDENTITY}"}}}}}}"#, world.lab.host());
            std::fs::write(world.user.path("docker/config.json"), config).unwrap();
        }
        world.user.set("POLYARCH_LOG", "trace");
        for doing in [Doing::Create, Doing::Pull, Doing::Push, Doing::PushList, Doing::Inspect] {
            let run = world.run(doing);
            assert_eq!(run.code, Some(0), "{}", run.stderr);
            assert!(run.stderr.contains("TRACE"), "nothing was logged");
            for secret in SECRETS {
                assert!(!run.stderr.contains(secret), "{doing:?} logs {secret}:\n{}", run.stderr);
            }
        }
        was_trusted(&world.lab);
    }
}

#[test]
fn what_is_remembered_between_runs_has_no_secret() {
    for auth in [basic(), bearer()] {
        let world = World::new(Lab::builder().auth(auth));
        world.run(Doing::Login).success();
        for doing in [Doing::Create, Doing::Pull, Doing::Push, Doing::PushList] {
            world.run(doing).success();
        }
        let cached = crate::sandbox::tree(&world.user.path("cache"));
        assert!(cached.contains_key("registries.json"));
        for directory in ["cache", "data", "docker/manifests", "home", "here"] {
            for (name, bytes) in crate::sandbox::tree(&world.user.path(directory)) {
                for secret in SECRETS {
                    let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{directory}/{name} has {secret}");
                }
            }
        }
    }
}

/// What a registry that could not be verified said of its token server does not decide where a password goes in a run
/// that verifies.
#[test]
fn a_token_server_that_was_only_heard_of_gets_no_password() {
    let stranger = stranger();
    let world = World::new(Lab::builder().auth(bearer()));
    let cache = world.user.path("cache");
    std::fs::create_dir_all(&cache).unwrap();
    let realm = format!("http://{}/token", stranger.host());
    for verified in [true, false] {
        let host = "registry.invalid";
        let text = format!(
            r#"{{"version":1,"registries":{{"{host}":{{"scheme":"http","verified":{verified},"learnt":1,
            "reading":{{"bearer":{{"realm":"{realm}","service":null}}}},"writing":null}}}}}}"#
        );
        std::fs::write(cache.join("registries.json"), text).unwrap();
        crate::world::log_in(&world.user, host);
        let run = world.user.polyarch(&["pull", "registry.invalid/app:v1"]);
        one_error(&run, 5, &["no such host"]);
        assert_eq!(stranger.heads(), [""; 0]);
    }
}

/// Layers may name URLs to be fetched from; whoever makes an image would choose whom we ask.
#[test]
fn urls_in_documents_are_not_fetched() {
    use lab::images;

    let stranger = stranger();
    let world = World::open();
    let image = images::maker("linux/amd64").foreign(1).seed(3).make();
    let text = String::from_utf8(image.document.bytes().to_vec()).unwrap();
    let text = text.replace("https://elsewhere.example", &format!("http://{}", stranger.host()));
    assert!(text.contains(&stranger.host()));
    image.push_blobs(&world.lab, "app");
    world.lab.put_manifest("app", Some("v1"), text);
    for doing in [Doing::Create, Doing::Inspect, Doing::Pull] {
        world.run(doing).success();
    }
    world.user.polyarch(&["push", &world.at("new:v1"), &world.at("again:v1")]).success();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(stranger.heads(), [""; 0]);
}
