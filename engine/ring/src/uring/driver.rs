//! Operations under way: what they hold, who waits for them, and what becomes of them when nobody does.
//!
//! Guarantee: a slot, and with it the operation's memory and descriptor, is free only after the kernel's last
//! completion for it. A descriptor is closed, through the ring, when the last operation on it has landed.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use io_uring::{cqueue, squeue::Entry};

use super::{
    operation::{Operation, Unawaited},
    request::{Held, MESSAGE, Request, Rings, ZeroCopy},
};
use crate::{
    inbox::Inbox,
    switches::{Switch, Switches},
};

/// Where operations of one core are handed in and land.
pub(crate) struct Driver {
    slots: RefCell<Slots>,
    /// Entries on their way to the submission queue; each has a slot.
    outbox: RefCell<VecDeque<Entry>>,
    phase: Cell<Phase>,
    messages: Cell<bool>,
    send_zc: bool,
    /// Bytes that zero-copy sends use which nobody waits for.
    lingering: Rc<Cell<usize>>,
}

/// Counts the memory of a send that nobody waits for, as long as it exists.
struct Lingering {
    count: Rc<Cell<usize>>,
    bytes: usize,
}

impl Lingering {
    fn new(count: &Rc<Cell<usize>>, bytes: usize) -> Self {
        count.set(count.get() + bytes);
        Self { count: Rc::clone(count), bytes }
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        self.count.set(self.count.get() - self.bytes);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Takes operations.
    Open,
    /// Only cancels and closes.
    Draining,
    /// The ring has gone.
    Ended,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    /// Counts the uses, so that a number never means two operations.
    generation: u32,
    state: State,
}

enum State {
    Free,
    Flying(Flight),
    Landed(Landing),
}

struct Flight {
    held: Held,
    descriptor: Option<Rc<Descriptor>>,
    waker: Option<Waker>,
    unawaited: Unawaited,
    awaited: bool,
    first: Option<i32>,
    lingering: Option<Lingering>,
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
pub(super) struct Token(u64);

/// An open file or socket; closed through the ring when the last holder lets go.
pub(crate) struct Descriptor {
    fd: Option<Arc<OwnedFd>>,
    driver: Rc<Driver>,
}

/// Set in the notification of a zero-copy send when the kernel copied.
const NOTIFICATION_COPIED: u32 = 1 << 31;

impl Driver {
    pub(super) fn new(switches: Switches) -> Rc<Self> {
        Rc::new(Self {
            slots: RefCell::default(),
            outbox: RefCell::default(),
            phase: Cell::new(Phase::Open),
            messages: Cell::new(!switches.has(Switch::NoMsgRing)),
            send_zc: !switches.has(Switch::NoSendZc),
            lingering: Rc::default(),
        })
    }

    /// Whether sends may be zero-copy.
    pub(super) fn may_send_zc(&self) -> bool {
        self.send_zc
    }

    /// Hands in an operation that somebody waits for.
    pub(super) fn start(self: &Rc<Self>, request: Request, unawaited: Unawaited) -> Operation {
        let token = self.hand_in(request, unawaited, true);
        Operation::new(Rc::clone(self), token)
    }

    /// Hands in an operation that nobody waits for.
    fn start_unawaited(&self, request: Request) {
        self.hand_in(request, Unawaited::Finishes, false);
    }

    fn hand_in(&self, request: Request, unawaited: Unawaited, awaited: bool) -> Token {
        let (entry, held, descriptor) = request.into_parts();
        let mut slots = self.slots.borrow_mut();
        if self.phase.get() == Phase::Ended || (awaited && self.phase.get() == Phase::Draining) {
            assert!(awaited, "after the end only those who wait bring operations");
            let landing = Landing { result: -libc::ESHUTDOWN, held, made: None };
            return slots.insert(State::Landed(landing));
        }
        let flight =
            Flight { held, descriptor, waker: None, unawaited, awaited, first: None, lingering: None };
        let token = slots.insert(State::Flying(flight));
        drop(slots);
        self.outbox.borrow_mut().push_back(entry.user_data(token.0));
        token
    }

