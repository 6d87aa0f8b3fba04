//! A partner that is alive twice: noticed by its lives, frozen, and decided by a person (TRUST-003).

use narrows_format::{DomainId, Timestamp};

use super::storage::CLASH;
use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command};
use crate::life::{Life, LifeSeen, Verdict, judge};
use crate::limits::SERVERS_PER_PARTNER_MAX;
use crate::machine::Refusal;
use crate::moment::Moment;
use crate::partner::{Partner, Trust};

impl<C: Catalog> Primary<C> {
    /// A server of a partner spoke that was alive at this time or after it. One that is alive beside a newer one freezes
    /// the partner until a person decides. `None`: it is no partner's, or of one server too many.
    pub async fn life_heard(
        &mut self,
        domain: DomainId,
        (life, alive_at): (Life, Timestamp),
        moment: Moment,
    ) -> Done<(Option<Verdict>, Vec<Command>), C> {
        let partner = self.ask(self.catalog.partner(domain)).await?;
        let Some(mut partner) = partner.filter(|it| it.trust != Trust::Unpaired) else {
            return Ok((None, Vec::new()));
        };
        // A pairing is a person's decision: what was heard before it counts no more.
        let lives = self.ask(self.catalog.lives_of(domain)).await?;
        let counted = lives.iter().filter(|it| it.since >= partner.paired);
        let known = counted.clone().find(|it| it.life.server == life.server);
        if known.is_none() && counted.count() >= SERVERS_PER_PARTNER_MAX {
            return Ok((None, Vec::new()));
        }
        let verdict = judge(known, &life, alive_at);
        let commands = match verdict {
            Verdict::Newer => {
                self.store(&[Change::Life(LifeSeen { partner: domain, life, since: moment.now })]).await?;
                Vec::new()
            }
            Verdict::Returned if matches!(partner.trust, Trust::Complete | Trust::Expired) => {
                partner.trust = Trust::Frozen;
                self.settle(Self::storing(partner, moment), moment).await?
            }
            Verdict::Known | Verdict::Late | Verdict::Returned => Vec::new(),
        };
        Ok((Some(verdict), commands))
    }

    /// A person has found out which of a partner's lives is the right one: the one that answers now, in this incarnation.
    /// Work for it goes on.
    pub async fn decide_partner(
        &mut self,
        domain: DomainId,
        (incarnation, life): (u64, Option<Life>),
        moment: Moment,
    ) -> Done<(Partner, Vec<Command>), C> {
        let mut partner = self.known_partner(domain).await?;
        if partner.trust != Trust::Frozen {
            let sentence = format!("the identity of `{}` is not in doubt", partner.name);
            return Err(Refusal::new(CLASH, sentence, "see `narrowsctl domain show`").into());
        }
        (partner.trust, partner.incarnation) = (Trust::Complete, incarnation);
        let mut decision = Self::storing(partner.clone(), moment);
        decision.changes.push(Change::LivesGone(domain));
        let seen = life.map(|life| LifeSeen { partner: domain, life, since: moment.now });
        decision.changes.extend(seen.map(Change::Life));
        let commands = self.settle(decision, moment).await?;
        Ok((partner, commands))
    }
}
