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

/// One whose question is being answered.
#[derive(Debug)]
struct Unanswered {
    number: u64,
    server: ServerId,
    shown: ([u8; 32], ImageId),
    is_forgotten: bool,
}

#[derive(Debug, Default)]
struct Known {
    guests: Vec<Guest>,
    asked: Vec<Unanswered>,
    last: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Guests(Mutex<Known>);

/// Somebody who asks to bring or take, until that is answered.
pub struct Asking<'a> {
    guests: &'a Guests,
    number: u64,
}

impl Asking<'_> {
    /// It was allowed; given back if nobody waits for that any more, and then it is to be ended.
    pub fn came(self, visit: Visit) -> Result<(), Visit> {
        let mut known = self.guests.known();
        let found = known.asked.iter().find(|it| it.number == self.number && !it.is_forgotten);
        let Some(&Unanswered { server, shown, .. }) = found else { return Err(visit) };
        known.guests.push(Guest { server, shown, visit });
        Ok(())
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.guests.known().asked.retain(|it| it.number != self.number);
    }
}

impl Guests {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It asks to bring or take (NET-004 without room).
    pub fn asks(&self, server: ServerId, shown: ([u8; 32], ImageId)) -> Result<Asking<'_>, ApiError> {
        let mut known = self.known();
        let guests = known.guests.iter().filter(|guest| guest.server == server).count();
        if guests + known.asked.iter().filter(|it| it.server == server).count() >= GUESTS_MAX {
            let sentence = format!("media server {server} has {GUESTS_MAX} sessions under way");
            return Err(ApiError::new(codes::BUSY, sentence).help("try again when one has ended"));
        }
        known.last += 1;
        let number = known.last;
        known.asked.push(Unanswered { number, server, shown, is_forgotten: false });
        Ok(Asking { guests: self, number })
    }

    /// Whether this was allowed to this media server, and has not ended.
    pub fn has(&self, server: ServerId, visit: &Visit) -> bool {
        self.known().guests.iter().any(|guest| guest.server == server && guest.visit == *visit)
    }

    /// It has ended; whether it was there.
    pub fn left(&self, server: ServerId, visit: &Visit) -> bool {
        let guests = &mut self.known().guests;
        let found = guests.iter().position(|guest| guest.server == server && guest.visit == *visit);
        found.map(|at| guests.swap_remove(at)).is_some()
    }

    /// The one that came with this never began. One whose question is not answered yet will not begin either.
    pub fn forget(&self, server: ServerId, shown: &([u8; 32], ImageId)) -> Option<Visit> {
        let mut known = self.known();
        let asked = known.asked.iter_mut().filter(|it| it.server == server && it.shown == *shown);
        asked.for_each(|it| it.is_forgotten = true);
        let found = known.guests.iter().rposition(|guest| guest.server == server && guest.shown == *shown)?;
        Some(known.guests.swap_remove(found).visit)
    }

    /// None of a media server's is there any more.
    pub fn all_left(&self, server: ServerId) -> Vec<Visit> {
        let mut known = self.known();
        known.asked.iter_mut().filter(|it| it.server == server).for_each(|it| it.is_forgotten = true);
        known.guests.extract_if(.., |guest| guest.server == server).map(|guest| guest.visit).collect()
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
        guests.asks(here, shown).unwrap().came(visit.clone()).unwrap();
        assert!(guests.has(here, &visit) && !guests.has(there, &visit));
        assert!(!guests.left(there, &visit) && !guests.left(here, &Visit::Takes(JobKey::restore(6))));
        assert_eq!(guests.forget(there, &shown), None);
        assert!(guests.left(here, &visit) && !guests.left(here, &visit));
        for at in 0..GUESTS_MAX {
            guests.asks(here, shown).unwrap().came(Visit::Takes(JobKey::restore(at as u128))).unwrap();
        }
        assert_eq!(guests.asks(here, shown).err().unwrap().code, codes::BUSY);
        drop(guests.asks(there, shown).unwrap());
        assert_eq!(guests.forget(here, &shown), Some(Visit::Takes(JobKey::restore(GUESTS_MAX as u128 - 1))));
        assert_eq!(guests.all_left(here).len(), GUESTS_MAX - 1);
        assert_eq!(guests.all_left(here), []);
    }
    /// Goal: nobody stays who was forgotten before he was allowed.
    #[test]
    fn who_is_forgotten_while_asking_does_not_come() {
        let (here, there) = (ServerId([1; 16]), ServerId([2; 16]));
        let guests = Guests::default();
        let visit = Visit::Takes(JobKey::restore(5));
        let shown = ([9; 32], ImageId([3; 16]));
        let asking = guests.asks(here, shown).unwrap();
        assert_eq!((guests.forget(there, &shown), guests.forget(here, &shown)), (None, None));
        assert_eq!(asking.came(visit.clone()), Err(visit.clone()));
        let asking = guests.asks(here, shown).unwrap();
        assert_eq!(guests.all_left(here), []);
        assert_eq!(asking.came(visit.clone()), Err(visit.clone()));
        assert!(!guests.has(here, &visit));
        guests.asks(here, shown).unwrap().came(visit.clone()).unwrap();
        assert_eq!(guests.forget(here, &shown), Some(visit));
    }
}
