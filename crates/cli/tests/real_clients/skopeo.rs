//! skopeo.

use std::path::{Path, PathBuf};

use crate::clients::{apart, find};
use crate::sandbox::Run;
use crate::world::World;

/// skopeo of one test.
pub(crate) struct Skopeo<'w> {
    world: &'w World,
    program: PathBuf,
}

impl<'w> Skopeo<'w> {
    /// skopeo, if this machine has it.
    pub(crate) fn find(world: &'w World) -> Option<Self> {
        std::fs::write(world.sandbox.path("auth.json"), "{}").unwrap();
        Some(Self { world, program: find("skopeo")? })
    }

    /// Runs a command that must succeed, and gives what it printed.
    #[track_caller]
    pub(crate) fn skopeo(&self, arguments: &[&str]) -> String {
        self.try_skopeo(arguments).success()
    }

    /// Runs a command.
    pub(crate) fn try_skopeo(&self, arguments: &[&str]) -> Run {
        let mut command = apart(&self.world.sandbox, &self.program, arguments);
        let output = command.env("REGISTRY_AUTH_FILE", self.world.sandbox.path("auth.json")).output().unwrap();
        Run {
            line: format!("skopeo {}", arguments.join(" ")),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Copies an image, with flags, and gives the digest at the target.
    #[track_caller]
    pub(crate) fn copy(&self, flags: &[&str], source: &str, target: &str) -> String {
        let digest = self.world.path("skopeo.digest");
        let mut words = vec!["copy", "--quiet", "--digestfile", &digest];
        words.extend(source.starts_with("docker:").then_some("--src-tls-verify=false"));
        words.extend(target.starts_with("docker:").then_some("--dest-tls-verify=false"));
        words.extend(flags);
        words.extend([source, target]);
        self.skopeo(&words);
        std::fs::read_to_string(Path::new(&digest)).unwrap().trim().to_owned()
    }
}
