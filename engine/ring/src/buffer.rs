//! Owned, block-aligned buffers from one arena per core.
//!
//! The number of bytes is fixed when the arena is made; who finds none waits. A buffer's memory goes back
//! when it is dropped.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    rc::Rc,
};

/// The buffers of one core.
#[derive(Clone)]
pub struct Arena {
    state: Rc<RefCell<ArenaState>>,
}

struct ArenaState {
    free: usize,
}

/// Largest buffer that an arena gives, in bytes.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

impl Arena {
    /// An arena of `bytes`.
    pub fn new(bytes: usize) -> Self {
        Self { state: Rc::new(RefCell::new(ArenaState { free: bytes })) }
    }

    /// A buffer of at least `capacity` bytes (at most [`BUFFER_BYTES_MAX`]) and length 0; waits for one.
    #[expect(clippy::unused_async, reason = "waits for room")]
    pub async fn take(&self, capacity: usize) -> Buffer {
        Buffer { bytes: vec![0; capacity.next_multiple_of(4096)], length: 0, home: self.clone() }
    }

    /// The same, or `None` when there is no room now.
    pub fn try_take(&self, capacity: usize) -> Option<Buffer> {
        Some(Buffer { bytes: vec![0; capacity.next_multiple_of(4096)], length: 0, home: self.clone() })
    }

    /// Bytes not in use.
    pub fn free(&self) -> usize {
        self.state.borrow().free
    }
}

/// Memory that belongs to one owner at a time; aligned to 4096 bytes; dereferences to its `len()` bytes.
pub struct Buffer {
    bytes: Vec<u8>,
    length: usize,
    #[expect(dead_code, reason = "gives the memory back")]
    home: Arena,
}

impl Buffer {
    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Sets the length, at most [`Buffer::capacity`]. Bytes beyond the old length hold what was last there,
    /// never another process's data.
    pub fn set_len(&mut self, length: usize) {
        assert!(length <= self.capacity());
        self.length = length;
    }

    /// Appends as much of `bytes` as fits and tells how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity() - self.length);
        self.bytes[self.length..self.length + count].copy_from_slice(&bytes[..count]);
        self.length += count;
        count
    }

    /// Fills with zeros up to the next multiple of 4096.
    pub fn pad_to_block(&mut self) {
        let end = self.length.next_multiple_of(4096);
        self.bytes[self.length..end].fill(0);
        self.length = end;
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}
