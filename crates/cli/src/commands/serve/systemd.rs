//! What systemd hands to a service, and what it is told. Without systemd nothing of this happens.

use std::net::TcpListener;
use std::time::Duration;

use settings::{EnvVar, Environment};

use crate::exit::Exit;
use crate::output::{Failure, Outcome};

/// The socket that systemd listens on for this process, if it does.
#[cfg(unix)]
pub(super) fn socket(environment: &Environment) -> Outcome<Option<TcpListener>> {
    let refused = |why: String| Failure::new(Exit::Failure, format!("failed to take the socket of systemd: {why}"));
    let here = std::process::id().to_string();
    if environment.get(EnvVar::ListenPid) != Some(&here) || environment.get(EnvVar::ListenFds).is_none() {
        return Ok(None);
    }
    let mut handed = listenfd::ListenFd::from_env();
    match handed.len() {
        0 => Ok(None),
        1 => handed.take_tcp_listener(0).map_err(|error| refused(error.to_string())),
        count => Err(refused(format!("there are {count}, and 1 is served"))
            .hint("give the socket unit one `ListenStream=`".to_owned())),
    }
}

/// There is none here.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on Unix")]
pub(super) fn socket(_: &Environment) -> Outcome<Option<TcpListener>> {
    Ok(None)
}

/// Where systemd is told how the server is.
#[derive(Clone, Debug, Default)]
pub(super) struct Systemd {
    socket: Option<String>,
    /// Within which time it must be told that the server is alive.
    watchdog: Option<Duration>,
}

/// Beats as often as the watchdog wants.
pub(super) struct Heart(Option<tokio::time::Interval>);

impl Heart {
    pub(super) async fn next(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}

impl Systemd {
    pub(super) fn of(environment: &Environment) -> Self {
        let watchdog = environment.get(EnvVar::WatchdogUsec).and_then(|text| text.parse().ok());
        let watchdog = watchdog.filter(|microseconds| *microseconds > 0).map(Duration::from_micros);
        Self { socket: environment.get(EnvVar::NotifySocket).map(str::to_owned), watchdog }
    }

    /// Within a runtime.
    pub(super) fn watchdog(&self) -> Heart {
        let watchdog = self.watchdog.filter(|_| self.socket.is_some());
        // Twice, so that a busy moment is no death.
        Heart(watchdog.map(|within| tokio::time::interval((within / 2).max(Duration::from_millis(1)))))
    }

    /// Tells it. What cannot be told is no reason to stop serving.
    pub(super) fn tell(&self, state: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = send(socket, state) {
            tracing::warn!(%error, "could not tell systemd");
        }
    }
}

#[cfg(unix)]
fn send(socket: &str, state: &str) -> std::io::Result<()> {
    let sender = std::os::unix::net::UnixDatagram::unbound()?;
    // Should systemd not read, the server must not wait for it.
    sender.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;

        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return sender.send_to_addr(state.as_bytes(), &address).map(drop);
    }
    sender.send_to(state.as_bytes(), socket).map(drop)
}

#[cfg(not(unix))]
fn send(_: &str, _: &str) -> std::io::Result<()> {
    Ok(())
}
