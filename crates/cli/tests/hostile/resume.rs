//! A push that fails says what was pushed, and a second run does the rest and no more.

use lab::images::{self, Flavour};
use lab::{Fault, FaultKind, Lab};

use crate::verdict::{decent, only_error};
use crate::world::{Doing, World, each};

/// Four images from another repository: checks, mounts, images, the list.
fn world() -> World {
    let world = World::open();
    let mut sources = Vec::new();
    for (number, platform) in ["linux/amd64", "linux/arm64", "linux/s390x", "linux/riscv64"].into_iter().enumerate() {
        let tag = format!("i{number}");
        images::maker(platform).layers(2).seed(40).make().push(&world.lab, "src", Some(&tag));
        sources.push(world.at(&format!("src:{tag}")));
    }
    let list = world.at("dst:v1");
    let mut arguments = vec!["manifest", "create", &list];
    arguments.extend(sources.iter().map(String::as_str));
    world.user.polyarch(&arguments).success();
    world.forget();
    world
}

fn is_whole(lab: &Lab) -> bool {
    let Some(bytes) = lab.manifest("dst", "v1") else { return false };
    let index = image::Document::new(None, bytes).unwrap();
    index.index().unwrap().manifests.iter().all(|entry| {
        let child = image::Document::new(None, lab.manifest("dst", entry.digest.as_str()).unwrap()).unwrap();
        child.children().iter().all(|blob| lab.has_blob("dst", &blob.digest))
    })
}

/// The n-th request fails, and those after it too, so that no retry helps.
#[test]
fn a_list_whose_push_fails_anywhere_is_finished_by_a_second_run() {
    let whole = world();
    whole.user.polyarch(&["manifest", "push", &whole.at("dst:v1")]).success();
    let requests = whole.lab.count();
    assert!(is_whole(&whole.lab) && requests > 15, "{:#?}", whole.lab.lines());
    let cases: Vec<usize> = (1..=requests).collect();
    each(&cases, |&n| {
        let world = world();
        world.lab.fault(Fault::on("", "", FaultKind::status(500)).nth(n));
        let list = world.at("dst:v1");
        let run = world.user.polyarch(&["manifest", "push", "--purge", &list]);
        decent(&run);
        assert_eq!(run.code, Some(1), "{n}: {}", run.shown());
        only_error(&run, &["failed to "]);
        // What it says was pushed is there, and no digest of a list stands on stdout.
        for line in run.stdout.lines() {
            let (reference, digest) =
                line.strip_prefix("Pushed ref ").and_then(|rest| rest.split_once(" with digest: ")).expect(line);
            assert!(reference.ends_with(digest), "{line}");
            assert!(world.lab.manifest("dst", digest).is_some(), "{n}: {line}");
        }
        let (blobs, manifests) = (world.lab.count_of("POST", "mount="), world.lab.manifests("dst").len());
        if manifests > 0 {
            let count = format!("{manifests} manifest{} and", if manifests == 1 { "" } else { "s" });
            assert!(run.stderr.contains(&count), "{n}: {count}: {}", run.shown());
            assert!(run.stderr.contains("a second run goes on from there"), "{n}: {}", run.shown());
            assert_eq!(run.stdout.lines().count(), manifests, "{n}: {}", run.shown());
        }
        assert!(world.lab.resolve("dst", "v1").is_none(), "{n}: a list that is not whole has a name");
        assert!(world.user.path("docker/manifests").join(list.replace(':', "-").replace('/', "_")).exists());
        eprintln!("{n}: {blobs} mounts, {manifests} manifests\n{}", run.shown());

        world.lab.clear_faults();
        world.lab.clear_log();
        world.user.polyarch(&["manifest", "push", "--purge", &list]).success();
        assert!(is_whole(&world.lab), "{n}");
        assert!(!world.user.path("docker/manifests").join(list.replace(':', "-").replace('/', "_")).exists());
        assert!(world.lab.count() <= requests, "{n}: {:#?}", world.lab.lines());
    });
}

