//! Connections of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::owner::Owner;

/// How many connections each address has. An address that has none is not in here.
#[derive(Debug, Default)]
pub(crate) struct Connections(Mutex<HashMap<Owner, u32>>);

/// One connection, for as long as it is.
#[derive(Debug)]
pub(crate) struct Counted {
    of: Arc<Connections>,
    owner: Owner,
}

impl Connections {
    /// Counts one more, unless there are `limit` already.
    pub(crate) fn count(self: &Arc<Self>, address: IpAddr, limit: u32) -> Option<Counted> {
        let owner = Owner::address(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&owner).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        counts.insert(owner, count + 1);
        Some(Counted { of: self.clone(), owner })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_for_as_long_as_they_are() {
        let connections = Arc::new(Connections::default());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let held: Vec<_> = (0..3).filter_map(|_| connections.count(one, 2)).collect();
        assert_eq!(held.len(), 2);
        assert!(connections.count(other, 2).is_some());
        drop(held);
        assert!(connections.count(one, 2).is_some());
        assert!(connections.0.lock().unwrap().is_empty());
        assert!(connections.count(one, 0).is_none());
    }
}