    /// The next entry for the submission queue.
    pub(super) fn next_entry(&self) -> Option<Entry> {
        self.outbox.borrow_mut().pop_front()
    }

    /// Whether nothing waits for the submission queue.
    pub(super) fn is_idle(&self) -> bool {
        self.outbox.borrow().is_empty()
    }

    /// Whether the kernel holds nothing of ours.
    pub(super) fn is_drained(&self) -> bool {
        self.is_idle() && self.slots.borrow().flying().next().is_none()
    }

    /// Says that the ring has gone.
    pub(super) fn end(&self) {
        self.phase.set(Phase::Ended);
    }

    /// Refuses new operations and cancels those whose end is not certain.
    pub(super) fn close(&self) {
        self.phase.set(Phase::Draining);
        let slots = self.slots.borrow();
        let endless = slots.flying().filter(|(_, flight)| flight.unawaited == Unawaited::Cancelled);
        let tokens: Vec<_> = endless.map(|(token, _)| token).collect();
        drop(slots);
        tokens.into_iter().for_each(|token| self.cancel(token));
    }

    /// Keeps for good what the kernel still uses.
    pub(super) fn give_up(self: &Rc<Self>) {
        std::mem::forget(Rc::clone(self));
    }

    /// Asks the kernel to end an operation; it lands all the same.
    pub(super) fn cancel(&self, token: Token) {
        if self.phase.get() != Phase::Ended {
            self.start_unawaited(Request::cancel(token.0));
        }
    }

    /// Watches our own bell as long as the driver is open.
    pub(super) fn watch_bell(&self, inbox: &Arc<Inbox>) {
        self.hand_in(Request::watch(Arc::clone(inbox)), Unawaited::Cancelled, false);
    }

    /// Rings another core's bell.
    pub(super) fn ring_bell(&self, inbox: Arc<Inbox>) {
        let message = if self.messages.get() { Request::message(&inbox) } else { None };
        self.start_unawaited(message.unwrap_or_else(|| Request::write_bell(inbox)));
    }

    /// Takes a completion.
    pub(super) fn land(&self, token: u64, result: i32, flags: u32) {
        if token == MESSAGE {
            // Its coming has ended the sleep; that is all it is for.
            return;
        }
        let outcome = self.slots.borrow_mut().land(Token(token), result, flags);
        match outcome {
            Outcome::Wake(waker, descriptor) => {
                drop(descriptor);
                waker.into_iter().for_each(Waker::wake);
            }
            Outcome::Unawaited(landing, descriptor) => {
                drop(descriptor);
                self.dispose(landing);
            }
        }
    }

    /// What an operation brought that nobody waited for.
    fn dispose(&self, landing: Landing) {
        landing.made.into_iter().for_each(|fd| self.close_descriptor(fd));
        match landing.held {
            Held::Bell(inbox, Rings::Watched) => {
                if self.phase.get() == Phase::Open {
                    self.watch_bell(&inbox);
                }
            }
            Held::Bell(inbox, Rings::ByMessage) if landing.result < 0 => {
                tracing::info!(error = landing.result, "no messages between rings; using eventfd");
                self.messages.set(false);
                self.start_unawaited(Request::write_bell(inbox));
            }
            Held::Bell(..)
            | Held::Nothing
            | Held::Buffer(_)
            | Held::Sent(..)
            | Held::Address(_)
            | Held::Peer(_) => {}
        }
    }

    fn close_descriptor(&self, fd: OwnedFd) {
        if self.phase.get() != Phase::Ended {
            self.start_unawaited(Request::close(fd.into_raw_fd()));
        }
    }

    /// Looks whether an operation has landed; otherwise remembers whom to wake.
    pub(super) fn poll(&self, token: Token, waker: &Waker) -> Option<Landing> {
        self.slots.borrow_mut().poll(token, waker)
    }

