//! Data sessions that the API allowed and that have not begun on the data port.
//!
//! Guarantees: a ticket works once, for its principal, within its life; their number is bounded. They live
//! in memory: after a restart whoever holds one asks again. What ran out unused is kept until [`Tickets::sweep`]
//! asks for it: somebody's job waits for it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use narrows_api::{ApiError, Hex, error::codes};
use narrows_domain::job::JobKey;
use narrows_format::{ClientId, DomainId, ImageId, PoolId, record::CopyState};

use crate::{
    limits::{TICKET_LIFE, TICKETS_MAX},
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
        let name = random::bytes();
        known.out.insert(name, (Instant::now(), ticket));
        Ok(Hex(name))
    }

    /// Takes one back; it works no more. `None`: unknown, used or too old.
    pub fn take(&self, name: &[u8; 32]) -> Option<Ticket> {
        let mut known = self.known();
        known.lapse(self.life);
        known.out.remove(name).map(|(_, ticket)| ticket)
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

    #[test]
    fn works_once() {
        let tickets = Tickets::default();
        let name = tickets.give(ticket()).unwrap();
        assert_eq!(tickets.take(&[0; 32]), None);
        assert_eq!(tickets.take(&name.0), Some(ticket()));
        assert_eq!(tickets.take(&name.0), None);
    }

    #[test]
    fn ends_with_its_life_and_their_number_is_bounded() {
        let dead = Tickets { life: Duration::ZERO, ..Tickets::default() };
        let name = dead.give(ticket()).unwrap();
        assert_eq!(dead.take(&name.0), None);
        assert_eq!(dead.sweep(), [ticket()]);
        assert_eq!(dead.sweep(), []);
        let tickets = Tickets::default();
        for _ in 0..TICKETS_MAX {
            tickets.give(ticket()).unwrap();
        }
        assert_eq!(tickets.give(ticket()).unwrap_err().code, codes::NOT_READY);
    }
}
