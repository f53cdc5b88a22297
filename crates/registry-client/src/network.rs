//! What can fail below HTTP, and how Docker would say it.

use std::fmt;
use std::net::SocketAddr;

/// How far a request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Finding the addresses of a name.
    Lookup,
    /// Connecting, including the TLS handshake's time where only the whole is known.
    Dial,
    /// The TLS handshake.
    Tls,
    /// Sending the request and waiting for the head of the answer.
    Exchange,
    /// Reading the body of the answer.
    Body,
}

/// A failure below HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFailure {
    pub(crate) phase: Phase,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) os_error: Option<i32>,
    pub(crate) text: String,
    pub(crate) certificate: Option<CertificateProblem>,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// Signed by nobody that is trusted.
    UnknownAuthority,
    /// It is for these names, not the one that was asked for.
    Names(Vec<String>),
    /// Too old or too new. Seconds since 1970.
    Time {
        /// The time here.
        now: u64,
        /// When it ended; `None` if it has not begun.
        not_after: Option<u64>,
        /// When it begins; `None` if it has ended.
        not_before: Option<u64>,
    },
    /// Anything else.
    Other,
}

impl NetworkFailure {
    /// How far the request had come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Host of the URL, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port of the URL, also where it was not written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address that was tried, if it is known.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The system's error number, if there was one.
    pub fn os_error(&self) -> Option<i32> {
        self.os_error
    }

    /// What the layer that failed said.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with the certificate, if that is it.
    pub fn certificate(&self) -> Option<&CertificateProblem> {
        self.certificate.as_ref()
    }
}

impl fmt::Display for NetworkFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
