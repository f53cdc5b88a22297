//! The scenarios that were written by hand.

use lab::{Auth, Quirks};

use crate::script::Scenario;

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    [usage(), references(), create(), annotate(), inspect(), push(), store(), transport()].concat()
}

fn plain(name: &str, lines: &str) -> Scenario {
    Scenario::new(name, lines)
}

fn usage() -> Vec<Scenario> {
    vec![
        plain(
            "argument counts",
            "create
             create R/t/app:l
             annotate R/t/app:l
             annotate a b c
             inspect
             inspect a b c
             push
             push a b
             rm
             rm --
             bogus
             help",
        ),
        plain(
            "unknown flags",
            "create --bogus a b
             create -x a b
             create -ax a b
             create --amen a b
             create --- a b
             create --=x a b
             create -a= a b
             create -é a b
             push -D a
             push a --debug
             bogus --x
             --bogus create a b
             --bogus=1 create a b
             -xy create a b
             -- create a b",
        ),
        plain(
            "bad values of flags",
            "create --amend=maybe a b
             create -a=maybe a b
             create --insecure= a b
             inspect -v=2 a
             push --purge=yes a
             annotate a b --os
             annotate --os-features 'a\"b' a b
             annotate --os-features '\"a' a b",
        ),
        plain(
            "flags anywhere, repeated and switched off",
            "create R/t/app:l --amend R/t/app:amd64 --amend R/t/app:arm64 --insecure
             inspect --verbose=false R/t/app:l
             create --amend=false R/t/app:l --insecure R/t/app:amd64
             create -a=1 --insecure=T R/t/app:l -- R/t/app:s390x
             push R/t/app:l -p=false --insecure
             push --purge --purge=0 R/t/app:l
             push -p R/t/app:l
             push -p R/t/app:l",
        ),
        plain(
            "elsewhere by --config",
            "@--config elsewhere manifest create --insecure R/t/app:l R/t/app:amd64
             @--config elsewhere manifest inspect R/t/app:l
             inspect R/t/app:l R/t/app:amd64
             @--config=elsewhere manifest rm R/t/app:l",
        ),
    ]
}

