//! Taking a pairing apart, at once or when nothing is to be done any more.

use narrows_format::DomainId;

use super::{Done, Primary};
use crate::catalog::{BacklogLine, Catalog};
use crate::event::Command;
use crate::machine::Refusal;
use crate::moment::Moment;
use crate::operation::{OperationState, WaitReason};
use crate::partner::{Partner, Trust};
use crate::slp::{SlpOperation, SlpVersion};

/// How a partner is parted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// `--drain`: when what was due by then is done. Nothing new goes there: to all does not mean it any more, and what names
    /// it waits with reason `unpaired`.
    Drain,
    /// `--now`: what is under way stops, and everything waits with reason `unpaired`. What arrived still
    /// imports, and copies that are kept stay kept.
    Now,
}

/// What still hangs on a partner; shown before it is parted with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ties {
    /// Policies whose newest version replicates to it, by name.
    pub slps: Vec<String>,
    /// Operations that are running, pending or held, by state.
    pub backlog: Vec<BacklogLine>,
    /// Of those, what a person has to end, here or over there; until then nothing is drained.
    pub stuck: Vec<BacklogLine>,
}

impl<C: Catalog> Primary<C> {
    /// What hangs on a partner.
    pub async fn ties(&self, domain: DomainId) -> Done<Ties, C> {
        let partner = self.known_partner(domain).await?;
        let reaches = |version: &SlpVersion, operation: &SlpOperation| {
            operation.goes_to_all()
                || operation.named_target().is_some_and(|target| {
                    version.domain_of(&target.domain) == Some(domain) || target.domain == partner.name
                })
        };
        let mut versions = self.ask(self.catalog.slps()).await?;
        versions.retain(|version| version.slp.operations.iter().any(|operation| reaches(version, operation)));
        let mut backlog = self.ask(self.catalog.backlog()).await?;
        backlog.retain(|line| line.partner == domain);
        let stuck = backlog.iter().filter(|line| !ends_by_itself(&line.state)).cloned().collect();
        Ok(Ties { slps: versions.into_iter().map(|version| version.slp.name).collect(), backlog, stuck })
    }

    /// Parts with a partner. Its row stays: images that came from it, or are there, still name it.
    pub async fn unpair(&mut self, domain: DomainId, how: Parting, moment: Moment) -> Done<Vec<Command>, C> {
        let partner = self.known_partner(domain).await?;
        match how {
            Parting::Now => self.put_partner(parted(partner), moment).await,
            Parting::Drain => {
                let draining = partner.draining.or(Some(moment.now));
                let mut commands = self.put_partner(Partner { draining, ..partner }, moment).await?;
                let drained = self.part_with_drained(&mut commands, moment).await;
                self.note(drained);
                Ok(commands)
            }
        }
    }

    /// Unpairs the partners that were to be drained and are.
    pub(super) async fn part_with_drained(
        &mut self,
        commands: &mut Vec<Command>,
        moment: Moment,
    ) -> Done<(), C> {
        let mut draining = self.ask(self.catalog.partners()).await?;
        draining.retain(|partner| partner.draining.is_some() && partner.trust != Trust::Unpaired);
        if draining.is_empty() {
            return Ok(());
        }
        let backlog = self.ask(self.catalog.backlog()).await?;
        // What waits to be paired has come up since.
        let is_new = |line: &BacklogLine| line.state == OperationState::Waiting(WaitReason::Unpaired);
        draining.retain(|it| backlog.iter().all(|line| line.partner != it.domain || is_new(line)));
        for partner in draining {
            let decision = Self::storing(parted(partner), moment);
            self.store(&decision.changes).await?;
            commands.extend(decision.commands);
        }
        Ok(())
    }

    pub(super) async fn known_partner(&self, domain: DomainId) -> Done<Partner, C> {
        let partner = self.ask(self.catalog.partner(domain)).await?;
        partner.ok_or_else(|| {
            let sentence = format!("domain {domain} is not paired with this one");
            Refusal::new("TRUST-001", sentence, "`narrowsctl domain list` shows what is").into()
        })
    }
}

/// Whether time ends it, or work that goes on; else a person has to.
const fn ends_by_itself(state: &OperationState) -> bool {
    !matches!(
        state,
        OperationState::Paused
            | OperationState::Waiting(
                WaitReason::Pause | WaitReason::Trust | WaitReason::TargetRetired | WaitReason::ImportFailed
            )
    )
}

/// Nothing new goes to who is drained.
pub(super) fn check_stays(partner: &Partner) -> Result<(), Refusal> {
    if partner.draining.is_none() {
        return Ok(());
    }
    let sentence = format!("`{}` is drained: nothing new goes there", partner.name);
    Err(Refusal::new("TRUST-001", sentence, "pair the two again, which ends that"))
}

fn parted(partner: Partner) -> Partner {
    Partner { trust: Trust::Unpaired, draining: None, ..partner }
}
