//! The whole cycle over TLS with a user: log in, push, pull, list tags, delete, log out. Without a login nothing goes.

use std::path::{Path, PathBuf};

use crate::clients::{apart, find, may_mount, skip};
use crate::engine::Engine;
use crate::podman::Podman;
use crate::sandbox::Run;
use crate::skopeo::Skopeo;
use crate::world::World;

/// A registry with two images of `seed/app`, made and pushed by polyarch: `v1` and `v2`.
fn seeded() -> World {
    let world = World::secured();
    let host = world.registry.at("");
    let login = ["login", "--username", "bob", "--password-stdin", host.trim_end_matches('/')];
    world.sandbox.polyarch_reading(&login, "secret").success();
    let hello = world.hello();
    for tag in ["v1", "v2"] {
        let programs: Vec<String> = ["amd64", "arm64"]
            .iter()
            .map(|architecture| {
                let program = find_program(&hello, architecture);
                // Bytes behind the end of a program are no part of it, but the images differ.
                let other = world.sandbox.path(&format!("hello-{tag}-{architecture}"));
                std::fs::write(&other, [std::fs::read(program).unwrap(), tag.as_bytes().to_vec()].concat()).unwrap();
                format!("linux/{architecture}={}", other.display())
            })
            .collect();
        let image = world.registry.at(&format!("seed/app:{tag}"));
        world.polyarch(&["pack", "--push", "-t", &image, &programs[0], &programs[1]]);
    }
    world
}

fn find_program(directory: &Path, architecture: &str) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    files
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(architecture)))
        .unwrap_or_else(|| panic!("no program for {architecture} in {}", directory.display()))
}

#[track_caller]
fn refused(run: &Run) {
    assert!(run.code != Some(0), "{}: it went well without a login\n{}", run.line, run.shown());
    let text = format!("{}{}", run.stdout, run.stderr).to_lowercase();
    let words = ["unauthorized", "authentication required", "no basic auth", "401", "denied", "invalid username"];
    assert!(words.iter().any(|word| text.contains(word)), "{}: {text}", run.line);
}

#[test]
fn skopeo_goes_the_whole_way_with_a_user() {
    let world = seeded();
    let Some(skopeo) = Skopeo::find(&world) else { return };
    let host = world.registry.at("");
    let host = host.trim_end_matches('/');
    let certs = world.path("certs");
    let at = |name: &str| format!("docker://{host}/{name}");
    refused(&skopeo.try_skopeo(&["inspect", "--raw", "--cert-dir", &certs, &at("seed/app:v1")]));
    let wrong = skopeo.try_skopeo(&["login", "--cert-dir", &certs, "-u", "bob", "-p", "wrong", host]);
    refused(&wrong);
    skopeo.skopeo(&["login", "--cert-dir", &certs, "-u", "bob", "-p", "secret", host]);
    let layout = format!("oci:{}", world.path("layout"));
    for tag in ["v1", "v2"] {
        let (seed, copy) = (at(&format!("seed/app:{tag}")), at(&format!("skopeo/app:{tag}")));
        let local = format!("{layout}:{tag}");
        skopeo.skopeo(&["copy", "--quiet", "--all", "--src-cert-dir", &certs, &seed, &local]);
        skopeo.skopeo(&["copy", "--quiet", "--all", "--dest-cert-dir", &certs, &local, &copy]);
        let raw = |name: &str| skopeo.skopeo(&["inspect", "--raw", "--cert-dir", &certs, name]);
        assert_eq!(raw(&copy), raw(&seed));
    }
    let tags = || skopeo.skopeo(&["list-tags", "--cert-dir", &certs, &at("skopeo/app")]);
    assert!(tags().contains("\"v1\"") && tags().contains("\"v2\""), "{}", tags());
    skopeo.skopeo(&["delete", "--cert-dir", &certs, &at("skopeo/app:v1")]);
    assert!(!tags().contains("\"v1\"") && tags().contains("\"v2\""), "{}", tags());
    skopeo.skopeo(&["logout", host]);
    refused(&skopeo.try_skopeo(&["inspect", "--raw", "--cert-dir", &certs, &at("seed/app:v1")]));
}

#[test]
fn podman_goes_the_whole_way_with_a_user() {
    let world = seeded();
    let Some(podman) = Podman::find(&world) else { return };
    let host = world.registry.at("");
    let host = host.trim_end_matches('/');
    let certs = world.path("certs");
    let (seed, mine) = (world.registry.at("seed/app:v1"), world.registry.at("podman/app:v1"));
    refused(&podman.run(&["pull", "--quiet", "--cert-dir", &certs, &seed]));
    podman.podman(&["login", "--cert-dir", &certs, "-u", "bob", "-p", "secret", host]);
    podman.podman(&["pull", "--quiet", "--cert-dir", &certs, &seed]);
    podman.podman(&["tag", &seed, &mine]);
    podman.podman(&["push", "--quiet", "--cert-dir", &certs, &mine]);
    podman.podman(&["rmi", "--force", &seed, &mine]);
    podman.podman(&["pull", "--quiet", "--cert-dir", &certs, &mine]);
    podman.podman(&["logout", host]);
    podman.podman(&["rmi", "--force", &mine]);
    refused(&podman.run(&["pull", "--quiet", "--cert-dir", &certs, &mine]));
}

