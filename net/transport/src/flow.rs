//! Waiting on one core for a condition over shared state: no lock, no channel.

use std::{cell::RefCell, future::poll_fn, task::Poll, task::Waker};

/// Tasks of one core that wait for state to change. Whoever changes the state calls [`Gate::open`]; each
/// waiter then looks again.
#[derive(Default)]
pub struct Gate {
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    /// Makes every waiter look again.
    pub fn open(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }

    /// Waits until `ready` gives something; it is asked now and after each [`Gate::open`].
    pub async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        poll_fn(|context| {
            if let Some(value) = ready() {
                return Poll::Ready(value);
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
