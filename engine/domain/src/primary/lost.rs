//! Images whose last copy here was lost: marked until there is one here again, or a person accepts that there will be none; and
//! those of which the last copy anywhere was, which is seen by their replica records.

use narrows_format::{ImageId, Timestamp};

use super::load::LoadedImage;
use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Decision};
use crate::image::{Image, ImageCopy, ImageState};
use crate::machine::{Refusal, retire};
use crate::operation::{ALREADY_PRESENT, Note, Operation, OperationKind, OperationState};
use crate::replica::is_without_copies;
use crate::retention;
use crate::slp::Retention;

/// What follows for an image of which copies went with their server, beside those that are left elsewhere.
pub(super) fn went(
    loaded: &LoadedImage,
    (with_it, left): (&[&ImageCopy], &[&ImageCopy]),
    now: Timestamp,
    decision: &mut Decision,
) {
    // One that was kept only until it was copied: what is still to copy from it keeps the one that stands for it.
    let is_until_copied = |copy: &ImageCopy| {
        let made_by = loaded.slp.as_ref().and_then(|version| version.slp.operation(&copy.operation));
        made_by.is_some_and(|made_by| made_by.retention == Some(Retention::ExpireAfterCopy))
    };
    let life = |copy: &ImageCopy| copy.wanted.expires.or_else(|| is_until_copied(copy).then_some(now));
    let mut lives = with_it.iter().filter(|copy| copy.is_readable()).map(|copy| life(copy));
    let was_lost = loaded.image.as_ref().filter(|image| image.state == ImageState::Lost);
    if let Some(first) = lives.next() {
        let life = lives.fold(first, |life, other| Some(life?.max(other?)));
        if left.iter().all(|copy| !copy.is_readable()) {
            for copy in left {
                // One that is about to come back anyway lives as long as it was to.
                let until = retention::later(copy.wanted.expires, life);
                retire::set_expiry(copy, until, now, decision);
            }
            stand_for(loaded, with_it, left.first(), decision);
        }
        if left.is_empty() {
            // Those that are there for the moment go too, and cannot be read.
            let image =
                loaded.image.clone().map(|image| Change::Image(Image { state: ImageState::Gone, ..image }));
            decision.changes.extend(image);
            mark(decision);
        }
    } else if was_lost.is_some() {
        mark(decision);
    }
}

/// What made copies that are lost, or found them, finds one that is left from now on: what copies from theirs copies from that,
/// and keeps it.
fn stand_for(loaded: &LoadedImage, lost: &[&ImageCopy], left: Option<&&ImageCopy>, decision: &mut Decision) {
    let Some(left) = left else { return };
    let is_theirs =
        |it: &&Operation| lost.iter().any(|lost| lost.operation == it.name || it.found_it_in(lost.pool));
    let complete =
        |it: &&Operation| it.kind != OperationKind::Replication && it.state == OperationState::Complete;
    for operation in loaded.operations.iter().filter(complete).filter(is_theirs) {
        let sentence = format!("its copy was lost, and the one in pool {} stands for it", left.pool);
        let note = Some(Note { code: ALREADY_PRESENT.to_owned(), sentence });
        let operation = Operation { pool: Some(left.pool), note, ..operation.clone() };
        decision.changes.push(Change::Operation(operation));
    }
}

/// In what is decided of a copy that went with its pool, its image is not just gone.
pub(super) fn mark(decision: &mut Decision) {
    for change in &mut decision.changes {
        if let Change::Image(image) = change
            && image.state == ImageState::Gone
        {
            image.state = ImageState::Lost;
        }
    }
}

impl<C: Catalog> Primary<C> {
    /// Accepts that this image is lost, or that partners keep it for less long than was agreed (API-003 if neither is so).
    pub async fn accept_loss_of(&mut self, id: ImageId, now: Timestamp) -> Done<(), C> {
        let known = self.ask(self.catalog.image(id)).await?;
        if let Some(image) = known.filter(|image| image.state == ImageState::Lost) {
            return self.store(&[Change::Image(Image { state: ImageState::Gone, ..image })]).await;
        }
        if self.accept_no_copies(&[id], now).await? > 0 {
            return Ok(());
        }
        let replicas = self.ask(self.catalog.replicas(id)).await?.into_iter();
        let short = replicas.filter(|it| it.is_short(now));
        let accepted: Vec<_> = short.map(|it| Change::Replica(it.accepted(now))).collect();
        if accepted.is_empty() {
            let help =
                "`narrowsctl image list --state lost` and `narrowsctl problem list` name those that are";
            return Err(Refusal::new("API-003", format!("image {id} is not lost"), help).into());
        }
        self.store(&accepted).await
    }

    /// Accepts for those of these images [of which no copy is left](is_without_copies) that what partners lost is not missed any
    /// more. How many.
    pub async fn accept_no_copies(&mut self, images: &[ImageId], now: Timestamp) -> Done<usize, C> {
        let (mut accepted, mut changes) = (0, Vec::new());
        for id in images {
            let LoadedImage { image: Some(image), copies, replicas, .. } = self.load_image(*id).await? else {
                continue;
            };
            if is_without_copies(&image, &copies, &replicas, now) {
                accepted += 1;
                let missed = replicas.into_iter().filter(|it| it.is_missed(now));
                changes.extend(missed.map(|it| Change::Replica(it.accepted(now))));
            }
        }
        self.store(&changes).await?;
        Ok(accepted)
    }

    /// Accepts that images are lost that are marked so, so many at a time. How many.
    pub async fn accept_losses(&mut self, limit: u32) -> Done<usize, C> {
        let lost = self.ask(self.catalog.lost_images(limit)).await?;
        let gone = |mut image: crate::Image| {
            image.state = ImageState::Gone;
            Change::Image(image)
        };
        let changes: Vec<_> = lost.into_iter().map(gone).collect();
        self.store(&changes).await?;
        Ok(changes.len())
    }
}
