//! Storage as people arrange it, where an arrangement can be against a rule.
//!
//! Nothing that a policy, a group or a partner names is taken away under it: the refusal lists who names it.

use narrows_format::{DomainId, PoolId};

use super::{Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::limits::NAME_BYTES_MAX;
use crate::machine::{Refusal, backup};
use crate::moment::Moment;
use crate::operation::OperationKind;
use crate::partner::{Partner, Trust};
use crate::policy::{Schedule, StartWindow};
use crate::slp::check::check_group;
use crate::slp::version::list;
use crate::slp::{ANY_CLASSIFICATION, Kind, SlpOperation, SlpVersion};
use crate::storage::{
    ANY_AVAILABLE, Classification, ReplicationTarget, StorageUnit, StorageUnitGroup, domain_name,
};
use crate::topology::OwnStorage;

/// The code of "clashes with what is there".
pub(super) const CLASH: &str = "API-003";

impl<C: Catalog> Primary<C> {
    /// Stores a storage unit group: its units exist (SLP-013), no unit has its name, and no policy replicates
    /// from a unit of that name (SLP-005).
    pub async fn put_group(&mut self, group: StorageUnitGroup, moment: Moment) -> Done<Vec<Command>, C> {
        check_name("storage unit group", &group.name)?;
        check_group(&group, &self.ask(self.catalog.slp_versions()).await?)
            .map_err(|finding| Refusal::new(finding.code, finding.what, finding.help))?;
        let units = self.ask(self.catalog.storage_units()).await?;
        if units.iter().any(|unit| unit.name == group.name) {
            return Err(taken("storage unit", &group.name).into());
        }
        let unknown = |name: &&String| !units.iter().any(|unit| unit.name == **name);
        if let Some(unknown) = group.units.iter().find(unknown) {
            let sentence = format!("there is no storage unit `{unknown}`");
            return Err(Refusal::new("SLP-013", sentence, "see `narrowsctl storage-unit list`").into());
        }
        let is_twice = |(at, name): (usize, &String)| group.units[..at].contains(name);
        if group.units.is_empty() || group.units.iter().enumerate().any(is_twice) {
            let sentence = format!("group `{}` names no unit, or one of them twice", group.name);
            return Err(Refusal::new("SLP-013", sentence, "name each of its units once").into());
        }
        self.store(&[Change::StorageUnitGroup(group)]).await?;
        Ok(self.storage_changed(moment).await)
    }

    /// Stores a storage unit: its pool exists (SLP-013), no group has its name, and no policy would duplicate into the
    /// pool that it copies from (SLP-013).
    pub async fn put_unit(&mut self, unit: StorageUnit, moment: Moment) -> Done<Vec<Command>, C> {
        check_name("storage unit", &unit.name)?;
        if !self.ask(self.catalog.pools()).await?.iter().any(|pool| pool.id == unit.pool) {
            let sentence = format!("pool {} does not exist here", unit.pool);
            return Err(Refusal::new("SLP-013", sentence, "name a pool of this domain").into());
        }
        if self.ask(self.catalog.storage_unit_groups()).await?.iter().any(|group| group.name == unit.name) {
            return Err(taken("storage unit group", &unit.name).into());
        }
        self.check_duplications(&unit).await?;
        let mut decision = self.left_behind(&unit, moment).await?;
        decision.changes.push(Change::StorageUnit(unit));
        self.store(&decision.changes).await?;
        Ok(self.storage_changed(moment).await)
    }

    /// A unit that moves to another pool leaves unfinished backups behind: they may be committed there without our knowing
    /// yet, so none of them goes on in the new one.
    async fn left_behind(&self, unit: &StorageUnit, moment: Moment) -> Done<Decision, C> {
        let mut decision = Decision::nothing();
        let units = self.ask(self.catalog.storage_units()).await?;
        if units.iter().any(|it| it.name == unit.name && it.pool == unit.pool) {
            return Ok(decision);
        }
        for operation in self.ask(self.catalog.unfinished_operations(u32::MAX)).await? {
            if operation.kind == OperationKind::Backup && operation.unit.as_deref() == Some(&unit.name) {
                let loaded = self.load_image(operation.key.image).await?;
                let Some(image) = loaded.image else { continue };
                let why = format!("storage unit `{}` moved to another pool", unit.name);
                let given_up = backup::give_up(&image, &loaded.operations, &why, moment.now);
                decision.changes.extend(given_up.changes);
            }
        }
        Ok(decision)
    }

    /// SLP-013: a unit that moves to another pool leaves each Duplication and further Backup of a newest version with two.
    async fn check_duplications(&self, unit: &StorageUnit) -> Done<(), C> {
        let mut units = self.ask(self.catalog.storage_units()).await?;
        if units.iter().any(|it| it.name == unit.name && it.pool == unit.pool) {
            return Ok(());
        }
        units.retain(|it| it.name != unit.name);
        units.push(unit.clone());
        let pool_of = |name: &str| units.iter().find(|it| it.name == name).map(|it| it.pool);
        for version in self.ask(self.catalog.slps()).await? {
            for operation in version.slp.operations.iter().filter(|it| it.kind != Kind::Replication) {
                let source =
                    version.slp.source_of(operation).and_then(|source| version.slp.operation(source));
                let (Some(from), Some(to)) =
                    (source.and_then(|source| source.storage.as_deref()), operation.storage.as_deref())
                else {
                    continue;
                };
                let concerns = from == unit.name || to == unit.name;
                if concerns && pool_of(from).is_some() && pool_of(from) == pool_of(to) {
                    let sentence = format!(
                        "operation `{}` of {} would copy into the pool that it copies from",
                        operation.id,
                        version_words(&version)
                    );
                    let help = "apply the SLP with a storage unit of another pool first";
                    return Err(Refusal::new("SLP-013", sentence, help).into());
                }
            }
        }
        Ok(())
    }

    /// What names a storage unit or a group, in words for a list.
    pub async fn storage_uses(&self, name: &str) -> Done<Vec<String>, C> {
        let mut uses = self.slp_uses(|operation| operation.storage.as_deref() == Some(name)).await?;
        for group in self.ask(self.catalog.storage_unit_groups()).await? {
            if group.units.iter().any(|unit| unit == name) {
                uses.push(format!("storage unit group `{}`", group.name));
            }
        }
        uses.extend(self.policies_naming(|policy| policy.storage.as_deref() == Some(name)).await?);
        let receives = |partner: &&Partner| partner.receive_unit == name && partner.trust != Trust::Unpaired;
        let partners = self.ask(self.catalog.partners()).await?;
        uses.extend(partners.iter().filter(receives).map(|it| format!("what domain `{}` sends", it.name)));
        if self.busy().await?.get(name).is_some_and(|jobs| *jobs > 0) {
            uses.push("work that is under way".to_owned());
        }
        Ok(uses)
    }

    /// Removes a storage unit or a group that nothing names (SLP-013).
    pub async fn remove_storage(&mut self, name: &str) -> Done<(), C> {
        let units = self.ask(self.catalog.storage_units()).await?;
        let groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let change = if units.iter().any(|unit| unit.name == name) {
            Change::StorageUnitGone(name.to_owned())
        } else if groups.iter().any(|group| group.name == name) {
            Change::StorageUnitGroupGone(name.to_owned())
        } else {
            return Err(absent("storage unit or group", name).into());
        };
        check_unused("storage", name, &self.storage_uses(name).await?)?;
        self.store(&[change]).await
    }

    /// What names a window, in words for a list.
    pub async fn window_uses(&self, name: &str) -> Done<Vec<String>, C> {
        let mut uses = self.slp_uses(|operation| operation.window.as_deref() == Some(name)).await?;
        let partners = self.ask(self.catalog.partners()).await?;
        for target in self.ask(self.catalog.replication_targets()).await? {
            if target.schedule.iter().any(|entry| entry.window == name) {
                let domain = domain_name(&self.own, &partners, target.partner);
                uses.push(format!("the replication target in domain `{domain}`"));
            }
        }
        for partner in partners.iter().filter(|it| it.dial_window.as_deref() == Some(name)) {
            uses.push(format!("domain `{}`, which is dialled while it is open", partner.name));
        }
        let names = |schedule: &Schedule| schedule.window == Some(StartWindow::Named(name.to_owned()));
        uses.extend(self.policies_naming(|policy| policy.schedules.iter().any(names)).await?);
        Ok(uses)
    }

    /// Removes a window that no policy names (SLP-013).
    pub async fn remove_window(&mut self, name: &str) -> Done<(), C> {
        if !self.ask(self.catalog.windows()).await?.iter().any(|window| window.name == name) {
            return Err(absent("window", name).into());
        }
        check_unused("window", name, &self.window_uses(name).await?)?;
        self.store(&[Change::WindowGone(name.to_owned())]).await
    }

    /// Stores a data classification. What could not be imported without it is, with the next tick.
    pub async fn put_classification(&mut self, classification: Classification) -> Done<(), C> {
        check_name("data classification", &classification.name)?;
        self.store(&[Change::Classification(classification)]).await?;
        self.arranged().await
    }

    /// What has a data classification, in words for a list.
    pub async fn classification_uses(&self, name: &str) -> Done<Vec<String>, C> {
        let versions = self.ask(self.catalog.slp_versions()).await?;
        let has_it = versions.iter().filter(|version| version.slp.data_classification == name);
        let mut uses: Vec<_> = has_it.map(version_words).collect();
        uses.extend(self.policies_naming(|policy| policy.data_classification == name).await?);
        Ok(uses)
    }

    /// Removes a data classification that no policy has (SLP-013).
    pub async fn remove_classification(&mut self, name: &str) -> Done<(), C> {
        if !self.ask(self.catalog.classifications()).await?.iter().any(|it| it.name == name) {
            return Err(absent("data classification", name).into());
        }
        check_unused("data classification", name, &self.classification_uses(name).await?)?;
        self.store(&[Change::ClassificationGone(name.to_owned())]).await
    }

    /// Operations of policies, all versions, for which this holds.
    async fn slp_uses(&self, uses: impl Fn(&SlpOperation) -> bool + Send) -> Done<Vec<String>, C> {
        let versions = self.ask(self.catalog.slp_versions()).await?;
        let mut found = Vec::new();
        for version in &versions {
            let operations = version.slp.operations.iter().filter(|operation| uses(operation));
            found.extend(operations.map(|it| format!("operation `{}` of {}", it.id, version_words(version))));
        }
        Ok(found)
    }

    /// Imports that failed because their SLP did not reach the receiving volume may succeed now (AIR-004), and
    /// what waits for a place may have it.
    async fn storage_changed(&mut self, moment: Moment) -> Vec<Command> {
        match self.ask(self.catalog.slps()).await {
            Ok(versions) => self.owed.extend(versions.into_iter().map(|version| version.slp.name)),
            Err(error) => self.note(Err(error)),
        }
        let mut commands = self.pay(moment).await;
        let taken = self.take_turn_here(&mut commands, moment).await;
        self.note(taken);
        commands
    }

    /// Stores where a pool replicates to: the pool and the partner exist (SLP-013), the pool does not span
    /// (SLP-007), what receives there is not this domain's own storage (TOPO-001), and the windows of its schedule
    /// exist (SLP-013). What is under way and what waits for bandwidth is looked at again.
    pub async fn put_target(&mut self, target: ReplicationTarget, moment: Moment) -> Done<Vec<Command>, C> {
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
        self.check_apart(&partner).await?;
        let windows = self.ask(self.catalog.windows()).await?;
        let unknown = |window: &&String| !windows.iter().any(|known| known.name == **window);
        if let Some(unknown) = target.schedule.iter().map(|entry| &entry.window).find(unknown) {
            return Err(absent("window", unknown).into());
        }
        let known = self.ask(self.catalog.replication_targets()).await?;
        let is_it = |it: &&ReplicationTarget| (it.pool, it.partner) == (target.pool, target.partner);
        let mut changes = match known.iter().find(is_it) {
            Some(known) if known.unit == target.unit => Vec::new(),
            _ => self.other_ways(target.partner, moment.now).await?,
        };
        let looked_at = Change::BandwidthChanged(target.partner, moment.now);
        changes.extend([Change::ReplicationTarget(target), looked_at]);
        self.settle(Decision { changes, commands: Vec::new() }, moment).await
    }

    /// TOPO-001: a partner does not receive with what stores for this domain.
    pub(super) async fn check_apart(&self, partner: &Partner) -> Done<(), C> {
        let servers = self.ask(self.catalog.media_servers()).await?;
        let pools = self.ask(self.catalog.pools()).await?;
        let own = OwnStorage { data_address: &self.data_address, servers: &servers, pools: &pools };
        Ok(own.check(partner)?)
    }

    /// What replicates from a pool to a partner, in words for a list.
    pub async fn target_uses(&self, pool: PoolId, partner: DomainId) -> Done<Vec<String>, C> {
        let units = self.ask(self.catalog.storage_units()).await?;
        let lies_there = |storage: &str| units.iter().any(|unit| unit.name == storage && unit.pool == pool);
        let mut uses = Vec::new();
        for version in self.ask(self.catalog.slp_versions()).await? {
            let replications = version.slp.operations.iter().filter(|it| it.kind == Kind::Replication);
            let goes = |it: &&SlpOperation| {
                let target = it.named_target().and_then(|target| version.domain_of(&target.domain));
                let source = it.source.as_deref().and_then(|source| version.slp.operation(source));
                (target == Some(partner) || it.goes_to_all())
                    && source.and_then(|source| source.storage.as_deref()).is_some_and(lies_there)
            };
            uses.extend(
                replications
                    .filter(goes)
                    .map(|it| format!("operation `{}` of {}", it.id, version_words(&version))),
            );
        }
        Ok(uses)
    }

    /// Removes a replication target by which no policy replicates (SLP-006).
    pub async fn remove_target(&mut self, pool: PoolId, partner: DomainId) -> Done<(), C> {
        let now = self.latest.unwrap_or_default();
        let known = self.ask(self.catalog.replication_targets()).await?;
        let partners = self.ask(self.catalog.partners()).await?;
        let name = domain_name(&self.own, &partners, partner);
        if !known.iter().any(|it| it.pool == pool && it.partner == partner) {
            return Err(absent("replication target in domain", &name).into());
        }
        let uses = self.target_uses(pool, partner).await?;
        if !uses.is_empty() {
            let sentence = format!("the replication target in domain `{name}` is used by {}", list(&uses));
            let help = "apply the SLP without that operation first";
            return Err(Refusal::new("SLP-006", sentence, help).into());
        }
        let mut changes = self.other_ways(partner, now).await?;
        changes.push(Change::ReplicationTargetGone(pool, partner));
        self.store(&changes).await
    }

    /// The targets that a pairing makes: from each pool that has none to that partner yet, and may have one.
    pub(super) async fn usual_targets(&self, partner: &Partner) -> Done<Vec<Change>, C> {
        let (partner, direction) = (partner.domain, partner.dials.direction());
        let known = self.ask(self.catalog.replication_targets()).await?;
        let has_one = |pool: PoolId| known.iter().any(|it| it.pool == pool && it.partner == partner);
        let pools = self.ask(self.catalog.pools()).await?;
        let without = pools.iter().filter(|pool| !pool.spanning && !has_one(pool.id));
        let usual = |pool| ReplicationTarget { direction, ..ReplicationTarget::usual(pool, partner) };
        Ok(without.map(|pool| Change::ReplicationTarget(usual(pool.id))).collect())
    }

    /// The targets of a partner of which another end is to dial now.
    pub(super) async fn turned_targets(&self, partner: &Partner) -> Done<Vec<Change>, C> {
        let direction = partner.dials.direction();
        let known = self.ask(self.catalog.replication_targets()).await?;
        let turned = known.into_iter().filter(|it| it.partner == partner.domain && it.direction != direction);
        Ok(turned.map(|it| Change::ReplicationTarget(ReplicationTarget { direction, ..it })).collect())
    }
}

fn version_words(version: &SlpVersion) -> String {
    format!("SLP `{}` version {}", version.slp.name, version.version)
}

pub(super) fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    let is_word = name == ANY_AVAILABLE || name == ANY_CLASSIFICATION;
    if name.trim() == name && !name.is_empty() && name.len() <= NAME_BYTES_MAX && !is_word {
        return Ok(());
    }
    let sentence = format!("a {what} can't be called `{name}`");
    let help = "1 to 255 characters, no space at either end, and not the word `any`";
    Err(Refusal::new("SLP-013", sentence, help))
}

pub(super) fn taken(what: &str, name: &str) -> Refusal {
    Refusal::new(CLASH, format!("there is a {what} `{name}` already"), "choose another name")
}

pub(super) fn absent(what: &str, name: &str) -> Refusal {
    Refusal::new("SLP-013", format!("there is no {what} `{name}`"), "the list shows what there is")
}

/// SLP-013: what is left would name something that does not exist.
fn check_unused(what: &str, name: &str, uses: &[String]) -> Result<(), Refusal> {
    if uses.is_empty() {
        return Ok(());
    }
    let sentence = format!("{what} `{name}` is named by {}", list(uses));
    Err(Refusal::new("SLP-013", sentence, "let them name another first"))
}
