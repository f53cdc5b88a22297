//! The servers, as processes with a data directory of their own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A registry that can be started.
pub(crate) struct Peer {
    pub(crate) name: String,
    program: PathBuf,
    pub(crate) is_polyarch: bool,
}

impl Peer {
    /// polyarch first, then those others that are there.
    pub(crate) fn all() -> Vec<Self> {
        let mut peers = Vec::new();
        let own = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("polyarch")));
        if let Some(program) = own.filter(|program| program.exists()) {
            peers.push(Self { name: "polyarch".to_owned(), program, is_polyarch: true });
        }
        peers.extend(Self::distribution("docker-registry", "docker-registry".into()));
        match std::env::var_os("POLYARCH_DISTRIBUTION") {
            Some(program) => peers.extend(Self::distribution("distribution", program.into())),
            None => eprintln!("skipped: no distribution (`POLYARCH_DISTRIBUTION` is not set)"),
        }
        peers
    }

    /// The reference implementation, under the name of its time.
    fn distribution(name: &str, program: PathBuf) -> Option<Self> {
        let Ok(output) = Command::new(&program).arg("--version").output() else {
            eprintln!("skipped: no {name}");
            return None;
        };
        // It says its version on stdout: `docker-registry github.com/docker/distribution 2.8.2+ds1`.
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = said.split_whitespace().last().unwrap_or_default();
        let version = version.split('+').next().unwrap_or_default().trim_start_matches('v');
        let name = format!("{name} {version}");
        Some(Self { name, program, is_polyarch: false })
    }

    /// Starts it with a data directory that is empty.
    pub(crate) fn start(&self) -> Result<Server, String> {
        let directory = tempfile::Builder::new().prefix("polyarch-bench-").tempdir().map_err(|e| e.to_string())?;
        self.start_in(directory)
    }

    /// Starts it with this data directory.
    pub(crate) fn start_in(&self, directory: TempDir) -> Result<Server, String> {
        let (child, address, start_up) = self.spawn(directory.path())?;
        Ok(Server { child, address, start_up, directory: Some(directory) })
    }

    fn spawn(&self, directory: &Path) -> Result<(Child, SocketAddr, Duration), String> {
        let failed = |error: std::io::Error| format!("failed to start {}: {error}", self.name);
        // Somebody else could take the port in between; then the server says so and nothing is measured.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(failed)?;
        let mut command = Command::new(&self.program);
        if self.is_polyarch {
            command.args(["serve", "--listen", &address.to_string(), "--data"]).arg(directory);
        } else {
            let config = directory.join("config.yml");
            std::fs::write(&config, docker_registry_config(address, &directory.join("data"))).map_err(failed)?;
            // It would send traces to a port of this machine.
            command.arg("serve").arg(config).env("OTEL_TRACES_EXPORTER", "none");
        }
        let begun = Instant::now();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
        loop {
            if answers(address) {
                return Ok((child, address, begun.elapsed()));
            }
            let ended = child.try_wait().map_err(failed)?;
            if ended.is_some() || begun.elapsed() > Duration::from_secs(60) {
                // It may have ended.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{} does not answer on {address}", self.name));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

/// No login, no TLS, no log of requests; what its documentation advises for one machine.
fn docker_registry_config(address: SocketAddr, data: &Path) -> String {
    format!(
        "version: 0.1\n\
         log:\n  level: error\n  accesslog:\n    disabled: true\n\
         storage:\n  cache:\n    blobdescriptor: inmemory\n  delete:\n    enabled: true\n  filesystem:\n    \
         rootdirectory: {}\n\
         http:\n  addr: {address}\n",
        data.display()
    )
}

fn answers(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let request = format!("GET /v2/ HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut head = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut head).is_ok()
        && head == *b"HTTP/1.1 200"
}

/// A server that runs. It ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    /// From the start of the process to its first answer.
    pub(crate) start_up: Duration,
    directory: Option<TempDir>,
}

impl Server {
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it and keeps its data.
    pub(crate) fn stop(mut self) -> Option<TempDir> {
        self.end();
        self.directory.take()
    }

    fn end(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Memory and start-up time with nothing in it.
pub(crate) fn at_rest(peer: &Peer, rounds: usize) -> Result<String, String> {
    let mut times = Vec::new();
    let mut resident = 0;
    for _ in 0..rounds {
        let server = peer.start()?;
        times.push(server.start_up);
        std::thread::sleep(Duration::from_secs(1));
        resident = resident.max(load::sample(server.pid()).map_err(|error| error.to_string())?.resident);
    }
    times.sort();
    Ok(format!(
        "{:.1} MiB resident, first answer {:.0} to {:.0} ms after the start",
        resident as f64 / f64::from(1 << 20),
        times[0].as_secs_f64() * 1000.0,
        times[times.len() - 1].as_secs_f64() * 1000.0
    ))
}
