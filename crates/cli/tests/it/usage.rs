//! Usage errors of `manifest` are docker's, word for word; help is laid out as docker's.

use crate::sandbox::Sandbox;

/// What stands between a message and its tail.
const CREATE: &str = "Usage:  polyarch manifest create MANIFEST_LIST MANIFEST [MANIFEST...]";
const ANNOTATE: &str = "Usage:  polyarch manifest annotate [OPTIONS] MANIFEST_LIST MANIFEST";
const INSPECT: &str = "Usage:  polyarch manifest inspect [OPTIONS] [MANIFEST_LIST] MANIFEST";
const PUSH: &str = "Usage:  polyarch manifest push [OPTIONS] MANIFEST_LIST";
const RM: &str = "Usage:  polyarch manifest rm MANIFEST_LIST [MANIFEST_LIST...]";

#[track_caller]
fn expect(line: &[&str], code: i32, message: &str, usage: &str, tail: &str) {
    let verb = usage.trim_start_matches("Usage:  polyarch manifest ").split(' ').next().unwrap_or_default();
    let verb = if verb == "COMMAND" { String::new() } else { format!(" {verb}") };
    let arguments: Vec<&str> = std::iter::once("manifest").chain(line.iter().copied()).collect();
    Sandbox::new().polyarch(&arguments).fails_with(
        code,
        &format!("{message}\n\n{usage}\n\n{tail} 'polyarch manifest{verb} --help' for more information\n"),
    );
}

#[test]
fn row_04_argument_count_messages() {
    let create = "polyarch: 'polyarch manifest create' requires at least 2 arguments";
    expect(&["create"], 1, create, CREATE, "See");
    expect(&["create", "a"], 1, create, CREATE, "See");
    expect(&["create", "--"], 1, create, CREATE, "See");
    expect(&["create", "help"], 1, create, CREATE, "See");
    let annotate = "polyarch: 'polyarch manifest annotate' requires 2 arguments";
    expect(&["annotate", "a"], 1, annotate, ANNOTATE, "Run");
    expect(&["annotate", "a", "b", "c"], 1, annotate, ANNOTATE, "Run");
    let inspect = "polyarch: 'polyarch manifest inspect' requires at least 1 and at most 2 arguments";
    expect(&["inspect"], 1, inspect, INSPECT, "Run");
    expect(&["inspect", "a", "b", "c"], 1, inspect, INSPECT, "Run");
    let push = "polyarch: 'polyarch manifest push' requires 1 argument";
    expect(&["push"], 1, push, PUSH, "Run");
    expect(&["push", "a", "--help=false", "b"], 1, push, PUSH, "Run");
    expect(&["rm"], 1, "polyarch: 'polyarch manifest rm' requires at least 1 argument", RM, "See");
    expect(
        &["ls", "x"],
        1,
        "polyarch: 'polyarch manifest ls' accepts no arguments",
        "Usage:  polyarch manifest ls [OPTIONS]",
        "Run",
    );
}

#[test]
fn row_03_flag_mistakes_end_with_125() {
    expect(&["create", "--bogus"], 125, "unknown flag: --bogus", CREATE, "Run");
    expect(&["create", "-ax", "a", "b"], 125, "unknown shorthand flag: 'x' in -x", CREATE, "Run");
    expect(&["create", "---", "a", "b"], 125, "bad flag syntax: ---", CREATE, "Run");
    expect(&["push", "a", "-D"], 125, "unknown shorthand flag: 'D' in -D", PUSH, "Run");
    expect(&["annotate", "a", "b", "--os"], 125, "flag needs an argument: --os", ANNOTATE, "Run");
    expect(
        &["create", "--amend=maybe", "a", "b"],
        125,
        "invalid argument \"maybe\" for \"-a, --amend\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        CREATE,
        "Run",
    );
    expect(
        &["inspect", "--insecure=", "a"],
        125,
        "invalid argument \"\" for \"--insecure\" flag: strconv.ParseBool: parsing \"\": invalid syntax",
        INSPECT,
        "Run",
    );
    expect(
        &["annotate", "--os-features", "\"a,b", "a", "b"],
        125,
        "invalid argument \"\\\"a,b\" for \"--os-features\" flag: \
         parse error on line 1, column 5: extraneous or missing \" in quoted-field",
        ANNOTATE,
        "Run",
    );
}

#[test]
fn row_03_mistakes_before_the_verb() {
    let group = "Usage:  polyarch manifest COMMAND";
    expect(&["bogus"], 1, "polyarch: unknown command: polyarch manifest bogus", group, "Run");
    expect(&["help"], 1, "polyarch: unknown command: polyarch manifest help", group, "Run");
    expect(&["--", "create", "a", "b"], 1, "polyarch: unknown command: polyarch manifest create", group, "Run");
    expect(&["bogus", "--x"], 125, "unknown flag: --x", group, "Run");
    // The flag takes `create` for its value.
    expect(&["--bogus", "create"], 125, "unknown flag: --bogus", group, "Run");
    Sandbox::new().words("manifest --bogus=1 create a b").fails_with(1, "unknown flag: --bogus\n");
    Sandbox::new().words("manifest -xy create a b").fails_with(1, "unknown shorthand flag: 'x' in -xy\n");
}

#[test]
fn row_03_the_bare_command_prints_usage_on_stderr_and_ends_well() {
    let run = Sandbox::new().words("manifest");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.starts_with("\nUsage:  polyarch manifest COMMAND\n\n"), "{}", run.stderr);
    assert_eq!(run.stderr[1..], Sandbox::new().words("manifest --help").success());
}

#[test]
fn row_01_help_names_dockers_flags_and_usage_lines() {
    for (verb, usage, flags) in [
        ("create", CREATE, &["  -a, --amend  ", "      --insecure  "][..]),
        (
            "annotate",
            ANNOTATE,
            &[
                "      --arch string  ",
                "      --os string  ",
                "      --os-features strings  ",
                "      --os-version string  ",
                "      --variant string  ",
            ],
        ),
        ("inspect", INSPECT, &["      --insecure  ", "  -v, --verbose  "]),
        ("push", PUSH, &["      --insecure  ", "  -p, --purge  "]),
        ("rm", RM, &[]),
    ] {
        for line in
            [format!("manifest {verb} --help"), format!("manifest {verb} -h a b c"), format!("manifest --help {verb}")]
        {
            let help = Sandbox::new().words(&line).success();
            assert!(help.starts_with(&format!("{usage}\n\n")), "{line}: {help}");
            for flag in flags {
                assert!(help.lines().any(|line| line.starts_with(flag)), "{line}: no `{flag}` in {help}");
            }
        }
    }
}

#[test]
fn row_02_a_mistake_is_told_before_help_is_given() {
    expect(&["create", "--help", "--bogus"], 125, "unknown flag: --bogus", CREATE, "Run");
}

#[test]
fn control_characters_in_arguments_do_not_reach_the_terminal() {
    let run = Sandbox::new().polyarch(&["manifest", "create", "--\u{1b}[31m", "a"]);
    assert!(run.stderr.starts_with("unknown flag: --\\u{1b}[31m\n"), "{}", run.stderr);
    let run = Sandbox::new().polyarch(&["manifest", "\u{1b}]0;x\u{7}"]);
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;

    let sandbox = Sandbox::new();
    let mut command = sandbox.command(crate::sandbox::POLYARCH, &["manifest", "inspect"]);
    let output = command.arg(std::ffi::OsStr::from_bytes(b"a\xff")).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("argument is not text: \"a\u{fffd}\"\n"));
}
