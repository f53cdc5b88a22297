//! Processes that a test starts, and what must be gone after them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A server. It ends with this value.
pub(crate) struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
    leads_family: bool,
}

impl Running {
    /// Starts it; what it prints goes into the file `log`.
    pub(crate) fn start(name: &'static str, mut command: Command, log: PathBuf) -> Self {
        let file = fs::File::create(&log).expect("a log");
        let child = command
            .stdout(file.try_clone().expect("a log"))
            .stderr(file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        Self { name, child, log, leads_family: false }
    }

    /// It is `unshare`, and what it started is the first process of a family of their own.
    #[must_use]
    pub(crate) fn leads_family(mut self) -> Self {
        self.leads_family = true;
        self
    }

    /// Waits until its log says `prefix`, and gives the rest of that word.
    pub(crate) fn says(&mut self, prefix: &str) -> String {
        let found = self.wait_for(|log| {
            let (_, rest) = log.split_once(prefix)?;
            let (word, _) = rest.split_once(|c: char| c.is_whitespace() || c == '"')?;
            Some(word.to_owned())
        });
        found.unwrap_or_else(|why| panic!("{why}"))
    }

    /// Waits until `ready` finds what it looks for, given the log so far. Otherwise: why not.
    pub(crate) fn wait_for<T>(&mut self, ready: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(found) = ready(&log) {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                return Err(format!("{} ended, {status}:\n{log}", self.name));
            }
            if Instant::now() > deadline {
                return Err(format!("{} is not ready after a minute:\n{log}", self.name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        kill("TERM", &pid);
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end when it is asked to", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends a signal to processes. The shell has `kill` built in; the program of that name is not on every machine.
fn kill(signal: &str, pids: &str) {
    let _ = Command::new("sh").arg("-c").arg(format!("kill -s {signal} {pids}")).stderr(Stdio::null()).status();
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id();
        let family = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if self.leads_family && !family.trim().is_empty() {
            // The first of the family goes, and all others with it. Its parent then ends by itself, having seen that:
            // killed at once, it would leave a dead process to whoever inherits it.
            kill("KILL", family.trim());
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sees to it, last of all, that nothing stays of what used a directory: no process, no mount, no control group.
pub(crate) struct NothingStays {
    root: PathBuf,
}

impl NothingStays {
    pub(crate) fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The control group for containers of this test.
    pub(crate) fn control_group(root: &Path) -> String {
        format!("/{}", root.file_name().expect("a name").to_string_lossy())
    }

    fn processes(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let lines = processes.filter_map(|process| {
            let line = fs::read(process.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            line.contains(self.root.to_str()?).then(|| format!("{}: {line}", process.display()))
        });
        lines.collect()
    }

    fn mounts(&self) -> Vec<String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mounts.lines().filter(|line| line.contains(&*self.root.to_string_lossy())).map(str::to_owned).collect()
    }

    fn remove_control_groups(&self) {
        let name = Self::control_group(&self.root);
        let base = Path::new("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([base.to_owned()]) {
            remove_empty(&hierarchy.join(name.trim_start_matches('/')));
        }
    }
}

/// Control groups are removed from the innermost one outwards; what stands in them is no file.
fn remove_empty(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

impl Drop for NothingStays {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = [self.processes(), self.mounts()].concat();
            if left.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                assert!(std::thread::panicking(), "left behind:\n{}", left.join("\n"));
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.remove_control_groups();
    }
}
