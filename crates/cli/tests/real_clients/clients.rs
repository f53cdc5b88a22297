//! Which clients this machine has.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sandbox::Sandbox;

/// Finds a program. One that is missing is named, and it is a failure where all were to be there.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let found = all(name).into_iter().next();
    if found.is_none() {
        missing(&format!("no {name}"));
    }
    found
}

/// All different programs of a name.
pub(crate) fn all(name: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons stand where the path of a user does not always lead.
    let directories = std::env::split_paths(&path).chain(["/usr/bin", "/usr/sbin", "/sbin"].map(PathBuf::from));
    let mut found: Vec<PathBuf> = Vec::new();
    for program in directories.map(|directory| directory.join(name)).filter(|program| program.is_file()) {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        if !found.iter().any(|other| real(other) == real(&program)) {
            found.push(program);
        }
    }
    found
}

/// Whether daemons and containers can be started by hand.
pub(crate) fn may_mount(what: &str) -> bool {
    let yes = is_root();
    if !yes {
        missing(&format!("{what} needs root"));
    }
    yes
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Something is missing that these tests need.
pub(crate) fn missing(what: &str) {
    assert!(std::env::var_os("POLYARCH_REAL").is_none(), "{what}, and POLYARCH_REAL says that all clients are here");
    skip(what);
}

/// Something is left out.
pub(crate) fn skip(what: &str) {
    use std::io::Write as _;

    // Past the test runner's capture: a test that did nothing must not look like one that passed.
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

/// What the program inside of [`apart`] begins with: what these clients keep at fixed places is hidden, so that it is
/// neither read nor changed.
const HIDE: &str = r#"for place in /run /var/lib /etc/docker; do
  if [ -d "$place" ]; then mount -t tmpfs tmpfs "$place" || exit 125; fi
done
exec "$0" "$@""#;

/// A server that does not outlive its test, even if that is killed.
pub(crate) fn bound(sandbox: &Sandbox, program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = sandbox.command("setpriv", &["--pdeathsig", "KILL", "--"]);
    command.arg(program).args(arguments);
    command
}

/// The flags of `unshare` for a view of the file system of one's own.
const VIEW: [&str; 3] = ["--mount", "--propagation", "private"];

/// A client with a view of the file system of its own: what it mounts is gone when it ends.
pub(crate) fn apart(sandbox: &Sandbox, program: &Path, arguments: &[&str]) -> Command {
    let mut command = if is_root() {
        let mut command = sandbox.command("unshare", &VIEW);
        command.args(["sh", "-c", HIDE]).arg(program);
        command
    } else {
        sandbox.command(program, &[])
    };
    command.args(arguments);
    settle(sandbox, command)
}

/// A daemon that has such a view, and whose processes are a family of their own that ends, all of it, with the first:
/// also what runs in containers. Takes root.
pub(crate) fn family(sandbox: &Sandbox, program: &Path, arguments: &[&str]) -> Command {
    let mut command = bound(sandbox, "unshare", &VIEW);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", HIDE]).arg(program).args(arguments);
    settle(sandbox, command)
}

fn settle(sandbox: &Sandbox, mut command: Command) -> Command {
    let temporary = sandbox.path("tmp");
    std::fs::create_dir_all(&temporary).expect("a directory for a test");
    // podman and skopeo read docker's configuration where this says, and want it to be there.
    command.env_remove("DOCKER_CONFIG").env_remove("DOCKER_HOST").env("TMPDIR", temporary);
    command
}

/// How code for a platform runs on this machine.
pub(crate) enum Runs {
    /// As it is.
    Alone,
    /// With an emulator.
    Under(PathBuf),
    /// The emulator is missing.
    Not,
}

impl Runs {
    /// How code for `platform` runs here.
    pub(crate) fn code_for(platform: &str) -> Self {
        if platform == native() {
            return Self::Alone;
        }
        let machine = match platform {
            "linux/amd64" => "x86_64",
            "linux/arm64" => "aarch64",
            "linux/arm/v7" => "arm",
            "linux/riscv64" => "riscv64",
            other => panic!("no emulator is known for {other}"),
        };
        find(&format!("qemu-{machine}-static")).map_or(Self::Not, Self::Under)
    }
}

/// The platform of this machine.
pub(crate) fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        "arm" => "linux/arm/v7",
        "riscv64" => "linux/riscv64",
        other => panic!("no image is made for {other}"),
    }
}
