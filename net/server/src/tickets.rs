//! Data sessions that the API allowed and that have not begun on the data port.
//!
//! Guarantees: a ticket works once, for its principal, within its life; their number is bounded, and that of each client. They live
//! in memory: after a restart whoever holds one asks again. What ran out unused, or was shown for something else, is kept until
//! [`Tickets::sweep`] asks for it: somebody's job waits for it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use narrows_api::{ApiError, Hex, error::codes};
use narrows_domain::job::JobKey;
use narrows_format::{ClientId, DomainId, ImageId, PoolId, record::CopyState};

use crate::{
    limits::{CLIENT_TICKETS_MAX, TICKET_LIFE, TICKETS_MAX},
    random,
};

/// What a session was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ticket {
    /// A client may bring this image.
    Backup {
        /// The client.
        client: ClientId,
        /// The image.
        image: ImageId,
        /// Which attempt.
        attempt: u32,
        /// Expiry, lock and hold to commit with.
        copy: CopyState,
        /// The pool that it goes to.
        pool: PoolId,
    },
    /// This domain itself copies this image to another pool.
    Duplicate {
        /// The image.
        image: ImageId,
        /// Expiry, lock and hold to commit with.
        copy: CopyState,
        /// The pool that it goes to.
        pool: PoolId,
    },
    /// This domain itself takes from this pool what an image lacks in another.
    Heal {
        /// The image.
        image: ImageId,
        /// The pool to read from.
        pool: PoolId,
    },
    /// A partner takes from this pool what it lacks of an image.
    Lend {
        /// The partner.
        asker: DomainId,
        /// The image.
        image: ImageId,
        /// The pool to read from.
        pool: PoolId,
    },
    /// A partner may bring this image to a storage unit that it has named.
    Receive {
        /// The partner.
        sender: DomainId,
        /// The image.
        image: ImageId,
        /// The unit.
        unit: String,
    },
    /// A client may take this image.
    Restore {
        /// The client.
        client: ClientId,
        /// The image.
        image: ImageId,
        /// The pool to read it from.
        pool: PoolId,
        /// The job that stands for it.
        job: JobKey,
    },
}

impl Ticket {
    /// The client that it was given to.
    fn client(&self) -> Option<ClientId> {
        match self {
            Self::Backup { client, .. } | Self::Restore { client, .. } => Some(*client),
            _ => None,
        }
    }
}

/// All that are out.
pub struct Tickets {
    known: Mutex<Known>,
    life: Duration,
}

#[derive(Default)]
struct Known {
    out: BTreeMap<[u8; 32], (Instant, Ticket)>,
    lapsed: Vec<Ticket>,
}

impl Known {
    fn lapse(&mut self, life: Duration) {
        let over = self.out.extract_if(.., |_, (given, _)| given.elapsed() >= life);
        self.lapsed.extend(over.map(|(_, (_, ticket))| ticket));
        // Nobody swept for long: what is left out is put right by the next start.
        self.lapsed.truncate(TICKETS_MAX);
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self { known: Mutex::default(), life: TICKET_LIFE }
    }
}

impl Tickets {
    /// Gives one out.
    pub fn give(&self, ticket: Ticket) -> Result<Hex<32>, ApiError> {
        let mut known = self.known();
        known.lapse(self.life);
        if known.out.len() >= TICKETS_MAX {
            let error = ApiError::new(codes::NOT_READY, "too many sessions were allowed and have not begun");
            return Err(error.help("try again in a few minutes"));
        }
        if let Some(client) = ticket.client() {
            let theirs = known.out.values().filter(|(_, out)| out.client() == Some(client)).count();
            if theirs >= CLIENT_TICKETS_MAX {
                let sentence = "this client was allowed too many sessions that have not begun";
                let error = ApiError::new(codes::NOT_READY, sentence);
                return Err(error.help("begin them, or try again in a few minutes"));
            }
        }
        let name = random::bytes();
        known.out.insert(name, (Instant::now(), ticket));
        Ok(Hex(name))
    }