    /// What the kernel has said of an operation that goes on.
    pub(super) fn so_far(&self, token: Token) -> Option<i32> {
        match &self.slots.borrow_mut().get(token).state {
            State::Flying(flight) => flight.first,
            State::Landed(_) | State::Free => None,
        }
    }

    /// Nobody waits for a send any more, and it is not to be cancelled.
    pub(super) fn let_finish(&self, token: Token) {
        if let State::Flying(flight) = &mut self.slots.borrow_mut().get(token).state {
            flight.unawaited = Unawaited::Finishes;
            if let Held::Sent(buffer, _) = &flight.held {
                flight.lingering = Some(Lingering::new(&self.lingering, buffer.capacity()));
            }
        }
        self.abandon(token);
    }

    /// Bytes that such sends use.
    pub(super) fn lingering(&self) -> usize {
        self.lingering.get()
    }

    /// Nobody waits for it any more.
    pub(super) fn abandon(&self, token: Token) {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.get(token);
        match &mut slot.state {
            State::Free => unreachable!("an operation is abandoned once"),
            State::Landed(_) => {
                let landing = slots.release(token);
                drop(slots);
                self.dispose(landing);
            }
            State::Flying(flight) => {
                flight.awaited = false;
                let waker = flight.waker.take();
                let cancel = flight.unawaited == Unawaited::Cancelled;
                drop(slots);
                drop(waker);
                if cancel {
                    self.cancel(token);
                }
            }
        }
    }
}

impl Slots {
    fn insert(&mut self, state: State) -> Token {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.all[index as usize];
            slot.state = state;
            return Token::new(index, slot.generation);
        }
        let index = u32::try_from(self.all.len()).expect("memory ends before 2^32 operations");
        self.all.push(Slot { generation: 0, state });
        Token::new(index, 0)
    }

    fn get(&mut self, token: Token) -> &mut Slot {
        let slot = &mut self.all[token.index()];
        assert_eq!(slot.generation, token.generation(), "a token is used until its operation has landed");
        slot
    }

    /// The landing of an operation; its slot becomes free.
    fn release(&mut self, token: Token) -> Landing {
        let slot = self.get(token);
        slot.generation = slot.generation.wrapping_add(1);
        let State::Landed(landing) = std::mem::replace(&mut slot.state, State::Free) else {
            unreachable!("only what has landed is released")
        };
        self.free.push(u32::try_from(token.index()).expect("made from 32 bits"));
        landing
    }

    fn flying(&self) -> impl Iterator<Item = (Token, &Flight)> {
        (0..).zip(&self.all).filter_map(|(index, slot)| match &slot.state {
            State::Flying(flight) => Some((Token::new(index, slot.generation), flight)),
            State::Free | State::Landed(_) => None,
        })
    }

    fn poll(&mut self, token: Token, waker: &Waker) -> Option<Landing> {
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

    fn land(&mut self, token: Token, result: i32, flags: u32) -> Outcome {
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
enum Outcome {
    Wake(Option<Waker>, Option<Rc<Descriptor>>),
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
        (self.0 & u64::from(u32::MAX)) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Descriptor {
    /// Takes over a file or socket.
    pub(super) fn new(driver: &Rc<Driver>, fd: OwnedFd) -> Rc<Self> {
        Rc::new(Self { fd: Some(Arc::new(fd)), driver: Rc::clone(driver) })
    }

    /// Its number, for entries of operations that hold the descriptor.
    pub(super) fn number(&self) -> RawFd {
        self.shared().as_raw_fd()
    }

    /// The descriptor for a call on a helper thread.
    pub(super) fn shared(&self) -> &Arc<OwnedFd> {
        self.fd.as_ref().expect("taken only when it is dropped")
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // A helper thread may still use it; it is closed there then.
        if let Some(fd) = self.fd.take().and_then(Arc::into_inner) {
            self.driver.close_descriptor(fd);
        }
    }
}
