//! How a world begins: its domains, who is paired with whom, what their policies say.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use narrows_domain::model::{Bug, Burnt, MemoryCatalog};
use narrows_domain::partner::{ReceivePool, Trust};
use narrows_domain::primary::{Applying, Error};
use narrows_domain::slp::check::{LocalCopy, PartnerSlp};
use narrows_domain::slp::version::{Plan, Unverified};
use narrows_domain::storage::{
    Identity, MediaServer, Pool, ReplicationTarget, Selection, StorageUnit, StorageUnitGroup,
};
use narrows_domain::window::{OpenSpan, Window};
use narrows_domain::{Change, Partner, Primary};
use narrows_format::{DomainId, PoolId, ServerId, Timestamp};

use super::{Dice, Domain, World, order, ready};

pub(super) fn domain_id(at: usize) -> DomainId {
    DomainId([u8::try_from(at).unwrap() + 1; 16])
}

pub(super) fn pool_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + 101; 16])
}

fn vault_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + 201; 16])
}

pub(super) fn attic_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + 151; 16])
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut dice = Dice::new(seed);
        let count = 2 + dice.below(2);
        let (logs_again, is_quick) = (dice.one_in(2), dice.one_in(2));
        let mut world = Self::empty(dice, logs_again);
        world.is_quick = is_quick;
        world.lay_edges(count);
        world.settle(count, bug);
        for at in 0..count {
            for origin in 0..count {
                if world.dice.one_in(3) && origin != at {
                    world.missing.insert((at, origin));
                    world.lacked.insert((at, origin));
                } else {
                    let verified = if world.dice.one_in(4) { Unverified::Accept } else { Unverified::Refuse };
                    if verified == Unverified::Accept {
                        world.unverified.insert((at, origin));
                    }
                    world.apply_slp(at, origin, verified);
                }
            }
        }
        world
    }

    /// Without domains.
    fn empty(dice: Dice, logs_again: bool) -> Self {
        Self {
            domains: Vec::new(),
            dice,
            now: 1_800_000_000,
            edges: BTreeSet::new(),
            missing: BTreeSet::new(),
            unverified: BTreeSet::new(),
            cut: BTreeSet::new(),
            answers: Vec::new(),
            logs_again,
            is_quick: false,
            is_calm: false,
            made: BTreeMap::new(),
            held: BTreeSet::new(),
            given_up: BTreeSet::new(),
            released: BTreeSet::new(),
            ordered: BTreeMap::new(),
            asked: BTreeMap::new(),
            free: RefCell::default(),
            mended: None,
            terms: BTreeMap::new(),
            newest: BTreeMap::new(),
            versions: RefCell::default(),
            abandoned: RefCell::default(),
            over: BTreeSet::new(),
            met: BTreeMap::new(),
            lacked: BTreeSet::new(),
            let_go: BTreeSet::new(),
            seen: Vec::new(),
            lost: RefCell::default(),
            lost_once: BTreeSet::new(),
            heard: BTreeMap::new(),
            broken: None,
        }
    }

    /// A world in which nothing happens by chance: so many domains, these edges, all policies there.
    pub(crate) fn calm(seed: u64, count: usize, edges: BTreeSet<(usize, usize, usize)>) -> Self {
        let mut world = Self::empty(Dice::new(seed), false);
        (world.is_calm, world.edges) = (true, edges);
        world.settle(count, None);
        for at in 0..count {
            for origin in 0..count {
                assert!(world.apply_slp(at, origin, Unverified::Refuse), "all are paired");
            }
        }
        world
    }

    fn settle(&mut self, count: usize, bug: Option<Bug>) {
        for at in 0..count {
            for origin in 0..count {
                let terms = self.first_terms(at, origin);
                self.terms.insert((at, origin), vec![terms]);
            }
            let domain = self.new_domain(at, count, bug);
            self.domains.push(domain);
            self.seen.push(RefCell::default());
        }
    }

    fn lay_edges(&mut self, count: usize) {
        for origin in 0..count {
            for from in 0..count {
                for to in 0..count {
                    if from != to && self.dice.one_in(if from == origin { 1 } else { 2 }) {
                        self.edges.insert((origin, from, to));
                    }
                }
            }
        }
    }

    fn new_domain(&mut self, at: usize, count: usize, bug: Option<Bug>) -> Domain {
        let own = Identity { domain: domain_id(at), incarnation: 1, name: format!("d{at}") };
        let paired = Timestamp { seconds: self.now, nanos: 0 };
        let window = self.window(12);
        let mut changes = vec![Change::Window(window.clone(), paired)];
        changes.extend(storage(at, paired));
        for other in (0..count).filter(|other| *other != at) {
            let mut partner = Partner::half(domain_id(other), 1, &format!("d{other}"), paired);
            partner.trust = Trust::Complete;
            partner.grants.relay.extend((0..count).map(|domain| (domain_id(domain), None)));
            partner.running_max = u32::try_from(1 + self.dice.below(2)).unwrap();
            partner.receive_pool =
                self.dice.one_in(2).then_some(ReceivePool { pool: pool_id(other), incarnation: 1 });
            changes.push(Change::Partner(partner));
            let pools = [pool_id(at), vault_id(at), attic_id(at)];
            let targets = pools.map(|pool| ReplicationTarget::usual(pool, domain_id(other)));
            changes.extend(targets.map(Change::ReplicationTarget));
        }
        let mut primary = Primary::new(MemoryCatalog::with_bug(bug), own.clone());
        ready(primary.put(&changes)).unwrap();
        Domain {
            primary: Some(primary),
            own,
            pool: pool_id(at),
            logs: [pool_id(at), vault_id(at), attic_id(at)].map(|pool| (pool, Vec::new())).into(),
            incarnations: BTreeMap::new(),
            ever: BTreeSet::new(),
            is_reconciling: false,
            rereading: BTreeSet::new(),
            compared: BTreeSet::new(),
            silent: BTreeSet::new(),
            shut: BTreeMap::new(),
            lost: BTreeSet::new(),
            may_double: false,
            commands: Vec::new(),
            offset: if self.is_calm { 0 } else { i64::try_from(self.dice.below(180)).unwrap() - 90 },
            latest: i64::MIN,
            oversleeps: 0,
            full: false,
            sessions: Vec::new(),
            window,
            starts: 1,
            touched: Cell::new(true),
        }
    }

    /// Open so many hours a day, from a random one on, somewhere on earth, but perhaps not on one of the next days.
    pub(super) fn window(&mut self, hours: u16) -> Window {
        let first = u16::try_from(self.dice.below(24)).unwrap() * 60;
        let open = (0..7).map(|day| OpenSpan { from_minute: day * 1440 + first, minutes: hours * 60 });
        let today = i32::try_from(self.now / 86_400).unwrap();
        let excluded_days = (today..today + 4).filter(|_| self.dice.one_in(4)).collect();
        Window {
            name: "hours".into(),
            offset_minutes: i16::try_from(self.dice.below(57)).unwrap() * 30 - 14 * 60,
            open: open.collect(),
            excluded_days,
            zone: String::new(),
            transitions: Vec::new(),
        }
    }

    /// How a policy is applied: partners say that they have theirs, unless they are not asked.
    pub(super) fn how(&mut self, at: usize, origin: usize, unverified: Unverified) -> Applying {
        let slp = self.slp(at, origin);
        let asked = ready(self.domains[at].primary().partner_slps_to_ask(&slp)).unwrap();
        let present = PartnerSlp::Present { classification: "any".into(), receives: true, units: vec![] };
        let partner_slps = match unverified {
            Unverified::Accept => BTreeMap::new(),
            Unverified::Refuse => asked.into_iter().map(|asked| (asked, present.clone())).collect(),
        };
        Applying { partner_slps, theirs: Vec::new(), local_copy: LocalCopy::NotNeeded, unverified }
    }

    /// Whether it was stored: it is refused while a partner that it names is not paired.
    pub(super) fn apply_slp(&mut self, at: usize, origin: usize, unverified: Unverified) -> bool {
        let (slp, how, moment) = (self.slp(at, origin), self.how(at, origin, unverified), self.moment(at));
        match ready(self.domains[at].primary().apply_slp(&slp, how, moment)) {
            Ok((Plan::Refused(findings), _)) => {
                assert!(findings.iter().all(|finding| finding.code.starts_with("TRUST-")), "{findings:?}");
                false
            }
            Ok((Plan::Store(version) | Plan::Unchanged(version), commands)) => {
                self.newest.insert((at, origin), version.version);
                order::obey(self, at, Ok(commands))
            }
            Err(Error::Catalog(Burnt)) => {
                self.crash(at);
                self.apply_slp(at, origin, unverified)
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// A pool of its own, and two on media servers to which images are duplicated, the second while the first takes nothing.
fn storage(at: usize, joined: Timestamp) -> Vec<Change> {
    let unit =
        |name: &str, pool| Change::StorageUnit(StorageUnit { name: name.into(), pool, jobs_max: None });
    let mut changes = vec![Change::Pool(Pool::new(pool_id(at), "pool")), unit("default", pool_id(at))];
    for (name, pool) in [("vault", vault_id(at)), ("attic", attic_id(at))] {
        let server = ServerId(pool.0);
        changes.extend([
            Change::MediaServer(MediaServer {
                id: server,
                name: name.into(),
                url: String::new(),
                data_address: String::new(),
                serial: String::new(),
                joined,
                draining: None,
                certificate_until: None,
            }),
            Change::Pool(Pool { server: Some(server), ..Pool::new(pool, name) }),
            unit(name, pool),
        ]);
    }
    changes.push(Change::StorageUnitGroup(StorageUnitGroup {
        name: "vaults".into(),
        rule: Selection::Failover,
        units: vec!["vault".into(), "attic".into()],
        last: None,
    }));
    changes
}