    /// Takes one back that fits what it is shown for; it works no more, whether it does or not. `None`: unknown, used, too old, or
    /// for something else.
    pub fn take(&self, name: &[u8; 32], fits: impl FnOnce(&Ticket) -> bool) -> Option<Ticket> {
        let mut known = self.known();
        known.lapse(self.life);
        let (_, ticket) = known.out.remove(name)?;
        if fits(&ticket) {
            return Some(ticket);
        }
        known.lapsed.push(ticket);
        None
    }

    /// How many are out for images that this partner announced.
    pub fn out_to(&self, partner: DomainId) -> usize {
        let mut known = self.known();
        known.lapse(self.life);
        let is_theirs = |ticket: &Ticket| match ticket {
            Ticket::Receive { sender: holder, .. } | Ticket::Lend { asker: holder, .. } => *holder == partner,
            _ => false,
        };
        known.out.values().filter(|(_, ticket)| is_theirs(ticket)).count()
    }

    /// Those that ran out unused since this was asked last.
    pub fn sweep(&self) -> Vec<Ticket> {
        let mut known = self.known();
        known.lapse(self.life);
        std::mem::take(&mut known.lapsed)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let (image, pool) = (ImageId([2; 16]), PoolId([4; 16]));
        Ticket::Restore { client: ClientId([1; 16]), image, pool, job: JobKey::restore(3) }
    }

    fn of_client(client: ClientId) -> Ticket {
        Ticket::Restore { client, image: ImageId([2; 16]), pool: PoolId([4; 16]), job: JobKey::restore(3) }
    }

    #[test]
    fn works_once() {
        let tickets = Tickets::default();
        let name = tickets.give(ticket()).unwrap();
        assert_eq!(tickets.take(&[0; 32], |_| true), None);
        assert_eq!(tickets.take(&name.0, |_| true), Some(ticket()));
        assert_eq!(tickets.take(&name.0, |_| true), None);
    }

    /// Symptom: what waited for a ticket that was shown for something else, a restore's job or a backup's place, waited until the
    /// next start.
    #[test]
    fn what_is_shown_for_something_else_has_run_out() {
        let tickets = Tickets::default();
        let name = tickets.give(ticket()).unwrap();
        assert_eq!(tickets.take(&name.0, |it| matches!(it, Ticket::Backup { .. })), None);
        assert_eq!(tickets.take(&name.0, |_| true), None);
        assert_eq!(tickets.sweep(), [ticket()]);
    }

    #[test]
    fn ends_with_its_life_and_their_number_is_bounded() {
        let dead = Tickets { life: Duration::ZERO, ..Tickets::default() };
        let name = dead.give(ticket()).unwrap();
        assert_eq!(dead.take(&name.0, |_| true), None);
        assert_eq!(dead.sweep(), [ticket()]);
        assert_eq!(dead.sweep(), []);
        let tickets = Tickets::default();
        for at in 0..TICKETS_MAX {
            tickets.give(of_client(ClientId(u128::try_from(at).unwrap().to_le_bytes()))).unwrap();
        }
        assert_eq!(tickets.give(ticket()).unwrap_err().code, codes::NOT_READY);
    }

    /// Symptom: one client that asked and asked took the tickets of all others.
    #[test]
    fn no_client_has_the_tickets_of_all_others() {
        let tickets = Tickets::default();
        let given: Vec<_> = (0..CLIENT_TICKETS_MAX).map(|_| tickets.give(ticket()).unwrap()).collect();
        let refused = tickets.give(ticket()).unwrap_err();
        assert!(refused.code == codes::NOT_READY && !refused.help.is_empty(), "{refused}");
        tickets.give(of_client(ClientId([9; 16]))).unwrap();
        tickets.take(&given[0].0, |_| true).unwrap();
        tickets.give(ticket()).unwrap();
    }
}
