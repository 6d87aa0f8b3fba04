//! What policies say, and how people change it: new versions, in place, and images moved from one version to another.

use std::collections::BTreeSet;

use narrows_domain::image::ImageState;
use narrows_domain::model::Burnt;
use narrows_domain::period::Period;
use narrows_domain::primary::Error;
use narrows_domain::slp::version::{Plan, Unverified};
use narrows_domain::slp::{Kind, NamedTarget, Retention, Slp, SlpOperation, TargetSpec};
use narrows_domain::{Catalog as _, Image};
use narrows_format::ImageId;

use super::{World, now, ready};

/// How long the first copy lives in a domain, in hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First {
    /// From the backup's start.
    For(i64),
    /// Until all that copy from it are complete.
    UntilCopied,
    /// As long as its sender asks, within these bounds.
    AsAsked { at_least: Option<i64>, at_most: Option<i64> },
}

/// What a policy says in a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) first: First,
    /// How long copies in other domains live, in hours from the backup's start.
    pub(crate) replica: i64,
    /// The same for those in other pools here.
    pub(crate) duplicate: i64,
    priority: u32,
    has_windows: bool,
}

const DAY: i64 = 24;

impl First {
    pub(crate) const fn hours(self) -> i64 {
        match self {
            Self::For(hours) => hours,
            Self::UntilCopied | Self::AsAsked { .. } => 0,
        }
    }

    /// The date that was asked for, moved into the bounds; in seconds.
    pub(crate) fn bounds(self, started: i64, asked: i64) -> i64 {
        let Self::AsAsked { at_least, at_most } = self else { return asked };
        let least = at_least.map_or(asked, |hours| asked.max(started + hours * 3600));
        at_most.map_or(least, |hours| least.min(started + hours * 3600))
    }

    fn retention(self) -> Retention {
        match self {
            Self::For(hours) => Retention::Fixed(period(hours)),
            Self::UntilCopied => Retention::ExpireAfterCopy,
            Self::AsAsked { at_least, at_most } => {
                Retention::Target { at_least: at_least.map(period), at_most: at_most.map(period) }
            }
        }
    }
}

fn period(hours: i64) -> Period {
    Period::minutes(u32::try_from(hours * 60).unwrap())
}

impl World {
    /// What a policy says to begin with.
    pub(super) fn first_terms(&mut self, at: usize, origin: usize) -> Terms {
        let lives = |slow: i64, quick: [i64; 4], world: &mut Self| {
            if world.is_quick { world.dice.one_of(&quick) } else { slow * DAY }
        };
        let first = if at != origin {
            let at_least = self.is_quick.then(|| self.dice.one_of(&[None, Some(DAY)])).flatten();
            let most = lives(300, [2 * DAY, 5 * DAY, 12 * DAY, 30 * DAY], self);
            First::AsAsked { at_least, at_most: (!self.is_quick || self.dice.one_in(2)).then_some(most) }
        } else if at == 1 {
            First::UntilCopied
        } else {
            First::For(lives(400, [3, DAY, 4 * DAY, 10 * DAY], self))
        };
        Terms {
            first,
            replica: lives(350, [12, 2 * DAY, 6 * DAY, 15 * DAY], self),
            duplicate: lives(500, [6, DAY, 5 * DAY, 20 * DAY], self),
            priority: 50_000,
            has_windows: !self.is_calm,
        }
    }

    /// Policy `from-ORIGIN` in domain `at` as it is now: a Backup there at the origin, an Import elsewhere.
    pub(super) fn slp(&self, at: usize, origin: usize) -> Slp {
        let terms = *self.terms[&(at, origin)].last().expect("each policy has terms");
        self.slp_of((at, origin), terms)
    }

    fn slp_of(&self, (at, origin): (usize, usize), terms: Terms) -> Slp {
        let window = |is_asked: bool| (is_asked && terms.has_windows).then(|| "hours".to_owned());
        let plain = |id: String, kind, storage: Option<&str>, retention| SlpOperation {
            id,
            kind,
            source: (!matches!(kind, Kind::Backup | Kind::Import)).then(|| "first".into()),
            storage: storage.map(str::to_owned),
            target: None,
            retention: Some(retention),
            window: None,
        };
        let kind = if at == origin { Kind::Backup } else { Kind::Import };
        let mut operations = vec![plain("first".into(), kind, Some("default"), terms.first.retention())];
        for (_, _, to) in self.edges.range((origin, at, 0)..(origin, at + 1, 0)) {
            let named = NamedTarget { domain: format!("d{to}"), import_slp: None };
            let retention = Retention::Fixed(period(terms.replica));
            operations.push(SlpOperation {
                target: Some(TargetSpec::Named(named)),
                window: window(*to > at),
                ..plain(format!("to-d{to}"), Kind::Replication, None, retention)
            });
        }
        if origin != 0 {
            let retention = Retention::Fixed(period(terms.duplicate));
            let duplication = plain("dup".into(), Kind::Duplication, Some("vaults"), retention);
            operations.push(SlpOperation { window: window(at == 0), ..duplication });
        }
        Slp {
            name: format!("from-{origin}"),
            data_classification: "any".into(),
            priority: terms.priority,
            operations,
        }
    }

