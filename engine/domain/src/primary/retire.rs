//! Copies whose time has come, and what people say about it: expire now, bring back.

use std::collections::BTreeSet;
use std::time::Duration;

use narrows_format::image_log::RemoveReason;
use narrows_format::{ImageId, PoolId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision, PoolEvent};
use crate::image::{Discarded, ImageCopy};
use crate::limits::{DUE_PER_TICK, RECONCILE_LOOK, SHUT_LOOK};
use crate::machine::retire::{self, Owner};
use crate::machine::{Refusal, replication};
use crate::moment::{Moment, after};
use crate::storage::PoolTrouble;

/// Something stands against it that a copy goes.
const KEPT: &str = "API-003";
/// Nothing is there to be expired, or brought back.
const NOTHING_THERE: &str = "API-002";

impl<C: Catalog> Primary<C> {
    pub(super) async fn retire_due(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        let due = self.ask(self.catalog.due_copies(moment.now, DUE_PER_TICK)).await?;
        self.look_at(due, commands, moment).await
    }

    /// Copies that may go because of these changes: their own time has come, or what needed them is at its end.
    pub(super) async fn look_again(
        &mut self,
        changes: &[Change],
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let is_due = |copy: &ImageCopy| copy.next_look().is_some_and(|due| due <= moment.now);
        let mut images = BTreeSet::new();
        for change in changes {
            match change {
                Change::Copy(copy) if is_due(copy) => images.insert(copy.image),
                Change::Operation(operation)
                    if !operation.keeps_source() || operation.is_manual() && operation.state.is_final() =>
                {
                    images.insert(operation.key.image)
                }
                _ => false,
            };
        }
        for image in images {
            let mut copies = self.ask(self.catalog.copies(image)).await?;
            // The end of an operation is news: what was put off because of it is looked at.
            copies
                .retain(|copy| copy.is_readable() && is_due(&ImageCopy { not_before: None, ..copy.clone() }));
            self.look_at(copies, commands, moment).await?;
        }
        Ok(())
    }

    async fn look_at(
        &mut self,
        copies: Vec<ImageCopy>,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let mut whole = Decision::nothing();
        for mut copy in copies {
            if let Some(pause) = self.put_off(copy.pool) {
                copy.not_before = Some(after(moment.now, pause));
                whole.changes.push(Change::Copy(copy));
                continue;
            }
            let loaded = self.load_image(copy.image).await?;
            // It may live longer since just now.
            let as_it_is = loaded.copies.iter().find(|it| it.number == copy.number);
            let Some(copy) = as_it_is.cloned() else { continue };
            let is_own = loaded.image.as_ref().is_some_and(|image| image.origin == self.own.domain);
            let owner = if is_own { Owner::Own } else { Owner::Foreign };
            let view = loaded.replication_view();
            if let Some(image) =
                loaded.image.as_ref().filter(|_| retire::lacks_work(&copy, &view, moment.now))
            {
                let partners = self.ask(self.catalog.partners()).await?;
                whole.and(retire::make_up(&copy, image, &view, &partners, moment.now));
            }
            whole.and(retire::look(&copy, &view, owner, moment.now));
        }
        self.keep(whole, commands).await
    }

    /// For how long nothing is let go in a pool: while the catalog is older than its pools, or this one takes no orders.
    pub(super) fn put_off(&self, pool: PoolId) -> Option<Duration> {
        let is_shut = self.troubles.get(&pool).is_some_and(PoolTrouble::takes_no_orders);
        match self.reconciling {
            Some(_) => Some(RECONCILE_LOOK),
            None => is_shut.then_some(SHUT_LOOK),
        }
    }

    /// The log says that nobody reads a copy any more. One that has not expired is brought back: the command was overtaken
    /// by a longer life, or came of a catalog that had not read the log to its end.
    pub(super) async fn discarded(
        &self,
        event: &PoolEvent,
        image: ImageId,
        discarded: Discarded,
        now: Timestamp,
    ) -> Done<Decision, C> {
        let copies = self.ask(self.catalog.copies(image)).await?;
        let mut decision = Decision::nothing();
        if let Some(mut copy) = copies.into_iter().find(|copy| copy.pool == event.pool) {
            (copy.discarded, copy.not_before) = (Some(discarded), None);
            copy.incarnation = event.incarnation;
            let is_early = copy.wanted.expires.is_none_or(|expires| expires > now);
            if is_early && discarded.reason == RemoveReason::Expired {
                replication::amend(&mut copy, now, &mut decision);
            }
            decision.changes.push(Change::Copy(copy));
        }
        Ok(decision)
    }

    /// The copies that [`Self::expire_image`] would let go, if nothing stands against it.
    pub async fn plan_expiry(&self, image: ImageId, now: Timestamp) -> Done<Vec<ImageCopy>, C> {
        let loaded = self.load_image(image).await?;
        let view = loaded.replication_view();
        let readable: Vec<_> = loaded.copies.iter().filter(|copy| copy.is_readable()).cloned().collect();
        if readable.is_empty() {
            let sentence = format!("image {image} has no copy here that could be read");
            return Err(
                Refusal::new(NOTHING_THERE, sentence, "`narrowsctl image show` lists its copies").into()
            );
        }
        for copy in &readable {
            let kept = retire::forbids(copy, &view, now);
            if let [first, ..] = &kept[..] {
                let sentence =
                    format!("copy {} of image {image} has to be kept because {first}", copy.number);
                let help = "wait for it, or give it up: `narrowsctl image cancel`, `image release`";
                return Err(Refusal::new(KEPT, sentence, help).into());
            }
        }
        Ok(readable)
    }

    /// A person lets all copies here go now. They can be brought back for a while.
    pub async fn expire_image(
        &mut self,
        image: ImageId,
        moment: Moment,
    ) -> Done<(Vec<ImageCopy>, Vec<Command>), C> {
        let copies = self.plan_expiry(image, moment.now).await?;
        let mut decision = Decision::nothing();
        for copy in &copies {
            retire::set_expiry(copy, Some(moment.now), moment.now, &mut decision);
        }
        let commands = self.settle(decision, moment).await?;
        Ok((copies, commands))
    }

    /// A person brings all discarded copies here back, until a new date.
    pub async fn undelete_image(
        &mut self,
        image: ImageId,
        expires: Option<Timestamp>,
        moment: Moment,
    ) -> Done<(Vec<ImageCopy>, Vec<Command>), C> {
        let mut copies = self.ask(self.catalog.copies(image)).await?;
        copies.retain(|copy| copy.discarded.is_some_and(|discarded| discarded.until > moment.now));
        if copies.is_empty() {
            let sentence = format!("image {image} has no copy here that could be brought back");
            return Err(
                Refusal::new(NOTHING_THERE, sentence, "`narrowsctl image show` lists its copies").into()
            );
        }
        if expires.is_some_and(|expires| expires <= moment.now) {
            let sentence = format!("image {image} would expire again at once");
            return Err(Refusal::new(KEPT, sentence, "name a date in the future, or none").into());
        }
        let mut decision = Decision::nothing();
        for copy in &copies {
            retire::set_expiry(copy, expires, moment.now, &mut decision);
        }
        let commands = self.settle(decision, moment).await?;
        Ok((copies, commands))
    }
}
