//! One draft, two programs: what docker's CLI begins polyarch finishes, and the other way round.

use crate::clients;
use crate::engine::{Cli, Engine};
use crate::images::{PLATFORMS, hello, suffix};
use crate::world::World;

/// Sources for lists, in two forms.
const DOCKER: &str = "sources/docker";
const OCI: &str = "sources/oci";

/// One step of a draft, with `LIST`, `AMD64`, `ARM64`, `ARM` and `RISCV64` for the names.
struct Way {
    name: &'static str,
    steps: &'static [&'static str],
}

/// Every way ends in the same list. `D` is docker's turn, `P` polyarch's.
const WAYS: [Way; 4] = [
    Way {
        name: "docker-alone",
        steps: &[
            "D create LIST AMD64 ARM64 ARM RISCV64",
            "D annotate --variant v8 LIST ARM64",
            "D annotate --os-features sse,b LIST RISCV64",
            "D push --purge LIST",
        ],
    },
    Way {
        name: "begun-by-docker",
        steps: &[
            "D create LIST AMD64 ARM64 ARM RISCV64",
            "P annotate --variant v8 LIST ARM64",
            "P annotate --os-features sse,b LIST RISCV64",
            "P push --purge LIST",
        ],
    },
    Way {
        name: "begun-by-polyarch",
        steps: &[
            "P create LIST AMD64 ARM64 ARM RISCV64",
            "D annotate --variant v8 LIST ARM64",
            "D annotate --os-features sse,b LIST RISCV64",
            "D push --purge LIST",
        ],
    },
    Way {
        name: "in-turns",
        steps: &[
            "P create LIST ARM",
            "D create --amend LIST AMD64",
            "P create --amend LIST RISCV64",
            "D annotate --os-features sse LIST RISCV64",
            "P annotate --os-features b LIST RISCV64",
            "D create --amend LIST ARM64",
            "P annotate --platform linux/arm64/v8 LIST ARM64",
            "D push LIST",
            "P rm LIST",
        ],
    },
];

/// Plays one way with the images of `sources`, and gives the digest of the list.
fn play(world: &World, cli: &Cli, sources: &str, target: &str, way: &Way) -> String {
    let list = world.registry.at(target);
    for step in way.steps {
        let mut words: Vec<String> = step
            .split(' ')
            .map(|word| {
                let platform = match word {
                    "LIST" => return list.clone(),
                    "AMD64" => PLATFORMS[0],
                    "ARM64" => PLATFORMS[1],
                    "ARM" => PLATFORMS[2],
                    "RISCV64" => PLATFORMS[3],
                    other => return other.to_owned(),
                };
                world.registry.at(&format!("{sources}:v1-{}", suffix(platform)))
            })
            .collect();
        let docker = words.remove(0) == "D";
        // Docker must be told for reading that a loopback registry has no TLS.
        if docker && matches!(words[0].as_str(), "create" | "push") {
            words.insert(1, "--insecure".to_owned());
        }
        words.insert(0, "manifest".to_owned());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if docker {
            cli.run(world, &words);
        } else {
            world.polyarch(&words);
        }
    }
    let left = world.sandbox.path("docker/manifests");
    let left = std::fs::read_dir(left).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{}: the draft is still there", way.name);
    world.registry.digest(target)
}

/// Images of OCI types from polyarch and, if there is a daemon, of docker's types from Docker Engine.
fn sources(world: &World, engine: Option<&Engine>) -> Vec<&'static str> {
    let image = world.registry.at(&format!("{OCI}:v1"));
    let programs = world.hello();
    let binaries = PLATFORMS.map(|platform| format!("{platform}={}/hello-{}", programs.display(), suffix(platform)));
    let mut words = vec!["pack", "--single", "--push", "-t", &image];
    words.extend(binaries.iter().map(String::as_str));
    world.polyarch(&words);
    let Some(engine) = engine else { return vec![OCI] };
    for archive in hello(world) {
        let image = world.registry.at(&format!("{DOCKER}:v1-{}", suffix(archive.platform)));
        engine.docker(&["load", "--input", archive.path.to_str().unwrap()]);
        engine.docker(&["tag", &archive.name, &image]);
        engine.docker(&["push", &image]);
    }
    vec![OCI, DOCKER]
}

#[test]
fn docker_and_polyarch_finish_each_others_lists() {
    let world = World::new();
    let engine = Engine::start(&world);
    let sources = sources(&world, engine.as_ref());
    for cli in Cli::all(&world) {
        for source in &sources {
            if *source == OCI && !cli.knows_oci() {
                clients::skip(&format!("docker {} does not put OCI images into lists", cli.version));
                continue;
            }
            // In the repository of the images, and in another one, where the images have to go along.
            for own in [true, false] {
                let place = |way: &Way| {
                    if own { format!("{source}:{}", way.name) } else { format!("{source}-{}:v1", way.name) }
                };
                let digests = WAYS.map(|way| {
                    let digest = play(&world, &cli, source, &place(&way), &way);
                    (way.name, digest)
                });
                for (name, digest) in &digests {
                    assert_eq!(*digest, digests[0].1, "{name} with docker {} and {source}", cli.version);
                }
            }
            let Some(engine) = &engine else { continue };
            let list = world.registry.at(&format!("{source}-begun-by-docker:v1"));
            engine.forget_all();
            let greeting = engine.docker(&["run", "--rm", "--network", "none", &list, "/hello"]);
            assert_eq!(greeting, format!("hello from {}\n", clients::native()));
        }
    }
}
