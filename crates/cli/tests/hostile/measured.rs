//! A run with a watch and a pair of scales beside it. `budget.rs` uses it too.

use std::process::Child;
use std::time::{Duration, Instant};

use crate::sandbox::{POLYARCH, Run, Sandbox};

/// The most memory that a client may take, whatever comes. What the page cache gives for the binary itself counts too,
/// so this is more than what it asks for.
pub(crate) const MEMORY: u64 = 40 << 20;

/// How long the longest of these tests may take before it counts as not ending: all retries, with room for a machine
/// that is busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run, how long it took and the most memory that it had.
pub(crate) struct Measured {
    pub(crate) run: Run,
    pub(crate) took: Duration,
    pub(crate) peak: u64,
}

/// Runs polyarch to its end, which must come by itself.
#[track_caller]
pub(crate) fn measure(user: &Sandbox, arguments: &[&str]) -> Measured {
    let started = Instant::now();
    let mut child = user.command(POLYARCH, arguments).spawn().expect("polyarch starts");
    // Read beside the watching: a child that fills a pipe would wait for ever.
    let readers = [
        child.stdout.take().map(|pipe| std::thread::spawn(move || read(pipe))),
        child.stderr.take().map(|pipe| std::thread::spawn(move || read(pipe))),
    ];
    let mut peak = 0;
    let status = loop {
        // The last look, not the highest: a look at the moment of its start can still see this process.
        peak = high_water(&child).unwrap_or(peak);
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{} did not end by itself", arguments.join(" "));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let took = started.elapsed();
    let [stdout, stderr] =
        readers.map(|reader| reader.map(|reader| reader.join().expect("a reader")).unwrap_or_default());
    Measured { run: Run { line: arguments.join(" "), code: status.code(), stdout, stderr }, took, peak }
}

fn read(mut pipe: impl std::io::Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("a pipe");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The most memory that a process has had so far, as the kernel counts it. It never falls, so the last look is as good
/// as the highest.
#[cfg(target_os = "linux")]
pub(crate) fn high_water(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn high_water(_: &Child) -> Option<u64> {
    None
}

impl Measured {
    /// Asserts that it took no more memory than a client may, and that the scales worked.
    #[track_caller]
    pub(crate) fn within_memory(&self) {
        // One that is over before the second look has not had the time for it.
        if cfg!(target_os = "linux") && self.took > Duration::from_millis(200) {
            assert!(self.peak > 1 << 20, "{}: not measured", self.run.line);
        }
        assert!(self.peak <= MEMORY, "{}: {} kB", self.run.line, self.peak / 1024);
    }
}
