//! A session in which nothing comes any more.
//!
//! The link's heartbeats show that the source lives, not that it does anything; and what a session holds, a place of a
//! storage unit above all, is held from others. So a source that owes the next message and does not send one is let
//! go. It may come again: what it brought is staged.

use std::time::Duration;

use narrows_wire::Purpose;

use super::Incoming;
use crate::{
    ExchangeError, Refusal,
    limits::{QUIET_CLIENT_MAX, QUIET_PARTNER_MAX},
};

/// How long a source may be quiet; a restore's target waits for its server, whose place is its own.
fn quiet_max(purpose: Purpose) -> Option<Duration> {
    match purpose {
        Purpose::Replicate => Some(QUIET_PARTNER_MAX),
        Purpose::Backup => Some(QUIET_CLIENT_MAX),
        Purpose::Restore => None,
    }
}

impl Incoming<'_> {
    /// Ends with an error when nothing came for too long, and not before.
    pub(super) async fn watch(&self) -> Result<(), ExchangeError> {
        let Some(quiet_max) = quiet_max(self.session.purpose) else { return std::future::pending().await };
        let clock = &self.session.link.world().clock;
        let mut before = None;
        loop {
            clock.sleep(quiet_max).await;
            let taken = self.state.borrow().taken;
            if before == Some(taken) && self.is_owed_nothing() {
                let minutes = quiet_max.as_secs() / 60;
                let sentence =
                    format!("nothing has come for {minutes} minutes; begin again when there is something");
                return Err(ExchangeError::Refused(Refusal::new("NET-002", sentence)));
            }
            before = Some(taken);
        }
    }

    /// The source has no answer to wait for.
    fn is_owed_nothing(&self) -> bool {
        self.is_idle() && !self.state.borrow().open.has_pending()
    }
}
