//! The world without `io_uring`: files on helper threads, sockets by readiness, one thread that polls.
//!
//! For clients in containers and on hardened kernels. Same traits, same guarantees; a file's bytes are copied
//! once more, and go through the page cache. Not for servers.

#![forbid(unsafe_code)]

use std::{rc::Rc, sync::Arc};

use crate::{
    executor::{Kernel, Wait},
    inbox::Inbox,
};

pub(crate) mod disk;
pub(crate) mod net;
mod readiness;

use readiness::Readiness;

/// Sleeps in `poll` until a socket is ready, the bell rings or a timer is due.
pub(crate) struct Threads {
    readiness: Rc<Readiness>,
    inbox: Arc<Inbox>,
}

impl Threads {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { readiness: Rc::default(), inbox }
    }

    /// Where sockets wait.
    pub(crate) fn readiness(&self) -> &Rc<Readiness> {
        &self.readiness
    }
}

impl Kernel for Threads {
    fn ring(&mut self, bells: Vec<Arc<Inbox>>) {
        for inbox in bells {
            inbox.write_bell();
        }
    }

    fn turn(&mut self, wait: Wait) {
        self.readiness.turn(&self.inbox, wait);
    }
}
