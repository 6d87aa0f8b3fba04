//! Waiting on one core for something that other tasks of the same core bring about.
//!
//! Guarantee: a task that waits looks again after every [`Signal::notify`]; none is forgotten. Costs one
//! waker per waiting task and notification. Not for other cores: those send messages.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
    task::Waker,
};

/// Wakes tasks of this core.
#[derive(Default)]
pub(crate) struct Signal {
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// Looks now and after every notification, until `look` finds something.
    pub(crate) async fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(found) = look() {
                return Poll::Ready(found);
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    /// Something changed.
    pub(crate) fn notify(&self) {
        for waker in self.waiting.take() {
            waker.wake();
        }
    }
}

/// Something that one task of this core does at a time.
#[derive(Default)]
pub(crate) struct Turns {
    taken: Cell<bool>,
    free: Signal,
}

/// It lasts until this is dropped.
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for it.
    pub(crate) async fn take(&self) -> Turn<'_> {
        self.free.until(|| (!self.taken.replace(true)).then_some(())).await;
        Turn(self)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.free.notify();
    }
}
