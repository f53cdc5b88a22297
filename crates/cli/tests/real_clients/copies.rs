//! Whole lists from one place to another, with polyarch or polyarch's registry at one end.

use crate::images::{PLATFORMS, hello, suffix};
use crate::podman::Podman;
use crate::skopeo::Skopeo;
use crate::world::{Registry, World};

/// Packs a list of four platforms into the local store under this name.
fn pack(world: &World, image: &str) {
    let programs = world.hello();
    let binaries = PLATFORMS.map(|platform| format!("{platform}={}/hello-{}", programs.display(), suffix(platform)));
    let mut words = vec!["pack", "-t", image];
    words.extend(binaries.iter().map(String::as_str));
    world.polyarch(&words);
}

/// All that a list leads to is there.
#[track_caller]
fn assert_complete(registry: &Registry, name: &str) -> usize {
    let repository = name.rsplit_once(':').expect("a tag").0;
    let list = registry.json(name);
    let entries = list["manifests"].as_array().expect("a list");
    for entry in entries {
        let digest = entry["digest"].as_str().unwrap();
        assert_eq!(registry.digest(&format!("{repository}@{digest}")), digest);
    }
    entries.len()
}

#[test]
fn skopeo_copies_whole_lists_in_and_out() {
    let world = World::new();
    let Some(skopeo) = Skopeo::find(&world) else { return };
    let (registry, from) = (&world.registry, "from/hello:v1");
    pack(&world, &registry.at(from));
    world.polyarch(&["push", &registry.at(from)]);
    let digest = registry.digest(from);
    assert_eq!(assert_complete(registry, from), 4);

    let remote = |name: &str| format!("docker://{}", registry.at(name));
    let layout = format!("oci:{}:v1", world.path("layout"));
    assert_eq!(skopeo.copy(&["--all"], &remote(from), &layout), digest);
    assert_eq!(skopeo.copy(&["--all"], &layout, &remote("back/hello:v1")), digest);
    assert_eq!(skopeo.copy(&["--all"], &remote(from), &remote("straight/hello:v1")), digest);
    for name in ["back/hello:v1", "straight/hello:v1"] {
        assert_eq!(registry.digest(name), digest);
        assert_eq!(assert_complete(registry, name), 4);
    }
    // The same in docker's format, which polyarch then has to keep as it is.
    let flags = ["--all", "--format", "v2s2"];
    let converted = skopeo.copy(&flags, &remote(from), &remote("docker/hello:v1"));
    assert_eq!(registry.digest("docker/hello:v1"), converted);
    let image = registry.at("docker/hello:v1");
    world.polyarch(&["pull", &image]);
    world.polyarch(&["push", &image, &registry.at("again/hello:v1")]);
    assert_eq!(registry.digest("again/hello:v1"), converted);
}

#[test]
fn polyarch_makes_a_list_from_a_layout_of_skopeo() {
    let world = World::new();
    let Some(skopeo) = Skopeo::find(&world) else { return };
    let registry = &world.registry;
    let layout = world.path("layout");
    // One layout with four tags, one image each.
    for archive in hello(&world) {
        let source = format!("docker-archive:{}", archive.path.display());
        skopeo.copy(&[], &source, &format!("oci:{layout}:{}", suffix(archive.platform)));
    }
    let sources = PLATFORMS.map(|platform| format!("oci:{layout}:{}", suffix(platform)));
    let list = registry.at("layout/hello:v1");
    let mut words = vec!["manifest", "create", &list];
    words.extend(sources.iter().map(String::as_str));
    world.polyarch(&words);
    let pushed = world.polyarch(&["manifest", "push", "--purge", &list]);
    assert_eq!(pushed.lines().last(), Some(registry.digest("layout/hello:v1").as_str()));
    assert_eq!(assert_complete(registry, "layout/hello:v1"), 4);
    for platform in PLATFORMS {
        let mut parts = platform.split('/').skip(1);
        let mut flags = vec!["--override-arch", parts.next().unwrap()];
        flags.extend(parts.next().map(|variant| ["--override-variant", variant]).iter().flatten());
        let copy = format!("oci:{}:copy", world.path(&format!("copy-{}", suffix(platform))));
        let source = format!("docker://{list}");
        skopeo.skopeo(&[&flags[..], &["copy", "--quiet", "--src-tls-verify=false", &source, &copy]].concat());
        // The image that skopeo gets is the one that it had put into the layout.
        let theirs = world.polyarch(&["manifest", "inspect", "--raw", &format!("oci:{layout}:{}", suffix(platform))]);
        assert_eq!(world.polyarch(&["manifest", "inspect", "--raw", &copy]), theirs);
    }
    // A list that skopeo put into a layout, under one tag, is a source as well.
    let whole = world.path("whole");
    let digest = skopeo.copy(&["--all"], &format!("docker://{list}"), &format!("oci:{whole}:v1"));
    assert_eq!(digest, registry.digest("layout/hello:v1"));
    let again = registry.at("layout/again:v1");
    world.polyarch(&["manifest", "create", &again, &format!("oci:{whole}:v1")]);
    world.polyarch(&["manifest", "push", &again]);
    assert_eq!(registry.json("layout/again:v1")["manifests"].as_array().map(Vec::len), Some(4));
}

