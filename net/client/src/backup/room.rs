//! Buffers of units that were sent, for units to come: so each page of them is asked of the kernel once.
//!
//! Bounded: as many buffers as there can be units under way, none larger than a unit is meant to be.

use std::{cell::RefCell, rc::Rc};

use crate::limits::{ASKS_IN_FLIGHT_MAX, READS_IN_FLIGHT_MAX, UNIT_BYTES_MAX};

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Room {
    buffers: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Room {
    /// An empty buffer: the one that came back last, because most of it is still in the cache.
    pub(super) fn take(&self) -> Vec<u8> {
        self.buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes the buffer of a unit that nobody needs any more.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        let fits = buffer.capacity() <= 2 * UNIT_BYTES_MAX;
        if fits && buffer.capacity() > 0 && buffers.len() < READS_IN_FLIGHT_MAX + ASKS_IN_FLIGHT_MAX {
            buffer.clear();
            buffers.push(buffer);
        }
    }
}
