//! What a person holds back, lets go, gives up: policies, windows, and the operations of an image.

use narrows_format::{ImageId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::image::ImageState;
use crate::machine::order::{self, Never, Undone};
use crate::machine::{Refusal, turn};
use crate::moment::Moment;
use crate::operation::Operation;
use crate::primary::backfill::Doing;
use crate::primary::load::LoadedImage;
use crate::slp::SlpHold;
use crate::storage::domain_name;
use crate::window::Window;

impl<C: Catalog> Primary<C> {
    /// Holds the secondary work under a policy: until that time, or until resumed. What runs stops at its next batch.
    pub async fn hold_slp(
        &mut self,
        name: &str,
        until: Option<Timestamp>,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        self.known_slp(name).await?;
        let hold = Change::SlpHold(SlpHold { slp: name.to_owned(), until });
        // What waits for the end of another hold shall wait for the end of this one.
        let again = Change::SlpResumed(name.to_owned(), moment.now);
        self.settle(Decision { changes: vec![again, hold], commands: Vec::new() }, moment).await
    }

    /// Lets a held policy's work go on.
    pub async fn resume_slp(&mut self, name: &str, moment: Moment) -> Done<Vec<Command>, C> {
        self.known_slp(name).await?;
        let changes = vec![Change::SlpResumed(name.to_owned(), moment.now)];
        self.settle(Decision { changes, commands: Vec::new() }, moment).await
    }

    /// Stores a window; what waits for one or runs in one is looked at again.
    pub async fn put_window(&mut self, window: Window, moment: Moment) -> Done<Vec<Command>, C> {
        let changes = vec![Change::Window(window, moment.now)];
        let mut commands = self.settle(Decision { changes, commands: Vec::new() }, moment).await?;
        let looked = self.look_at_policies(None, &mut commands, moment).await;
        self.note(looked);
        Ok(commands)
    }

    /// Pauses what is still to be done for an image.
    pub async fn pause_image(&mut self, id: ImageId, moment: Moment) -> Done<Vec<Command>, C> {
        let loaded = self.known_image(id).await?;
        self.settle(order::pause(&loaded.operations, moment.now), moment).await
    }

    /// Lets the work of a paused image go on.
    pub async fn resume_image(&mut self, id: ImageId, moment: Moment) -> Done<Vec<Command>, C> {
        let loaded = self.known_image(id).await?;
        self.settle(order::resume(&loaded.operations, moment.now), moment).await
    }

    /// What [`Self::cancel_image`] would give up for ever.
    pub async fn cancelling(&self, id: ImageId, named: Option<&str>, moment: Moment) -> Done<Vec<Never>, C> {
        Ok(self.plan_cancel(id, named, moment).await?.0)
    }

    /// Cancels the operations of an image that are not at their end, or those of one id; says what will then
    /// never exist.
    pub async fn cancel_image(
        &mut self,
        id: ImageId,
        named: Option<&str>,
        moment: Moment,
    ) -> Done<(Vec<Never>, Vec<Command>), C> {
        let (never, decision) = self.plan_cancel(id, named, moment).await?;
        if never.is_empty() {
            let help = "`narrowsctl image show` lists its operations";
            return Err(Refusal::new("SLP-013", "nothing of this image can be cancelled", help).into());
        }
        Ok((never, self.settle(decision, moment).await?))
    }

    async fn plan_cancel(
        &self,
        id: ImageId,
        named: Option<&str>,
        moment: Moment,
    ) -> Done<(Vec<Never>, Decision), C> {
        let loaded = self.known_image(id).await?;
        let partners = self.ask(self.catalog.partners()).await?;
        let name = |operation: &Operation| {
            let target = operation.target.as_ref()?;
            Some(domain_name(&self.own, &partners, target.partner))
        };
        let Some(image) = &loaded.image else { return Ok((Vec::new(), Decision::nothing())) };
        Ok(order::cancel(image, &loaded.replication_view(), named, name, moment.now))
    }

    /// Lets a copy go without an operation that takes it: `image release ID --operation OP --reason WHY`.
    pub async fn release(
        &mut self,
        id: ImageId,
        operation: &str,
        reason: &str,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let loaded = self.known_image(id).await?;
        let decision = order::release(&loaded.replication_view(), operation, reason, moment.now)?;
        self.settle(decision, moment).await
    }

    /// The operations that [`Self::release`] would let go.
    pub async fn releasing(&self, id: ImageId, operation: &str) -> Done<Vec<Operation>, C> {
        let loaded = self.known_image(id).await?;
        Ok(order::releasing(&loaded.operations, operation)?)
    }

    /// Lets what copies of these images are kept for go that failed or was cancelled, in one transaction, or counts it. Images
    /// without any are left alone. How many images, and how many operations.
    pub async fn release_undone(
        &mut self,
        images: &[ImageId],
        (which, reason): (&Undone, &str),
        doing: Doing,
        moment: Moment,
    ) -> Done<((u64, u64), Vec<Command>), C> {
        let (mut counts, mut whole) = ((0, 0), Decision::nothing());
        for image in images {
            let loaded = self.load_image(*image).await?;
            let meant = which.among(&loaded.operations).len() as u64;
            if meant == 0 {
                continue;
            }
            counts = (counts.0 + 1, counts.1 + meant);
            if doing == Doing::Send {
                whole.and(order::release_undone(&loaded.replication_view(), which, reason, moment.now)?);
            }
        }
        Ok((counts, self.settle(whole, moment).await?))
    }

    pub(super) async fn known_slp(&self, name: &str) -> Done<(), C> {
        if self.ask(self.catalog.slp(name, None)).await?.is_some() {
            return Ok(());
        }
        let help = "`narrowsctl slp list` shows what there is";
        Err(Refusal::new("SLP-013", format!("there is no SLP `{name}`"), help).into())
    }

    async fn known_image(&self, id: ImageId) -> Done<LoadedImage, C> {
        let loaded = self.load_image(id).await?;
        if loaded.image.as_ref().is_some_and(|image| image.state != ImageState::Abandoned) {
            return Ok(loaded);
        }
        Err(Refusal::new("SLP-013", format!("image {id} does not exist here"), "see `narrowsctl image list`")
            .into())
    }

    /// Stops what runs and may no longer: what is due to be looked at, or all of it if something was stored
    /// that may be against it.
    pub(super) async fn review(&mut self, commands: &mut Vec<Command>, moment: Moment) -> Done<(), C> {
        for partner in self.ask(self.catalog.partners()).await? {
            let mut running = self.ask(self.catalog.in_process(partner.domain)).await?;
            running.retain(|it| self.is_unreviewed || it.next_try.is_some_and(|at| at <= moment.now));
            if running.is_empty() {
                continue;
            }
            let before = commands.len();
            for candidate in self.load_candidates(Some(&partner), running, moment.now).await? {
                let decision = turn::review(Some(&partner), &candidate, moment);
                if !decision.changes.is_empty() {
                    self.store(&decision.changes).await?;
                    commands.extend(decision.commands);
                }
            }
            // What stopped made room for others.
            if commands.len() > before {
                self.take_turn(partner.domain, commands, moment).await?;
            }
        }
        self.review_here(commands, moment).await?;
        self.is_unreviewed = false;
        Ok(())
    }
}
