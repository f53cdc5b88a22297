//! What a client pushes to polyarch's registry comes back to it as it was.

use std::path::Path;
use std::process::Command;

use image::Digest;

use crate::engine::{Engine, Keeps};
use crate::images::{Archive, busybox};
use crate::podman::Podman;
use crate::skopeo::Skopeo;
use crate::world::World;

/// The digest that a line of `docker push` or a `RepoDigests` entry names.
fn digest_in(text: &str) -> String {
    let start = text.rfind("sha256:").expect("a digest");
    text[start..start + 71].to_owned()
}

/// The manifest in the registry describes this image; gives the digest of its configuration.
#[track_caller]
fn assert_describes(world: &World, name: &str, archive: &Archive) -> String {
    let manifest = world.registry.json(name);
    let config = manifest["config"]["digest"].as_str().unwrap().to_owned();
    // The other format has another configuration, with the same things in another order.
    if manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json" {
        assert_eq!(config, archive.id, "{manifest}");
    }
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(2), "{manifest}");
    config
}

#[test]
fn docker_engine_gets_back_what_it_pushed() {
    let world = World::new();
    let Some(engine) = Engine::start(&world) else { return };
    for archive in busybox(&world) {
        let suffix = crate::images::suffix(archive.platform);
        let name = format!("engine/busybox:{suffix}");
        let image = world.registry.at(&name);
        engine.docker(&["load", "--input", archive.path.to_str().unwrap()]);
        engine.docker(&["tag", &archive.name, &image]);
        let pushed = digest_in(&engine.docker(&["push", &image]));
        assert_eq!(world.registry.digest(&name), pushed);
        assert_describes(&world, &name, &archive);

        let again = engine.docker(&["push", &image]);
        assert!(again.contains("Layer already exists") && !again.contains(": Pushed"), "{again}");
        let other = world.registry.at(&format!("engine/other:{suffix}"));
        engine.docker(&["tag", &archive.name, &other]);
        let mounted = engine.docker(&["push", &other]);
        assert_eq!(mounted.matches("Mounted from engine/busybox").count(), 2, "{mounted}");
        assert_eq!(digest_in(&mounted), pushed);

        let by_digest = world.registry.at(&format!("engine/busybox@{pushed}"));
        for reference in [&image, &by_digest] {
            engine.forget_all();
            engine.docker(&["pull", reference]);
            let got = engine.inspect(reference);
            assert_eq!(got["Id"], archive.id.as_str());
            assert_eq!(got["RootFS"]["Layers"], serde_json::json!(archive.layers));
            assert_eq!(digest_in(got["RepoDigests"][0].as_str().unwrap()), pushed);
        }
        let container = engine.docker(&["create", "--network", "none", &by_digest, "none"]);
        let copy = world.path("copy");
        engine.docker(&["cp", &format!("{}:{}", container.trim(), archive.program.command[0]), &copy]);
        assert!(std::fs::read(&copy).unwrap() == archive.program.bytes, "the program is another one");
        engine.docker(&["rm", container.trim()]);
        if let Some(said) = engine.greeting(&by_digest, archive.platform, &archive.program.words()) {
            assert_eq!(said, archive.program.says);
        }
    }
}

#[test]
fn docker_engine_with_containerds_store_gets_back_what_it_pushed() {
    let world = World::new();
    let Some(engine) = Engine::start_with(&world, Keeps::Containerd) else { return };
    let archive = &busybox(&world)[0];
    let image = world.registry.at("engine/busybox:native");
    engine.docker(&["load", "--input", archive.path.to_str().unwrap()]);
    engine.docker(&["tag", &archive.name, &image]);
    let pushed = digest_in(&engine.docker(&["push", &image]));
    assert_eq!(world.registry.digest("engine/busybox:native"), pushed);
    engine.forget_all();
    engine.docker(&["pull", &image]);
    assert_eq!(engine.greeting(&image, archive.platform, &archive.program.words()), Some(archive.program.says.clone()));
}

#[test]
fn podman_gets_back_what_it_pushed() {
    let world = World::new();
    let Some(podman) = Podman::find(&world) else { return };
    for archive in busybox(&world) {
        let suffix = crate::images::suffix(archive.platform);
        podman.podman(&["load", "--input", archive.path.to_str().unwrap()]);
        for (format, compression) in [("v2s2", "gzip"), ("oci", "gzip"), ("oci", "zstd")] {
            let name = format!("podman/busybox:{suffix}-{format}-{compression}");
            let image = world.registry.at(&name);
            let digest_file = world.path("podman.digest");
            let how = ["--format", format, "--compression-format", compression, "--digestfile", &digest_file];
            let push = ["push", "--tls-verify=false", "--remove-signatures"];
            podman.podman(&[&push[..], &how, &[&archive.name, &image]].concat());
            let pushed = std::fs::read_to_string(&digest_file).unwrap();
            assert_eq!(world.registry.digest(&name), pushed.trim());
            let config = assert_describes(&world, &name, &archive);
            let layers = world.registry.json(&name)["layers"].to_string();
            let suffix_of_layers = if format == "v2s2" { "tar.gzip" } else { &format!("tar+{compression}") };
            assert_eq!(layers.matches(suffix_of_layers).count(), 2, "{layers}");

            let reference = world.registry.at(&format!("podman/busybox@{}", pushed.trim()));
            podman.podman(&["rmi", "--all", "--force"]);
            podman.podman(&["pull", "--tls-verify=false", &reference]);
            let got = podman.inspect(&reference);
            assert_eq!(format!("sha256:{}", got["Id"].as_str().unwrap()), config);
            assert_eq!(got["Digest"], pushed.trim());
            assert_eq!(got["RootFS"]["Layers"], serde_json::json!(archive.layers));
            podman.podman(&["tag", &reference, &archive.name]);
        }
        let container = podman.podman(&["create", "--network", "none", &archive.name, "none"]);
        let copy = world.path("copy");
        podman.podman(&["cp", &format!("{}:{}", container.trim(), archive.program.command[0]), &copy]);
        assert!(std::fs::read(&copy).unwrap() == archive.program.bytes, "the program is another one");
        podman.podman(&["rm", container.trim()]);
        if let Some(said) = podman.greeting(&archive.name, archive.platform, &archive.program.words()) {
            assert_eq!(said, archive.program.says);
        }
    }
}

