//! Upload sessions that are open, by whom they were begun.
//!
//! Each process counts those that it began itself: the number is a protection, and nothing else depends on it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use content::{RepositoryId, UploadId};

use super::owner::Owner;

/// Most sessions that are remembered; of further ones nobody is asked. Some 30 MiB.
const MOST: usize = 100_000;
/// Sessions that were begun longer ago are forgotten when room is needed: the store drops those that idle.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);
/// How many of somebody's sessions are looked for when they have too many: some may have ended elsewhere.
const LOOKED_AT: usize = 8;

#[derive(Debug)]
struct Open {
    repository: RepositoryId,
    id: UploadId,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Book {
    /// In the order in which they were begun; without an entry for those who have none.
    by_owner: HashMap<Owner, VecDeque<Open>>,
    /// Sessions that are about to be begun.
    coming: HashMap<Owner, usize>,
    owners: HashMap<UploadId, Owner>,
    swept: Option<Instant>,
}

/// Who has how many.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Book>);

/// Room for one session, until it is begun or could not be.
#[derive(Debug)]
pub(crate) struct Room {
    of: Arc<Sessions>,
    owner: Owner,
}

impl Sessions {
    /// Makes room for one more, if there are fewer than `limit`. If not, it says which are the oldest.
    pub(crate) fn room(self: &Arc<Self>, owner: Owner, limit: usize) -> Result<Room, Vec<(RepositoryId, UploadId)>> {
        let mut book = self.book();
        let open = book.by_owner.get(&owner).map_or(0, VecDeque::len);
        let coming = book.coming.entry(owner).or_default();
        if open + *coming >= limit {
            if *coming == 0 {
                book.coming.remove(&owner);
            }
            let open = book.by_owner.get(&owner).into_iter().flatten();
            return Err(open.take(LOOKED_AT).map(|open| (open.repository.clone(), open.id.clone())).collect());
        }
        *coming += 1;
        Ok(Room { of: self.clone(), owner })
    }

    /// A session is no more.
    pub(crate) fn ended(&self, id: &UploadId) {
        self.book().forget(id);
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// The session was begun.
    pub(crate) fn taken(self, repository: &RepositoryId, id: &UploadId) {
        let mut book = self.of.book();
        if book.owners.len() >= MOST {
            book.sweep();
        }
        if book.owners.len() < MOST {
            let open = Open { repository: repository.clone(), id: id.clone(), begun: Instant::now() };
            book.by_owner.entry(self.owner).or_default().push_back(open);
            book.owners.insert(id.clone(), self.owner);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut book = self.of.book();
        match book.coming.get_mut(&self.owner) {
            Some(coming) if *coming > 1 => *coming -= 1,
            _ => {
                book.coming.remove(&self.owner);
            }
        }
    }
}

impl Book {
    fn forget(&mut self, id: &UploadId) {
        let Some(owner) = self.owners.remove(id) else { return };
        if let Some(open) = self.by_owner.get_mut(&owner) {
            open.retain(|open| open.id != *id);
            if open.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }

    /// Forgets the old ones; not again and again where there are none.
    fn sweep(&mut self) {
        if self.swept.is_some_and(|swept| swept.elapsed() < Duration::from_secs(60)) {
            return;
        }
        self.swept = Some(Instant::now());
        let owners = &mut self.owners;
        self.by_owner.retain(|_, open| {
            while open.front().is_some_and(|open| open.begun.elapsed() > OLD) {
                if let Some(open) = open.pop_front() {
                    owners.remove(&open.id);
                }
            }
            !open.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_open_sessions_count_alike() {
        let sessions = Arc::new(Sessions::default());
        let app = RepositoryId::served("app".parse().unwrap());
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| Owner::address(text.parse().unwrap()));
        let ids: Vec<_> = (0..3).map(|_| UploadId::random().unwrap()).collect();
        let first = sessions.room(one, 2).unwrap();
        let second = sessions.room(one, 2).unwrap();
        assert!(sessions.room(one, 2).unwrap_err().is_empty());
        first.taken(&app, &ids[0]);
        assert_eq!(sessions.room(one, 2).unwrap_err(), [(app.clone(), ids[0].clone())]);
        drop(second);
        sessions.room(one, 2).unwrap().taken(&app, &ids[1]);
        assert_eq!(sessions.room(one, 2).unwrap_err().len(), 2);
        sessions.room(other, 2).unwrap().taken(&app, &ids[2]);
        sessions.ended(&ids[0]);
        sessions.ended(&ids[0]);
        drop(sessions.room(one, 2).unwrap());
        for id in &ids {
            sessions.ended(id);
        }
        let book = sessions.book();
        assert!(book.by_owner.is_empty() && book.coming.is_empty() && book.owners.is_empty());
    }
}
