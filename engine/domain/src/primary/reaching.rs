//! What is heard of partners: that they answer, that they do not, and that they take nothing.
//!
//! A pool at its high water has room for an image now and then. All work for it is held back and let go together, so how often
//! that was is remembered for a while (in memory: after a restart it begins anew), and the pauses grow over it.

use narrows_format::{DomainId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Decision, Event};
use crate::limits::REFUSAL_CALM;
use crate::machine::reach;
use crate::moment::{Moment, since};
use crate::partner::{Partner, Reach};
use crate::retry::{self, FailureKind, Side};

/// That a partner was full, so often in a row, and took something again since then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusals {
    failures: u32,
    over: Timestamp,
}

impl<C: Catalog> Primary<C> {
    /// What follows from what was heard of a partner, or from its row.
    pub(super) async fn reached(&mut self, event: Event, moment: Moment) -> Done<Decision, C> {
        let (Event::PartnerUp { partner: domain, .. }
        | Event::PartnerDown { partner: domain, .. }
        | Event::PartnerChanged { partner: domain }) = event
        else {
            return Ok(Decision::nothing());
        };
        let Some(partner) = self.ask(self.catalog.partner(domain)).await? else {
            return Ok(Decision::nothing());
        };
        Ok(match event {
            Event::PartnerUp { receive_pool, pools, skew_ms, .. } => {
                if receive_pool.is_some() {
                    self.takes_again(&partner, moment.now);
                }
                reach::up(&partner, (receive_pool, pools), skew_ms, moment)
            }
            Event::PartnerDown { code, sentence, .. } => {
                let before = if is_full(&code) { self.refused_before(domain, moment.now) } else { 0 };
                reach::down_again(&partner, (&code, &sentence), before, moment)
            }
            _ => reach::changed(&partner, moment),
        })
    }

    fn takes_again(&mut self, partner: &Partner, now: Timestamp) {
        if let Reach::Down { code, failures, .. } = &partner.reach
            && is_full(code)
        {
            self.refusals.insert(partner.domain, Refusals { failures: *failures, over: now });
        }
    }

    fn refused_before(&self, domain: DomainId, now: Timestamp) -> u32 {
        let lately = self.refusals.get(&domain).filter(|it| since(now, it.over) < REFUSAL_CALM);
        lately.map_or(0, |it| it.failures)
    }
}

fn is_full(code: &str) -> bool {
    retry::classify(code, Side::Target) == FailureKind::TargetFull
}
