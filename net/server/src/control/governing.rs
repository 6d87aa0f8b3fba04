//! What people order about SLPs and their versions, as deeds of the control task.

use std::collections::BTreeMap;

use narrows_domain::{
    primary::{Applying, Migration},
    slp::{Finding, PartnerSlp, Slp, SlpVersion, version::Plan},
};
use narrows_format::{DomainId, Timestamp};

use super::Control;
use crate::api::answer::Failure;

impl Control {
    /// What changing the newest version of an SLP as it stands would do.
    pub async fn plan_in_place(&self, slp: Slp, how: Applying) -> Result<Plan, Failure> {
        self.act(|primary, _| {
            Box::pin(async move { Ok((primary.plan_in_place(&slp, how).await?, Vec::new())) })
        })
        .await
    }

    /// Changes the newest version of an SLP as it stands.
    pub async fn apply_in_place(&self, slp: Slp, how: Applying) -> Result<Plan, Failure> {
        let name = slp.name.clone();
        self.migrate_on(&name).await?;
        let begun = self
            .act(|primary, now| Box::pin(async move { primary.begin_in_place(&slp, how, now).await }))
            .await?;
        self.migrate_on(&name).await?;
        Ok(begun)
    }

    /// Holds the secondary work under an SLP: until then, or until resumed.
    pub async fn hold_slp(&self, name: String, until: Option<Timestamp>) -> Result<(), Failure> {
        self.act(move |primary, now| {
            Box::pin(async move { Ok(((), primary.hold_slp(&name, until, now).await?)) })
        })
        .await
    }

    /// Lets the work of a held SLP go on.
    pub async fn resume_slp(&self, name: String) -> Result<(), Failure> {
        self.act(|primary, now| Box::pin(async move { Ok(((), primary.resume_slp(&name, now).await?)) }))
            .await
    }

    /// Checks a version that was stored unverified with what partners say now; gives what stands against it, if it is the same still.
    pub async fn verify_slp(
        &self,
        then: SlpVersion,
        said: BTreeMap<(DomainId, String), PartnerSlp>,
    ) -> Result<Option<Vec<Finding>>, Failure> {
        self.act(move |primary, now| Box::pin(async move { primary.verify_slp(&then, said, now).await }))
            .await
    }

    /// What refers to an SLP here.
    pub async fn slp_references(&self, name: String) -> Result<Vec<String>, Failure> {
        self.act(|primary, _| Box::pin(async move { Ok((primary.slp_references(&name).await?, Vec::new())) }))
            .await
    }

    /// SLPs here whose images a partner imports through its SLP of this name.
    pub async fn slps_naming(&self, partner: DomainId, name: String) -> Result<Vec<String>, Failure> {
        self.act(move |primary, _| {
            Box::pin(async move { Ok((primary.slps_naming(partner, &name).await?, Vec::new())) })
        })
        .await
    }

    /// Deletes an SLP that nothing refers to; `theirs` are SLPs of partners that do.
    pub async fn delete_slp(&self, name: String, theirs: Vec<String>) -> Result<(), Failure> {
        self.act(|primary, _| {
            Box::pin(async move { Ok((primary.delete_slp(&name, &theirs).await?, Vec::new())) })
        })
        .await
    }

    /// Plans what was not started under one version anew under another.
    pub async fn migrate_slp(&self, name: String, versions: (u32, u32)) -> Result<Migration, Failure> {
        self.migrate_on(&name).await?;
        let of = name.clone();
        self.act(move |primary, now| {
            Box::pin(async move { Ok((primary.begin_migration(&of, versions, now).await?, Vec::new())) })
        })
        .await?;
        self.migrate_on(&name).await
    }

    /// Plans anew what is under way of a migration of this SLP, to its end: in portions, between which others have their turn. Who
    /// does not wait for that leaves it to the ticks.
    async fn migrate_on(&self, name: &str) -> Result<Migration, Failure> {
        let mut whole = Migration::default();
        loop {
            let of = name.to_owned();
            let portion = self
                .act(move |primary, now| Box::pin(async move { primary.migrate_on(&of, now).await }))
                .await?;
            if !whole.goes_on_after(&portion) {
                return Ok(whole);
            }
        }
    }
}
