//! Disk volumes: what a copy lies on.
//!
//! A pool presents one, which is all of its folders; one that spans presents each of its folders. What a volume is to
//! replication follows from replication targets, here and as partners may have them, and is never typed.

use crate::air::includes;
use crate::named::named;
use crate::partner::{Partner, Trust};
use crate::slp::{Kind, SlpVersion};
use crate::storage::{Pool, ReplicationTarget, StorageUnit, StorageUnitGroup};

named! {
    /// What a volume is to replication.
    pub enum ReplicationProperty {
        /// Images leave it for a partner.
        Source = "source",
        /// Images of a partner arrive on it.
        Target = "target",
        /// Both.
        SourceAndTarget = "source+target",
        /// Neither.
        None = "none",
    }
}

/// What that follows from.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// All replication targets.
    pub targets: Vec<ReplicationTarget>,
    /// All partners.
    pub partners: Vec<Partner>,
    /// All storage units.
    pub units: Vec<StorageUnit>,
    /// All storage unit groups.
    pub groups: Vec<StorageUnitGroup>,
    /// The newest version of each SLP.
    pub slps: Vec<SlpVersion>,
}

impl Ways {
    /// What the volumes of a pool are to replication.
    pub fn property_of(&self, pool: &Pool) -> ReplicationProperty {
        match (self.is_source(pool), self.is_target(pool)) {
            (true, true) => ReplicationProperty::SourceAndTarget,
            (true, false) => ReplicationProperty::Source,
            (false, true) => ReplicationProperty::Target,
            (false, false) => ReplicationProperty::None,
        }
    }

    /// It has a replication target in a domain that is paired. From a pool that spans nothing is replicated.
    fn is_source(&self, pool: &Pool) -> bool {
        let is_paired = |it: &&Partner| it.trust != Trust::Unpaired;
        let goes_to =
            |it: &Partner| self.targets.iter().any(|to| (to.pool, to.partner) == (pool.id, it.domain));
        !pool.spanning && self.partners.iter().filter(is_paired).any(goes_to)
    }

    /// A partner that may send has it behind its receiving unit, or may name a unit before it from which an SLP imports.
    fn is_target(&self, pool: &Pool) -> bool {
        let may_send = |it: &&Partner| it.trust != Trust::Unpaired && it.grants.send;
        let lies_behind = |storage: &str| includes(storage, pool.id, &self.units, &self.groups);
        let mut imports =
            self.slps.iter().flat_map(|it| &it.slp.operations).filter(|it| it.kind == Kind::Import);
        let mut senders = self.partners.iter().filter(may_send).peekable();
        senders.peek().is_some()
            && (senders.any(|it| lies_behind(&it.receive_unit))
                || imports.any(|it| it.storage.as_deref().is_some_and(lies_behind)))
    }
}

/// The volumes that a pool presents, which lies in these folders: the name of each, and its folders.
pub fn volumes(pool: &Pool, folders: Vec<String>) -> Vec<(String, Vec<String>)> {
    if !pool.spanning {
        return vec![(pool.name.clone(), folders)];
    }
    let numbered = (1_usize..).zip(folders);
    numbered.map(|(at, folder)| (format!("{}.{at}", pool.name), vec![folder])).collect()
}

#[cfg(test)]
mod tests {
    use narrows_format::{DomainId, PoolId, Timestamp};

    use super::*;
    use crate::slp::{Format, parse};

    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };
    const WEST: DomainId = DomainId([2; 16]);

    fn pool(id: u8) -> Pool {
        Pool::new(PoolId([id; 16]), format!("p{id}"))
    }

    fn ways() -> Ways {
        let unit = |name: &str, id| StorageUnit { name: name.into(), pool: PoolId([id; 16]), jobs_max: None };
        let west = Partner { trust: Trust::Complete, ..Partner::half(WEST, 1, "west", NOW) };
        Ways {
            targets: [1, 2, 3].map(|id| ReplicationTarget::usual(PoolId([id; 16]), WEST)).into(),
            partners: vec![west],
            units: vec![unit("default", 1), unit("b", 2), unit("c", 3), unit("d", 4)],
            ..Ways::default()
        }
    }

    /// Goal: the property follows from targets, pairings and grants, each of which can be taken away.
    #[test]
    fn the_property_follows_from_replication_targets() {
        let told = |ways: &Ways, id| ways.property_of(&pool(id));
        let mut ways = ways();
        let [both, source, target, none] = [
            ReplicationProperty::SourceAndTarget,
            ReplicationProperty::Source,
            ReplicationProperty::Target,
            ReplicationProperty::None,
        ];
        assert_eq!([1, 2, 4].map(|id| told(&ways, id)), [both, source, none]);
        let spanning = Pool { spanning: true, ..pool(1) };
        assert_eq!(ways.property_of(&spanning), target, "nothing is replicated from it");
        let text = "name = \"in\"\n[[operation]]\nid = \"import\"\nkind = \"import\"\nstorage = \"d\"\nretention = { target = {} }\n";
        let slp = parse(text, Format::Toml).unwrap();
        ways.slps = vec![SlpVersion { slp, version: 1, made: NOW, targets: vec![], verified: true }];
        assert_eq!([1, 2, 4].map(|id| told(&ways, id)), [both, source, target]);
        ways.partners[0].grants.send = false;
        assert_eq!([1, 2, 4].map(|id| told(&ways, id)), [source, source, none]);
        ways.partners[0].trust = Trust::Unpaired;
        assert_eq!([1, 2, 4].map(|id| told(&ways, id)), [none; 3]);
    }

    #[test]
    fn a_pool_presents_one_volume_and_a_spanning_one_each_folder() {
        let folders = || vec!["/mnt/a".to_owned(), "/mnt/b".to_owned()];
        assert_eq!(volumes(&pool(1), folders()), [("p1".to_owned(), folders())]);
        let wide = Pool { spanning: true, ..pool(1) };
        let each =
            [("p1.1".to_owned(), vec!["/mnt/a".to_owned()]), ("p1.2".to_owned(), vec!["/mnt/b".to_owned()])];
        assert_eq!(volumes(&wide, folders()), each);
    }
}
