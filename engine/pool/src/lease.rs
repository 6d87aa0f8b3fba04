//! Sessions that rely on what the pool has told them.
//!
//! Whoever was told "have" may commit an image that refers to it, and whoever reads an image may still be at
//! it when the image goes. So each of them holds a lease for as long as it lives: reclaim may remove nothing that
//! was reachable, or closed, when the oldest living lease began. Reclaim itself does not exist yet; what
//! it needs to know is kept from the first day.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

/// All living leases of one core.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    book: Rc<Book>,
}

#[derive(Default)]
struct Book {
    next: Cell<u64>,
    living: RefCell<BTreeMap<u64, Duration>>,
}

/// A promise that nothing told under it is taken back; ends when dropped.
#[must_use = "it ends when it is dropped"]
pub struct Lease {
    number: u64,
    book: Rc<Book>,
}

impl Leases {
    /// Begins one at this moment of the monotonic clock.
    pub(crate) fn begin(&self, now: Duration) -> Lease {
        let number = self.book.next.get();
        self.book.next.set(number + 1);
        self.book.living.borrow_mut().insert(number, now);
        Lease { number, book: self.book.clone() }
    }

    /// How many live, and when the oldest of them began.
    pub(crate) fn living(&self) -> (usize, Option<Duration>) {
        let living = self.book.living.borrow();
        (living.len(), living.values().next().copied())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.book.living.borrow_mut().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_living_lease_counts() {
        let leases = Leases::default();
        let first = leases.begin(Duration::from_secs(1));
        let second = leases.begin(Duration::from_secs(2));
        assert_eq!(leases.living(), (2, Some(Duration::from_secs(1))));
        drop(first);
        assert_eq!(leases.living(), (1, Some(Duration::from_secs(2))));
        drop(second);
        assert_eq!(leases.living(), (0, None));
    }
}
