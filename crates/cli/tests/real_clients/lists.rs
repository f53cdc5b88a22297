//! A list that polyarch made gives each client its platform.

use serde_json::{Value, json};

use crate::clients::{find, native};
use crate::engine::{Engine, Keeps};
use crate::images::{PLATFORMS, Program, suffix};
use crate::podman::Podman;
use crate::skopeo::Skopeo;
use crate::world::World;

const LIST: &str = "demo/hello:v1";

/// A list in the registry, and the manifests and configurations that it leads to.
struct List {
    image: String,
    digest: String,
    entries: Vec<Entry>,
}

struct Entry {
    platform: &'static str,
    program: Program,
    manifest: String,
    config: String,
}

impl Entry {
    fn architecture(&self) -> &'static str {
        self.platform.split('/').nth(1).unwrap()
    }

    fn variant(&self) -> Option<&'static str> {
        self.platform.split('/').nth(2)
    }

    #[track_caller]
    fn is(&self, said: &Value, key: &str) {
        assert_eq!(said[key], self.architecture(), "{said}");
    }
}

/// Packs four programs, and makes and pushes a list of them.
fn list(world: &World) -> List {
    let image = world.registry.at(LIST);
    let programs = world.hello();
    let mut words = vec!["pack", "--single", "--push", "-t", &image];
    let binaries = PLATFORMS.map(|platform| format!("{platform}={}/hello-{}", programs.display(), suffix(platform)));
    words.extend(binaries.iter().map(String::as_str));
    world.polyarch(&words);
    let singles = PLATFORMS.map(|platform| format!("{image}-{}", suffix(platform)));
    let mut words = vec!["manifest", "create", &image];
    words.extend(singles.iter().map(String::as_str));
    world.polyarch(&words);
    world.polyarch(&["manifest", "annotate", "--variant", "v8", &image, &singles[1]]);
    let digest = world.polyarch(&["manifest", "push", "--purge", &image]).trim().to_owned();
    assert_eq!(world.registry.digest(LIST), digest);
    let entries = PLATFORMS.map(|platform| {
        let name = format!("{LIST}-{}", suffix(platform));
        Entry {
            platform,
            program: Program::hello(world, platform),
            manifest: world.registry.digest(&name),
            config: world.registry.json(&name)["config"]["digest"].as_str().unwrap().to_owned(),
        }
    });
    List { image, digest, entries: entries.into() }
}

#[test]
fn the_list_says_what_it_was_told_to() {
    let world = World::new();
    let list = list(&world);
    let document = world.registry.json(LIST);
    let platforms = document["manifests"].as_array().unwrap().iter().map(|entry| entry["platform"].clone());
    let mut platforms: Vec<String> = platforms.map(|platform| platform.to_string()).collect();
    platforms.sort();
    let mut expected = [
        json!({"architecture": "amd64", "os": "linux"}),
        json!({"architecture": "arm64", "os": "linux", "variant": "v8"}),
        json!({"architecture": "arm", "os": "linux", "variant": "v7"}),
        json!({"architecture": "riscv64", "os": "linux"}),
    ]
    .map(|platform| platform.to_string());
    expected.sort();
    assert_eq!(platforms, expected);
    assert_eq!(list.entries.len(), 4);
}

#[test]
fn docker_engine_gets_its_platform_from_a_list() {
    let world = World::new();
    let Some(engine) = Engine::start(&world) else { return };
    let list = list(&world);
    for entry in &list.entries {
        engine.forget_all();
        let pulled = engine.docker(&["pull", "--platform", entry.platform, &list.image]);
        assert!(pulled.contains(&list.digest), "{pulled}");
        let said = engine.inspect(&list.image);
        entry.is(&said, "Architecture");
        assert_eq!(said["Variant"].as_str().filter(|variant| !variant.is_empty()), entry.variant(), "{said}");
        assert_eq!(said["Id"], entry.config.as_str());
        if let Some(greeting) = engine.greeting(&entry.config, entry.platform, &entry.program.words()) {
            assert_eq!(greeting, entry.program.says);
        }
    }
    engine.forget_all();
    // Nothing said: this machine's platform, and the entry point of the image.
    let greeting = engine.docker(&["run", "--rm", "--network", "none", &list.image]);
    assert_eq!(greeting, format!("hello from {}\n", native()));
    let refused = engine.run(&["pull", "--platform", "linux/s390x", &list.image]);
    assert!(refused.code == Some(1) && refused.stderr.contains("no match"), "{}", refused.shown());
}

