//! What must never be tried again: after a failed write or sync nothing more is written.
//!
//! The one flag that cores share. It is set once, and read before every write.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use narrows_ring::world::no_descriptor;

use crate::error::Error;

/// Whether the pool still takes writes.
#[derive(Clone, Default)]
pub(crate) struct Poison(Arc<AtomicBool>);

impl Poison {
    /// From now on every write is refused. Said once.
    pub(crate) fn set(&self, what: &'static str, error: &std::io::Error) {
        if !self.0.swap(true, Ordering::SeqCst) {
            tracing::error!(what, %error, "POOL-004: a write or sync failed, the pool takes nothing more");
        }
    }

    /// Refuses once the pool is poisoned.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.0.load(Ordering::SeqCst) { Err(Error::Poisoned) } else { Ok(()) }
    }

    /// What a failed write or sync means: a full disk concerns the object that was written, and so does a directory that could
    /// not even be opened for its sync because too many files are; all else the pool.
    pub(crate) fn by(&self, what: &'static str, error: &std::io::Error) -> Error {
        let of_object = Error::device(what, error);
        if matches!(of_object, Error::Full { .. }) {
            return of_object;
        }
        if no_descriptor(error) {
            tracing::error!(what, %error, "too many files are open: what needs another one is refused");
            return of_object;
        }
        self.set(what, error);
        Error::Poisoned
    }
}
