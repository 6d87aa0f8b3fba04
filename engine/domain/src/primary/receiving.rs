//! What partners are bringing just now: it counts against the limit of the storage unit that receives from them.
//!
//! It is in memory only: after a restart no session is open.

use narrows_format::{DomainId, ImageId, PoolId, Timestamp};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::Command;
use crate::machine::Refusal;
use crate::machine::placing::{Busy, busy_refusal, has_place, shut_refusal};
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
    /// A partner begins to bring an image of `origin`, to the unit that it names or else to the one that receives from
    /// it: it may send, an image of this domain's own is wanted, the unit has a place, and its pool takes what comes.
    /// Returns that pool. Each session that may begin is ended with [`Self::end_receiving`].
    pub async fn begin_receiving(
        &mut self,
        sender: DomainId,
        (image, origin): (ImageId, DomainId),
        named: Option<String>,
        now: Timestamp,
    ) -> Done<(Partner, PoolId), C> {
        let partner = self.may_send(sender).await?;
        if origin == self.own.domain {
            self.check_wanted(sender, image, now).await?;
        }
        let name = named.as_ref().unwrap_or(&partner.receive_unit);
        let units = self.ask(self.catalog.storage_units()).await?;
        let Some(unit) = units.into_iter().find(|unit| unit.name == *name) else {
            let sentence = format!("there is no storage unit `{name}` in domain `{}`", self.own.name);
            let help = "name one that is there in the replication target, or let another receive: \
                        `narrowsctl domain receive` over there";
            return Err(Refusal::new("AIR-004", sentence, help).into());
        };
        let full = match shut_refusal(&unit, &self.troubles) {
            Some(refusal) => Some(refusal),
            None => (!has_place(&unit, &self.busy().await?)).then(|| busy_refusal(&unit.name)),
        };
        if let Some(refusal) = full {
            let sentence = format!("{} in domain `{}`", refusal.sentence, self.own.name);
            return Err(Refusal { sentence, ..refusal }.into());
        }
        let pool = unit.pool;
        self.receiving.push(Receiving { sender, image, unit: unit.name });
        Ok((partner, pool))
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
            Homecoming::Foreign | Homecoming::ForeignHere(_) | Homecoming::Recalled | Homecoming::Here(_) => {
                Ok(())
            }
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
