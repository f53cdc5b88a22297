//! A network namespace of our own, with one address that is not loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// TEST-NET-1: for documentation, routed nowhere (RFC 5737).
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const MARK: &str = "POLYARCH_BENCH_NAMESPACE";

/// Runs this program again inside a new namespace, or, if it already is inside, returns the address to listen on.
pub(crate) fn enter() -> Result<Option<IpAddr>, String> {
    if std::env::var_os(MARK).is_some() {
        // On the loopback device, but not a loopback address: no other device is needed.
        for arguments in ["link set lo up", "address add 192.0.2.1/32 dev lo"] {
            let output = Command::new("ip")
                .args(arguments.split(' '))
                .output()
                .map_err(|error| format!("failed to run `ip`: {error}"))?;
            if !output.status.success() {
                return Err(format!("`ip {arguments}`: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
        }
        return Ok(Some(IpAddr::V4(ADDRESS)));
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let probe = Command::new("unshare").args(["--net", "--", "true"]).output().map_err(|error| error.to_string())?;
    if !probe.status.success() {
        return Err(String::from_utf8_lossy(&probe.stderr).trim().to_owned());
    }
    let error = Command::new("unshare")
        .args(["--net", "--"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    Err(error.to_string())
}
