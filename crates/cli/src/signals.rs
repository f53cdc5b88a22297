//! Ctrl-C and SIGTERM.
//!
//! Handlers of our own, though the system's default would do the same on a plain command line: for process 1 of a
//! container the default is to ignore them.

use std::io;

use crate::exit::Exit;

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Signal {
    /// What the process ends with, if the signal ends it.
    pub(crate) fn exit(self) -> Exit {
        match self {
            Self::Interrupt => Exit::Interrupted,
            Self::Terminate => Exit::Terminated,
        }
    }
}

/// Waits for the first of them.
#[cfg(unix)]
pub(crate) async fn received() -> io::Result<Signal> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(tokio::select! {
        _ = interrupt.recv() => Signal::Interrupt,
        _ = terminate.recv() => Signal::Terminate,
    })
}

/// Waits for the first of them; there is only one here.
#[cfg(not(unix))]
pub(crate) async fn received() -> io::Result<Signal> {
    tokio::signal::ctrl_c().await?;
    Ok(Signal::Interrupt)
}

/// Ends the process when one of them comes.
pub(crate) async fn end_process() {
    // Where no handler can be had the system's default stays, which ends the process too.
    if let Ok(signal) = received().await {
        std::process::exit(i32::from(signal.exit().code()));
    }
}
