//! Text from elsewhere on its way to a terminal. What drives a terminal never gets there.

use lab::images::{self, Flavour};
use lab::{Fault, FaultKind};

use crate::sandbox::Run;
use crate::verdict::{decent, one_error, only_error};
use crate::world::{Doing, World, each};

/// Colours, a title, a bell, a move of the cursor, C1's way of saying the same, a change of direction.
const EVIL: &str = "\u{1b}[31mred\u{1b}]0;owned\u{7}\u{8}\r\u{9b}2J\u{202e}\u{85}";
/// The same within JSON.
const ESCAPED: &str = r"\u001b[31mred\u001b]0;owned\u0007\b\r\u009b2J\u202e\u0085";

#[test]
fn error_texts_of_registries_are_escaped() {
    let body =
        |status, content_type: &str, body: String| FaultKind::Body { status, content_type: content_type.into(), body };
    let json = format!(r#"{{"errors":[{{"code":"{ESCAPED}","message":"{ESCAPED}","detail":{{"{ESCAPED}":1}}}}]}}"#);
    let many = format!(r#"{{"errors":[{}{{}}]}}"#, r#"{"code":"DENIED","message":"\u001b[1A"},"#.repeat(100));
    let mut cases = Vec::new();
    for status in [400, 401, 403, 404, 429, 500] {
        for fault in [
            FaultKind::ControlCharacters,
            body(status, "application/json", json.clone()),
            body(status, "application/json", many.clone()),
            body(status, "application/json", format!(r#"{{"details":"{ESCAPED}"}}"#)),
            body(status, "application/json", EVIL.to_owned()),
            body(status, "text/plain", EVIL.to_owned()),
            body(status, "text/html", format!("<html>\n{EVIL}\n</html>")),
        ] {
            cases.push(fault);
        }
    }
    each(&cases, |fault| {
        for (doing, method, path) in [
            (Doing::Create, "GET", "/manifests/"),
            (Doing::Inspect, "GET", "/manifests/"),
            (Doing::Create, "GET", "/blobs/"),
            (Doing::Pull, "GET", "/blobs/"),
            (Doing::PushList, "PUT", "/manifests/v1"),
            (Doing::Push, "PUT", "/manifests/v1"),
            (Doing::Push, "POST", "/uploads/"),
            (Doing::Login, "GET", "/v2/"),
        ] {
            let world = World::open();
            world.lab.fault(Fault::on(method, path, fault.clone()));
            let run = world.run(doing);
            decent(&run);
            assert!(run.code.is_some_and(|code| code > 0), "{}", run.shown());
            assert!(run.stderr.lines().count() < 50, "{}", run.shown());
        }
    });
}

/// What an image says of itself is printed in tables, notes and errors.
#[test]
fn what_images_say_of_themselves_is_escaped() {
    let world = World::open();
    let image = |architecture: &str, seed: u64| {
        let image = images::maker("linux/amd64").seed(seed).make();
        let config = String::from_utf8(image.config().to_vec()).unwrap();
        let config = config.replace("\"amd64\"", &format!("\"{architecture}\""));
        let digest = world.lab.put_blob("app", config.clone());
        let manifest = String::from_utf8(image.document.bytes().to_vec()).unwrap();
        let old = &image.blobs[0].0;
        let manifest = manifest
            .replace(old.digest.as_str(), digest.as_str())
            .replace(&format!("\"size\": {}", old.size), &format!("\"size\": {}", config.len()));
        image.push_blobs(&world.lab, "app");
        world.lab.put_manifest("app", Some(&format!("evil{seed}")), manifest);
        world.at(&format!("app:evil{seed}"))
    };
    let evil = format!("{ESCAPED}\\n\\tx");
    let (one, two) = (image(&evil, 1), image(&evil, 2));
    let list = world.at("evil:v1");
    let run = |arguments: &[&str]| -> Run {
        let run = world.user.polyarch(arguments);
        eprintln!("{}", run.shown());
        decent(&run);
        run
    };
    assert!(run(&["manifest", "create", &list, &one, &two]).stderr.contains("are both for"));
    run(&["manifest", "ls"]).success();
    run(&["manifest", "push", "--dry-run", &list]).success();
    run(&["pull", &one]).success();
    let table = run(&["images"]).success();
    let row = table.lines().find(|line| line.contains("evil1")).unwrap();
    assert!(row.contains(r"\u{1b}[31mred"), "{row}");
    assert_eq!(table.lines().count(), 3, "an image is a row: {table}");
    only_error(&run(&["pull", "--platform", "linux/s390x", &one]), &[]);

    // An index says it of its images.
    let plain = images::image("linux/arm64", 1, Flavour::Oci);
    plain.push(&world.lab, "app", None);
    let index = images::index(&[plain], Flavour::Oci);
    let text = String::from_utf8(index.document.bytes().to_vec()).unwrap();
    let text = text.replace("\"arm64\"", &format!("\"{evil}\""));
    world.lab.put_manifest("app", Some("index"), text.clone());
    let index = world.at("app:index");
    run(&["pull", &index]).success();
    run(&["images"]).success();
    run(&["manifest", "create", &world.at("evil:v2"), &index]).success();
    run(&["manifest", "ls"]).success();
    only_error(&run(&["pull", "--platform", "linux/s390x", &index]), &["it has"]);

    // And a document of a kind that nobody knows names its kind.
    for media_type in [ESCAPED, "application/vnd.docker.distribution.manifest.v1+json"] {
        let text = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}"}}"#);
        world.lab.put_manifest_as("app", Some("odd"), "application/octet-stream", text);
        for arguments in [&["manifest", "inspect"][..], &["pull"]] {
            let refused = run(&[arguments, &[world.at("app:odd").as_str()]].concat());
            one_error(&refused, if arguments.len() == 1 { 7 } else { 1 }, &[]);
        }
    }
}

/// Names that a person typed or that stand on the disk.
#[test]
fn names_are_escaped() {
    let world = World::open();
    let run = |arguments: &[&str]| -> Run {
        let run = world.user.polyarch(arguments);
        eprintln!("{}", run.shown());
        decent(&run);
        run
    };
    for arguments in [
        &["pull", EVIL][..],
        &["push", EVIL],
        &["tag", EVIL, EVIL],
        &["rm", EVIL],
        &["images", EVIL],
        &["login", "-u", "user", "--password-stdin", EVIL],
        &["logout", EVIL],
        &["pack", "-t", EVIL, EVIL],
        &["unpack", EVIL, EVIL],
        &["serve", "--listen", EVIL],
        &[EVIL],
        &["--data", EVIL, "images", EVIL],
        &["manifest", EVIL],
        &["manifest", "create", EVIL, EVIL],
        &["manifest", "create", "a", &format!("oci:{EVIL}")],
        &["manifest", "create", "--platform", EVIL, "a", "b"],
        &["manifest", "annotate", EVIL, EVIL],
        &["manifest", "annotate", "--clear", EVIL, "a", "b"],
        &["manifest", "annotate", "--annotation", EVIL, "a", "b"],
        &["manifest", "inspect", EVIL],
        &["manifest", "inspect", &format!("oci:{EVIL}")],
        &["manifest", "push", EVIL],
        &["manifest", "push", "-t", EVIL, "a"],
        &["manifest", "rm", EVIL],
        &["manifest", "rm", "--entry", EVIL, "a"],
    ] {
        let code = run(arguments).code;
        assert!(code.is_some_and(|code| code > 0), "{arguments:?}");
    }
    // Directories that somebody else made.
    let lists = world.user.path("docker/manifests");
    std::fs::create_dir(lists.join(EVIL)).unwrap();
    std::fs::write(lists.join(EVIL).join(EVIL), EVIL).unwrap();
    run(&["manifest", "ls"]).success();
    run(&["manifest", "ls", "-q"]).success();
    run(&["manifest", "ls", "--json"]).success();
    let config = world.user.path(&format!("docker{EVIL}"));
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("config.json"), EVIL).unwrap();
    let warned = run(&["--config", config.to_str().unwrap(), "pull", &world.at("app:v1")]);
    assert!(warned.stderr.contains("WARNING: Error parsing config file ("), "{}", warned.shown());
}
