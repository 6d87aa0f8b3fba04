//! What people change about a partner: pause, limit, grants.

use narrows_format::DomainId;

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::Command;
use crate::machine::Refusal;
use crate::moment::Moment;
use crate::partner::{Dials, Grants, Partner, Trust};

/// What is changed; everything else stays as it is at that moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerOrder {
    /// Work for it waits; what runs stops at its next batch.
    Pause,
    /// Work for it goes on.
    Resume,
    /// So many images under way to it at once.
    Limit(u32),
    /// What it brings without naming a storage unit is received by this one.
    Receive(String),
    /// Which of the two dials, and in which window if that is this domain.
    Dial(Dials, Option<String>),
    /// These grants are given, then those taken away; see [`Grants::from_words`] for the words.
    Grant {
        /// Words of what it may from now on.
        given: Vec<String>,
        /// Words of what it may no longer. `relay` of an origin takes away its key too.
        taken: Vec<String>,
    },
}

/// How a partner is reached, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its API.
    pub url: String,
    /// Its data port.
    pub data_address: String,
    /// Which of the two dials.
    pub dials: Dials,
}

impl<C: Catalog> Primary<C> {
    /// Changes a partner's row as a person orders it.
    pub async fn order_partner(
        &mut self,
        domain: DomainId,
        order: PartnerOrder,
        moment: Moment,
    ) -> Done<(Partner, Vec<Command>), C> {
        let mut partner = self.known_partner(domain).await?;
        match order {
            PartnerOrder::Pause => partner.paused = true,
            PartnerOrder::Resume => partner.paused = false,
            PartnerOrder::Limit(0) => {
                let help = "to have none under way, pause it: `narrowsctl domain pause`";
                return Err(Refusal::new("SLP-013", "a limit of 0 images is none", help).into());
            }
            PartnerOrder::Limit(images) => partner.running_max = images,
            PartnerOrder::Receive(unit) => {
                self.check_is_unit(&unit).await?;
                partner.receive_unit = unit;
            }
            PartnerOrder::Dial(dials, window) => {
                self.check_window(window.as_deref()).await?;
                (partner.dials, partner.dial_window) = (dials, window);
            }
            PartnerOrder::Grant { given, taken } => {
                let (given, taken) = (read(&given)?, read(&taken)?);
                partner.grants = change(partner.grants, given, &taken);
            }
        }
        let mut commands = self.put_partner(partner.clone(), moment).await?;
        if partner.grants.auto_import.is_some() {
            // What was refused for want of an SLP or of room may be let in by now.
            let failed = self.ask(self.catalog.failed_imports_from(domain)).await?;
            self.owed.extend(failed.iter().map(|import| import.arrival.slp().to_owned()));
            commands.extend(self.pay(moment).await);
        }
        Ok((partner, commands))
    }
}

impl<C: Catalog> Primary<C> {
    /// SLP-013: what receives is one exact storage unit that is there.
    async fn check_is_unit(&self, name: &str) -> Done<(), C> {
        let units = self.ask(self.catalog.storage_units()).await?;
        if units.iter().any(|unit| unit.name == name) {
            return Ok(());
        }
        let groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let sentence = if groups.iter().any(|group| group.name == name) {
            format!("`{name}` is a storage unit group, and one exact storage unit receives")
        } else {
            format!("there is no storage unit `{name}`")
        };
        let help = "`narrowsctl storage-unit list` shows what there is";
        Err(Refusal::new("SLP-013", sentence, help).into())
    }

    /// SLP-013 for a window that there is not.
    async fn check_window(&self, window: Option<&str>) -> Done<(), C> {
        let Some(name) = window else { return Ok(()) };
        if self.ask(self.catalog.windows()).await?.iter().any(|known| known.name == name) {
            return Ok(());
        }
        let help = "see `narrowsctl window list`";
        Err(Refusal::new("SLP-013", format!("there is no window `{name}`"), help).into())
    }

    /// A partner says in which of its lives it is, and by which CAs it is known from now on, if those are others. One
    /// that comes with an earlier life is alive twice, or was put back: TRUST-003, frozen until a person decides.
    pub async fn partner_seen(
        &mut self,
        domain: DomainId,
        incarnation: u64,
        ca_pem: Option<String>,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let mut partner = self.known_partner(domain).await?;
        if partner.trust == Trust::Unpaired {
            return Ok(Vec::new());
        }
        if incarnation < partner.incarnation {
            partner.trust = Trust::Frozen;
        } else {
            partner.incarnation = incarnation;
            partner.ca_pem = ca_pem.unwrap_or(partner.ca_pem);
        }
        let decision = Self::storing(partner, moment);
        self.settle(decision, moment).await
    }

