//! The task that takes in what the target says. It never waits for anything but the link, so no answer can be
//! stuck behind a send.

use std::rc::Rc;

use narrows_wire::Message;

use super::{Confirmed, ledger::Shared};
use crate::{
    ExchangeError, Refusal,
    hello::{decode, say_why},
};

/// What the peer said on ending the session.
pub(super) fn refused(code: &str, sentence: &str) -> ExchangeError {
    ExchangeError::RefusedByPeer(Refusal::new(code, sentence))
}

pub(super) async fn run(shared: Rc<Shared>) {
    let error = loop {
        let taken = match shared.session.link.receive().await {
            Ok(bytes) => take(&shared, &bytes),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = taken {
            break error;
        }
    };
    shared.fail(error.clone());
    say_why(&shared.session.link, &error).await;
}

fn take(shared: &Shared, bytes: &[u8]) -> Result<(), ExchangeError> {
    match decode(bytes)? {
        Message::Answer(answer) => shared.take_answer(answer),
        Message::Settle(settle) => shared.take_settle(settle),
        Message::Durable { bytes, frames } => shared.take_durable(bytes, frames),
        Message::Credit(bytes) => shared.add_credit(bytes),
        Message::Committed(committed) => {
            shared.take_confirmed(Confirmed {
                sequence: committed.sequence,
                pool: committed.pool,
                incarnation: committed.incarnation,
                stored_bytes: committed.stored_bytes,
                record: committed.record.to_vec(),
            });
            Ok(())
        }
        Message::Bye => {
            shared.end();
            Ok(())
        }
        Message::Error { code, sentence } => Err(refused(code, sentence)),
        Message::Heartbeat => Ok(()),
        _ => Err(ExchangeError::malformed("a message that a target does not send")),
    }
}
