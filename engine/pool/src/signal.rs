//! Waiting on one core for something that other tasks of the same core bring about.
//!
//! Guarantee: a task that waits looks again after every [`Signal::notify`]; none is forgotten. Costs one
//! waker per waiting task and notification. Not for other cores: those send messages.

use std::{cell::RefCell, future::poll_fn, task::Poll, task::Waker};

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
