//! A tool as a child process: how long it ran and how much memory it took.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A command-line client with the words of `docker manifest`.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    program: PathBuf,
}

/// What one command cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) time: Duration,
    pub(crate) peak_kib: u64,
}

impl Tool {
    pub(crate) fn polyarch() -> Option<Self> {
        let program = std::env::current_exe().ok()?.parent()?.join("polyarch");
        program.exists().then_some(Self { name: "polyarch", program })
    }

    pub(crate) fn docker() -> Option<Self> {
        Command::new("docker").arg("--version").stdout(Stdio::null()).status().ok()?;
        Some(Self { name: "docker", program: PathBuf::from("docker") })
    }

    /// Runs one command as a cold process with `home` as its home directory.
    pub(crate) fn run(&self, home: &Path, ca: &Path, arguments: &[&str]) -> Cost {
        let report = home.join("time");
        let mut command = Command::new("/usr/bin/time");
        let timed = Path::new("/usr/bin/time").exists();
        if timed {
            command.args(["-f", "%M", "-o"]).arg(&report).arg(&self.program);
        } else {
            command = Command::new(&self.program);
        }
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("DOCKER_CONFIG", home.join(".docker"))
            .env("SSL_CERT_FILE", ca)
            .stdin(Stdio::null());
        let started = Instant::now();
        let output = command.output().expect("the tool was found before");
        let time = started.elapsed();
        assert!(
            output.status.success(),
            "{} {arguments:?}: {}{}",
            self.name,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let peak_kib = std::fs::read_to_string(&report).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Cost { time, peak_kib }
    }
}
