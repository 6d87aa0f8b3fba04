//! Sends many images to one partner: all that are not there, or those whose replica was lost.

use narrows_format::{DomainId, ImageId};

use super::{Done, Primary, parting::check_stays};
use crate::catalog::Catalog;
use crate::event::{Command, Decision};
use crate::machine::Refusal;
use crate::machine::replication::{self, Asker, Standing};
use crate::moment::Moment;
use crate::partner::Trust;

/// Whether it is done or only counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Only counted.
    Count,
    /// Done.
    Send,
}

/// What becomes of the images that were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backfill {
    /// They are sent.
    pub sent: u64,
    /// Their logical bytes.
    pub sent_bytes: u64,
    /// A copy is there.
    pub present: u64,
    /// They are on their way already.
    pub under_way: u64,
    /// The partner has made them itself.
    pub own: u64,
    /// Their copies here expire by now, or by their policy those there, so that none would be taken over there (AIR-006).
    pub expired: u64,
    /// They are not whole, have no copy here, or may not leave (AIR-009, AIR-010).
    pub unfit: u64,
}

impl Backfill {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            present: self.present + other.present,
            under_way: self.under_way + other.under_way,
            own: self.own + other.own,
            expired: self.expired + other.expired,
            unfit: self.unfit + other.unfit,
        }
    }
}

impl<C: Catalog> Primary<C> {
    /// Sends those of these images to a partner that are not there, in one transaction. What is there, under way
    /// or not to be sent is counted and left alone, so that it may be asked for again at any time.
    pub async fn backfill(
        &mut self,
        images: &[ImageId],
        (partner, import_slp): (DomainId, Option<String>),
        doing: Doing,
        moment: Moment,
    ) -> Done<(Backfill, Vec<Command>), C> {
        let known = self.ask(self.catalog.partner(partner)).await?;
        let Some(known) = known.filter(|it| it.trust != Trust::Unpaired) else {
            let sentence = format!("domain {partner} is not paired with this one");
            return Err(
                Refusal::new("TRUST-001", sentence, "pair it first: `narrowsctl domain invite`").into()
            );
        };
        check_stays(&known)?;
        let (mut counts, mut whole) = (Backfill::default(), Decision::nothing());
        for image in images {
            let loaded = self.load_image(*image).await?;
            let Some(image) = &loaded.image else { continue };
            let view = loaded.replication_view();
            match replication::standing(&view, image, partner, moment.now) {
                Standing::Present => counts.present += 1,
                Standing::UnderWay => counts.under_way += 1,
                Standing::Own => counts.own += 1,
                Standing::Expired => counts.expired += 1,
                Standing::Unfit => counts.unfit += 1,
                Standing::Absent(expires) => {
                    counts.sent += 1;
                    counts.sent_bytes += image.content.as_ref().map_or(0, |content| content.logical_bytes);
                    if doing == Doing::Send {
                        let to = (partner, import_slp.clone());
                        let (_, decision) =
                            replication::ask(&view, image, to, (expires, Asker::Person), moment.now);
                        whole.changes.extend(decision.changes);
                    }
                }
            }
        }
        Ok((counts, self.settle(whole, moment).await?))
    }
}
