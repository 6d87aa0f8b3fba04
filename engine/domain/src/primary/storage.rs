//! Storage as people arrange it, where an arrangement can be against a rule.

use narrows_format::{DomainId, PoolId};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command};
use crate::machine::Refusal;
use crate::moment::Moment;
use crate::slp::check::check_group;
use crate::storage::{ReplicationTarget, StorageUnit, StorageUnitGroup};

impl<C: Catalog> Primary<C> {
    /// Stores a storage unit group, unless a policy replicates from a unit of that name (SLP-005).
    pub async fn put_group(&mut self, group: StorageUnitGroup, moment: Moment) -> Done<Vec<Command>, C> {
        check_group(&group, &self.ask(self.catalog.slps()).await?)
            .map_err(|finding| Refusal::new(finding.code, finding.what, finding.help))?;
        self.store(&[Change::StorageUnitGroup(group)]).await?;
        Ok(self.storage_changed(moment).await)
    }

    /// Stores a storage unit.
    pub async fn put_unit(&mut self, unit: StorageUnit, moment: Moment) -> Done<Vec<Command>, C> {
        self.store(&[Change::StorageUnit(unit)]).await?;
        Ok(self.storage_changed(moment).await)
    }

    /// Imports that failed because their SLP did not reach the receiving volume may succeed now (AIR-004).
    async fn storage_changed(&mut self, moment: Moment) -> Vec<Command> {
        match self.ask(self.catalog.slps()).await {
            Ok(versions) => self.owed.extend(versions.into_iter().map(|version| version.slp.name)),
            Err(error) => self.note(Err(error)),
        }
        self.pay(moment).await
    }

    /// Stores where a pool replicates to: the pool and the partner exist (SLP-013), the pool does not span
    /// (SLP-007), and what receives there is not this domain's own storage (TOPO-001).
    pub async fn put_target(&mut self, target: ReplicationTarget) -> Done<(), C> {
        let pools = self.ask(self.catalog.pools()).await?;
        let partner = self.ask(self.catalog.partner(target.partner)).await?;
        let (Some(pool), Some(partner)) = (pools.iter().find(|it| it.id == target.pool), partner) else {
            let sentence = format!("pool {} or domain {} does not exist here", target.pool, target.partner);
            return Err(Refusal::new("SLP-013", sentence, "name a pool of this domain and a partner").into());
        };
        if pool.spanning {
            let sentence = format!("pool `{}` is spanning and can't be a replication source", pool.name);
            return Err(Refusal::new("SLP-007", sentence, "name a pool that does not span").into());
        }
        let receives = |id: PoolId| partner.receive_pool.is_some_and(|there| there.pool == id);
        if let Some(own) = pools.iter().find(|it| receives(it.id)) {
            let sentence =
                format!("what receives in domain `{}` is pool `{}` of this domain", partner.name, own.name);
            let help = format!("let another pool receive in domain `{}`", partner.name);
            return Err(Refusal::new("TOPO-001", sentence, help).into());
        }
        self.store(&[Change::ReplicationTarget(target)]).await
    }

    /// The targets that a pairing makes: from each pool that has none to that partner yet, and may have one.
    pub(super) async fn usual_targets(&self, partner: DomainId) -> Done<Vec<Change>, C> {
        let known = self.ask(self.catalog.replication_targets()).await?;
        let has_one = |pool: PoolId| known.iter().any(|it| it.pool == pool && it.partner == partner);
        let pools = self.ask(self.catalog.pools()).await?;
        let without = pools.iter().filter(|pool| !pool.spanning && !has_one(pool.id));
        Ok(without
            .map(|pool| Change::ReplicationTarget(ReplicationTarget::usual(pool.id, partner)))
            .collect())
    }
}
