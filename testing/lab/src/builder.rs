//! How a lab is asked for.

use std::net::IpAddr;
use std::time::Duration;

use crate::auth::Auth;
use crate::fault::Fault;
use crate::lab::Lab;
use crate::quirks::Quirks;
use crate::tls::Tls;

/// Simulated distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Before each answer.
    pub per_request: Duration,
    /// For TCP, and once more for TLS.
    pub per_connection_step: Duration,
}

/// What kind of lab it is to be. The default is plain HTTP without credentials, latency or faults.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    pub(crate) tls: Tls,
    pub(crate) auth: Auth,
    pub(crate) latency: Latency,
    pub(crate) quirks: Quirks,
    pub(crate) faults: Vec<Fault>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Builder {
    /// `true` for TLS as most want it, or a [`Tls`] for the details.
    pub fn tls(mut self, tls: impl Into<Tls>) -> Self {
        self.tls = tls.into();
        self
    }

    /// What clients must show.
    pub fn auth(mut self, auth: impl Into<Auth>) -> Self {
        self.auth = auth.into();
        self
    }

    /// Simulated latency: before each answer, and for each step of a connection (TCP, TLS).
    pub fn latency(mut self, per_request: Duration, per_connection_step: Duration) -> Self {
        self.latency = Latency { per_request, per_connection_step };
        self
    }

    /// Departures from the specification.
    pub fn quirks(mut self, quirks: Quirks) -> Self {
        self.quirks = quirks;
        self
    }

    /// Adds a fault.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Another address than 127.0.0.1, which the machine must have: some clients treat loopback in their own way.
    pub fn address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// A fixed port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts it on a runtime of its own: it answers when this returns, and ends when the [`Lab`] is dropped.
    ///
    /// # Panics
    /// If the machine gives no port, thread or random numbers: a test cannot go on.
    pub fn start(self) -> Lab {
        Lab::start_with(self).expect("a lab on a free loopback port")
    }
}