/// The digest of what a file of a `dir:` image decompresses to.
fn decompressed(directory: &Path, digest: &str) -> String {
    let file = directory.join(digest.trim_start_matches("sha256:"));
    let output = Command::new("gzip").arg("-dc").stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    assert!(output.status.success());
    Digest::sha256(&output.stdout).to_string()
}

#[test]
fn skopeo_gets_back_what_it_pushed() {
    let world = World::new();
    let Some(skopeo) = Skopeo::find(&world) else { return };
    for archive in busybox(&world) {
        let suffix = crate::images::suffix(archive.platform);
        for format in ["v2s2", "oci"] {
            let name = format!("skopeo/busybox:{suffix}-{format}");
            let image = format!("docker://{}", world.registry.at(&name));
            let source = format!("docker-archive:{}", archive.path.display());
            let pushed = skopeo.copy(&["--format", format], &source, &image);
            assert_eq!(world.registry.digest(&name), pushed);
            assert_describes(&world, &name, &archive);

            let directory = world.sandbox.path(&format!("skopeo/{suffix}-{format}"));
            std::fs::create_dir_all(&directory).unwrap();
            let got = skopeo.copy(&[], &image, &format!("dir:{}", directory.display()));
            assert_eq!(got, pushed);
            let manifest = std::fs::read(directory.join("manifest.json")).unwrap();
            assert_eq!(Digest::sha256(&manifest).to_string(), pushed);
            let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
            let layers: Vec<String> = manifest["layers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|layer| decompressed(&directory, layer["digest"].as_str().unwrap()))
                .collect();
            assert_eq!(layers, archive.layers);
        }
        let repository = format!("docker://{}", world.registry.at("skopeo/busybox"));
        let tags = skopeo.skopeo(&["list-tags", "--tls-verify=false", &repository]);
        assert!(tags.contains(&format!("\"{suffix}-oci\"")) && tags.contains(&format!("\"{suffix}-v2s2\"")), "{tags}");
    }
    let gone = world.registry.at("skopeo/busybox:gone");
    let pushed = format!("docker://{}", world.registry.at(&format!("skopeo/busybox:{}-oci", suffix_of_native())));
    skopeo.copy(&[], &pushed, &format!("docker://{gone}"));
    skopeo.skopeo(&["delete", "--tls-verify=false", &format!("docker://{gone}")]);
    let run = world.sandbox.polyarch(&["manifest", "inspect", &gone]);
    assert_eq!(run.code, Some(1), "{}", run.shown());
}

fn suffix_of_native() -> String {
    crate::images::suffix(crate::clients::native())
}

#[test]
fn several_clients_push_to_one_registry_at_once() {
    let world = World::new();
    let (engine, podman, skopeo) = (Engine::start(&world), Podman::find(&world), Skopeo::find(&world));
    let (Some(engine), Some(podman), Some(skopeo)) = (engine, podman, skopeo) else { return };
    let archives = crate::images::hello(&world);
    for archive in &archives {
        engine.docker(&["load", "--input", archive.path.to_str().unwrap()]);
        podman.podman(&["load", "--input", archive.path.to_str().unwrap()]);
    }
    let name = |client: &str, archive: &Archive| format!("busy/{client}:{}", crate::images::suffix(archive.platform));
    std::thread::scope(|scope| {
        for archive in &archives {
            let at = |client: &str| world.registry.at(&name(client, archive));
            let (by_engine, by_podman, by_skopeo) = (at("engine"), at("podman"), at("skopeo"));
            let engine = &engine;
            scope.spawn(move || {
                engine.docker(&["tag", &archive.name, &by_engine]);
                engine.docker(&["push", "--quiet", &by_engine]);
            });
            let podman = &podman;
            scope.spawn(move || podman.podman(&["push", "--tls-verify=false", &archive.name, &by_podman]));
            let skopeo = &skopeo;
            scope.spawn(move || {
                let source = format!("docker-archive:{}", archive.path.display());
                skopeo.skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{by_skopeo}")])
            });
        }
    });
    for archive in &archives {
        for client in ["engine", "podman", "skopeo"] {
            assert_describes(&world, &name(client, archive), archive);
            world.polyarch(&["pull", &world.registry.at(&name(client, archive))]);
        }
    }
}
