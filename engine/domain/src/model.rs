//! The catalog in memory: for simulation, and as the oracle that the real one is compared with.
//!
//! Guarantee: the same answers as the trait asks for, each by the plainest code. It is not durable, and
//! it is slow on purpose: everything is a scan.

mod answers;
mod beside;
mod bug;
mod lists;
mod operations;
mod rows;
mod runs;
mod space;
mod waits;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::import::Import;
use crate::operation::Operation;

pub use bug::{Bug, Burnt};

use bug::Fuse;
use rows::Rows;

/// A catalog in memory.
#[derive(Debug, Default)]
pub struct MemoryCatalog {
    rows: Mutex<Rows>,
    /// Applications until one fails; `None` never fails.
    fuse: Mutex<Fuse>,
    bug: Option<Bug>,
}

impl MemoryCatalog {
    /// An empty catalog.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty catalog that makes this mistake.
    pub fn with_bug(bug: Option<Bug>) -> Self {
        Self { bug, ..Self::default() }
    }

    /// The application after `count` successful ones fails and stores nothing; so do all after it, until
    /// this is called again.
    pub fn fail_after(&self, count: Option<u32>) {
        *self.fuse() = Fuse(count);
    }

    /// Every row, as text: two catalogs that hold the same print the same.
    pub fn dump(&self) -> String {
        format!("{:#?}", self.rows())
    }

    /// All images, operations included, for checkers.
    pub fn all_operations(&self) -> Vec<Operation> {
        self.rows().operations.values().cloned().collect()
    }

    /// All arrivals, for checkers.
    pub fn all_imports(&self) -> Vec<Import> {
        self.rows().imports.values().cloned().collect()
    }

    fn fuse(&self) -> MutexGuard<'_, Fuse> {
        self.fuse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::unnecessary_wraps, reason = "every question of the trait may fail elsewhere")]
    fn read<T>(&self, read: impl FnOnce(&Rows) -> T) -> Result<T, Burnt> {
        Ok(read(&self.rows()))
    }

    /// Nothing, where it makes this mistake.
    fn unless<T: Default>(&self, bug: Bug, read: impl FnOnce(&Rows) -> T) -> Result<T, Burnt> {
        if self.bug == Some(bug) { Ok(T::default()) } else { self.read(read) }
    }
}
