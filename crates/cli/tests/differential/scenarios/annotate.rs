//! `annotate`.

use super::plain;
use crate::script::Scenario;

pub(super) fn all() -> Vec<Scenario> {
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
