//! What partners are bringing just now: it counts against the limit of the storage unit that receives from them.
//!
//! It is in memory only: after a restart no session is open.

use narrows_format::{DomainId, ImageId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::Command;
use crate::machine::Refusal;
use crate::machine::placing::{Busy, busy_refusal, has_place};
use crate::moment::Moment;
use crate::partner::Partner;
use crate::recall::{self, Homecoming};

/// A session in which a partner brings an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Receiving {
    sender: DomainId,
    image: ImageId,
    unit: String,
}

impl<C: Catalog> Primary<C> {
    /// A partner begins to bring an image of `origin`: it may send, one of this domain's own is wanted, and the unit
    /// that receives from it has a place. Each session that may begin is ended with [`Self::end_receiving`].
    pub async fn begin_receiving(
        &mut self,
        sender: DomainId,
        (image, origin): (ImageId, DomainId),
        now: Timestamp,
    ) -> Done<Partner, C> {
        let partner = self.may_send(sender).await?;
        if origin == self.own.domain {
            self.check_wanted(sender, image, now).await?;
        }
        let units = self.ask(self.catalog.storage_units()).await?;
        if let Some(unit) = units.into_iter().find(|unit| unit.name == partner.receive_unit) {
            if !has_place(&unit, &self.busy().await?) {
                let refusal = busy_refusal(&unit.name);
                let sentence = format!("{} in domain `{}`", refusal.sentence, self.own.name);
                return Err(Refusal { sentence, ..refusal }.into());
            }
            self.receiving.push(Receiving { sender, image, unit: unit.name });
        }
        Ok(partner)
    }

    /// AUTH-005: nothing of an image that nobody here asked for crosses.
    async fn check_wanted(&self, sender: DomainId, image: ImageId, now: Timestamp) -> Done<(), C> {
        let loaded = self.load_image(image).await?;
        let recalls = self.ask(self.catalog.recalls(image)).await?;
        let known = (loaded.image.as_ref(), &loaded.copies[..]);
        let whose = (self.own.domain, sender);
        match recall::homecoming(&self.own, whose, known, &recalls, now) {
            Homecoming::Unasked => {
                let note = recall::unasked(&self.own, image);
                Err(Refusal::new(&note.code, note.sentence, recall::HELP).into())
            }
            Homecoming::Foreign | Homecoming::Recalled | Homecoming::Here(_) => Ok(()),
        }
    }

    /// A session in which a partner brought an image has ended: what waits here for its place may have it.
    pub async fn end_receiving(
        &mut self,
        sender: DomainId,
        image: ImageId,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let is_it = |it: &Receiving| it.sender == sender && it.image == image;
        let Some(at) = self.receiving.iter().position(is_it) else { return Ok(Vec::new()) };
        self.receiving.swap_remove(at);
        let mut commands = Vec::new();
        let taken = self.take_turn_here(&mut commands, moment).await;
        self.note(taken);
        Ok(commands)
    }

    /// Jobs under way, by the storage unit that they write to.
    pub async fn busy(&self) -> Done<Busy, C> {
        let mut busy: Busy = self.ask(self.catalog.unit_jobs()).await?.into_iter().collect();
        for receiving in &self.receiving {
            *busy.entry(receiving.unit.clone()).or_default() += 1;
        }
        Ok(busy)
    }
}
