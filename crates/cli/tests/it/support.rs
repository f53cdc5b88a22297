//! What tests need that is no registry: programs, and commands that run beside the test.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandbox::{POLYARCH, Sandbox};

/// The header of a static ELF program, and `seed` for what it does.
pub(crate) fn program(machine: u16, seed: u8) -> Vec<u8> {
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0];
    file.extend(machine.to_le_bytes());
    file.extend([1, 0, 0, 0]);
    file.extend([0; 8 + 8 + 8 + 4]);
    file.extend([64, 0, 56, 0, 0, 0, 64, 0, 0, 0, 0, 0]);
    file.extend([seed; 1000]);
    file
}

/// Machine numbers of ELF.
pub(crate) const AMD64: u16 = 62;
pub(crate) const ARM64: u16 = 183;

/// A command that runs beside the test. It is killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    /// What it says on stderr, line by line.
    stderr: BufReader<std::process::ChildStderr>,
}

impl Running {
    /// Starts polyarch.
    pub(crate) fn start(user: &Sandbox, line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        Self::spawn(user.command(POLYARCH, &words))
    }

    /// Starts a program.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, stderr }
    }

    /// Starts a registry and waits until it listens. Its host and port.
    pub(crate) fn serve(user: &Sandbox, data: &str) -> (Self, String) {
        let mut server = Self::start(user, &format!("serve --listen 127.0.0.1:0 --data {data}"));
        let line = server.line();
        let host = line.strip_prefix("listening on http://").unwrap_or_else(|| panic!("it said: {line}"));
        let host = host.to_owned();
        (server, host)
    }

    /// The next line of stderr.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).expect("stderr");
        line.trim_end().to_owned()
    }

    /// Its process number.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        // The shell has it built in; the program of that name is not on every machine.
        let line = format!("kill -s {name} {pid}");
        let status = std::process::Command::new("sh").args(["-c", &line]).status().expect("sh runs");
        assert!(status.success());
    }

    /// Waits for its end: exit code, the rest of stderr, and how long it took.
    pub(crate) fn end(mut self) -> (Option<i32>, String, Duration) {
        let started = Instant::now();
        let status = self.child.wait().expect("it ends");
        let took = started.elapsed();
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).expect("stderr");
        (status.code(), rest, took)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
