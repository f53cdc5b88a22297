//! What every command has in common, and the commands that need nothing.

use std::process::Stdio;

use crate::sandbox::{POLYARCH, Sandbox};

#[test]
fn version_is_told_in_both_forms() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(Sandbox::new().words("version").success(), format!("polyarch {version}\n"));
    assert_eq!(Sandbox::new().words("--version").success(), format!("polyarch {version}\n"));
    let report: serde_json::Value = serde_json::from_str(&Sandbox::new().words("version --json").success()).unwrap();
    assert_eq!(report["version"], version);
}

#[test]
fn usage_mistakes_end_with_2() {
    for line in ["bogus", "images --bogus", "tag a", "pack -t x linux/amd64", "serve --listen nowhere", ""] {
        let run = Sandbox::new().words(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.shown());
        assert!(run.stderr.contains("Usage: polyarch") || run.stderr.contains("try '--help'"), "{}", run.shown());
    }
}

#[test]
fn control_characters_in_arguments_do_not_reach_the_terminal() {
    let run = Sandbox::new().polyarch(&["push", "\u{1b}[31mx"]);
    assert_eq!(run.code, Some(2));
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.shown());
}

#[test]
fn debug_says_on_stderr_what_is_asked_and_changes_nothing_else() {
    let lab = lab::Lab::start();
    lab::images::image("linux/amd64", 1, lab::images::Flavour::Oci).push(&lab, "app", Some("v1"));
    let sandbox = Sandbox::new();
    let image = lab.reference("app", "v1");
    let plain = sandbox.polyarch(&["manifest", "inspect", &image]);
    let debug = sandbox.polyarch(&["-D", "manifest", "inspect", &image]);
    assert_eq!((plain.code, &plain.stdout, plain.stderr.as_str()), (debug.code, &debug.stdout, ""));
    assert!(debug.stderr.contains("/v2/app/manifests/v1"), "{}", debug.shown());
}

#[test]
fn a_log_filter_that_is_none_is_said_so_and_survived() {
    let mut sandbox = Sandbox::new();
    sandbox.set("POLYARCH_LOG", "=!");
    let run = sandbox.words("version");
    assert_eq!(run.code, Some(0));
    assert!(run.stderr.starts_with("warning: `POLYARCH_LOG` is not understood: "), "{}", run.shown());
}

#[test]
fn completions_name_the_verbs_of_manifest() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Sandbox::new().words(&format!("completion {shell}")).success();
        assert!(script.contains("annotate") && script.contains("os-features"), "{shell}");
    }
}

#[test]
fn a_closed_pipe_ends_nothing() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.command(POLYARCH, &["completion", "bash"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_a_failure() {
    let sandbox = Sandbox::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = sandbox.command(POLYARCH, &["version"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("error: failed to write to standard output: "), "{stderr}");
}