    /// Whether an image may be governed by the version of its policy that it is under in a domain: by the newest when it came,
    /// and by none else, unless people moved it, or it came anew after it had gone or had been given up.
    pub(crate) fn is_governed(&self, image: &Image, at: usize) -> bool {
        let origin: usize = image.slp.trim_start_matches("from-").parse().expect("policies are called so");
        let key = (image.id, at);
        if image.state == ImageState::Abandoned {
            self.abandoned.borrow_mut().insert(key);
        }
        let mut all = self.versions.borrow_mut();
        let known = all.entry(key).or_default();
        let domain = &self.domains[at];
        let has_gone = domain.lies(domain.pool, image.id).removed > 0 || domain.incarnation(domain.pool) > 1;
        let comes = known.is_empty() || has_gone || self.abandoned.borrow().contains(&key);
        if comes && self.newest.get(&(at, origin)) == Some(&image.slp_version) {
            known.insert(image.slp_version);
        }
        known.contains(&image.slp_version)
    }
}

/// A policy is changed: a new version, or in place; or images go on under the newest one.
pub(super) fn revise(world: &mut World, at: usize) {
    let origin = world.dice.below(world.domains.len());
    if world.missing.contains(&(at, origin)) || !world.newest.contains_key(&(at, origin)) {
        return;
    }
    let before = *world.terms[&(at, origin)].last().expect("each policy has terms");
    let priority = 50_000 + u32::try_from(world.dice.below(3)).unwrap();
    match world.dice.below(3) {
        0 => {
            let fresh = world.first_terms(at, origin);
            let has_windows = world.dice.one_in(2);
            world.terms.entry((at, origin)).or_default().push(Terms { priority, has_windows, ..fresh });
            if world.apply_slp(at, origin, Unverified::Refuse) {
                world.unverified.remove(&(at, origin));
            } else {
                world.terms.entry((at, origin)).or_default().pop();
            }
        }
        1 => {
            let longer = |life: i64| life + 5;
            let first = match before.first {
                First::For(hours) => First::For(longer(hours)),
                First::AsAsked { at_least, at_most } => {
                    First::AsAsked { at_least, at_most: at_most.map(longer) }
                }
                First::UntilCopied => First::UntilCopied,
            };
            let (replica, duplicate) = (longer(before.replica), longer(before.duplicate));
            let has_windows = world.dice.one_in(2);
            in_place(world, (at, origin), Terms { first, replica, duplicate, priority, has_windows });
        }
        _ => migrate(world, at, origin),
    }
}

fn in_place(world: &mut World, (at, origin): (usize, usize), terms: Terms) {
    world.terms.entry((at, origin)).or_default().push(terms);
    let (slp, how, moment) =
        (world.slp(at, origin), world.how(at, origin, Unverified::Refuse), world.moment(at));
    match ready(world.domains[at].primary().apply_in_place(&slp, how, moment)) {
        Ok((Plan::Refused(findings), _)) => {
            assert!(findings.iter().all(|finding| finding.code.starts_with("TRUST-")), "{findings:?}");
            world.terms.entry((at, origin)).or_default().pop();
        }
        Ok((_, commands)) => {
            world.unverified.remove(&(at, origin));
            super::order::obey(world, at, Ok(commands));
        }
        Err(Error::Catalog(Burnt)) => {
            world.terms.entry((at, origin)).or_default().pop();
            world.crash(at);
        }
        Err(other) => panic!("{other}"),
    }
}

/// What is not complete under an older version goes on under the newest.
fn migrate(world: &mut World, at: usize, origin: usize) {
    let (name, to) = (format!("from-{origin}"), world.newest[&(at, origin)]);
    let older: BTreeSet<u32> = now(world.domains[at].catalog().slp_versions())
        .iter()
        .filter(|it| it.slp.name == name && it.version < to)
        .map(|it| it.version)
        .collect();
    let Some(from) = older.first().copied() else { return };
    let moment = world.moment(at);
    let outcome = ready(world.domains[at].primary().migrate_slp(&name, (from, to), moment));
    if super::order::obey(world, at, outcome.map(|(_, commands)| commands)) {
        let mut versions = world.versions.borrow_mut();
        let here = versions.iter_mut().filter(|((_, domain), known)| *domain == at && known.contains(&from));
        let governed =
            |image: &ImageId| now(world.domains[at].catalog().image(*image)).is_some_and(|it| it.slp == name);
        here.filter(|((image, _), _)| governed(image)).for_each(|(_, known)| known.extend([to]));
    }
}
