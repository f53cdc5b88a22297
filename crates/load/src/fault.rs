//! What can go wrong with one request, in few words: equal ones are counted together.

use std::fmt;
use std::io;

/// Why a request did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another status than the one that says that it went well.
    Status(u16),
    /// No connection, or one that broke.
    Connection(io::ErrorKind),
    /// TLS was not agreed on.
    Tls(String),
    /// The other side closed the connection before it had answered.
    Closed,
    /// No answer in time.
    TimedOut,
    /// What came is no HTTP/1.1 answer.
    Malformed(&'static str),
    /// Other bytes than were pushed.
    WrongBody,
    /// The answer says another digest than the bytes have.
    WrongDigest,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Connection(kind) => write!(f, "{kind}"),
            Self::Tls(why) => write!(f, "no TLS: {why}"),
            Self::Closed => f.write_str("closed before the answer"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Malformed(what) => write!(f, "not understood: {what}"),
            Self::WrongBody => f.write_str("wrong body"),
            Self::WrongDigest => f.write_str("wrong digest"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            kind => Self::Connection(kind),
        }
    }
}

/// A request that failed, by what it was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Method and what it was about.
    pub(crate) step: &'static str,
    pub(crate) fault: Fault,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.fault)
    }
}
