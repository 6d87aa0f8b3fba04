//! The order in which nodes are answered, where a stream has to bound what is under way.
//!
//! Nodes take their turn in the order in which they were asked about: answers go out in that order, so that one which
//! waits must not hold back one that was let through.

use std::cell::Cell;

use narrows_transport::flow::Gate;

/// See the module.
#[derive(Default)]
pub(super) struct Answering {
    gate: Gate,
    given: Cell<u64>,
    turn: Cell<u64>,
}

impl Answering {
    /// The place of a node in the order; to be taken when it is asked about.
    pub(super) fn ticket(&self) -> u64 {
        self.given.replace(self.given.get() + 1)
    }

    /// Does the work when it is the ticket's turn and `may` allows it; at once without a ticket.
    pub(super) async fn in_turn<T>(
        &self,
        ticket: Option<u64>,
        may: impl Fn() -> bool,
        work: impl FnOnce() -> T,
    ) -> T {
        let Some(ticket) = ticket else { return work() };
        self.gate.until(|| (self.turn.get() == ticket && may()).then_some(())).await;
        let outcome = work();
        self.turn.set(ticket + 1);
        self.gate.open();
        outcome
    }

    /// What `may` looks at has changed.
    pub(super) fn moved(&self) {
        self.gate.open();
    }
}
