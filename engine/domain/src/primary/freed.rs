//! Arrivals that the grant `auto-import` did not let in, for want of room within its quota, of a place among its SLPs, or of a
//! data classification: they are decided anew when that may be there.
//!
//! Which partners this concerns is in memory; after a start it is all of them. Copies that go are seen together, because
//! each look reads all that failed of a partner.

use std::collections::BTreeSet;

use narrows_format::{DomainId, Timestamp};

use super::{Done, Primary};
use crate::auto_import::NO_SLP;
use crate::catalog::Catalog;
use crate::event::{Change, Command};
use crate::import::Import;
use crate::limits::FREED_LOOK;
use crate::machine::arrival;
use crate::moment::{Moment, after};
use crate::partner::Partner;

/// Partners whose failed imports may be let in by now.
#[derive(Debug, Default)]
pub(super) struct Freed {
    partners: BTreeSet<DomainId>,
    /// When they are looked at; `None`: there are none.
    pub(super) due: Option<Timestamp>,
    looked: Option<Timestamp>,
}

impl<C: Catalog> Primary<C> {
    /// A person arranged something that imports of any partner may have lacked: they are looked at with the next tick.
    pub(super) async fn arranged(&mut self) -> Done<(), C> {
        let partners = self.ask(self.catalog.partners()).await?;
        self.freed.partners.extend(partners.iter().filter(|it| is_granted(it)).map(|it| it.domain));
        self.freed.due = (!self.freed.partners.is_empty()).then(Timestamp::default);
        Ok(())
    }

    /// Copies that have gone made room within the quota of who had sent them.
    pub(super) async fn note_freed(&mut self, changes: &[Change], now: Timestamp) -> Done<(), C> {
        for change in changes {
            let Change::CopyGone(image, _) = change else { continue };
            let image = self.ask(self.catalog.image(*image)).await?;
            let Some(sender) = image.and_then(|image| image.sender) else { continue };
            if self.ask(self.catalog.partner(sender)).await?.is_some_and(|it| is_granted(&it)) {
                self.freed.partners.insert(sender);
                let pause_over = self.freed.looked.map_or(now, |looked| after(looked, FREED_LOOK));
                // A clock that ran ahead does not put it off.
                let soonest = pause_over.max(now).min(after(now, FREED_LOOK));
                self.freed.due = Some(self.freed.due.map_or(soonest, |due| due.min(soonest)));
            }
        }
        Ok(())
    }

    /// Looks at them, if it is time to.
    pub(super) async fn retry_freed(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        if self.freed.due.is_none_or(|due| due > moment.now) {
            return Ok(());
        }
        let freed = std::mem::take(&mut self.freed);
        self.freed.looked = Some(moment.now);
        for domain in &freed.partners {
            let retried = self.retry_from(*domain, commands, moment).await;
            if retried.is_err() {
                self.freed.partners.extend(&freed.partners);
                self.freed.due = Some(after(moment.now, FREED_LOOK));
                return retried;
            }
        }
        Ok(())
    }

    async fn retry_from(
        &mut self,
        domain: DomainId,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let partner = self.ask(self.catalog.partner(domain)).await?;
        let Some(bounds) = partner.and_then(|it| it.grants.auto_import) else { return Ok(()) };
        let lacked = |it: &Import| it.note.as_ref().is_some_and(|note| note.code == NO_SLP);
        for import in self.ask(self.catalog.failed_imports_from(domain)).await?.into_iter().filter(lacked) {
            if let Some(quota) = bounds.quota_bytes
                && self.ask(self.catalog.auto_imported(domain)).await? >= quota
            {
                break;
            }
            let around = self.load_arrival(&import.arrival, moment.now).await?;
            let decision = arrival::decide(&around.view(&self.own, self.settings), &import, moment);
            commands.extend(self.settle(decision, moment).await?);
        }
        Ok(())
    }
}

fn is_granted(partner: &Partner) -> bool {
    partner.grants.auto_import.is_some()
}
