//! How much has to be free where, and whether a pool can write what comes next.

use crate::limits::SPACE_RESERVE_BYTES;

/// What a pool has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// [`Lack::CONTAINER`] or [`Lack::INDEX`].
    pub what: &'static str,
    /// What may still be written where it has to go; of several volumes the one with most.
    pub available: u64,
    /// What would have to be.
    pub needed: u64,
}

impl Lack {
    /// Nothing new can be stored.
    pub const CONTAINER: &'static str = "a container";
    /// What is stored could not be found again.
    pub const INDEX: &'static str = "the index";
}

/// What is available on each volume, against what a container needs there.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Room {
    home: u64,
    takes: bool,
    most: Option<(u64, u64)>,
}

impl Room {
    /// The next volume; the pool's own directory comes first.
    pub(crate) fn add(&mut self, available: u64, needed: u64) {
        self.takes |= available >= needed;
        match self.most {
            None => (self.home, self.most) = (available, Some((available, needed))),
            Some((most, _)) if available > most => self.most = Some((available, needed)),
            Some(_) => {}
        }
    }

    /// What would be refused next, if the index has to write so much.
    pub(crate) fn lack(self, index: u64) -> Option<Lack> {
        let needed = SPACE_RESERVE_BYTES.saturating_add(index);
        let (available, container) = self.most.unwrap_or_default();
        if !self.takes {
            Some(Lack { what: Lack::CONTAINER, available, needed: container })
        } else if self.home < needed {
            Some(Lack { what: Lack::INDEX, available: self.home, needed })
        } else {
            None
        }
    }
}
