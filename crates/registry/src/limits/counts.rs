//! How often which limit was reached.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// [`super::Limits::requests`]
    Requests,
    /// [`super::Limits::address_requests`]
    AddressRequests,
    /// [`super::Limits::failed_logins`]
    FailedLogins,
    /// [`super::Limits::sessions`]
    Sessions,
    /// [`super::Limits::connections_per_address`]
    Connections,
    /// URL or headers.
    Head,
}

impl Reached {
    const ALL: [Self; 6] =
        [Self::Requests, Self::AddressRequests, Self::FailedLogins, Self::Sessions, Self::Connections, Self::Head];

    /// How metrics call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::AddressRequests => "address-requests",
            Self::FailedLogins => "failed-logins",
            Self::Sessions => "sessions",
            Self::Connections => "connections-per-address",
            Self::Head => "head",
        }
    }
}

/// One count for each limit.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; 6]);

impl Counts {
    pub(crate) fn add(&self, reached: Reached) {
        self.0[reached as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Name and count of each limit, in an order that stays.
    pub(crate) fn all(&self) -> [(&'static str, u64); 6] {
        Reached::ALL.map(|reached| (reached.name(), self.0[reached as usize].load(Ordering::Relaxed)))
    }
}
