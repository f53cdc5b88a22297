//! podman with a store of the test's own.

use std::path::PathBuf;

use serde_json::Value;

use crate::clients::{Runs, apart, find, may_mount};
use crate::engine::in_container;
use crate::process::NothingStays;
use crate::sandbox::Run;
use crate::world::World;

/// podman of one test.
pub(crate) struct Podman<'w> {
    world: &'w World,
    program: PathBuf,
}

impl<'w> Podman<'w> {
    /// Prepares a store, if this machine has podman and a runtime that it can start containers with.
    pub(crate) fn find(world: &'w World) -> Option<Self> {
        let (program, _) = (find("podman")?, find("runc")?);
        if !may_mount("podman") {
            return None;
        }
        // Locks in files: the other kind stays in shared memory, under a name that all stores share.
        std::fs::write(world.sandbox.path("containers.conf"), "[engine]\nlock_type = \"file\"\n").unwrap();
        std::fs::write(world.sandbox.path("auth.json"), "{}").unwrap();
        Some(Self { world, program })
    }

    /// Runs a command.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let at = |name: &str| self.world.path(&format!("podman/{name}"));
        let (store, state, temporary) = (at("store"), at("state"), at("tmp"));
        let flags = [
            "--root",
            &store,
            "--runroot",
            &state,
            "--tmpdir",
            &temporary,
            "--runtime",
            "runc",
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "none",
        ];
        let mut command = apart(&self.world.sandbox, &self.program, &[&flags, arguments].concat());
        command
            .env("CONTAINERS_CONF", self.world.sandbox.path("containers.conf"))
            .env("REGISTRY_AUTH_FILE", self.world.sandbox.path("auth.json"));
        let output = command.output().unwrap();
        Run {
            line: format!("podman {}", arguments.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a command that must succeed, and gives what it printed.
    #[track_caller]
    pub(crate) fn podman(&self, arguments: &[&str]) -> String {
        self.run(arguments).success()
    }

    /// What podman says about an image.
    #[track_caller]
    pub(crate) fn inspect(&self, image: &str) -> Value {
        let said: Value = serde_json::from_str(&self.podman(&["image", "inspect", image])).unwrap();
        said[0].clone()
    }

    /// Runs an image that is there, under an emulator if its platform needs one. `None`: there is no such emulator.
    #[track_caller]
    pub(crate) fn greeting(&self, image: &str, platform: &str, command: &[&str]) -> Option<String> {
        let group = NothingStays::control_group(&self.world.sandbox.path(""));
        // Its usual limits are above what this machine may allow.
        let limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        let flags = ["run", "--rm", "--pull", "never", "--network", "none", "--cgroup-parent", &group];
        let flags = [&flags[..], &limits].concat();
        let words = in_container(&flags, &Runs::code_for(platform), image, command)?;
        Some(self.podman(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    }
}
