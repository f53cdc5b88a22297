//! How often a server waits for the disk, seen from outside.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::{Amount, Scenario};

use crate::rounds::measure;
use crate::server::Peer;

/// Images that are pushed while somebody counts: the second number less the first is what is divided by.
const IMAGES: [u64; 2] = [20, 120];
const CALLS: &str = "trace=fsync,fdatasync,sync_file_range,syncfs";

/// Pushes images by four clients under strace.
pub(crate) async fn per_image(peer: &Peer) -> Result<String, String> {
    let mut counts = Vec::new();
    for images in IMAGES {
        let server = peer.start()?;
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let log = directory.path().join("calls");
        let mut tracer = attach(server.pid(), &log)?;
        let pushed = measure(&server, &[Scenario::ImagePush], Amount::Operations(images), None, true).await;
        // The last calls may be written late.
        std::thread::sleep(Duration::from_millis(200));
        // Without the server strace has nothing left to do.
        drop(server);
        let _ = tracer.wait();
        let wrong: u64 = pushed?.iter().map(load::Measured::error_count).sum();
        if wrong > 0 {
            return Err(format!("{wrong} of {images} pushes went wrong"));
        }
        let text = std::fs::read_to_string(&log).map_err(|error| error.to_string())?;
        counts.push(text.lines().filter(|line| line.contains("sync") && !line.contains("resumed>")).count());
    }
    let more = counts[1].saturating_sub(counts[0]) as f64;
    Ok(format!("{:.1} (4 clients)", more / (IMAGES[1] - IMAGES[0]) as f64))
}

fn attach(pid: u32, log: &Path) -> Result<Child, String> {
    let mut tracer = Command::new("strace")
        .args(["-f", "-qq", "-e", CALLS, "-p", &pid.to_string(), "-o"])
        .arg(log)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| "no strace".to_owned())?;
    let begun = Instant::now();
    while !is_traced(pid) {
        if let Ok(Some(_)) = tracer.try_wait() {
            return Err("strace may not look at other processes".to_owned());
        }
        if begun.elapsed() > Duration::from_secs(10) {
            // It may have ended.
            let _ = tracer.kill();
            let _ = tracer.wait();
            return Err("strace does not begin".to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(tracer)
}

/// Whether all threads of a process are looked at.
fn is_traced(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().all(|thread| {
        std::fs::read_to_string(thread.path().join("status"))
            .is_ok_and(|status| !status.lines().any(|line| line == "TracerPid:\t0"))
    })
}
