//! Which operating systems and architectures `annotate` takes.

/// Docker's table and what has come to exist since it was frozen. Grouped by operating system.
const KNOWN: &[(&str, &[&str])] = &[
    ("aix", &["ppc64"]),
    ("android", &["386", "amd64", "arm", "arm64"]),
    ("darwin", &["386", "amd64", "arm", "arm64"]),
    ("dragonfly", &["amd64"]),
    ("freebsd", &["386", "amd64", "arm", "arm64", "riscv64"]),
    ("illumos", &["amd64"]),
    ("ios", &["amd64", "arm64"]),
    ("js", &["wasm"]),
    (
        "linux",
        &[
            "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le",
            "riscv64", "s390x", "wasm",
        ],
    ),
    ("netbsd", &["386", "amd64", "arm", "arm64"]),
    ("openbsd", &["386", "amd64", "arm", "arm64", "mips64", "ppc64", "riscv64"]),
    ("plan9", &["386", "amd64", "arm"]),
    ("solaris", &["amd64"]),
    ("wasi", &["wasm"]),
    ("wasip1", &["wasm"]),
    ("wasip2", &["wasm"]),
    ("windows", &["386", "amd64", "arm", "arm64"]),
];

/// Whether `annotate` may leave an entry with this operating system and architecture.
pub(crate) fn is_known(os: &str, architecture: &str) -> bool {
    KNOWN.iter().any(|(known, architectures)| *known == os && architectures.contains(&architecture))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row 34.
    #[test]
    fn table_holds_all_of_docker_and_more() {
        let docker = [
            ("darwin", "386 amd64 arm arm64"),
            ("dragonfly", "amd64"),
            ("freebsd", "386 amd64 arm"),
            ("linux", "386 amd64 arm arm64 ppc64le mips64 mips64le riscv64 s390x"),
            ("netbsd", "386 amd64 arm"),
            ("openbsd", "386 amd64 arm"),
            ("plan9", "386 amd64"),
            ("solaris", "amd64"),
            ("windows", "386 amd64"),
        ];
        let more = [("linux", "loong64 ppc64 mips mipsle"), ("windows", "arm64 arm"), ("wasip1", "wasm")];
        for (os, architectures) in docker.into_iter().chain(more) {
            for architecture in architectures.split(' ') {
                assert!(is_known(os, architecture), "{os}/{architecture}");
            }
        }
        for (os, architecture) in [("", ""), ("linux", ""), ("linux", "bar"), ("unknown", "unknown"), ("lin", "arm")] {
            assert!(!is_known(os, architecture), "{os}/{architecture}");
        }
    }
}
