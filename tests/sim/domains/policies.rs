//! Domains, their policies as people write them, and, reckoned by hand, how long each copy has to live: three that send in
//! a ring and all over, or one that sends to three others.

use std::{collections::BTreeMap, time::Duration};

use narrows_domain::{
    Change, Moment, Partner, Primary,
    model::MemoryCatalog,
    partner::Trust,
    primary::Applying,
    slp::{
        Format, PartnerSlp,
        check::LocalCopy,
        parse,
        version::{Plan, Unverified},
    },
    storage::{Identity, Pool, ReplicationTarget, StorageUnit},
};
use narrows_format::{DomainId, PoolId, Timestamp};
use narrows_ring::sim::Host;

use super::desk::ready;

pub(super) const EAST: usize = 0;
pub(super) const WEST: usize = 1;
pub(super) const NORTH: usize = 2;
pub(super) const SOUTH: usize = 3;
pub(super) const NAMES: [&str; 4] = ["east", "west", "north", "south"];
/// Where all clients run.
pub(super) const CLIENT: Host = Host(9);

/// How long a copy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// From the backup's start.
    For(Duration),
    /// Until what copies from it is complete.
    UntilCopied,
}

/// A policy of one of them and its imports at the others, as the oracle knows it.
pub(super) struct Policy {
    pub(super) name: &'static str,
    /// Where backups are made.
    pub(super) origin: usize,
    /// In the east, the west, the north and the south; `None`: the image must not get there.
    pub(super) lives: [Option<Life>; 4],
    /// From where to where it goes.
    pub(super) edges: &'static [(usize, usize)],
}

const fn minutes(minutes: u64) -> Life {
    Life::For(Duration::from_mins(minutes))
}

const fn days(days: u64) -> Life {
    minutes(days * 24 * 60)
}

/// Reckoned by hand from the texts below, bounds of the receivers included.
pub(super) const POLICIES: [Policy; 6] = [
    Policy {
        name: "fan",
        origin: EAST,
        lives: [Some(minutes(30)), Some(days(10)), Some(days(45)), None],
        edges: &[(EAST, WEST), (EAST, NORTH)],
    },
    Policy {
        name: "cascade",
        origin: EAST,
        lives: [Some(Life::UntilCopied), Some(days(20)), Some(days(30)), None],
        edges: &[(EAST, WEST), (WEST, NORTH)],
    },
    // The longer of two lives: 16 days by the east's order and the north's bound, 18 by the west's.
    Policy {
        name: "both",
        origin: EAST,
        lives: [Some(days(8)), Some(days(6)), Some(days(18)), None],
        edges: &[(EAST, WEST), (EAST, NORTH), (WEST, NORTH)],
    },
    Policy {
        name: "near",
        origin: EAST,
        lives: [Some(days(2)), Some(days(4)), None, None],
        edges: &[(EAST, WEST)],
    },
    // From the west it would go home, and that is not sent.
    Policy {
        name: "ring",
        origin: NORTH,
        lives: [Some(days(7)), Some(days(9)), Some(days(5)), None],
        edges: &[(NORTH, EAST), (EAST, WEST)],
    },
    Policy {
        name: "wide",
        origin: EAST,
        lives: [Some(days(30)); 4],
        edges: &[(EAST, WEST), (EAST, NORTH), (EAST, SOUTH)],
    },
];

/// The policy of the star; those before it are of the three.
pub(super) const WIDE: usize = 5;

/// Who is there, and who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Three domains under all policies but the last.
    Three,
    /// One domain and three targets of it, under the last.
    Star,
}

impl Layout {
    pub(super) const fn domains(self) -> usize {
        match self {
            Self::Three => 3,
            Self::Star => 4,
        }
    }

    const fn texts(self) -> &'static [Row] {
        match self {
            Self::Three => &TEXTS,
            Self::Star => &STAR,
        }
    }
}

const BACKUP: &str = r#"id = "first", kind = "backup", storage = "default""#;
const IMPORT: &str = r#"id = "first", kind = "import", storage = "default""#;

/// Name, domain, retention of the first copy, and where it goes on to for how long.
type Row = (&'static str, usize, &'static str, &'static [(usize, &'static str)]);