fn references() -> Vec<Scenario> {
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

fn create() -> Vec<Scenario> {
    vec![
        plain(
            "create, inspect, push, rm in one repository",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:arm64 R/t/app:armv7
             inspect R/t/app:l
             inspect -v R/t/app:l
             inspect R/t/app:l R/t/app:armv7
             inspect -v R/t/app:l R/t/app:armv7
             push R/t/app:l
             rm R/t/app:l
             inspect --insecure R/t/app:l
             inspect --insecure -v R/t/app:l",
        ),
        plain(
            "the order is that of file names, not of the command line",
            "create --insecure R/t/app:l R/t/app:s390x R/t/app:armv7 R/t/app:amd64
             inspect R/t/app:l
             push R/t/app:l",
        ),
        plain(
            "OCI images",
            "create --insecure R/t/oci:l R/t/oci:amd64 R/t/oci:arm64 R/t/oci:untyped
             inspect R/t/oci:l
             inspect -v R/t/oci:l
             push R/t/oci:l
             inspect --insecure R/t/oci:untyped
             inspect --insecure -v R/t/oci:untyped",
        ),
        plain(
            "docker and OCI images in one list: the first decides",
            "create --insecure R/t/target:l R/t/app:amd64 R/t/oci:arm64
             inspect R/t/target:l
             push R/t/target:l
             create --insecure R/t/other:l R/t/oci:arm64 R/t/app-arm64:v1
             inspect R/t/other:l
             push R/t/other:l",
        ),
        plain(
            "variant, os.version and os.features come from the config",
            "create --insecure R/t/app:l R/t/app:armv7 R/t/app:arm64v8 R/t/app-win:ltsc
             inspect R/t/app:l
             inspect -v R/t/app:l
             push R/t/app:l",
        ),
        plain(
            "keys of a config in any case",
            "create --insecure R/t/odd:l R/t/odd:case
             inspect R/t/odd:l
             inspect --insecure -v R/t/odd:case",
        ),
        plain(
            "HTML is escaped in lists and not in images",
            "create --insecure R/t/odd:l R/t/odd:html R/t/oci:untyped
             inspect R/t/odd:l
             inspect -v R/t/odd:l
             inspect R/t/odd:l R/t/oci:untyped
             inspect --insecure R/t/oci:untyped
             inspect --insecure -v R/t/oci:untyped
             push R/t/odd:l",
        ),
        plain(
            "an existing list is not touched without --amend",
            "create --insecure R/t/app:l R/t/app:amd64
             create --insecure R/t/app:l R/t/app:arm64
             create R/t/app:l R/t/app:nope
             inspect R/t/app:l",
        ),
        plain(
            "--amend adds and keeps annotations",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:arm64
             annotate R/t/app:l R/t/app:arm64 --variant v9 --os-version 7
             create --insecure --amend R/t/app:l R/t/app:armv7
             create --insecure -a R/t/app:l R/t/app:arm64
             inspect R/t/app:l
             push R/t/app:l",
        ),
        plain(
            "--amend makes a list that is not there",
            "create --insecure --amend R/t/app:l R/t/app:amd64
             inspect R/t/app:l",
        ),
        plain(
            "--amend keeps what a moved tag was",
            "create --insecure R/t/app:l R/t/app:amd64
             !tag t/app amd64 s390x
             create --insecure --amend R/t/app:l R/t/app:amd64 R/t/app:arm64
             inspect R/t/app:l",
        ),
        plain(
            "one image twice",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:amd64
             inspect R/t/app:l
             push R/t/app:l",
        ),
        plain(
            "one digest under two names",
            "!tag t/app same amd64
             create --insecure R/t/app:l R/t/app:amd64 R/t/app:same
             inspect R/t/app:l
             push R/t/app:l",
        ),
        plain(
            "by digest",
            "create --insecure R/t/app:l R/t/app@amd64@ R/t/app@arm64@
             inspect R/t/app:l
             inspect -v R/t/app:l
             annotate R/t/app:l R/t/app@arm64@ --variant v9
             inspect R/t/app:l R/t/app@arm64@
             push R/t/app:l",
        ),
        plain(
            "by tag and digest",
            "create --insecure R/t/app:l R/t/app:amd64@amd64@
             inspect R/t/app:l
             inspect --insecure R/t/app:amd64@amd64@",
        ),
        plain(
            "by tag and digest after the tag moved",
            "!tag t/app moved arm64
             create --insecure R/t/app:l R/t/app:moved@amd64@
             inspect --insecure R/t/app:moved@amd64@",
        ),
        plain(
            "an image that is missing leaves no list behind",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:nope
             inspect R/t/app:l R/t/app:amd64
             create --insecure R/t/app:m R/t/app:nope R/t/app:amd64
             create --insecure R/t/app:m R/t/none:nope",
        ),
        plain(
            "a list as source is refused when asked to",
            "create {--strict} --insecure R/t/idx:l R/t/idx:oci
             create {--strict} --insecure R/t/idx:m R/t/idx:list
             create {--strict} --insecure R/t/idx:n R/t/idx:empty
             create {--strict} --insecure R/t/idx:o R/t/idx:nested
             create {--strict} --insecure --amend R/t/idx:l R/t/idx:attested",
        ),
        plain(
            "a list as source is flattened",
            "create --insecure R/t/idx:l R/t/idx:oci
             create --insecure R/t/idx:m R/t/idx:attested",
        ),
        plain(
            "attestations by digest are images to docker",
            "create --insecure R/t/idx:l R/t/idx:amd64 R/t/idx@att@
             inspect R/t/idx:l
             annotate R/t/idx:l R/t/idx@att@ --variant v1
             push R/t/idx:l",
        ),
        plain(
            "images whose config is none",
            "create --insecure R/t/odd:l1 R/t/odd:badconfig
             create --insecure R/t/odd:l2 R/t/odd:wrongtype
             create --insecure R/t/odd:l3 R/t/odd:helm
             inspect --insecure R/t/odd:badconfig
             inspect --insecure R/t/odd:wrongtype
             inspect --insecure R/t/odd:helm",
        ),
        plain(
            "an artifact with an empty config",
            "inspect --insecure R/t/odd:artifact
             inspect --insecure -v R/t/odd:artifact
             create --insecure R/t/odd:l R/t/odd:artifact
             inspect R/t/odd:l
             push R/t/odd:l",
        ),
        plain(
            "documents that are no manifests",
            "inspect --insecure R/t/odd:schema1
             inspect --insecure R/t/odd:json
             inspect --insecure R/t/odd:brace
             inspect --insecure R/t/odd:mismatch
             create --insecure R/t/odd:l R/t/odd:schema1
             create --insecure R/t/odd:l R/t/odd:json
             create --insecure R/t/odd:l R/t/odd:brace
             create --insecure R/t/odd:l R/t/odd:mismatch",
        ),
        plain(
            "two names that are one file name",
            "!tag t/app-amd64 v1 v1
             create --insecure R/t/app:l R/t/app:amd64-v1 R/t/app-amd64:v1",
        ),
        plain(
            "a list named by digest",
            "create --insecure R/t/app@arm64@ R/t/app:amd64
             inspect R/t/app@arm64@
             push R/t/app@arm64@",
        ),
    ]
}

fn annotate() -> Vec<Scenario> {
    vec![
        plain(
            "every flag of annotate",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:arm64
             annotate R/t/app:l R/t/app:arm64 --os freebsd --arch arm --variant v6 --os-version 1.2
             inspect R/t/app:l
             annotate --os-features a,b R/t/app:l R/t/app:arm64 --os-features b --os-features c
             inspect R/t/app:l
             annotate R/t/app:l R/t/app:arm64
             annotate --os linux --arch amd64 R/t/app:l R/t/app:amd64
             inspect -v R/t/app:l
             push R/t/app:l",
        ),
        plain(
            "an empty value is no value",
            "create --insecure R/t/app:l R/t/app:armv7
             annotate R/t/app:l R/t/app:armv7 --variant '' --os= --os-features '' --os-version=
             inspect R/t/app:l",
        ),
        plain(
            "what is not in the list",
            "annotate R/t/app:l R/t/app:amd64 --os linux
             create --insecure R/t/app:l R/t/app:amd64
             annotate R/t/app:l R/t/app:arm64 --os linux
             annotate R/t/app:l R/t/app@amd64@ --os linux
             annotate foo bar",
        ),
        plain(
            "platforms that docker does not know either",
            "create --insecure R/t/app:l R/t/app:amd64
             annotate R/t/app:l R/t/app:amd64 --arch bar
             annotate R/t/app:l R/t/app:amd64 --os foo
             annotate R/t/app:l R/t/app:amd64 --os foo --arch bar
             annotate R/t/app:l R/t/app:amd64 --os unknown --arch unknown
             annotate R/t/app:l R/t/app:amd64 --os solaris --arch 386
             inspect R/t/app:l",
        ),
        plain(
            "platforms that docker does not know yet",
            "create --insecure R/t/app:l R/t/app:loong64
             annotate R/t/app:l R/t/app:loong64 --variant v1
             annotate R/t/app:l R/t/app:loong64 --os windows --arch arm64
             annotate R/t/app:l R/t/app:loong64 --os wasip1 --arch wasm",
        ),
        plain(
            "every platform of docker's table",
            &std::iter::once("create --insecure R/t/app:l R/t/app:amd64".to_owned())
                .chain(
                    "darwin/386 darwin/amd64 darwin/arm darwin/arm64 dragonfly/amd64 freebsd/386 freebsd/amd64 \
                     freebsd/arm linux/386 linux/amd64 linux/arm linux/arm64 linux/ppc64le linux/mips64 \
                     linux/mips64le linux/riscv64 linux/s390x netbsd/386 netbsd/amd64 netbsd/arm openbsd/386 \
                     openbsd/amd64 openbsd/arm plan9/386 plan9/amd64 solaris/amd64 windows/386 windows/amd64"
                        .split_whitespace()
                        .filter_map(|platform| platform.split_once('/'))
                        .map(|(os, arch)| format!("annotate R/t/app:l R/t/app:amd64 --os {os} --arch {arch}")),
                )
                .collect::<Vec<_>>()
                .join("\n"),
        ),
        plain(
            "annotations with odd characters",
            "create --insecure R/t/app:l R/t/app:amd64
             annotate R/t/app:l R/t/app:amd64 --variant '<v&1>' --os-version 'é \"x\"' --os-features '\"a,b\",c'
             inspect R/t/app:l
             inspect -v R/t/app:l
             push R/t/app:l",
        ),
    ]
}

fn inspect() -> Vec<Scenario> {
    vec![
        plain(
            "single images",
            "inspect --insecure R/t/app:amd64
             inspect --insecure -v R/t/app:amd64
             inspect --insecure R/t/app@arm64@
             inspect --insecure -v R/t/app@arm64@
             inspect --insecure -v R/t/oci:arm64
             inspect --insecure -v R/t/app-win:ltsc
             inspect --insecure R/t/odd:unknown",
        ),
        plain(
            "lists and indexes",
            "inspect --insecure R/t/idx:oci
             inspect --insecure R/t/idx:list
             inspect --insecure R/t/idx:untyped
             inspect --insecure R/t/idx:docker-of-oci
             inspect --insecure R/t/idx:oci-of-docker
             inspect --insecure R/t/idx:noplatform
             inspect --insecure R/t/idx:attested",
        ),
        plain(
            "lists and indexes, verbose",
            "inspect --insecure -v R/t/idx:oci
             inspect --insecure -v R/t/idx:list
             inspect --insecure -v R/t/idx:untyped
             inspect --insecure -v R/t/idx:docker-of-oci
             inspect --insecure -v R/t/idx:noplatform
             inspect --insecure -v R/t/idx:attested
             inspect --insecure -v R/t/idx@oci@
             inspect --insecure -v R/t/idx:oci@oci@",
        ),
        plain(
            "an index with an artifact, and of images without platform",
            "inspect --insecure R/t/idx:noplatform
             create --insecure R/t/odd:l R/t/odd:noplatform R/t/odd:unknown
             inspect R/t/odd:l
             inspect -v R/t/odd:l
             push R/t/odd:l",
        ),
        plain(
            "indexes that docker cannot show",
            "inspect --insecure R/t/idx:empty
             inspect --insecure R/t/idx:sparse
             inspect --insecure R/t/idx:nested",
        ),
        plain(
            "what is not there",
            "inspect --insecure R/t/app:nope
             inspect --insecure R/t/nope:nope
             inspect --insecure -v R/t/app:nope
             inspect R/t/app:l R/t/app:amd64
             inspect --insecure R/t/app:l R/t/app:amd64
             inspect --insecure R/t/app@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        plain(
            "a local list hides the one of the registry",
            "create --insecure R/t/idx:oci R/t/app:amd64
             inspect --insecure R/t/idx:oci
             rm R/t/idx:oci
             inspect --insecure R/t/idx:oci",
        ),
        plain(
            "an image of a list by another spelling",
            "create --insecure R/t/app:l R/t/app:amd64
             inspect R/t/app:l R/t/app@amd64@
             inspect R/t/app:l L/t/app:amd64
             inspect R/t/app R/t/app:amd64",
        ),
    ]
}

fn push() -> Vec<Scenario> {
    vec![
        plain(
            "from other repositories",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1 R/t/app-armv7:v1
             push R/t/target:l
             push R/t/target:l
             rm R/t/target:l
             inspect --insecure R/t/target:l",
        ),
        plain(
            "from other repositories and the own one",
            "create --insecure R/t/app:l R/t/app-amd64:v1 R/t/app:arm64 R/t/oci:ppc64le
             push --insecure R/t/app:l",
        ),
        plain(
            "several versions of a list",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1
             push R/t/target:l --purge
             create --insecure R/t/target:l R/t/app-amd64:v2 R/t/app-arm64:v2
             push R/t/target:l --purge
             inspect R/t/target:l R/t/app-amd64:v2",
        ),
        plain(
            "what cannot be pushed",
            "push R/t/app:l
             !empty R/t/app:e
             push R/t/app:e
             create --insecure R/t/odd:l R/t/odd:noplatform R/t/app:amd64
             push R/t/odd:l
             push --purge R/t/odd:l
             annotate R/t/odd:l R/t/odd:noplatform --os linux --arch amd64
             push R/t/odd:l",
        ),
        plain(
            "an image has gone meanwhile",
            "create --insecure R/t/app:l R/t/app:amd64 R/t/app:arm64
             !delete t/app arm64
             push R/t/app:l
             push --purge R/t/app:l
             inspect R/t/app:l",
        ),
        plain(
            "an image of the own repository has gone meanwhile, others are pushed",
            "create --insecure R/t/app:l R/t/app-amd64:v1 R/t/app:arm64 R/t/oci:ppc64le
             !delete t/app arm64
             push R/t/app:l",
        ),
        plain(
            "from another registry",
            "create --insecure R/t/target:l L/t/app:amd64 L/t/app:arm64
             inspect -v R/t/target:l
             inspect R/t/target:l
             push --insecure R/t/target:l",
        ),
        plain(
            "a registry that mounts nothing",
            "create --insecure R/t/target:l R/t/app-amd64:v1
             push R/t/target:l",
        )
        .quirks(Quirks::no_mounts()),
        plain(
            "a layer has gone meanwhile",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1
             !drop t/app-arm64 v1
             push R/t/target:l",
        ),
        plain(
            "a registry that reports no digest",
            "create --insecure R/t/app:l R/t/app:amd64
             push R/t/app:l",
        )
        .quirks(Quirks::no_content_digest()),
        plain(
            "to the default tag",
            "create --insecure R/t/target R/t/app-amd64:v1
             push R/t/target
             inspect --insecure R/t/target:latest
             inspect --insecure R/t/target",
        ),
    ]
}

fn store() -> Vec<Scenario> {
    vec![
        plain(
            "rm of several, of which some are missing",
            "create --insecure R/t/app:a R/t/app:amd64
             create --insecure R/t/app:b R/t/app:amd64
             rm R/t/app:a R/t/app:nope R/t/app:b BAD:x:
             rm R/t/app:a R/t/app:b",
        ),
        plain(
            "an empty list",
            "!empty R/t/app:e
             inspect R/t/app:e
             inspect -v R/t/app:e
             inspect R/t/app:e R/t/app:amd64
             push R/t/app:e
             create --insecure R/t/app:e R/t/app:amd64
             rm R/t/app:e
             rm R/t/app:e",
        ),
        plain(
            "a file that is no JSON",
            "create --insecure R/t/app:l R/t/app:amd64
             !file R/t/app:l R/t/app:arm64 '{bad'
             push R/t/app:l
             create --insecure --amend R/t/app:l R/t/app:s390x
             inspect --insecure R/t/app:l
             annotate R/t/app:l R/t/app:arm64 --os linux
             rm R/t/app:l",
        ),
        plain(
            "a file that is an empty object",
            "!file R/t/app:l R/t/app:amd64 '{}'
             inspect R/t/app:l
             push R/t/app:l
             rm R/t/app:l",
        ),
        plain(
            "a file where a list would be",
            "!plain R/t/app:l
             create --insecure R/t/app:l R/t/app:amd64
             push R/t/app:l
             rm R/t/app:l
             inspect --insecure R/t/app:l",
        ),
        plain(
            "list names of every shape are files of docker's store",
            "create --insecure foo R/t/app:amd64
             create --insecure bob/app:x R/t/app:amd64
             create --insecure L/t/app:x L/t/app:amd64
             inspect L/t/app:x
             rm foo bob/app:x",
        ),
    ]
}

fn transport() -> Vec<Scenario> {
    let all = "create R/t/target:l R/t/app-amd64:v1 R/t/oci:arm64
               inspect R/t/target:l
               inspect -v R/t/oci:arm64
               inspect R/t/idx:attested
               inspect R/t/app:nope";
    vec![
        plain("TLS with a known authority", all).tls(),
        plain("TLS, Basic", all).tls().auth(Auth::basic("user", "secret")).logged_in(),
        plain("TLS, Bearer", all).tls().auth(Auth::bearer("user", "secret")).logged_in(),
        plain("TLS, Bearer without login", all).tls().auth(Auth::anonymous_bearer()),
        plain(
            "TLS and --insecure",
            "create --insecure R/t/target:l R/t/app-amd64:v1\ninspect --insecure R/t/app:amd64",
        )
        .tls(),
        plain("push over TLS", "create R/t/target:l R/t/app-amd64:v1\npush R/t/target:l").tls(),
        plain(
            "plain HTTP, Bearer",
            "create --insecure R/t/target:l R/t/app-amd64:v1 R/t/app-arm64:v1
             inspect R/t/target:l
             push --insecure R/t/target:l
             rm R/t/target:l
             inspect --insecure R/t/target:l",
        )
        .auth(Auth::bearer("user", "secret"))
        .logged_in(),
        plain(
            "plain HTTP, Basic",
            "create --insecure R/t/target:l R/t/app-amd64:v1
             push R/t/target:l",
        )
        .auth(Auth::basic("user", "secret"))
        .logged_in(),
        plain(
            "not logged in",
            "inspect --insecure R/t/app:amd64
             create --insecure R/t/target:l R/t/app-amd64:v1",
        )
        .auth(Auth::bearer("user", "secret")),
        plain(
            "logged in with another password, Basic",
            "inspect --insecure R/t/app:amd64
             create --insecure R/t/target:l R/t/app-amd64:v1",
        )
        .auth(Auth::basic("user", "changed"))
        .logged_in(),
        plain("not logged in, Basic", "inspect --insecure R/t/app:amd64").auth(Auth::basic("user", "secret")),
        plain(
            "plain HTTP on loopback without --insecure",
            "inspect R/t/app:amd64
             create R/t/app:l R/t/app:amd64
             inspect R/t/idx:oci",
        ),
        plain("a challenge on manifests alone", "inspect --insecure R/t/app:amd64")
            .auth(Auth::bearer("user", "secret"))
            .logged_in()
            .quirks(Quirks::challenge_on_manifests_only()),
        plain(
            "a registry with plain errors",
            "inspect --insecure R/t/app:nope
             inspect --insecure R/t/app:amd64",
        )
        .quirks(Quirks::plain_errors()),
        plain("nobody listens", "inspect --insecure 127.0.0.1:9/x:y\ncreate --insecure R/t/app:l 127.0.0.1:9/x:y"),
    ]
}
