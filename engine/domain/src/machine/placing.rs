//! Which storage unit takes a copy: the one that is named, one of a group by its rule, or any.
//!
//! Guarantee: a unit that has as many jobs under way as it may have takes no more, whatever the rule; neither does one
//! whose pool is full, not open, or stopped by a failed write.

use std::collections::{BTreeMap, BTreeSet};

use narrows_format::{ImageId, PoolId};

use crate::image::ImageCopy;
use crate::machine::Refusal;
use crate::storage::{ANY_AVAILABLE, Pool, PoolTrouble, Selection, StorageUnit, StorageUnitGroup};

/// The code of "not now, ask again": a limit of this domain is reached.
pub const BUSY: &str = "NET-004";

/// Jobs under way, by the storage unit that they write to.
pub type Busy = BTreeMap<String, u32>;

/// What stands against writing to pools just now; a pool without an entry takes what comes.
pub type Troubles = BTreeMap<PoolId, PoolTrouble>;

/// Images that are known to be damaged, by pool.
pub type Hurt = BTreeMap<PoolId, BTreeSet<ImageId>>;

/// Everything that a choice depends on.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a, 'b> {
    /// All storage units.
    pub units: &'a [StorageUnit],
    /// All storage unit groups.
    pub groups: &'a [StorageUnitGroup],
    /// All pools.
    pub pools: &'a [Pool],
    /// What is under way.
    pub busy: &'b Busy,
    /// Pools that take nothing.
    pub troubles: &'b Troubles,
}

/// Why no unit was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// None that is known, has its pool here, and fits.
    Unknown,
    /// Those that fit are all at their limit.
    Full,
    /// The pools behind those that fit take nothing just now.
    Shut,
}

/// Whether one more job may write to it.
pub fn has_place(unit: &StorageUnit, busy: &Busy) -> bool {
    unit.jobs_max.is_none_or(|max| busy.get(&unit.name).copied().unwrap_or(0) < max)
}

/// What somebody is told who asks for a place where there is none.
pub fn busy_refusal(storage: &str) -> Refusal {
    let sentence = format!("storage `{storage}` has as many jobs under way as it may have");
    Refusal::new(BUSY, sentence, "try again when one has ended, or raise the limit: `storage-unit set`")
}

/// What somebody is told who asks for a place in a pool that takes nothing; `None` if it does.
pub fn shut_refusal(unit: &StorageUnit, troubles: &Troubles) -> Option<Refusal> {
    let trouble = troubles.get(&unit.pool)?;
    let sentence = format!("storage unit `{}` takes nothing just now: {}", unit.name, trouble.sentence);
    Some(Refusal::new(&trouble.code, sentence, "`narrowsctl pool list` shows how the pools are"))
}

/// Whether what lies in a pool can be read.
pub fn can_read(troubles: &Troubles, pool: PoolId) -> bool {
    troubles.get(&pool).is_none_or(|trouble| trouble.readable)
}

/// The copy that an image is read from: one that is not known to be damaged before one that is; of those the one that this
/// operation made, or else the first that can be read.
pub fn nearest<'c>(
    copies: &'c [ImageCopy],
    operation: Option<&str>,
    can_read: impl Fn(PoolId) -> bool,
    is_hurt: impl Fn(PoolId) -> bool,
) -> Option<&'c ImageCopy> {
    let readable = copies.iter().filter(|copy| copy.is_readable() && can_read(copy.pool));
    readable.min_by_key(|copy| (is_hurt(copy.pool), operation != Some(copy.operation.as_str())))
}

