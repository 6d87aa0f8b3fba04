//! Data sessions on media servers that the primary allowed and that have not ended.
//!
//! Guarantees: a media server can seal, end and tell of what was allowed to it, and of nothing else; their number is bounded.
//! In memory only: after a restart of the primary none is known, and sessions that go on begin anew, as they do after a
//! crash of a server that is both. A session whose end was lost ends with its media server's process, or when that has been
//! silent for [`crate::limits::GUEST_SILENT_MAX`].

use std::sync::{Mutex, MutexGuard, PoisonError};

use narrows_api::{ApiError, error::codes};
use narrows_domain::job::JobKey;
use narrows_format::{ImageId, ServerId};

use crate::{limits::GUESTS_MAX, plane::gate::Admission};

/// What was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Somebody brings an image.
    Brings(Admission),
    /// Somebody takes one: the job of a restore.
    Takes(JobKey),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Guest {
    server: ServerId,
    /// What it came with.
    shown: ([u8; 32], ImageId),
    visit: Visit,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Guests(Mutex<Vec<Guest>>);

impl Guests {
    fn known(&self) -> MutexGuard<'_, Vec<Guest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more has room (NET-004).
    pub fn check_room(&self, server: ServerId) -> Result<(), ApiError> {
        if self.known().iter().filter(|guest| guest.server == server).count() < GUESTS_MAX {
            return Ok(());
        }
        let sentence = format!("media server {server} has {GUESTS_MAX} sessions under way");
        Err(ApiError::new(codes::BUSY, sentence).help("try again when one has ended"))
    }

    /// It was allowed to bring or take.
    pub fn came(&self, server: ServerId, shown: ([u8; 32], ImageId), visit: Visit) {
        self.known().push(Guest { server, shown, visit });
    }

    /// Whether this was allowed to this media server, and has not ended.
    pub fn has(&self, server: ServerId, visit: &Visit) -> bool {
        self.known().iter().any(|guest| guest.server == server && guest.visit == *visit)
    }

    /// It has ended; whether it was there.
    pub fn left(&self, server: ServerId, visit: &Visit) -> bool {
        let mut known = self.known();
        let found = known.iter().position(|guest| guest.server == server && guest.visit == *visit);
        found.map(|at| known.swap_remove(at)).is_some()
    }

    /// The one that came with this never began.
    pub fn forget(&self, server: ServerId, shown: &([u8; 32], ImageId)) -> Option<Visit> {
        let mut known = self.known();
        let found = known.iter().rposition(|guest| guest.server == server && guest.shown == *shown)?;
        Some(known.swap_remove(found).visit)
    }

    /// None of a media server's is there any more.
    pub fn all_left(&self, server: ServerId) -> Vec<Visit> {
        self.known().extract_if(.., |guest| guest.server == server).map(|guest| guest.visit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: nobody ends or seals what was allowed to another media server, or not at all, or twice.
    #[test]
    fn what_was_allowed_is_one_servers_and_once() {
        let (here, there) = (ServerId([1; 16]), ServerId([2; 16]));
        let guests = Guests::default();
        let visit = Visit::Takes(JobKey::restore(5));
        let shown = ([9; 32], ImageId([3; 16]));
        guests.came(here, shown, visit.clone());
        assert!(guests.has(here, &visit) && !guests.has(there, &visit));
        assert!(!guests.left(there, &visit) && !guests.left(here, &Visit::Takes(JobKey::restore(6))));
        assert_eq!(guests.forget(there, &shown), None);
        assert!(guests.left(here, &visit) && !guests.left(here, &visit));
        for at in 0..GUESTS_MAX {
            guests.check_room(here).unwrap();
            guests.came(here, shown, Visit::Takes(JobKey::restore(at as u128)));
        }
        assert_eq!(guests.check_room(here).unwrap_err().code, codes::BUSY);
        guests.check_room(there).unwrap();
        assert_eq!(guests.forget(here, &shown), Some(Visit::Takes(JobKey::restore(GUESTS_MAX as u128 - 1))));
        assert_eq!(guests.all_left(here).len(), GUESTS_MAX - 1);
        assert_eq!(guests.all_left(here), []);
    }
}