#[test]
fn podman_pushes_a_list_that_polyarch_pulls() {
    let world = World::new();
    let Some(podman) = Podman::find(&world) else { return };
    let registry = &world.registry;
    podman.podman(&["manifest", "create", "list"]);
    for archive in hello(&world) {
        podman.podman(&["load", "--input", archive.path.to_str().unwrap()]);
        let image = registry.at(&format!("podman/single:{}", suffix(archive.platform)));
        podman.podman(&["push", "--tls-verify=false", &archive.name, &image]);
        podman.podman(&["manifest", "add", "--tls-verify=false", "list", &format!("docker://{image}")]);
    }
    let target = registry.at("podman/list:v1");
    podman.podman(&["manifest", "push", "--all", "--tls-verify=false", "list", &format!("docker://{target}")]);
    assert_eq!(assert_complete(registry, "podman/list:v1"), 4);
    let digest = registry.digest("podman/list:v1");
    let pulled = world.polyarch(&["pull", &target]);
    assert!(pulled.contains(&digest), "{pulled}");
    let images = world.polyarch(&["images"]);
    for platform in PLATFORMS {
        assert!(images.contains(platform), "{images}");
    }
}

#[test]
fn polyarch_carries_lists_between_its_registry_and_another() {
    let world = World::new();
    let Some(other) = world.docker_registry() else { return };
    let registry = &world.registry;
    let image = registry.at("pair/hello:v1");
    pack(&world, &image);
    world.polyarch(&["push", &image]);
    let digest = registry.digest("pair/hello:v1");

    // From here to there by way of the local store, and back under another name.
    world.polyarch(&["rm", &image]);
    world.polyarch(&["pull", &image]);
    let there = other.at("pair/hello:v1");
    world.polyarch(&["push", &image, &there]);
    assert_eq!(other.digest("pair/hello:v1"), digest);
    assert_eq!(assert_complete(&other, "pair/hello:v1"), 4);
    world.polyarch(&["rm", &image]);
    world.polyarch(&["pull", &there]);
    let back = registry.at("pair/back:v1");
    world.polyarch(&["push", &there, &back]);
    assert_eq!(registry.digest("pair/back:v1"), digest);
    assert_eq!(assert_complete(registry, "pair/back:v1"), 4);

    // A list in one registry of images in the other, and of an image that is nowhere but here.
    let local = "local/only:v1";
    pack(&world, local);
    for (target, source, at) in [(&other, &back, "pair/list:v1"), (registry, &there, "pair/list:v1")] {
        let list = target.at(at);
        world.polyarch(&["manifest", "create", "--platform", "linux/amd64,linux/arm64", &list, source]);
        let only = format!("local:{local}");
        world.polyarch(&["manifest", "create", "--amend", "--platform", "linux/riscv64", &list, &only]);
        let pushed = world.polyarch(&["manifest", "push", "--purge", &list]);
        assert_eq!(pushed.lines().last(), Some(target.digest(at).as_str()), "{pushed}");
        assert_eq!(assert_complete(target, at), 3);
    }
    // The order is that of the sources' names, which are different ones.
    let entries = |registry: &Registry| {
        let list = registry.json("pair/list:v1");
        let mut entries: Vec<String> = list["manifests"].as_array().unwrap().iter().map(ToString::to_string).collect();
        entries.sort();
        entries
    };
    assert_eq!(entries(&other), entries(registry));
    let Some(skopeo) = Skopeo::find(&world) else { return };
    for list in [other.at("pair/list:v1"), registry.at("pair/list:v1")] {
        let target = format!("oci:{}:v1", world.path("pair"));
        skopeo.copy(&["--all"], &format!("docker://{list}"), &target);
    }
}
