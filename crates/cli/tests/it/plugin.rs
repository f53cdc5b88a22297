//! As a plugin of docker.

#![cfg(unix)]

use std::path::PathBuf;

use crate::sandbox::{POLYARCH, Run, Sandbox};

/// Docker's CLI, if this machine has it.
fn docker() -> Option<PathBuf> {
    let found =
        std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join("docker")).find(|path| path.is_file());
    if found.is_none() {
        use std::io::Write as _;

        // Past the test runner's capture: a test that did nothing must not look like one that passed.
        let _ = writeln!(std::io::stderr(), "skipped: no docker");
    }
    found
}

/// A user whose docker has the plugin.
fn with_plugin() -> Sandbox {
    let sandbox = Sandbox::new();
    let plugins = sandbox.path("docker/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::os::unix::fs::symlink(POLYARCH, plugins.join("docker-polyarch")).unwrap();
    sandbox
}

fn plugin(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    sandbox.run(sandbox.path("docker/cli-plugins/docker-polyarch"), arguments)
}

#[test]
fn docker_is_told_what_the_plugin_is() {
    let sandbox = with_plugin();
    let metadata = plugin(&sandbox, &["docker-cli-plugin-metadata"]).success();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["SchemaVersion"], "0.1.0");
    assert_eq!(metadata["Version"], env!("CARGO_PKG_VERSION"));
    assert!(metadata["Vendor"].is_string() && metadata["ShortDescription"].is_string());
}

#[test]
fn usage_lines_say_docker_polyarch() {
    let sandbox = with_plugin();
    let help = plugin(&sandbox, &["polyarch", "manifest", "create", "--help"]).success();
    assert!(help.starts_with("Usage:  docker polyarch manifest create "), "{help}");
    let help = plugin(&sandbox, &["polyarch", "images", "--help"]).success();
    assert!(help.contains("Usage: docker polyarch images "), "{help}");
    plugin(&sandbox, &["polyarch", "manifest", "push"]).fails_with(
        1,
        "docker: 'docker polyarch manifest push' requires 1 argument\n\n\
         Usage:  docker polyarch manifest push [OPTIONS] MANIFEST_LIST\n\n\
         Run 'docker polyarch manifest push --help' for more information\n",
    );
}

#[test]
fn dockers_global_flags_are_taken() {
    let sandbox = with_plugin();
    let line = ["-H", "tcp://127.0.0.1:1", "-c", "default", "--tlsverify", "-l", "debug", "polyarch", "version"];
    plugin(&sandbox, &line).success();
    plugin(&sandbox, &["--config", "elsewhere", "--tls=false", "polyarch", "version"]).success();
}

#[test]
fn docker_runs_it() {
    let Some(docker) = docker() else { return };
    let sandbox = with_plugin();
    let info = sandbox
        .run(&docker, &["info", "--format", "{{range .ClientInfo.Plugins}}{{.Name}} {{.Version}} {{.Err}}\n{{end}}"]);
    assert!(info.stdout.contains(&format!("polyarch {} <nil>\n", env!("CARGO_PKG_VERSION"))), "{}", info.shown());
    let version = sandbox.run(&docker, &["polyarch", "version"]).success();
    assert_eq!(version, format!("polyarch {}\n", env!("CARGO_PKG_VERSION")));
    let help = sandbox.run(&docker, &["polyarch", "manifest", "--help"]).success();
    assert!(help.starts_with("Usage:  docker polyarch manifest COMMAND\n"), "{help}");
    let help = sandbox.run(&docker, &["polyarch", "--help"]).success();
    assert!(help.contains("Usage: docker polyarch "), "{help}");
    let refused = sandbox.run(&docker, &["polyarch", "manifest", "create", "--bogus"]);
    assert_eq!(refused.code, Some(125), "{}", refused.shown());
    let elsewhere = sandbox.path("elsewhere");
    let plugins = elsewhere.join("cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::os::unix::fs::symlink(POLYARCH, plugins.join("docker-polyarch")).unwrap();
    let run = sandbox.run(&docker, &["--config", elsewhere.to_str().unwrap(), "-D", "polyarch", "version"]);
    run.success();
}
