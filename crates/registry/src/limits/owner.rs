//! Whom a request is counted for: a name, or an address.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Somebody, in as few bytes as tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Keyed hashes of a name: however long it is, and whatever somebody calls themselves.
    Name(u64, u64),
    /// An IPv4 address, or the first half of an IPv6 one: the second half is for one site to choose from.
    Address(u64, bool),
}

impl Owner {
    pub(crate) fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Address(u64::from(address.to_bits()), false),
            IpAddr::V6(address) => Self::Address((address.to_bits() >> 64) as u64, true),
        }
    }
}

/// What names are hashed with.
#[derive(Debug, Default)]
pub(crate) struct Names(RandomState, RandomState);

impl Names {
    pub(crate) fn owner(&self, name: &str) -> Owner {
        Owner::Name(self.0.hash_one(name), self.1.hash_one(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_site_is_one_owner() {
        let owner = |text: &str| Owner::address(text.parse().unwrap());
        assert_eq!(owner("2001:db8:1:2::1"), owner("2001:db8:1:2:ffff::9"));
        assert_ne!(owner("2001:db8:1:2::1"), owner("2001:db8:1:3::1"));
        assert_eq!(owner("192.0.2.1"), owner("::ffff:192.0.2.1"));
        assert_ne!(owner("192.0.2.1"), owner("192.0.2.2"));
        assert_ne!(owner("0.0.0.1"), owner("0:0:0:1::"));
        let names = Names::default();
        assert_eq!(names.owner("ci"), names.owner("ci"));
        assert_ne!(names.owner("ci"), names.owner("bob"));
    }
}
