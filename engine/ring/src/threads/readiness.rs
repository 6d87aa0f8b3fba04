//! Who waits for which socket.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};

use crate::{executor::Wait, inbox::Inbox};

/// The waiting of one thread.
#[derive(Default)]
pub(crate) struct Readiness {
    waiting: RefCell<BTreeMap<u64, Waiting>>,
    next: Cell<u64>,
}

struct Waiting {
    socket: Arc<OwnedFd>,
    events: PollFlags,
    waker: Waker,
}

impl Readiness {
    /// Repeats a call until it would not have to wait for the socket.
    pub(super) async fn when_ready<T>(
        &self,
        socket: &Arc<OwnedFd>,
        events: PollFlags,
        mut call: impl FnMut() -> Result<T, Errno>,
    ) -> io::Result<T> {
        loop {
            match call() {
                Err(Errno::WOULDBLOCK) => Ready { home: self, socket, events, ticket: None }.await,
                Err(Errno::INTR) => {}
                outcome => return Ok(outcome?),
            }
        }
    }

    /// Waits until the socket is ready, without a call before.
    pub(super) async fn ready(&self, socket: &Arc<OwnedFd>, events: PollFlags) {
        Ready { home: self, socket, events, ticket: None }.await;
    }

    pub(super) fn turn(&self, inbox: &Inbox, wait: Wait) {
        // Kept open until the call is over, whoever is dropped meanwhile.
        let (tickets, watched): (Vec<_>, Vec<_>) = {
            let waiting = self.waiting.borrow();
            waiting.iter().map(|(ticket, one)| (*ticket, (Arc::clone(&one.socket), one.events))).unzip()
        };
        if watched.is_empty() && wait == Wait::No {
            return;
        }
        let bell = inbox.bell();
        let mut polled = vec![PollFd::new(&bell, PollFlags::IN)];
        polled.extend(watched.iter().map(|(socket, events)| PollFd::new(socket, *events)));
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let outcome = match wait {
            Wait::No => poll(&mut polled, Some(&none)),
            Wait::Event => poll(&mut polled, None),
            // A time beyond what the kernel counts is for ever.
            Wait::Within(time) => poll(&mut polled, Timespec::try_from(time).ok().as_ref()),
        };
        match outcome {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => panic!("poll failed on descriptors of our own: {error}"),
        }
        let ready: Vec<_> = polled.iter().map(|one| !one.revents().is_empty()).collect();
        if ready[0] {
            inbox.silence();
        }
        for (ticket, ready) in tickets.into_iter().zip(&ready[1..]) {
            if *ready {
                let one = self.waiting.borrow_mut().remove(&ticket);
                if let Some(one) = one {
                    one.waker.wake();
                }
            }
        }
    }
}

struct Ready<'a> {
    home: &'a Readiness,
    socket: &'a Arc<OwnedFd>,
    events: PollFlags,
    ticket: Option<u64>,
}

impl Future for Ready<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut waiting = self.home.waiting.borrow_mut();
        if let Some(ticket) = self.ticket {
            // Taken out when it became ready.
            let Some(one) = waiting.get_mut(&ticket) else { return Poll::Ready(()) };
            one.waker.clone_from(context.waker());
            return Poll::Pending;
        }
        let ticket = self.home.next.get();
        self.home.next.set(ticket + 1);
        let (socket, waker) = (Arc::clone(self.socket), context.waker().clone());
        waiting.insert(ticket, Waiting { socket, events: self.events, waker });
        drop(waiting);
        self.ticket = Some(ticket);
        Poll::Pending
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let one = self.home.waiting.borrow_mut().remove(&ticket);
            drop(one);
        }
    }
}
