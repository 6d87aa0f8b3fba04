//! Batches of new entries on their way into the table; they wait while it is full and the one before is written.
//!
//! They go in in the order they came. How many wait is bounded by the streams: each waits for its own.

use std::rc::Rc;

use super::{
    core::Core,
    request::{Order, Reply, Request},
};
use crate::{
    error::Error,
    index::{Batch, Registered},
};

/// A batch of which the first `done` entries are in the table.
pub(super) struct WaitingBatch {
    home: usize,
    batch: Batch,
    done: usize,
    reply: Reply<Result<(), Error>>,
}

impl Core {
    /// Notes what a stream has appended; answers when all of it is in the table.
    pub(super) fn register_here(self: &Rc<Self>, home: usize, batch: Batch, reply: Reply<Result<(), Error>>) {
        // At once, whatever waits: a commit that closes the container must not come before.
        self.owned.borrow_mut().stage(home, &batch);
        let waiting = WaitingBatch { home, batch, done: 0, reply };
        self.waiting.borrow_mut().push_back(waiting);
        self.register_waiting();
    }

    /// Takes what has room.
    pub(super) fn register_waiting(self: &Rc<Self>) {
        while let Some(mut next) = { self.waiting.borrow_mut().pop_front() } {
            let outcome = self.owned.borrow_mut().register(next.home, &next.batch, next.done);
            match outcome {
                Ok(Registered::Whole) => drop(next.reply.send(Ok(()))),
                Err(error) => drop(next.reply.send(Err(error))),
                Ok(Registered::Part(done)) => {
                    next.done = done;
                    self.waiting.borrow_mut().push_front(next);
                    self.ask_flush();
                    return;
                }
            }
        }
    }

    fn ask_flush(self: &Rc<Self>) {
        if self.flush_asked.replace(true) {
            return;
        }
        let core = self.clone();
        self.in_background(async move {
            if let Err(error) = core.send(0, Request::Order(Order::FlushIndex)).await {
                core.refuse_waiting(&error);
            }
        });
    }

    /// The table will not be written now. Who comes later tries anew.
    pub(super) fn refuse_waiting(self: &Rc<Self>, error: &Error) {
        self.flush_asked.set(false);
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for batch in waiting {
            drop(batch.reply.send(Err(error.clone())));
        }
    }
}