    /// A partner says how it is reached from now on; whether that is news. It was asked meanwhile whether that is true, so its
    /// row is changed as it is by now; if it is not trusted as it was `then`, nothing is (TRUST-001).
    pub async fn partner_moved(
        &mut self,
        (domain, then): (DomainId, Trust),
        to: Whereabouts,
        moment: Moment,
    ) -> Done<((Partner, bool), Vec<Command>), C> {
        let mut partner = self.known_partner(domain).await?;
        let was_completed = (then, partner.trust) == (Trust::Half, Trust::Complete);
        if partner.trust != then && !was_completed {
            let sentence = format!("`{}` was changed here while it said where it is", partner.name);
            let help = "see `narrowsctl domain show`, pair again";
            return Err(Refusal::new("TRUST-001", sentence, help).into());
        }
        let Whereabouts { url, data_address, dials } = to;
        let is_news = (&partner.url, &partner.data_address, partner.dials) != (&url, &data_address, dials);
        if !is_news {
            return Ok(((partner, false), Vec::new()));
        }
        (partner.url, partner.data_address, partner.dials) = (url, data_address, dials);
        let commands = self.put_partner(partner.clone(), moment).await?;
        Ok(((partner, true), commands))
    }

    /// All CAs that are known of a partner have expired: its work waits. Or one of them holds again.
    pub async fn ca_expired(
        &mut self,
        domain: DomainId,
        has_expired: bool,
        moment: Moment,
    ) -> Done<Vec<Command>, C> {
        let mut partner = self.known_partner(domain).await?;
        partner.trust = match (partner.trust, has_expired) {
            (Trust::Complete, true) => Trust::Expired,
            (Trust::Expired, false) => Trust::Complete,
            _ => return Ok(Vec::new()),
        };
        let decision = Self::storing(partner, moment);
        self.settle(decision, moment).await
    }
}

fn read(words: &[String]) -> Result<Grants, Refusal> {
    Grants::from_words(words.iter().map(String::as_str)).ok_or_else(|| {
        let sentence = format!("`{}` are not all grants", words.join(" "));
        let help = "send, slp-lookup, status, recall, heal, auto-import, auto-import(at-most=90d,quota=500GiB), \
                    relay(UUID) and relay(UUID=KEY) are";
        Refusal::new("SLP-013", sentence, help)
    })
}

fn change(before: Grants, given: Grants, taken: &Grants) -> Grants {
    let flag = |before: bool, given: bool, taken: bool| (before || given) && !taken;
    let mut relay = before.relay;
    for (origin, key) in given.relay {
        // A grant without a key leaves the one that is known.
        let known = relay.entry(origin).or_insert(key);
        *known = key.or(*known);
    }
    relay.retain(|origin, _| !taken.relay.contains_key(origin));
    Grants {
        send: flag(before.send, given.send, taken.send),
        slp_lookup: flag(before.slp_lookup, given.slp_lookup, taken.slp_lookup),
        status: flag(before.status, given.status, taken.status),
        relay,
        recall: flag(before.recall, given.recall, taken.recall),
        heal: flag(before.heal, given.heal, taken.heal),
        auto_import: given.auto_import.or(before.auto_import).filter(|_| taken.auto_import.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_given_and_taken_one_by_one() {
        let words = |words: &[&str]| read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let origin = "07070707-0707-0707-0707-070707070707";
        let key = "a5".repeat(32);
        let with_key = format!("relay({origin}={key})");
        let given =
            change(Grants::default(), words(&["recall", &with_key]).unwrap(), &words(&["status"]).unwrap());
        assert_eq!(given.to_words(), ["send", "slp-lookup", "recall", with_key.as_str()]);
        let relay = format!("relay({origin})");
        let kept = change(given, words(&[&relay]).unwrap(), &words(&[]).unwrap());
        assert_eq!(kept.to_words().last(), Some(&with_key), "the key stays");
        let taken = change(kept, words(&[]).unwrap(), &words(&[&relay]).unwrap());
        assert_eq!(taken.to_words(), ["send", "slp-lookup", "recall"]);
        assert_eq!(words(&["delete"]).unwrap_err().code, "SLP-013");
    }
}
