//! `docker polyarch …`: the binary as a plugin of docker's CLI.

use std::os::unix::fs::symlink;

use crate::engine::Cli;
use crate::images::{PLATFORMS, suffix};
use crate::sandbox::POLYARCH;
use crate::world::World;

#[test]
fn a_list_is_made_with_docker_polyarch() {
    let world = World::new();
    let plugins = world.sandbox.path("docker/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    symlink(POLYARCH, plugins.join("docker-polyarch")).unwrap();
    let programs = world.hello();
    let mut lists = Vec::new();
    for (number, cli) in Cli::all(&world).into_iter().enumerate() {
        let name = format!("plugin{number}/hello:v1");
        let image = world.registry.at(&name);
        let plugin = |words: &[&str]| cli.run(&world, &[&["polyarch"], words].concat());
        let manifest = |words: &[&str]| plugin(&[&["manifest"], words].concat());

        let binaries =
            PLATFORMS.map(|platform| format!("{platform}={}/hello-{}", programs.display(), suffix(platform)));
        let mut words = vec!["pack", "--single", "--push", "-t", &image];
        words.extend(binaries.iter().map(String::as_str));
        plugin(&words);
        let singles = PLATFORMS.map(|platform| format!("{image}-{}", suffix(platform)));
        let mut words = vec!["create", &image];
        words.extend(singles.iter().map(String::as_str));
        assert_eq!(manifest(&words), format!("Created manifest list {image}\n"));
        assert_eq!(manifest(&["annotate", "--variant", "v8", &image, &singles[1]]), "");
        assert!(manifest(&["ls"]).contains(&image));
        // What docker shows of the draft, with its own words.
        let theirs = cli.run(&world, &["manifest", "inspect", &image]);
        assert_eq!(manifest(&["inspect", &image]), theirs);
        let pushed = manifest(&["push", &image]);
        assert_eq!(pushed.trim(), world.registry.digest(&name));
        assert_eq!(manifest(&["rm", &image]), "");
        lists.push(pushed);

        // Exit codes and messages come through docker as they are.
        let refused = world.sandbox.run(&cli.program, &["polyarch", "manifest", "push", &image]);
        refused.fails_with(1, &format!("No such manifest: {image}\n"));
        let refused = world.sandbox.run(&cli.program, &["polyarch", "manifest", "push", "--bogus", &image]);
        assert_eq!(refused.code, Some(125), "{}", refused.shown());
        // A configuration elsewhere, told to docker, is the one that the plugin works with.
        let elsewhere = world.sandbox.path(&format!("elsewhere{number}"));
        std::fs::create_dir_all(elsewhere.join("cli-plugins")).unwrap();
        symlink(POLYARCH, elsewhere.join("cli-plugins/docker-polyarch")).unwrap();
        let config = ["--config", elsewhere.to_str().unwrap()];
        cli.run(&world, &[&config[..], &["polyarch", "manifest", "create", &image, &singles[0]]].concat());
        assert!(elsewhere.join("manifests").is_dir());
        assert!(!manifest(&["ls"]).contains(&image));
    }
    assert!(lists.windows(2).all(|pair| pair[0] == pair[1]), "{lists:?}");
}