#[test]
fn docker_engine_with_containerds_store_gets_its_platform_from_a_list() {
    let world = World::new();
    let Some(engine) = Engine::start_with(&world, Keeps::Containerd) else { return };
    let list = list(&world);
    let greeting = engine.docker(&["run", "--rm", "--network", "none", &list.image]);
    assert_eq!(greeting, format!("hello from {}\n", native()));
}

#[test]
fn containerd_gets_its_platform_from_a_list_and_pushes_the_whole() {
    let world = World::new();
    let Some(engine) = Engine::start(&world) else { return };
    let Some(ctr) = find("ctr") else { return };
    let list = list(&world);
    let containerd = |arguments: &[&str]| engine.containerd(&ctr, arguments).success();
    for entry in &list.entries {
        containerd(&["images", "pull", "--plain-http", "--platform", entry.platform, &list.image]);
        let content = containerd(&["content", "ls", "--quiet"]);
        assert!(content.contains(&entry.manifest) && content.contains(&entry.config), "{content}");
        let others = list.entries.iter().filter(|other| other.platform != entry.platform);
        for other in others {
            assert!(!content.contains(&other.config), "{} came with {}", other.platform, entry.platform);
        }
        containerd(&["images", "rm", "--sync", &list.image]);
    }
    containerd(&["images", "pull", "--plain-http", "--all-platforms", &list.image]);
    let target = world.registry.at("containerd/hello:v1");
    containerd(&["images", "push", "--plain-http", &target, &list.image]);
    assert_eq!(world.registry.digest("containerd/hello:v1"), list.digest);
    for entry in &list.entries {
        assert_eq!(world.registry.digest(&format!("containerd/hello@{}", entry.manifest)), entry.manifest);
    }
}

#[test]
fn podman_gets_its_platform_from_a_list() {
    let world = World::new();
    let Some(podman) = Podman::find(&world) else { return };
    let list = list(&world);
    for entry in &list.entries {
        podman.podman(&["rmi", "--all", "--force"]);
        let mut words = vec!["pull", "--tls-verify=false", "--arch", entry.architecture()];
        words.extend(entry.variant().map(|variant| ["--variant", variant]).iter().flatten());
        words.push(&list.image);
        podman.podman(&words);
        let said = podman.inspect(&list.image);
        entry.is(&said, "Architecture");
        assert_eq!(said["Digest"], list.digest.as_str());
        let digests = said["RepoDigests"].to_string();
        assert!(digests.contains(&entry.manifest), "{digests}");
        assert_eq!(format!("sha256:{}", said["Id"].as_str().unwrap()), entry.config);
        if let Some(greeting) = podman.greeting(&list.image, entry.platform, &entry.program.words()) {
            assert_eq!(greeting, entry.program.says);
        }
    }
    podman.podman(&["rmi", "--all", "--force"]);
    podman.podman(&["pull", "--tls-verify=false", &list.image]);
    let own = list.entries.iter().find(|entry| entry.platform == native()).unwrap();
    assert_eq!(format!("sha256:{}", podman.inspect(&list.image)["Id"].as_str().unwrap()), own.config);
    // The words that docker has for it.
    podman.podman(&["pull", "--tls-verify=false", "--platform", "linux/arm64/v8", &list.image]);
    assert_eq!(podman.inspect(&list.image)["Architecture"], "arm64");
}

#[test]
fn skopeo_gets_its_platform_from_a_list() {
    let world = World::new();
    let Some(skopeo) = Skopeo::find(&world) else { return };
    let list = list(&world);
    let source = format!("docker://{}", list.image);
    for entry in &list.entries {
        let mut flags = vec!["--override-os", "linux", "--override-arch", entry.architecture()];
        flags.extend(entry.variant().map(|variant| ["--override-variant", variant]).iter().flatten());
        let inspect = ["inspect", "--tls-verify=false", "--config", &source];
        let said: Value = serde_json::from_str(&skopeo.skopeo(&[&flags[..], &inspect].concat())).unwrap();
        entry.is(&said, "architecture");
        let directory = format!("dir:{}", world.path(&format!("got-{}", suffix(entry.platform))));
        // skopeo wants flags like these before the name of the command.
        skopeo.skopeo(&[&flags[..], &["copy", "--quiet", "--src-tls-verify=false", &source, &directory]].concat());
        let manifest = std::fs::read(directory.trim_start_matches("dir:").to_owned() + "/manifest.json").unwrap();
        assert_eq!(image::Digest::sha256(&manifest).to_string(), entry.manifest);
    }
    let raw = skopeo.skopeo(&["inspect", "--tls-verify=false", "--raw", &source]);
    assert_eq!(image::Digest::sha256(raw.as_bytes()).to_string(), list.digest);
}