#[test]
fn a_create_that_fails_anywhere_leaves_no_list() {
    let whole = world();
    let names: Vec<String> = (0..4).map(|number| format!("src:i{number}")).collect();
    let create = |world: &World, amend: bool| {
        let mut arguments = vec!["manifest".to_owned(), "create".to_owned(), world.at("made:v1")];
        arguments.extend(amend.then(|| "--amend".to_owned()));
        arguments.extend(names.iter().map(|name| world.at(name)));
        world.user.polyarch(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    create(&whole, false).success();
    let cases: Vec<usize> = (1..=whole.lab.count()).collect();
    assert_eq!(cases.len(), 8, "{:#?}", whole.lab.lines());
    each(&cases, |&n| {
        let world = world();
        let directory =
            world.user.path("docker/manifests").join(world.at("made:v1").replace(':', "-").replace('/', "_"));
        world.lab.fault(Fault::on("", "", FaultKind::status(500)).nth(n));
        let run = create(&world, false);
        decent(&run);
        only_error(&run, &[]);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{n}");
        assert!(!directory.exists(), "{n}");
        // An amend leaves what there was.
        world.lab.clear_faults();
        let (list, first) = (world.at("made:v1"), world.at("src:i0"));
        world.user.polyarch(&["manifest", "create", &list, &first]).success();
        let before = crate::sandbox::tree(&directory);
        world.forget();
        world.lab.fault(Fault::on("", "", FaultKind::status(500)).nth(n.min(6)));
        assert_eq!(create(&world, true).code, Some(1), "{n}");
        assert_eq!(crate::sandbox::tree(&directory), before, "{n}");
        world.lab.clear_faults();
        create(&world, true).success();
        assert_eq!(crate::world::names(&directory).len(), 4);
    });
}

/// Blobs that have been sent are not sent again, but for those that are smaller than the question would be.
#[test]
fn an_image_whose_push_fails_anywhere_is_finished_by_a_second_run() {
    let prepare = || {
        let world = World::open();
        let parts = ["linux/amd64", "linux/arm64"]
            .map(|platform| images::maker(platform).layers(3).size(80_000).seed(9).make());
        images::index(&parts, Flavour::Oci).push(&world.lab, "src", Some("v1"));
        // Pulled from elsewhere, so that nothing can be mounted.
        let other = Lab::start();
        images::index(&parts, Flavour::Oci).push(&other, "src", Some("v1"));
        world.user.polyarch(&["pull", &other.reference("src", "v1"), &world.at("dst:v1")]).success();
        for (descriptor, _) in parts.iter().flat_map(|part| &part.blobs) {
            world.lab.delete_blob("src", &descriptor.digest);
        }
        world.forget();
        world
    };
    let whole = prepare();
    whole.user.polyarch(&["push", &whole.at("dst:v1")]).success();
    let requests = whole.lab.count();
    assert!(is_whole(&whole.lab) && requests > 15, "{:#?}", whole.lab.lines());
    let cases: Vec<usize> = (1..=requests).collect();
    each(&cases, |&n| {
        let world = prepare();
        world.lab.fault(Fault::on("", "", FaultKind::status(500)).nth(n));
        let name = world.at("dst:v1");
        let run = world.user.polyarch(&["push", &name]);
        decent(&run);
        if run.code == Some(0) {
            // A look that failed was not needed.
            assert!(is_whole(&world.lab), "{n}");
            return;
        }
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{n}: {}", run.shown());
        only_error(&run, &[]);
        assert!(world.lab.resolve("dst", "v1").is_none(), "{n}");
        let sent: Vec<String> = sent(&world.lab);
        world.lab.clear_faults();
        world.lab.clear_log();
        world.user.polyarch(&["push", &name]).success();
        assert!(is_whole(&world.lab), "{n}");
        for line in self::sent(&world.lab) {
            assert!(!sent.contains(&line), "{n}: sent twice: {line}");
        }
    });
}

/// Digests of blobs of more than 64 KiB whose bytes arrived.
fn sent(lab: &Lab) -> Vec<String> {
    lab.log()
        .iter()
        .filter(|request| request.status == 201 && request.received > 64 << 10 && request.path().contains("/blobs/"))
        .filter_map(|request| Some(request.query().split_once("digest=")?.1.to_owned()))
        .collect()
}

#[test]
fn doing_nothing_is_what_the_third_run_does() {
    let world = world();
    let list = world.at("dst:v1");
    world.user.polyarch(&["manifest", "push", &list]).success();
    world.lab.clear_log();
    world.user.polyarch(&["manifest", "push", &list]).success();
    assert_eq!(world.lab.count_of("PUT", "") + world.lab.count_of("POST", ""), 0, "{:#?}", world.lab.lines());
    world.run(Doing::Push).success();
    world.lab.clear_log();
    world.run(Doing::Push).success();
    assert_eq!(world.lab.count_of("PUT", "") + world.lab.count_of("POST", ""), 0, "{:#?}", world.lab.lines());
}
