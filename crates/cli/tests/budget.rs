//! What commands cost as processes that know nothing but what the last one wrote down: requests, how many of them wait
//! for one another, connections, memory.
//!
//! The registry speaks TLS and wants tokens, as most do. Requests are slow and connections are not, so that the depth is
//! that of the commands and not of this machine.

#[path = "hostile/measured.rs"]
mod measured;
mod sandbox;

use std::time::Duration;

use lab::images::{self, Flavour, Image};
use lab::{Alpn, Auth, Lab, Quirks, Tls};

use crate::measured::measure;
use crate::sandbox::Sandbox;

const PLATFORMS: [&str; 4] = ["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/s390x"];

/// A registry and a user who is logged in.
struct World {
    lab: Lab,
    user: Sandbox,
}

/// What a process cost.
struct Cost {
    lines: Vec<String>,
    depth: usize,
    connections: u64,
    stdout: String,
}

impl World {
    /// Four images of a config and five layers each.
    fn new() -> Self {
        let lab = Lab::builder().tls(true).auth(Auth::bearer("user", "secret")).start();
        let user = Sandbox::new();
        for (number, image) in images().iter().enumerate() {
            image.push(&lab, "app", Some(&format!("i{number}")));
        }
        images::index(&images(), Flavour::Oci).push(&lab, "app", Some("multi"));
        let config = format!(r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#, lab.host());
        std::fs::write(user.path("docker/config.json"), config).unwrap();
        lab.set_latency(Duration::from_millis(50), Duration::ZERO);
        Self { lab, user }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.lab.host())
    }

    /// Runs a command in a process of its own.
    #[track_caller]
    fn cost(&self, arguments: &[&str]) -> Cost {
        self.lab.clear_log();
        let stdout = self.user.polyarch(arguments).success();
        let cost =
            Cost { lines: self.lab.lines(), depth: self.lab.depth(), connections: self.lab.connections(), stdout };
        let statuses: Vec<u16> = self.lab.log().iter().map(|request| request.status).collect();
        assert!(statuses.iter().all(|status| [200, 201, 401, 404].contains(status)), "{statuses:?} {:#?}", cost.lines);
        cost
    }

