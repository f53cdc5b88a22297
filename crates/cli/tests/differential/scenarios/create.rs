//! `create`.

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
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
             create --insecure R/t/app:m R/t/none:nope
             create --insecure R/t/app:m R/t/app:nope UPPER",
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