const TEXTS: [Row; 14] = [
    ("fan", EAST, r#"{ fixed = "30m" }"#, &[(WEST, "10d"), (NORTH, "50d")]),
    ("fan", WEST, "{ target = {} }", &[]),
    ("fan", NORTH, r#"{ target = {}, at_most = "45d" }"#, &[]),
    ("cascade", EAST, r#""expire-after-copy""#, &[(WEST, "20d")]),
    ("cascade", WEST, "{ target = {} }", &[(NORTH, "40d")]),
    ("cascade", NORTH, r#"{ target = {}, at_most = "30d" }"#, &[]),
    ("both", EAST, r#"{ fixed = "8d" }"#, &[(WEST, "6d"), (NORTH, "15d")]),
    ("both", WEST, "{ target = {} }", &[(NORTH, "18d")]),
    ("both", NORTH, r#"{ target = {}, at_least = "16d" }"#, &[]),
    ("near", EAST, r#"{ fixed = "2d" }"#, &[(WEST, "5d")]),
    ("near", WEST, r#"{ target = {}, at_most = "4d" }"#, &[]),
    ("ring", NORTH, r#"{ fixed = "5d" }"#, &[(EAST, "7d")]),
    ("ring", EAST, "{ target = {} }", &[(WEST, "9d")]),
    ("ring", WEST, "{ target = {} }", &[(NORTH, "11d")]),
];

const STAR: [Row; 4] = [
    ("wide", EAST, r#"{ fixed = "30d" }"#, &[(WEST, "30d"), (NORTH, "30d"), (SOUTH, "30d")]),
    ("wide", WEST, "{ target = {} }", &[]),
    ("wide", NORTH, "{ target = {} }", &[]),
    ("wide", SOUTH, "{ target = {} }", &[]),
];

fn text((name, at, retention, on): &Row) -> String {
    let is_origin = POLICIES.iter().any(|policy| policy.name == *name && policy.origin == *at);
    let first = if is_origin { BACKUP } else { IMPORT };
    let mut operations = vec![format!("{{ {first}, retention = {retention} }}")];
    operations.extend(on.iter().map(|(to, fixed)| {
        let to = NAMES[*to];
        format!(
            r#"{{ id = "to-{to}", kind = "replication", source = "first", target = {{ domain = "{to}" }}, retention = {{ fixed = "{fixed}" }} }}"#
        )
    }));
    format!("name = \"{name}\"\noperation = [{}]", operations.join(", "))
}

pub(super) fn host(at: usize) -> Host {
    Host(u32::try_from(at).unwrap() + 1)
}

pub(super) fn domain_id(at: usize) -> DomainId {
    DomainId([u8::try_from(at).unwrap() + 1; 16])
}

/// The domain with this identity.
pub(super) fn at(domain: DomainId) -> usize {
    usize::from(domain.0[0]) - 1
}

/// As [`crate::site::create`] makes it.
pub(super) fn pool_id(at: usize) -> PoolId {
    PoolId([u8::try_from(at).unwrap() + 1; 16])
}

pub(super) fn identity(at: usize) -> Identity {
    Identity { domain: domain_id(at), incarnation: 1, name: NAMES[at].to_owned() }
}

/// A paired domain that has its policies.
pub(super) fn settle(primary: &mut Primary<MemoryCatalog>, (layout, at): (Layout, usize), moment: Moment) {
    ready(primary.put(&rows(layout, at, moment.now))).unwrap();
    for row in layout.texts().iter().filter(|(_, here, ..)| *here == at) {
        let slp = parse(&text(row), Format::Toml).unwrap();
        let present = PartnerSlp::Present { classification: "any".into(), receives: true, units: Vec::new() };
        let asked = ready(primary.partner_slps_to_ask(&slp)).unwrap();
        let partner_slps: BTreeMap<_, _> = asked.into_iter().map(|asked| (asked, present.clone())).collect();
        let (local_copy, unverified) = (LocalCopy::NotNeeded, Unverified::Refuse);
        let how = Applying { partner_slps, theirs: Vec::new(), local_copy, unverified };
        let (plan, _) = ready(primary.apply_slp(&slp, how, moment)).unwrap();
        assert!(matches!(plan, Plan::Store(_)), "{plan:?}");
    }
}

fn rows(layout: Layout, at: usize, paired: Timestamp) -> Vec<Change> {
    let pool = pool_id(at);
    let mut rows = vec![
        Change::Pool(Pool::new(pool, "pool")),
        Change::StorageUnit(StorageUnit { name: "default".into(), pool, jobs_max: None }),
    ];
    for other in (0..layout.domains()).filter(|other| *other != at) {
        let mut partner = Partner::half(domain_id(other), 1, NAMES[other], paired);
        partner.trust = Trust::Complete;
        partner.grants.relay.extend((0..layout.domains()).map(|origin| (domain_id(origin), None)));
        partner.running_max = 2;
        rows.push(Change::Partner(partner));
        rows.push(Change::ReplicationTarget(ReplicationTarget::usual(pool, domain_id(other))));
    }
    rows
}
