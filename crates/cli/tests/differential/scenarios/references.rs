//! References, good and bad.

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    let long = format!("R/t/app:{}", "x".repeat(129));
    let id = "0123456789abcdef".repeat(4);
    let bad =
        ["''", ":", "'a b'", "foo:tag:x", "foo@sha256:abc", "http://x/y", "foo/", "UPPER", "x/UPPER:l", &long, &id];
    let mut scenarios = Vec::new();
    for (verb, before, after) in [
        ("create as a list", "create", "R/t/app:amd64"),
        ("push", "push", ""),
        ("rm", "rm", ""),
        ("inspect", "inspect --insecure", ""),
        ("annotate as a list", "annotate", "R/t/app:amd64"),
    ] {
        let lines: Vec<String> = bad.iter().map(|name| format!("{before} {name} {after}")).collect();
        scenarios.push(plain(&format!("bad references for {verb}"), &lines.join("\n")));
    }
    for (verb, before) in [("create", "create --insecure R/t/app:l"), ("annotate", "annotate R/t/app:l")] {
        let lines: Vec<String> = bad.iter().map(|name| format!("{before} {name}")).collect();
        scenarios.push(plain(&format!("bad references for {verb} as an image"), &lines.join("\n")));
    }
    scenarios.push(plain(
        "references of every shape in local commands",
        "push foo
         push bob/app
         push index.docker.io/bob/app:x
         push BAD/x
         push '[::1]:5000/x:y'
         push localhost/x
         push a.b/c@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
         push a.b/c:t@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
         rm foo bob/app BAD/x
         inspect foo bar:baz",
    ));
    scenarios
}