#[test]
fn buildah_goes_the_whole_way_with_a_user() {
    let world = seeded();
    let Some(program) = find("buildah") else { return };
    if !may_mount("buildah") {
        return;
    }
    let auth = world.sandbox.path("auth.json");
    std::fs::write(&auth, "{}").unwrap();
    let (store, state) = (world.path("buildah/store"), world.path("buildah/state"));
    let run = |arguments: &[&str]| {
        let flags = ["--root", &store, "--runroot", &state, "--storage-driver", "vfs"];
        let mut command = apart(&world.sandbox, &program, &[&flags, arguments].concat());
        outcome("buildah", arguments, command.env("REGISTRY_AUTH_FILE", &auth))
    };
    let host = world.registry.at("");
    let host = host.trim_end_matches('/');
    let certs = world.path("certs");
    let (seed, mine) = (world.registry.at("seed/app:v1"), world.registry.at("buildah/app:v1"));
    refused(&run(&["pull", "--quiet", "--cert-dir", &certs, &seed]));
    run(&["login", "--cert-dir", &certs, "-u", "bob", "-p", "secret", host]).success();
    run(&["pull", "--quiet", "--cert-dir", &certs, &seed]).success();
    run(&["push", "--quiet", "--cert-dir", &certs, &seed, &format!("docker://{mine}")]).success();
    run(&["rmi", "--all", "--force"]).success();
    run(&["pull", "--quiet", "--cert-dir", &certs, &mine]).success();
    run(&["logout", host]).success();
    refused(&run(&["pull", "--quiet", "--cert-dir", &certs, &seed]));
}

#[test]
fn docker_engine_goes_the_whole_way_with_a_user() {
    let world = seeded();
    let Some(engine) = Engine::start(&world) else { return };
    let host = world.registry.at("");
    let host = host.trim_end_matches('/');
    let (seed, mine) = (world.registry.at("seed/app:v1"), world.registry.at("engine/app:v1"));
    // polyarch's own login is where docker looks for one.
    engine.run(&["logout", host]);
    refused(&engine.run(&["pull", &seed]));
    refused(&engine.run(&["login", "-u", "bob", "-p", "wrong", host]));
    engine.docker(&["login", "-u", "bob", "-p", "secret", host]);
    engine.docker(&["pull", &seed]);
    engine.docker(&["tag", &seed, &mine]);
    engine.docker(&["push", &mine]);
    engine.forget_all();
    engine.docker(&["pull", &mine]);
    engine.docker(&["logout", host]);
    engine.forget_all();
    refused(&engine.run(&["pull", &mine]));
}

/// A client that this repository does not install: its path is in a variable.
fn named(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        skip(&format!("no {} (set {variable})", variable.trim_start_matches("POLYARCH_").to_lowercase()));
    }
    path
}

fn outcome(name: &str, arguments: &[&str], command: &mut std::process::Command) -> Run {
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    Run {
        line: format!("{name} {}", arguments.join(" ")),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn crane_goes_the_whole_way_with_a_user() {
    let Some(program) = named("POLYARCH_CRANE") else { return };
    let world = seeded();
    let run = |arguments: &[&str]| {
        let mut command = world.sandbox.command(&program, arguments);
        let own = command.env("DOCKER_CONFIG", world.sandbox.path("crane"));
        outcome("crane", arguments, own.env("SSL_CERT_FILE", world.sandbox.path("certs/ca.crt")))
    };
    let host = world.registry.at("");
    let host = host.trim_end_matches('/');
    let (seed, mine) = (world.registry.at("seed/app"), world.registry.at("crane/app"));
    refused(&run(&["digest", &format!("{seed}:v1")]));
    run(&["auth", "login", host, "-u", "bob", "-p", "secret"]).success();
    for tag in ["v1", "v2"] {
        run(&["copy", &format!("{seed}:{tag}"), &format!("{mine}:{tag}")]).success();
    }
    let digest = |name: String| run(&["digest", &name]).success();
    assert_eq!(digest(format!("{seed}:v1")), digest(format!("{mine}:v1")));
    run(&["validate", "--remote", &format!("{mine}:v1")]).success();
    assert_eq!(run(&["ls", &mine]).success(), "v1\nv2\n");
    run(&["delete", &format!("{mine}:v1")]).success();
    assert_eq!(run(&["ls", &mine]).success(), "v2\n");
    run(&["auth", "logout", host]).success();
    refused(&run(&["digest", &format!("{seed}:v1")]));
}

#[test]
fn regctl_goes_the_whole_way_with_a_user() {
    let Some(program) = named("POLYARCH_REGCTL") else { return };
    let world = seeded();
    let run = |arguments: &[&str]| {
        let mut command = world.sandbox.command(&program, arguments);
        let own = command.env("DOCKER_CONFIG", world.sandbox.path("regctl"));
        let own = own.env("REGCTL_CONFIG", world.sandbox.path("regctl.json"));
        outcome("regctl", arguments, own.env("SSL_CERT_FILE", world.sandbox.path("certs/ca.crt")))
    };
    let host = world.registry.at("");
    let host = host.trim_end_matches('/');
    let (seed, mine) = (world.registry.at("seed/app"), world.registry.at("regctl/app"));
    refused(&run(&["manifest", "head", &format!("{seed}:v1")]));
    run(&["registry", "login", host, "-u", "bob", "-p", "secret"]).success();
    for tag in ["v1", "v2"] {
        run(&["image", "copy", &format!("{seed}:{tag}"), &format!("{mine}:{tag}")]).success();
    }
    let digest = |name: String| run(&["manifest", "head", &name]).success();
    assert_eq!(digest(format!("{seed}:v1")), digest(format!("{mine}:v1")));
    assert_eq!(run(&["tag", "ls", &mine]).success(), "v1\nv2\n");
    run(&["tag", "delete", &format!("{mine}:v1")]).success();
    assert_eq!(run(&["tag", "ls", &mine]).success(), "v2\n");
    run(&["registry", "logout", host]).success();
    refused(&run(&["manifest", "head", &format!("{seed}:v1")]));
}
