//! Ctrl-C and SIGTERM.
//!
//! Handlers of our own: for process 1 of a container the system's default is to ignore them, and what a command has
//! staged so far should not stay behind. Once they are there the default does not come back, so whoever makes them has
//! to listen until the process ends.

use std::io;
use std::time::Duration;

use tokio::sync::watch;

use crate::exit::Exit;

/// How long a command may take to put its things away. It drops files; what takes longer waits for somebody else: a
/// helper, a reader of our output, a lock.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

/// Which of them came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C, SIGINT.
    Interrupt,
    /// SIGTERM.
    #[cfg_attr(not(unix), expect(dead_code, reason = "only Unix has it"))]
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

/// Both of them, from when this is made on.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Takes them from the system. Within a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.terminate.recv() => Signal::Terminate,
        }
    }
}

/// Ctrl-C: there is only one here.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Takes it from the system.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Interrupt,
            Err(_) => std::future::pending().await,
        }
    }
}

/// Ends the process when one of them comes.
pub(crate) async fn end_process() {
    // Where no handler can be had the system's default stays, which ends the process too.
    if let Ok(mut signals) = Signals::new() {
        let signal = signals.next().await;
        end(signal);
    }
}

/// Tells the command when one of them comes, and ends the process if it is still there after [`GRACE`], or when the
/// next one comes.
pub(crate) async fn end_command(told: watch::Sender<Option<Signal>>) {
    let Ok(mut signals) = Signals::new() else { return };
    let signal = signals.next().await;
    #[cfg(unix)]
    terminal::restore();
    told.send_replace(Some(signal));
    tokio::select! {
        () = tokio::time::sleep(GRACE) => {}
        _ = signals.next() => {}
    }
    end(signal);
}

fn end(signal: Signal) -> ! {
    #[cfg(unix)]
    terminal::restore();
    std::process::exit(i32::from(signal.exit().code()));
}

/// The terminal while a password is asked for: whoever ends the process then has to bring the echo back.
#[cfg(unix)]
pub(crate) mod terminal {
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    /// Remembers how the terminal is now.
    pub(crate) fn remember() {
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = tcgetattr(rustix::stdio::stdin()).ok();
    }

    /// Makes it so again, if it was remembered.
    pub(super) fn restore() {
        if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            // A terminal that is gone needs no echo.
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}
