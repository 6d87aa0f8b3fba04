//! `slp apply --in-place` and the lives of versions: what is queued takes a changed version at once.

use narrows_format::Timestamp;

use super::{Applying, Done, Primary};
use crate::catalog::{Catalog, SlpUse};
use crate::event::{Aside, Change, Command, Decision};
use crate::image::{Image, ImageCopy};
use crate::import::{Import, ImportState};
use crate::machine::replication;
use crate::moment::Moment;
use crate::retention;
use crate::slp::check::check;
use crate::slp::in_place::plan_in_place;
use crate::slp::version::Plan;
use crate::slp::{Retention, Slp, SlpVersion};

impl<C: Catalog> Primary<C> {
    /// What [`Self::apply_in_place`] would do.
    pub async fn plan_in_place(&self, slp: &Slp, how: Applying) -> Done<Plan, C> {
        let unverified = how.unverified;
        let around = self.surroundings(how).await?;
        let newest = self.ask(self.catalog.slp(&slp.name, None)).await?;
        Ok(plan_in_place(slp, check(slp, &around), newest.as_ref(), unverified))
    }

    /// Changes the newest version of a policy as it stands; what is not complete under it goes on as it says
    /// now.
    pub async fn apply_in_place(
        &mut self,
        slp: &Slp,
        how: Applying,
        moment: Moment,
    ) -> Done<(Plan, Vec<Command>), C> {
        let mut commands = Vec::new();
        self.migrate_to_end(&slp.name, &mut commands, moment).await?;
        let (plan, further) = self.begin_in_place(slp, how, moment).await?;
        commands.extend(further);
        // It is stored: what is left of it is done by the next tick.
        let done = self.migrate_to_end(&slp.name, &mut commands, moment).await;
        self.note(done.map(|_| ()));
        Ok((plan, commands))
    }

    /// The same, but for images that are not complete: [`Self::migrate_on`] plans them anew, so many at a time.
    pub async fn begin_in_place(
        &mut self,
        slp: &Slp,
        how: Applying,
        moment: Moment,
    ) -> Done<(Plan, Vec<Command>), C> {
        let plan = self.plan_in_place(slp, how).await?;
        let Plan::Store(version) = &plan else { return Ok((plan, Vec::new())) };
        let begun = self.migration(&slp.name, (version.version, version.version), moment.now)?;
        let mut changes = vec![Change::Slp(version.clone()), Change::Aside(Aside::Migrating(begun.clone()))];
        changes.extend(self.verified_too(version).await?);
        self.store(&changes).await?;
        self.migrating.push(begun);
        let mut commands = Vec::new();
        let followed = self.follow(&changes, &mut commands, moment).await;
        self.note(followed);
        commands.extend(self.slp_applied(&slp.name, moment).await);
        Ok((plan, commands))
    }

    /// Images that are not complete, by version of the policy, and by target.
    pub async fn slp_use(&self, name: &str) -> Done<Vec<SlpUse>, C> {
        self.ask(self.catalog.slp_use(name)).await
    }

    /// Copies of images that are not complete live as long as the version says now, if that is longer.
    pub(super) async fn extend_copies(
        &self,
        version: &SlpVersion,
        decision: &mut Decision,
        now: Timestamp,
    ) -> Done<(), C> {
        let concerned: Vec<Image> = decision
            .changes
            .iter()
            .filter_map(|change| match change {
                Change::Image(image) => Some(image.clone()),
                _ => None,
            })
            .collect();
        for image in concerned {
            let imports = self.ask(self.catalog.imports_of(image.id)).await?;
            for mut copy in self.ask(self.catalog.copies(image.id)).await? {
                if extend(&mut copy, &image, version, &imports) {
                    replication::amend(&mut copy, now, decision);
                    decision.changes.push(Change::Copy(copy));
                }
            }
        }
        Ok(())
    }
}

/// Whether the copy lives longer now.
fn extend(copy: &mut ImageCopy, image: &Image, version: &SlpVersion, imports: &[Import]) -> bool {
    let spec = version.slp.operation(&copy.operation);
    let Some(retention) = spec.and_then(|spec| spec.retention) else { return false };
    if !matches!(retention, Retention::Fixed(_) | Retention::Target { .. }) {
        return false;
    }
    // What its source asked for may have been cut by the bounds as they were.
    let imported = imports.iter().filter(|it| it.state == ImportState::Imported && it.key.pool == copy.pool);
    let asked = imported.map(|it| it.arrival.asked_expiry).reduce(retention::later);
    let asked = asked.unwrap_or(copy.wanted.expires);
    let expires = retention::expiry(retention, image.started, asked);
    let later = retention::later(copy.wanted.expires, expires);
    let is_longer = later != copy.wanted.expires;
    copy.wanted.expires = later;
    is_longer
}
