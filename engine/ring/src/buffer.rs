//! Owned, block-aligned buffers from one arena per core.
//!
//! The number of bytes is fixed when the arena is made; who finds none waits, in order of arrival. A
//! buffer's memory goes back when it is dropped. Part of an arena may be registered with the kernel; such
//! memory is given out first.
//!
//! Cost: one search in two ordered sets (best fit by page) to take, the same to give back; no system call.

use std::{
    cell::RefCell,
    future::Future,
    io,
    ops::{Deref, DerefMut, Range},
    pin::Pin,
    ptr::NonNull,
    rc::Rc,
    slice,
    task::{Context, Poll, Waker},
};

use crate::world::BLOCK;

mod mapping;
mod room;

pub(crate) use mapping::{Mapping, Pages};
use room::{Place, Queue, Room};

/// Largest buffer that an arena gives, in bytes.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;

/// The buffers of one core.
#[derive(Clone)]
pub struct Arena {
    home: Rc<Home>,
}

struct Home {
    mapping: Mapping,
    room: RefCell<Room>,
}

/// Memory that belongs to one owner at a time; aligned to 4096 bytes; dereferences to its `len()` bytes.
pub struct Buffer {
    memory: NonNull<u8>,
    length: usize,
    place: Place,
    home: Rc<Home>,
}

impl Arena {
    /// An arena of `bytes`, rounded up to huge pages, of ordinary memory that the kernel fills in when it
    /// is first touched.
    ///
    /// # Panics
    ///
    /// When the system gives no such memory.
    pub fn new(bytes: usize) -> Self {
        let mapping = Mapping::new(bytes, Pages::Ordinary).expect("the system has address space left");
        Self::over(mapping, &[])
    }

    /// An arena over a mapping of which some pieces, in rising order from 0, are registered with the kernel
    /// under their place in the list.
    pub(crate) fn over(mapping: Mapping, registered: &[Range<usize>]) -> Self {
        let room = Room::new(mapping.len(), registered);
        Self { home: Rc::new(Home { mapping, room: RefCell::new(room) }) }
    }

    /// A buffer of at least `capacity` bytes (at most [`BUFFER_BYTES_MAX`]) and length 0; waits for one.
    ///
    /// # Panics
    ///
    /// When more is asked for than any arena gives.
    pub async fn take(&self, capacity: usize) -> Buffer {
        self.take_from(capacity, Queue::Usual).await
    }

    /// The same for what may be held for long, until something else has a buffer too: waits behind all others, and all that is
    /// taken so is half of the arena at most. So whoever needs a buffer to let go of those finds one, who holds the other half
    /// for ever stops nobody here, and one that is not polled stops nobody at all.
    ///
    /// # Panics
    ///
    /// When more is asked for than any arena gives.
    pub async fn take_patiently(&self, capacity: usize) -> Buffer {
        self.take_from(capacity, Queue::Patient).await
    }

    async fn take_from(&self, capacity: usize, queue: Queue) -> Buffer {
        check(capacity);
        let place = Taking { home: &self.home, bytes: capacity, queue, ticket: None }.await;
        self.buffer(place)
    }

    /// The same, or `None` when there is no room now or others wait.
    ///
    /// # Panics
    ///
    /// When more is asked for than any arena gives.
    pub fn try_take(&self, capacity: usize) -> Option<Buffer> {
        check(capacity);
        let place = self.home.room.borrow_mut().take_unless_awaited(capacity)?;
        Some(self.buffer(place))
    }

    /// Bytes not in use.
    pub fn free(&self) -> usize {
        self.home.room.borrow().free()
    }

    /// Bytes in all.
    pub fn total(&self) -> usize {
        self.home.mapping.len()
    }

    fn buffer(&self, place: Place) -> Buffer {
        let memory = self.home.mapping.at(place.start()..place.end());
        Buffer { memory, length: 0, place, home: Rc::clone(&self.home) }
    }
}

fn check(capacity: usize) {
    assert!(capacity <= BUFFER_BYTES_MAX, "no buffer is larger than BUFFER_BYTES_MAX");
}

struct Taking<'a> {
    home: &'a Home,
    bytes: usize,
    queue: Queue,
    ticket: Option<u64>,
}

impl Future for Taking<'_> {
    type Output = Place;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Place> {
        let mut room = self.home.room.borrow_mut();
        let (found, ticket) = room.take_in_turn(self.bytes, self.queue, self.ticket, context.waker());
        // Whoever stands behind may fit in what is left; those who are patient were woken all together.
        let moved = found.is_some() && self.queue == Queue::Usual;
        let next = if moved { room.next_waiting() } else { Vec::new() };
        drop(room);
        next.into_iter().for_each(Waker::wake);
        self.ticket = ticket;
        found.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut room = self.home.room.borrow_mut();
        room.leave(ticket);
        let next = room.next_waiting();
        drop(room);
        next.into_iter().for_each(Waker::wake);
    }
}

impl Buffer {
    /// Bytes that fit.
    pub fn capacity(&self) -> usize {
        self.place.len()
    }

    /// Sets the length, at most [`Buffer::capacity`]. Bytes beyond the old length hold what was last there,
    /// never another process's data.
    ///
    /// # Panics
    ///
    /// When that many do not fit.
    pub fn set_len(&mut self, length: usize) {
        assert!(length <= self.capacity(), "a buffer's length is within its capacity");
        self.length = length;
    }

    /// Appends as much of `bytes` as fits and tells how much that was.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.capacity() - self.length);
        let start = self.length;
        self.length += count;
        self[start..].copy_from_slice(&bytes[..count]);
        count
    }

    /// Fills with zeros up to the next multiple of 4096.
    pub fn pad_to_block(&mut self) {
        let start = self.length;
        self.length = start.next_multiple_of(BLOCK);
        self[start..].fill(0);
    }

    /// Where its memory begins, for the kernel: `capacity()` bytes from there on belong to this buffer.
    pub(crate) fn address(&self) -> *mut u8 {
        self.memory.as_ptr()
    }

    /// Under which number the memory is registered with the kernel.
    pub(crate) fn registered(&self) -> Option<u16> {
        self.place.registered()
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `memory` begins `place.len() >= length` bytes of the mapping that `home` keeps alive, which
        // were zero at first and are never made uninitialised. `Room` gives a place to one buffer at a time,
        // and an operation of the kernel owns the buffer while it runs, so nobody else writes here.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.length) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut room = self.home.room.borrow_mut();
        room.give_back(self.place);
        let next = room.next_waiting();
        drop(room);
        next.into_iter().for_each(Waker::wake);
    }
}

/// What an arena's memory is made of, for the log line at start.
impl Arena {
    pub(crate) fn pages(&self) -> Pages {
        self.home.mapping.pages()
    }

    /// Keeps the memory for good: the kernel may still write to it.
    pub(crate) fn give_up(&self) {
        std::mem::forget(Rc::clone(&self.home));
    }
}

/// Makes a mapping as good as the system lets it be.
pub(crate) fn best_mapping(bytes: usize, huge: Huge) -> io::Result<Mapping> {
    match huge {
        Huge::Wanted => Mapping::new(bytes, Pages::Reserved)
            .or_else(|_| Mapping::new(bytes, Pages::Transparent))
            .or_else(|_| Mapping::new(bytes, Pages::Ordinary)),
        Huge::Unwanted => Mapping::new(bytes, Pages::Ordinary),
    }
}

/// Whether huge pages are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Huge {
    /// Reserved ones, else transparent ones, else none.
    Wanted,
    /// None.
    Unwanted,
}

#[cfg(test)]
mod tests;
