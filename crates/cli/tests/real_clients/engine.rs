//! Docker Engine: a daemon of the test's own, with the containerd that it manages.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::clients::{self, Runs, all, family, find, may_mount};
use crate::process::{NothingStays, Running};
use crate::sandbox::Run;
use crate::world::World;

/// A running daemon and a CLI for it.
pub(crate) struct Engine<'w> {
    world: &'w World,
    docker: PathBuf,
    address: String,
    _daemon: Running,
}

/// Where a daemon keeps images.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// In its own store, with one image for a name.
    Own,
    /// In containerd's, with whole lists.
    Containerd,
}

impl<'w> Engine<'w> {
    /// Starts a daemon, if this machine has one.
    pub(crate) fn start(world: &'w World) -> Option<Self> {
        Self::start_with(world, Keeps::Own)
    }

    /// Starts a daemon that keeps images in one way or the other.
    pub(crate) fn start_with(world: &'w World, keeps: Keeps) -> Option<Self> {
        let (dockerd, docker) = (find("dockerd")?, find("docker")?);
        if !may_mount("dockerd") {
            return None;
        }
        let sandbox = &world.sandbox;
        if keeps == Keeps::Containerd {
            let version = sandbox.run(&dockerd, &["--version"]).success();
            if major(&version) < 24 {
                clients::skip(&format!("no containerd image store in {}", version.trim()));
                return None;
            }
        }
        let configuration = world.path("daemon.json");
        let features = if keeps == Keeps::Containerd { r#"{"containerd-snapshotter": true}"# } else { "{}" };
        std::fs::write(&configuration, format!(r#"{{"features": {features}}}"#)).unwrap();
        let (data, state, pid) = (world.path("engine/data"), world.path("engine/state"), world.path("engine.pid"));
        let address = format!("unix://{}", world.path("engine.sock"));
        let group = NothingStays::control_group(&sandbox.path(""));
        let arguments = [
            "--config-file",
            &configuration,
            "--data-root",
            &data,
            "--exec-root",
            &state,
            "--pidfile",
            &pid,
            "--host",
            &address,
            "--iptables=false",
            "--bridge=none",
            "--cgroup-parent",
            &group,
            "--exec-opt",
            "native.cgroupdriver=cgroupfs",
        ];
        let command = family(sandbox, &dockerd, &arguments);
        let mut daemon = Running::start("dockerd", command, sandbox.path("engine.log")).leads_family();
        let answers = |_: &str| {
            let said = sandbox.run(&docker, &["-H", &address, "version", "--format", "{{.Server.Version}}"]);
            (said.code == Some(0)).then_some(())
        };
        if let Err(why) = daemon.wait_for(answers) {
            clients::missing(&format!("dockerd cannot run here: {why}"));
            return None;
        }
        Some(Self { world, docker, address, _daemon: daemon })
    }

    /// Runs a command of docker with this daemon.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.world.sandbox.run(&self.docker, &[&["-H", &self.address], arguments].concat())
    }

    /// Runs a command that must succeed, and gives what it printed.
    #[track_caller]
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        self.run(arguments).success()
    }

    /// What the daemon says about an image.
    #[track_caller]
    pub(crate) fn inspect(&self, image: &str) -> Value {
        let said: Value = serde_json::from_str(&self.docker(&["image", "inspect", image])).unwrap();
        said[0].clone()
    }

    /// Forgets all images.
    #[track_caller]
    pub(crate) fn forget_all(&self) {
        let ids = self.docker(&["images", "--all", "--quiet", "--no-trunc"]);
        let mut ids: Vec<&str> = ids.lines().collect();
        ids.sort_unstable();
        ids.dedup();
        if !ids.is_empty() {
            self.docker(&[&["rmi", "--force"], &ids[..]].concat());
        }
        assert_eq!(self.docker(&["images", "--all", "--quiet"]), "");
    }

    /// Runs an image that is there, under an emulator if its platform needs one. `None`: there is no such emulator.
    #[track_caller]
    pub(crate) fn greeting(&self, image: &str, platform: &str, command: &[&str]) -> Option<String> {
        let flags = ["run", "--rm", "--network", "none"];
        let words = in_container(&flags, &Runs::code_for(platform), image, command)?;
        Some(self.docker(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// Starts containerd's own client with the containerd of this daemon.
    pub(crate) fn containerd(&self, ctr: &Path, arguments: &[&str]) -> Run {
        let socket = self.world.path("engine/state/containerd/containerd.sock");
        self.world.sandbox.run(ctr, &[&["--address", &socket, "--namespace", "polyarch"], arguments].concat())
    }
}

/// The words that run an image with flags and a command; none if its code does not run here. An emulator is lent to the
/// container: whether the kernel knows about emulators, which is a setting of the whole machine, does not matter then.
pub(crate) fn in_container(flags: &[&str], runs: &Runs, image: &str, command: &[&str]) -> Option<Vec<String>> {
    let mut words: Vec<String> = flags.iter().map(ToString::to_string).collect();
    let (program, arguments) = command.split_first()?;
    match runs {
        Runs::Alone => words.extend(["--entrypoint", program, image].map(str::to_owned)),
        Runs::Under(emulator) => {
            words.extend(["--volume".to_owned(), format!("{}:/emulator:ro", emulator.display())]);
            words.extend(["--entrypoint", "/emulator", image, program].map(str::to_owned));
        }
        Runs::Not => return None,
    }
    words.extend(arguments.iter().map(ToString::to_string));
    Some(words)
}

/// A CLI of docker.
pub(crate) struct Cli {
    pub(crate) program: PathBuf,
    /// Its version: `28.2.2`.
    pub(crate) version: String,
}

impl Cli {
    /// All of this machine.
    pub(crate) fn all(world: &World) -> Vec<Self> {
        let found = all("docker");
        if found.is_empty() {
            clients::missing("no docker");
        }
        let version = |program: PathBuf| {
            let said = world.sandbox.run(&program, &["--version"]).success();
            Self { version: said.split([' ', ',']).nth(2).expect("a version").to_owned(), program }
        };
        found.into_iter().map(version).collect()
    }

    /// Whether its `manifest` knows images of OCI types.
    pub(crate) fn knows_oci(&self) -> bool {
        major(&self.version) >= 23
    }

    /// Runs it without any daemon; it must succeed.
    #[track_caller]
    pub(crate) fn run(&self, world: &World, arguments: &[&str]) -> String {
        world.sandbox.run(&self.program, arguments).success()
    }
}

/// The first number of a text.
fn major(version: &str) -> u32 {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
