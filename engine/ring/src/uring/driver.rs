//! Where operations are handed in and land, and what becomes of them when nobody waits for them.
//!
//! Guarantee: a descriptor is closed, through the ring, when its last holder and the last operation on it have
//! gone. Nothing is woken, closed or dropped while the table of operations is borrowed.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd, RawFd},
    rc::Rc,
    sync::Arc,
    task::Waker,
};

use io_uring::squeue::Entry;

use super::{
    operation::{Operation, Unawaited},
    request::{Held, MESSAGE, Request, Rings},
    slots::{Flight, Landing, Lingering, Outcome, Slots, State, Token},
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Takes operations.
    Open,
    /// Only cancels and closes.
    Draining,
    /// The ring has gone.
    Ended,
}

/// An open file or socket; closed through the ring when the last holder lets go.
pub(crate) struct Descriptor {
    fd: Option<Arc<OwnedFd>>,
    driver: Rc<Driver>,
}

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
        for token in tokens {
            self.cancel(token);
        }
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
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Outcome::Unawaited(landing, descriptor) => {
                drop(descriptor);
                self.dispose(landing);
            }
        }
    }

    /// What an operation brought that nobody waited for.
    fn dispose(&self, landing: Landing) {
        if let Some(fd) = landing.made {
            self.close_descriptor(fd);
        }
        match landing.held {
            Held::Bell(inbox, Rings::Watched) => {
                if self.phase.get() == Phase::Open {
                    self.watch_bell(&inbox);
                }
            }
            Held::Bell(inbox, Rings::ByMessage) if landing.result < 0 => {
                // The other core may have ended; only a kernel that cannot do it is not asked again.
                if matches!(-landing.result, libc::EINVAL | libc::EOPNOTSUPP) && self.messages.replace(false)
                {
                    tracing::info!("no messages between rings; using eventfd");
                }
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
