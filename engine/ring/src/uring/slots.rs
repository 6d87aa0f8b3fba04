//! The table of operations under way.
//!
//! Guarantee: a slot, and with it the operation's memory and descriptor, is free only after the kernel's last
//! completion for it. Pure bookkeeping: nothing is woken, closed or dropped here that could call back; what is
//! left to do is returned as an [`Outcome`].

use std::{
    cell::Cell,
    io,
    os::fd::{FromRawFd as _, OwnedFd},
    rc::Rc,
    task::Waker,
};

use io_uring::cqueue;

use super::{
    driver::Descriptor,
    operation::Unawaited,
    request::{Held, ZeroCopy},
};

/// All of them, by number.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
}

/// One of them.
pub(super) struct Slot {
    /// Counts the uses, so that a number never means two operations.
    generation: u32,
    pub(super) state: State,
}

/// What a slot holds.
pub(super) enum State {
    /// No operation.
    Free,
    /// The kernel has it.
    Flying(Flight),
    /// It has ended and waits to be taken.
    Landed(Landing),
}

/// An operation that the kernel has.
pub(super) struct Flight {
    /// The memory that the kernel uses.
    pub(super) held: Held,
    /// What it works on; let go when the kernel no longer needs it.
    pub(super) descriptor: Option<Rc<Descriptor>>,
    /// Who waits.
    pub(super) waker: Option<Waker>,
    /// What happens when nobody does.
    pub(super) unawaited: Unawaited,
    /// Whether somebody does.
    pub(super) awaited: bool,
    /// What the kernel has said although it goes on.
    pub(super) first: Option<i32>,
    /// Counts it when it is a send that nobody waits for.
    pub(super) lingering: Option<Lingering>,
}

/// The end of an operation.
pub(super) struct Landing {
    /// As the kernel gives it: negative is an error.
    pub(super) result: i32,
    /// What it was given.
    pub(super) held: Held,
    /// The descriptor that it made.
    pub(super) made: Option<OwnedFd>,
}

/// The name of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token(pub(super) u64);

/// Counts the memory of a send that nobody waits for, as long as it exists.
pub(super) struct Lingering {
    count: Rc<Cell<usize>>,
    bytes: usize,
}

impl Lingering {
    pub(super) fn new(count: &Rc<Cell<usize>>, bytes: usize) -> Self {
        count.set(count.get() + bytes);
        Self { count: Rc::clone(count), bytes }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.count.set(self.count.get() - self.bytes);
    }
}

/// Set in the notification of a zero-copy send when the kernel copied.
const NOTIFICATION_COPIED: u32 = 1 << 31;

impl Slots {
    pub(super) fn insert(&mut self, state: State) -> Token {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.all[index as usize];
            slot.state = state;
            return Token::new(index, slot.generation);
        }
        let index = u32::try_from(self.all.len()).expect("memory ends before 2^32 operations");
        self.all.push(Slot { generation: 0, state });
        Token::new(index, 0)
    }

    pub(super) fn get(&mut self, token: Token) -> &mut Slot {
        let slot = &mut self.all[token.index()];
        assert_eq!(slot.generation, token.generation(), "a token is used until its operation has landed");
        slot
    }

    /// The landing of an operation; its slot becomes free.
    pub(super) fn release(&mut self, token: Token) -> Landing {
        let slot = self.get(token);
        slot.generation = slot.generation.wrapping_add(1);
        let State::Landed(landing) = std::mem::replace(&mut slot.state, State::Free) else {
            unreachable!("only what has landed is released")
        };
        self.free.push(u32::try_from(token.index()).expect("made from 32 bits"));
        landing
    }

    pub(super) fn flying(&self) -> impl Iterator<Item = (Token, &Flight)> {
        (0..).zip(&self.all).filter_map(|(index, slot)| match &slot.state {
            State::Flying(flight) => Some((Token::new(index, slot.generation), flight)),
            State::Free | State::Landed(_) => None,
        })
    }

    pub(super) fn poll(&mut self, token: Token, waker: &Waker) -> Option<Landing> {
        match &mut self.get(token).state {
            State::Flying(flight) => {
                match &mut flight.waker {
                    Some(old) => old.clone_from(waker),
                    none => *none = Some(waker.clone()),
                }
                None
            }
            State::Landed(_) => Some(self.release(token)),
            State::Free => unreachable!("an operation is polled until it has landed"),
        }
    }

    pub(super) fn land(&mut self, token: Token, result: i32, flags: u32) -> Outcome {
        let slot = self.get(token);
        let State::Flying(flight) = &mut slot.state else { unreachable!("the kernel completes what flies") };
        if cqueue::more(flags) {
            // A zero-copy send was accepted, or our bell has rung and is watched on. The connection may be
            // closed from now on; the memory stays until the notification.
            flight.first = Some(result);
            return Outcome::Wake(flight.waker.take(), flight.descriptor.take());
        }
        let State::Flying(flight) = std::mem::replace(&mut slot.state, State::Free) else {
            unreachable!("it was looked at above")
        };
        let (landing, rest) = flight.land(result, flags);
        slot.state = State::Landed(landing);
        if rest.awaited {
            return Outcome::Wake(rest.waker, rest.descriptor);
        }
        Outcome::Unawaited(self.release(token), rest.descriptor)
    }
}

/// What is left to do after a completion, once no borrow stands in the way.
pub(super) enum Outcome {
    /// Let go of the descriptor, then wake.
    Wake(Option<Waker>, Option<Rc<Descriptor>>),
    /// Dispose of what nobody waits for.
    Unawaited(Landing, Option<Rc<Descriptor>>),
}

struct Rest {
    waker: Option<Waker>,
    descriptor: Option<Rc<Descriptor>>,
    awaited: bool,
}

impl Flight {
    fn land(self, result: i32, flags: u32) -> (Landing, Rest) {
        let rest = Rest { waker: self.waker, descriptor: self.descriptor, awaited: self.awaited };
        if cqueue::notif(flags) {
            if let Held::Sent(_, zero_copy) = &self.held {
                let copied = result.cast_unsigned() & NOTIFICATION_COPIED != 0;
                zero_copy.set(if copied { ZeroCopy::Useless } else { ZeroCopy::Works });
            }
            let result = self.first.unwrap_or(-libc::EIO);
            return (Landing { result, held: self.held, made: None }, rest);
        }
        let made = match &self.held {
            // SAFETY: the kernel has just made this descriptor for our `accept` and told nobody else.
            Held::Peer(_) if result >= 0 => Some(unsafe { OwnedFd::from_raw_fd(result) }),
            _ => None,
        };
        (Landing { result, held: self.held, made }, rest)
    }
}

impl Landing {
    /// What came out.
    pub(super) fn count(&self) -> io::Result<usize> {
        usize::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }
}

impl Token {
    fn new(index: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(index))
    }

    fn index(self) -> usize {
        usize::try_from(self.0 & u64::from(u32::MAX)).expect("32 bits fit")
    }

    fn generation(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("32 bits are left")
    }
}
