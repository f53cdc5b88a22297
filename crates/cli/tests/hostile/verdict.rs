//! What every failure has to look like, whatever it was.

use crate::sandbox::Run;
use crate::world::SECRETS;

/// Traces of a program that shows its inside.
pub(crate) const INNARDS: [&str; 16] = [
    "panicked",
    "RUST_BACKTRACE",
    "stack backtrace",
    "unwrap()",
    "Some(",
    "None,",
    "Ok(",
    "Err(",
    "ClientError",
    "StoreError",
    "ListError",
    "ErrorKind",
    "kind:",
    "source:",
    "hyper::",
    "reqwest::",
];

/// Lines that may stand beside the error.
const BESIDE: [&str; 4] = ["hint: ", "warning: ", "note: ", "WARNING: "];

/// Longest line that a person can be expected to read.
const LONGEST: usize = 3000;

/// Asserts what holds for all output: nothing that drives a terminal, no secret, nothing of the program's inside.
#[track_caller]
pub(crate) fn decent(run: &Run) {
    for (stream, text) in [("stdout", &run.stdout), ("stderr", &run.stderr)] {
        let bad = text.chars().find(|&c| {
            (c.is_control() && !matches!(c, '\n' | '\t'))
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        });
        assert_eq!(bad, None, "{stream} of {}\n{:?}", run.line, run.shown());
        for secret in SECRETS {
            assert!(!text.contains(secret), "{stream} has the secret {secret}\n{}", run.shown());
        }
    }
    for trace in INNARDS {
        assert!(!run.stderr.contains(trace), "{trace}: {}\n{}", run.line, run.shown());
    }
    let longest = run.stderr.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(longest <= LONGEST, "{}: a line of {longest} characters\n{}", run.line, run.shown());
}

/// Asserts exactly one error, this exit code, nothing on stdout, and that the error says all of `says`.
#[track_caller]
pub(crate) fn one_error(run: &Run, code: i32, says: &[&str]) {
    decent(run);
    assert_eq!(run.code, Some(code), "{}\n{}", run.line, run.shown());
    assert_eq!(run.stdout, "", "{}\n{}", run.line, run.shown());
    only_error(run, says);
}

/// As [`one_error`], for a command that may have said on stdout what it did before it failed.
#[track_caller]
pub(crate) fn only_error(run: &Run, says: &[&str]) {
    let lines: Vec<&str> =
        run.stderr.lines().filter(|line| !BESIDE.iter().any(|beside| line.starts_with(beside))).collect();
    let is_manifest = run.line.split(' ').any(|word| word == "manifest");
    // Docker's form for several errors in one answer.
    let several = is_manifest && lines.first().is_some_and(|line| line.ends_with("errors:"));
    assert!(lines.len() == 1 || several, "one error: {}\n{}", run.line, run.shown());
    assert_eq!(lines[0].starts_with("error: "), !is_manifest, "{}\n{}", run.line, run.shown());
    let hints = run.stderr.lines().filter(|line| line.starts_with("hint: ")).count();
    assert!(hints <= 1, "{}\n{}", run.line, run.shown());
    for words in says {
        assert!(lines[0].contains(words), "`{words}` is not said: {}\n{}", run.line, run.shown());
    }
    // Docker's own words can be as short as `unauthorized`.
    assert!(is_manifest || lines[0].chars().count() > 20, "says nothing: {}\n{}", run.line, run.shown());
}
