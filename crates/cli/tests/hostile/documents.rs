//! Documents that lie, that two parsers could read differently, or that are too much.

use std::time::Duration;

use image::Digest;
use lab::images::{self, Flavour};

use crate::verdict::one_error;
use crate::world::{Doing, World, each};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const ZERO: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn descriptor(digest: &str, size: &str) -> String {
    format!(r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":{size}}}"#)
}

fn manifest(config: &str, layers: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}","config":{config},"layers":{layers}}}"#)
}

fn index(entries: &str) -> String {
    format!(r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":{entries}}}"#)
}

/// Refused by everything that reads documents.
#[test]
fn a_document_that_is_none_is_refused() {
    let good = descriptor(ZERO, "2");
    let entry = |digest: &str, size: &str| {
        format!(
            r#"{{"mediaType":"{OCI}","digest":"{digest}","size":{size},"platform":{{"os":"linux","architecture":"arm"}}}}"#
        )
    };
    let mut cases: Vec<(&str, String)> = Vec::new();
    for text in ["", " ", "{", "}", "[]", "null", "0", "\"text\"", "{}{}", "{} x", "\u{feff}{}", "<html></html>", "\0"]
    {
        cases.push((OCI, text.to_owned()));
        cases.push((INDEX, text.to_owned()));
    }
    for depth in [65, 1_000, 100_000] {
        cases.push((OCI, format!("{}{}", "[".repeat(depth), "]".repeat(depth))));
        cases.push((OCI, "[".repeat(depth)));
        cases.push((OCI, "{\"a\":".repeat(depth)));
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        cases.push((OCI, format!(r#"{{"schemaVersion":2,"config":{good},"layers":[],"x":{deep}}}"#)));
    }
    for (config, layers) in [
        (descriptor(ZERO, "-1"), "[]".to_owned()),
        (descriptor(ZERO, "1.5"), "[]".to_owned()),
        (descriptor(ZERO, "1e99"), "[]".to_owned()),
        (descriptor(ZERO, "18446744073709551616"), "[]".to_owned()),
        (descriptor(ZERO, "\"2\""), "[]".to_owned()),
        (descriptor("sha256:../../../../etc/passwd", "2"), "[]".to_owned()),
        (descriptor("sha256:00", "2"), "[]".to_owned()),
        (descriptor("md5:d41d8cd98f00b204e9800998ecf8427e", "2"), "[]".to_owned()),
        (descriptor("", "2"), "[]".to_owned()),
        (good.clone(), format!("[{}]", descriptor(ZERO, "-9223372036854775808"))),
        (good.clone(), format!("[{}]", descriptor(ZERO, "18446744073709551615"))),
        (good.clone(), "{}".to_owned()),
        (good.clone(), "[null]".to_owned()),
        (good.clone(), format!("[{}]", vec![good.clone(); 10_001].join(","))),
        ("[]".to_owned(), "[]".to_owned()),
        ("\"config\"".to_owned(), "[]".to_owned()),
    ] {
        cases.push((OCI, manifest(&config, &layers)));
    }
    for twice in [
        format!(r#"{{"schemaVersion":2,"config":{good},"config":{good},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{good},"layers":[],"manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"Config":{good},"config":{good},"layers":[]}}"#),
        format!(r#"{{"schemaVersion":2,"config":{good},"layers":[],"a":{{"b":1,"b":2}}}}"#),
        manifest(&good, "[]").replace("\"size\":2", "\"size\":2,\"size\":3"),
        manifest(&good, "[]").replace("\"size\":2", "\"size\":2,\"Size\":3"),
        manifest(&good, "[]").replace("\"size\":2", "\"size\":2,\"s\\u0069ze\":3"),
    ] {
        cases.push((OCI, twice));
    }
    for entries in [
        format!("[{}]", entry(ZERO, "-1")),
        format!("[{}]", entry("sha512:00", "2")),
        "{}".to_owned(),
        "[1]".to_owned(),
        format!("[{}]", vec![entry(ZERO, "2"); 10_001].join(",")),
    ] {
        cases.push((INDEX, index(&entries)));
    }
    // Of a type that nobody asked for, or of another than it says.
    cases.push(("text/html", "<html>not found, but 200</html>".to_owned()));
    cases.push(("application/json", "{}".to_owned()));
    cases.push(("image/png", manifest(&good, "[]")));
    cases.push(("", manifest(&good, "[]")));
    cases.push((INDEX, manifest(&good, "[]")));
    cases.push((OCI, index("[]")));
    cases.push(("application/vnd.docker.distribution.manifest.v1+prettyjws", r#"{"schemaVersion":1}"#.to_owned()));
    // More than any manifest.
    cases.push((
        OCI,
        manifest(&good, "[]").replace("\"size\":2", &format!("\"size\":2,\"x\":\"{}\"", "x".repeat(4 << 20))),
    ));

    each(&cases, |(media_type, text)| {
        let world = World::open();
        world.lab.put_manifest_as("app", Some("v1"), media_type, text.clone());
        for doing in Doing::READING {
            let measured = world.measure(doing);
            eprintln!("{doing:?} {media_type} {:.80} {} bytes\n{}", text, text.len(), measured.run.stderr);
            one_error(&measured.run, doing.code(7), &[]);
            measured.within_memory();
            assert!(measured.took < Duration::from_secs(10));
            world.nothing_half_done(doing);
        }
    });
}

/// A manifest whose parts are not what it says of them.
#[test]
fn parts_that_are_not_what_their_descriptors_say() {
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let layer = images::random(7, 5000);
    let digests = (Digest::sha256(config), Digest::sha256(&layer));
    let (config_digest, layer_digest) = (digests.0.as_str(), digests.1.as_str());
    let right = descriptor(config_digest, &config.len().to_string());
    for (name, text, create, pull) in [
        ("a layer that is not there", manifest(&right, &format!("[{}]", descriptor(ZERO, "2"))), 0, 3),
        ("a config that is not there", manifest(&descriptor(ZERO, "2"), "[]"), 1, 3),
        ("a layer that is shorter", manifest(&right, &format!("[{}]", descriptor(layer_digest, "5001"))), 0, 7),
        ("a layer that is longer", manifest(&right, &format!("[{}]", descriptor(layer_digest, "4999"))), 0, 7),
        // Nothing is reserved or waited for because somebody said a number.
        (
            "a layer of all there is",
            manifest(&right, &format!("[{}]", descriptor(layer_digest, "9223372036854775807"))),
            0,
            7,
        ),
        ("a config of many bytes", manifest(&descriptor(config_digest, "9223372036854775807"), "[]"), 1, 7),
        ("a config of no bytes", manifest(&descriptor(config_digest, "0"), "[]"), 1, 7),
    ] {
        let world = World::open();
        world.lab.put_blob("app", config.to_vec());
        world.lab.put_blob("app", layer.clone());
        world.lab.put_manifest_as("app", Some("v1"), OCI, text);
        for (doing, code) in [(Doing::Create, create), (Doing::Pull, pull), (Doing::Inspect, 0)] {
            let measured = world.measure(doing);
            eprintln!("{name}: {doing:?}\n{}", measured.run.shown());
            measured.within_memory();
            if code == 0 {
                assert_eq!(measured.run.code, Some(0), "{name}: {}", measured.run.shown());
                crate::verdict::decent(&measured.run);
            } else {
                one_error(&measured.run, code, &[]);
            }
        }
        std::fs::remove_dir_all(
            world.user.path("docker/manifests").join(world.at("new:v1").replace(':', "-").replace('/', "_")),
        )
        .ok();
        world.nothing_half_done(Doing::Pull);
    }
}

#[test]
fn configs_that_are_none() {
    let cases: Vec<(Vec<u8>, bool)> = vec![
        (b"".to_vec(), false),
        (b"[]".to_vec(), false),
        (b"null".to_vec(), false),
        (b"{".to_vec(), false),
        (b"{\"os\":7}".to_vec(), false),
        (b"{\"os\":\"linux\",\"os\":\"windows\"}".to_vec(), false),
        ("[".repeat(100_000).into_bytes(), false),
        (format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000)).into_bytes(), false),
        (b"\xff\xfe{}".to_vec(), false),
        (vec![0; 9 << 20], false),
        (b"{}".to_vec(), true),
        (format!(r#"{{"os":"linux","architecture":"{}"}}"#, "x".repeat(1 << 20)).into_bytes(), true),
        (br#"{"os":"../../..","architecture":"/etc/passwd"}"#.to_vec(), true),
    ];
    each(&cases, |(config, good)| {
        let world = World::open();
        let digest = world.lab.put_blob("app", config.clone());
        let text = manifest(&descriptor(digest.as_str(), &config.len().to_string()), "[]");
        world.lab.put_manifest_as("app", Some("v1"), OCI, text);
        let measured = world.measure(Doing::Create);
        eprintln!("{:.60} {} bytes\n{:.600}", String::from_utf8_lossy(config), config.len(), measured.run.stderr);
        measured.within_memory();
        if *good {
            assert_eq!(measured.run.code, Some(0), "{}", measured.run.shown());
            let notes: usize = measured.run.stderr.lines().map(str::len).sum();
            assert!(notes < 3000, "{notes} characters of notes");
        } else {
            one_error(&measured.run, 1, &[]);
            world.nothing_half_done(Doing::Create);
        }
        // What a config says is nobody's business when an image is moved.
        world.run(Doing::Pull).success();
        let shown = world.user.polyarch(&["images"]);
        assert_eq!(shown.code, Some(0), "{}", shown.shown());
        let widest = shown.stdout.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest < 1000, "a table of {widest} columns");
    });
}

/// Indexes of indexes, wide ones and those that hold what they say they do not.
#[test]
fn indexes_that_go_on_and_on() {
    let world = World::open();
    // Fifty levels.
    let mut nested = images::index(&[images::image("linux/s390x", 1, Flavour::Oci)], Flavour::Oci);
    for _ in 0..50 {
        nested = images::nested(&[nested]);
    }
    nested.push(&world.lab, "app", Some("v1"));
    for doing in [Doing::Create, Doing::Pull] {
        let measured = world.measure(doing);
        eprintln!("{doing:?}: {}", measured.run.shown());
        measured.within_memory();
        one_error(&measured.run, doing.code(7), &[]);
        world.nothing_half_done(doing);
    }
    world.run(Doing::Inspect).success();

    // Four thousand entries of one image, which is asked for once; and more images than anybody wants, of which none is.
    let image = images::image("linux/s390x", 1, Flavour::Oci);
    image.push(&world.lab, "app", None);
    let entry = serde_json::to_string(&image.descriptor()).unwrap();
    let others = |number: usize| entry.replace(image.digest().hex(), &format!("{number:064x}"));
    world.lab.put_manifest(
        "app",
        Some("v1"),
        index(&format!("[{}]", (0..5000).map(others).collect::<Vec<_>>().join(","))),
    );
    for doing in [Doing::Create, Doing::Pull] {
        world.lab.clear_log();
        one_error(&world.run(doing), doing.code(7), &["4096"]);
        world.nothing_half_done(doing);
        assert!(world.lab.count() < 5, "{doing:?}: {:?}", world.lab.count());
    }
    world.lab.put_manifest("app", Some("v1"), index(&format!("[{}]", vec![entry; 4000].join(","))));
    world.lab.clear_log();
    let measured = world.measure(Doing::Pull);
    eprintln!("wide: {:?} {} kB {}", measured.took, measured.peak / 1024, measured.run.shown());
    assert!(world.lab.count() < 20, "{}", world.lab.count());
    assert!(measured.took < Duration::from_secs(20));
    measured.run.success();

    // An entry that is of another size or type than the index says.
    let text = serde_json::to_string(&image.descriptor()).unwrap();
    let size = format!("\"size\":{}", image.document.bytes().len());
    for wrong in [text.replace(&size, "\"size\":5"), text.replace(OCI, INDEX)] {
        assert_ne!(text, wrong);
        let world = World::open();
        image.push(&world.lab, "app", None);
        world.lab.put_manifest("app", Some("v1"), index(&format!("[{wrong}]")));
        for doing in [Doing::Create, Doing::Pull] {
            one_error(&world.run(doing), doing.code(7), &["the index says"]);
            world.nothing_half_done(doing);
        }
    }
}
