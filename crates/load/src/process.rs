//! What a server on this machine costs, and what we cost ourselves.

use std::io;
use std::time::Duration;

/// A process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Processor time so far, of all its threads.
    pub processor: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// The most that there ever was.
    pub peak: u64,
}

/// Looks at a process. Only Linux says anything.
#[cfg(target_os = "linux")]
pub fn sample(pid: u32) -> io::Result<Sample> {
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "the system's answer was not understood");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program stands in brackets and may have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(") ").ok_or_else(unknown)?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).ok_or_else(unknown);
    let spent = ticks(11)? + ticks(12)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Ok(Sample {
        processor: Duration::from_secs_f64(spent as f64 / per_second as f64),
        resident: kib("VmRSS:").unwrap_or_default() * 1024,
        peak: kib("VmHWM:").unwrap_or_default() * 1024,
    })
}

/// Looks at a process. Only Linux says anything.
#[cfg(not(target_os = "linux"))]
pub fn sample(_pid: u32) -> io::Result<Sample> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Processor time of this process.
#[cfg(unix)]
pub(crate) fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

/// Nobody says it here.
#[cfg(not(unix))]
pub(crate) fn own_time() -> Duration {
    Duration::ZERO
}

/// Lets this process open `wanted` files at once, if it may. How many it may open.
#[cfg(unix)]
pub(crate) fn allow_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(u64::MAX);
    if now.current.is_some_and(|current| current < wanted) && most >= wanted {
        let raised = Rlimit { current: Some(wanted), maximum: now.maximum };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            return wanted;
        }
    }
    now.current.unwrap_or(u64::MAX)
}

/// There is no such limit here.
#[cfg(not(unix))]
pub(crate) fn allow_files(_wanted: u64) -> u64 {
    u64::MAX
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_time() {
        let own = sample(std::process::id()).unwrap();
        assert!(own.resident > 100_000 && own.peak >= own.resident, "{own:?}");
        assert!(own_time() > Duration::ZERO);
        assert!(sample(u32::MAX).is_err());
        assert!(allow_files(16) >= 16);
    }
}