    #[track_caller]
    fn create(&self, list: &str, amend: bool) -> Cost {
        let mut arguments = vec!["manifest".to_owned(), "create".to_owned(), self.at(list)];
        for number in 0..PLATFORMS.len() {
            arguments.extend(amend.then(|| "--amend".to_owned()));
            arguments.push(self.at(&format!("app:i{number}")));
        }
        self.cost(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn images() -> Vec<Image> {
    PLATFORMS.iter().map(|platform| images::image(platform, 5, Flavour::Oci)).collect()
}

impl Cost {
    fn count(&self, part: &str) -> usize {
        self.lines.iter().filter(|line| line.contains(part)).count()
    }
}

#[test]
fn a_list_in_the_repository_of_its_images_takes_12_requests() {
    let world = World::new();
    let create = world.create("app:list", false);
    assert_eq!(create.lines.len(), 10, "{:#?}", create.lines);
    assert_eq!((create.count("/token"), create.count("/manifests/"), create.count("/blobs/")), (1, 5, 4));
    assert_eq!(create.depth, 4, "challenge, token, manifests, configs");
    assert_eq!(create.connections, 1);
    let push = world.cost(&["manifest", "push", &world.at("app:list")]);
    assert_eq!(push.lines.len(), 2, "{:#?}", push.lines);
    assert_eq!((push.count("GET /token"), push.count("PUT /v2/app/manifests/list"), push.depth), (1, 1, 2));
    assert!(create.lines.len() + push.lines.len() <= 13);
    let digest = world.lab.resolve("app", "list").unwrap();
    assert_eq!(push.stdout, format!("{digest}\n"));
}

#[test]
fn a_list_in_another_repository_takes_41_requests_and_as_many_round_trips_as_it_has_levels() {
    let world = World::new();
    let create = world.create("other:list", false);
    assert_eq!(create.lines.len(), 10, "{:#?}", create.lines);
    let push = world.cost(&["manifest", "push", &world.at("other:list")]);
    assert_eq!(push.lines.len(), 31, "{:#?}", push.lines);
    assert!(create.lines.len() + push.lines.len() <= 41);
    assert_eq!(push.count("GET /token"), 1);
    assert_eq!(push.count("HEAD "), 1);
    assert_eq!(push.count("mount="), 24);
    assert_eq!(push.count("PUT /v2/other/manifests/sha256:"), 4);
    assert_eq!(push.count("PUT /v2/other/manifests/list"), 1);
    // 24 mounts at once and 4 images at once, or there would be more.
    assert_eq!(push.depth, 5, "token, is it there, mounts, images, list");
    assert_eq!(push.connections, 1);
    assert_eq!(push.stdout.lines().count(), 5);
    // And once more: a token and a look.
    let again = world.cost(&["manifest", "push", &world.at("other:list")]);
    assert_eq!(again.lines.len(), 2, "{:#?}", again.lines);
    assert_eq!(again.stdout, push.stdout);
}

#[test]
fn looking_at_an_index_takes_3_requests_and_then_2() {
    let world = World::new();
    let first = world.cost(&["manifest", "inspect", &world.at("app:multi")]);
    assert_eq!((first.lines.len(), first.depth, first.connections), (3, 3, 1), "{:#?}", first.lines);
    let second = world.cost(&["manifest", "inspect", &world.at("app:multi")]);
    assert_eq!((second.lines.len(), second.depth), (2, 2), "{:#?}", second.lines);
    assert_eq!(first.stdout, second.stdout);
}

#[test]
fn what_a_draft_has_is_not_asked_for_again() {
    let world = World::new();
    world.create("app:list", false);
    let list = world.at("app:list");
    let image = world.at("app:i1");
    let amend = world.create("app:list", true);
    let annotate = world.cost(&["manifest", "annotate", &list, &image, "--variant", "v8"]);
    let inspect = world.cost(&["manifest", "inspect", &list]);
    let one = world.cost(&["manifest", "inspect", &list, &image]);
    let listed = world.cost(&["manifest", "ls"]);
    let removed = world.cost(&["manifest", "rm", &list]);
    for cost in [amend, annotate, inspect, one, listed, removed] {
        assert_eq!((cost.lines.as_slice(), cost.connections), (&[][..], 0));
    }
}

/// One image of a config and five layers into the local store and out of it again.
#[test]
fn moving_an_image_takes_a_request_for_each_of_its_parts() {
    let world = World::new();
    let pull = world.cost(&["pull", &world.at("app:i0"), &world.at("new:v1")]);
    assert_eq!(pull.lines.len(), 9, "challenge, token, manifest, six blobs: {:#?}", pull.lines);
    assert_eq!(pull.depth, 4);
    // What the registry had before is known by its digest, wherever it is.
    for (descriptor, _) in &images()[0].blobs {
        world.lab.delete_blob("app", &descriptor.digest);
    }
    let push = world.cost(&["push", &world.at("new:v1")]);
    assert_eq!(push.count("POST "), 6, "small blobs go with the first request: {:#?}", push.lines);
    assert_eq!(push.count("PUT "), 1);
    assert!(push.lines.len() <= 10, "token, two looks, six blobs, manifest: {:#?}", push.lines);
    assert!(push.depth <= 5, "{}: {:#?}", push.depth, push.lines);
    let again = world.cost(&["push", &world.at("new:v1")]);
    assert_eq!(again.lines.len(), 2, "token and a look: {:#?}", again.lines);
}

/// A helper asks a person, or a chip: it is run once, and not at all where nobody wants to know.
#[cfg(unix)]
#[test]
fn a_credential_helper_runs_once() {
    let mut world = World::new();
    let bin = world.user.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let (log, text) = (world.user.path("log"), world.user.path("text"));
    let script = format!(
        "#!/bin/sh\necho \"$1\" >> {}\necho '{{\"Username\":\"user\",\"Secret\":\"secret\"}}'\n",
        log.display()
    );
    std::fs::write(&text, script).unwrap();
    let made = std::process::Command::new("install")
        .args(["-m", "755"])
        .arg(&text)
        .arg(bin.join("docker-credential-x"))
        .status()
        .unwrap();
    assert!(made.success());
    world.user.set("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    std::fs::write(world.user.path("docker/config.json"), r#"{"credsStore":"x"}"#).unwrap();
    let runs = || std::fs::read_to_string(&log).unwrap_or_default();
    world.create("other:list", false);
    assert_eq!(runs(), "get\n");
    world.cost(&["manifest", "push", &world.at("other:list")]);
    assert_eq!(runs(), "get\nget\n");
    world.create("other:list", true);
    world.cost(&["manifest", "inspect", &world.at("other:list")]);
    assert_eq!(runs(), "get\nget\n");
}

/// Memory does not grow with what is moved.
#[test]
fn a_blob_of_300_mib_takes_no_more_memory_than_a_small_one() {
    const SIZE: u64 = 300 << 20;
    let http2 = Tls { enabled: true, ..Tls::default() };
    for (name, tls, parts) in [
        ("plain", Tls::default(), 1),
        ("http/1.1", Tls { alpn: Alpn::Http1, ..http2 }, 1),
        ("http/2", http2, 1),
        ("http/2 in 12 parts", http2, 12),
    ] {
        // What is pushed is hashed and counted, not kept: the lab is in this process.
        let quirks = Quirks { forget_blobs_over: Some(1 << 20), ..Quirks::no_mounts() };
        let lab = Lab::builder().tls(tls).quirks(quirks).start();
        let config = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config_digest = lab.put_blob("big", config);
        let layers: Vec<String> = (0..parts)
            .map(|seed| {
                let layer = lab.put_seeded_blob("big", seed, SIZE / parts);
                let size = SIZE / parts;
                format!(r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{layer}","size":{size}}}"#)
            })
            .collect();
        lab.put_manifest(
            "big",
            Some("v1"),
            format!(
                r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
                "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config_digest}","size":{}}},
                "layers":[{}]}}"#,
                config.len(),
                layers.join(",")
            ),
        );
        let user = Sandbox::new();
        let (from, to) = (lab.reference("big", "v1"), lab.reference("copy", "v1"));
        let list = lab.reference("list", "v1");
        user.polyarch(&["manifest", "create", &list, &from]).success();
        let mut peaks = Vec::new();
        // The second goes from one repository to another without the local store. It stands before the third because
        // the lab forgets what was pushed, under whatever name.
        for arguments in [&["pull", &from][..], &["manifest", "push", &list], &["push", &from, &to]] {
            lab.clear_log();
            let measured = measure(&user, arguments);
            assert_eq!(measured.run.code, Some(0), "{}", measured.run.shown());
            measured.within_memory();
            let (sent, received) =
                lab.log().iter().fold((0, 0), |(sent, received), log| (sent + log.sent, received + log.received));
            assert!(sent.max(received) >= SIZE, "{sent} and {received} bytes were moved");
            let verb = if arguments[0] == "manifest" { "copy" } else { arguments[0] };
            peaks.push(format!("{verb} {} MiB in {:.1} s", measured.peak >> 20, measured.took.as_secs_f64()));
        }
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "300 MiB over {name}: {}", peaks.join(", "));
    }
}