impl<'a> Places<'a, '_> {
    /// Chooses among the units that `storage` stands for and that fit.
    pub fn pick(
        &self,
        storage: &str,
        fits: impl Fn(&StorageUnit) -> bool,
    ) -> Result<&'a StorageUnit, NoPlace> {
        let known = |unit: &&StorageUnit| self.pools.iter().any(|pool| pool.id == unit.pool);
        let fitting: Vec<_> =
            self.members(storage).into_iter().filter(known).filter(|unit| fits(unit)).collect();
        if fitting.is_empty() {
            return Err(NoPlace::Unknown);
        }
        let open = |unit: &&StorageUnit| !self.troubles.contains_key(&unit.pool);
        let open: Vec<_> = fitting.into_iter().filter(open).collect();
        if open.is_empty() {
            return Err(NoPlace::Shut);
        }
        let free: Vec<_> = open.into_iter().filter(|unit| has_place(unit, self.busy)).collect();
        let chosen = match self.rule(storage) {
            Selection::Failover => free.first(),
            Selection::LeastUsed => {
                free.iter().min_by_key(|unit| self.busy.get(&unit.name).copied().unwrap_or(0))
            }
            Selection::RoundRobin => self.behind_last(storage, &free),
        };
        chosen.copied().ok_or(NoPlace::Full)
    }

    /// Whether what lies in a pool can be read.
    pub fn can_read(&self, pool: PoolId) -> bool {
        can_read(self.troubles, pool)
    }

    /// What somebody is told for whom there is none.
    pub fn refusal(&self, storage: &str) -> Refusal {
        let members = self.members(storage);
        let is_open = members.iter().any(|unit| !self.troubles.contains_key(&unit.pool));
        let shut = members.first().and_then(|unit| shut_refusal(unit, self.troubles));
        shut.filter(|_| !is_open).unwrap_or_else(|| busy_refusal(storage))
    }

    /// The group with its memory of who took the last copy, if its rule needs one.
    pub fn having_taken(&self, storage: &str, unit: &str) -> Option<StorageUnitGroup> {
        let group = self.group(storage).filter(|group| group.rule == Selection::RoundRobin)?;
        Some(StorageUnitGroup { last: Some(unit.to_owned()), ..group.clone() })
    }

    fn group(&self, storage: &str) -> Option<&'a StorageUnitGroup> {
        self.groups.iter().find(|group| group.name == storage)
    }

    fn rule(&self, storage: &str) -> Selection {
        let any = if storage == ANY_AVAILABLE { Selection::LeastUsed } else { Selection::Failover };
        self.group(storage).map_or(any, |group| group.rule)
    }

    fn members(&self, storage: &str) -> Vec<&'a StorageUnit> {
        let named = |name: &String| self.units.iter().find(|unit| unit.name == *name);
        match self.group(storage) {
            Some(group) => group.units.iter().filter_map(named).collect(),
            None if storage == ANY_AVAILABLE => self.units.iter().collect(),
            None => self.units.iter().filter(|unit| unit.name == storage).collect(),
        }
    }

    /// The first free unit behind the one that took the last copy, going round.
    fn behind_last<'f>(&self, storage: &str, free: &'f [&'a StorageUnit]) -> Option<&'f &'a StorageUnit> {
        let group = self.group(storage)?;
        let place = |name: &str| group.units.iter().position(|unit| unit == name);
        let last = group.last.as_deref().and_then(place);
        let behind = |unit: &&&StorageUnit| last.is_none_or(|last| place(&unit.name) > Some(last));
        free.iter().find(behind).or_else(|| free.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_format::PoolId;

    fn unit(name: &str, jobs_max: Option<u32>) -> StorageUnit {
        StorageUnit { name: name.into(), pool: PoolId([1; 16]), jobs_max }
    }

    fn group(rule: Selection, last: Option<&str>) -> StorageUnitGroup {
        let units = ["b", "a", "c"].map(str::to_owned).into();
        StorageUnitGroup { name: "g".into(), units, rule, last: last.map(str::to_owned) }
    }

    fn picked(rule: Selection, last: Option<&str>, busy: &[(&str, u32)]) -> Result<String, NoPlace> {
        let units = [unit("a", Some(2)), unit("b", Some(1)), unit("c", None), unit("d", None)];
        let busy = busy.iter().map(|(name, jobs)| ((*name).to_owned(), *jobs)).collect();
        let pool = Pool::new(PoolId([1; 16]), "p");
        let (groups, pools, troubles) = ([group(rule, last)], [pool], Troubles::new());
        let places =
            Places { units: &units, groups: &groups, pools: &pools, busy: &busy, troubles: &troubles };
        places.pick("g", |unit| unit.name != "c" || rule != Selection::Failover).map(|unit| unit.name.clone())
    }

    #[test]
    fn each_rule_picks_in_its_own_order_and_none_beyond_a_limit() {
        let of = |name: &str| Ok(name.to_owned());
        assert_eq!(picked(Selection::Failover, None, &[]), of("b"));
        assert_eq!(picked(Selection::Failover, None, &[("b", 1)]), of("a"));
        assert_eq!(picked(Selection::Failover, None, &[("b", 1), ("a", 2)]), Err(NoPlace::Full));
        assert_eq!(picked(Selection::RoundRobin, None, &[]), of("b"));
        assert_eq!(picked(Selection::RoundRobin, Some("b"), &[]), of("a"));
        assert_eq!(picked(Selection::RoundRobin, Some("c"), &[("b", 1)]), of("a"), "the full one is passed");
        assert_eq!(picked(Selection::LeastUsed, None, &[("b", 1), ("a", 1), ("c", 2)]), of("a"));
    }

    #[test]
    fn any_is_the_least_used_of_all_and_a_pool_that_is_not_here_takes_nothing() {
        let units = [unit("a", None), unit("b", None)];
        let pool = Pool::new(PoolId([1; 16]), "p");
        let busy = Busy::from([("a".to_owned(), 1)]);
        let (pools, troubles) = ([pool], Troubles::new());
        let places = Places { units: &units, groups: &[], pools: &pools, busy: &busy, troubles: &troubles };
        assert_eq!(places.pick(ANY_AVAILABLE, |_| true).unwrap().name, "b");
        assert_eq!(places.pick("z", |_| true), Err(NoPlace::Unknown));
        let nowhere = Places { pools: &[], ..places };
        assert_eq!(nowhere.pick("a", |_| true), Err(NoPlace::Unknown));
    }

    /// Goal: a group passes over a unit whose pool takes nothing, and says so when none is left.
    #[test]
    fn a_pool_that_takes_nothing_is_passed_over() {
        let there = |name: &str, pool| StorageUnit { pool: PoolId([pool; 16]), ..unit(name, None) };
        let units = [there("a", 1), there("b", 2), there("c", 3)];
        let pools = [1, 2, 3].map(|pool| Pool::new(PoolId([pool; 16]), "p"));
        let full = PoolTrouble { code: "POOL-002".into(), sentence: "it is full".into(), readable: true };
        let (groups, busy) = ([group(Selection::Failover, None)], Busy::new());
        let mut troubles = Troubles::from([(PoolId([2; 16]), full.clone())]);
        let picked = |troubles: &Troubles| {
            let places = Places { units: &units, groups: &groups, pools: &pools, busy: &busy, troubles };
            let unit = places.pick("g", |_| true).map(|unit| unit.name.clone());
            (unit, places.refusal("g").code, places.refusal("b").code)
        };
        let all_but = picked(&troubles);
        assert_eq!(all_but, (Ok("a".into()), BUSY.into(), "POOL-002".into()), "b is the first in order");
        troubles.extend([1, 3].map(|pool| (PoolId([pool; 16]), full.clone())));
        assert_eq!(picked(&troubles), (Err(NoPlace::Shut), "POOL-002".into(), "POOL-002".into()));
    }
}
