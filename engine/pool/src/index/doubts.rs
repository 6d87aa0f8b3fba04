//! Where the index is not to be believed: damaged slots, and nodes under which something may be damaged.
//!
//! Guarantee: nothing in quarantine answers "have", and no node does of which it is not known that all under it is sound.
//! So whoever brings such a tree again brings what is damaged, too. Readers are pointed elsewhere where there is another
//! copy, and to the damaged one where there is none: they say what is amiss by reading it.
//!
//! What of the nodes is sound is found out by a survey (`crate::scrub`); as long as there is damage and no survey, no
//! node answers. A survey visits what images reach, so a node of an image that went counts as unknown.

use std::{collections::BTreeMap, sync::Arc};

use narrows_format::{ContainerId, Location, Slot, manifest::Region, node::ChildKind};

use super::partition::Place;
use crate::limits::HARMS_PER_CONTAINER_MAX;

/// Damaged slots that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Harm {
    /// What is damaged.
    pub region: Region,
    /// The first of them.
    pub first: Slot,
    /// How many; zero: all of the container.
    pub count: u32,
}

impl Harm {
    /// The container as a whole.
    pub(crate) const fn whole(region: Region) -> Self {
        Self { region, first: Slot(0), count: 0 }
    }

    /// Whether a slot is one of them.
    pub(crate) fn has(&self, slot: Slot) -> bool {
        self.count == 0 || slot.0.checked_sub(self.first.0).is_some_and(|behind| behind < self.count)
    }

    /// Whether all of another harm is in this one.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.count == 0
            || other.count > 0 && self.has(other.first) && self.has(Slot(other.first.0 + (other.count - 1)))
    }
}

/// Everything in quarantine, by container.
pub(crate) type Harms = BTreeMap<ContainerId, Vec<Harm>>;

/// Adds to a quarantine. One container with too much of it is in there as a whole.
pub(crate) fn add_harm(harms: &mut Harms, container: ContainerId, harm: Harm) {
    let here = harms.entry(container).or_default();
    if here.iter().any(|known| known.covers(&harm)) {
        return;
    }
    here.retain(|known| !harm.covers(known));
    if here.len() >= HARMS_PER_CONTAINER_MAX {
        *here = vec![Harm::whole(harm.region)];
    } else {
        here.push(harm);
    }
}

/// One bit per slot.
#[derive(Clone, Default)]
pub(crate) struct Slots(BTreeMap<ContainerId, Vec<u64>>);

impl Slots {
    /// Sets a bit. Whether it was not set before.
    pub(crate) fn insert(&mut self, location: Location) -> bool {
        let slot = location.slot().0 as usize;
        let bits = self.0.entry(location.container()).or_default();
        if bits.len() <= slot / 64 {
            bits.resize(slot / 64 + 1, 0);
        }
        let first = bits[slot / 64] & 1 << (slot % 64) == 0;
        bits[slot / 64] |= 1 << (slot % 64);
        first
    }

    pub(crate) fn has(&self, location: Location) -> bool {
        let slot = location.slot().0 as usize;
        let bits = self.0.get(&location.container());
        bits.and_then(|bits| bits.get(slot / 64)).is_some_and(|bits| bits & 1 << (slot % 64) != 0)
    }
}

/// Which nodes may answer while something is in quarantine.
#[derive(Clone, Default)]
pub(crate) enum Sound {
    /// None: no survey has been made.
    #[default]
    Unknown,
    /// Those that a survey has found sound, and those in containers begun after it: what these refer to was asked for
    /// under this rule.
    Known { nodes: Arc<Slots>, from: ContainerId },
}

/// What an owner must not believe; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Doubts {
    harms: Arc<Harms>,
    sound: Sound,
    /// Rises with every change.
    pub(crate) change: u64,
    /// Rises when damage is found.
    pub(crate) damage: u64,
}

impl Doubts {
    /// As the manifest lists it when the pool is opened.
    pub(crate) fn opened(harms: Harms) -> Self {
        Self { harms: Arc::new(harms), ..Self::default() }
    }

    pub(crate) fn harms(&self) -> &Harms {
        &self.harms
    }

    /// More is damaged.
    pub(crate) fn damaged(&self, harms: Harms) -> Self {
        Self {
            harms: Arc::new(harms),
            sound: Sound::Unknown,
            change: self.change + 1,
            damage: self.damage + 1,
        }
    }

    /// Some of it was a passing fault: nodes stay as they are known.
    pub(crate) fn released(&self, harms: Harms) -> Self {
        Self { harms: Arc::new(harms), change: self.change + 1, ..self.clone() }
    }

    /// A survey has been made.
    pub(crate) fn surveyed(&self, nodes: Slots, from: ContainerId) -> Self {
        let sound = Sound::Known { nodes: Arc::new(nodes), from };
        Self { sound, change: self.change + 1, ..self.clone() }
    }

    /// Whether nothing is in quarantine.
    pub(crate) fn is_empty(&self) -> bool {
        self.harms.is_empty()
    }

    /// What is damaged there.
    #[inline]
    pub(crate) fn harm(&self, location: Location) -> Option<Region> {
        if self.is_empty() {
            return None;
        }
        let here = self.harms.get(&location.container())?;
        here.iter().find(|harm| harm.has(location.slot())).map(|harm| harm.region)
    }

    /// Whether a copy in a closed container may answer "have".
    #[inline]
    pub(crate) fn answers(&self, place: &Place) -> bool {
        if self.is_empty() {
            return true;
        }
        if self.harm(place.location).is_some() {
            return false;
        }
        place.kind == ChildKind::Segment
            || match &self.sound {
                Sound::Unknown => false,
                Sound::Known { nodes, from } => {
                    place.location.container() >= *from || nodes.has(place.location)
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_format::Tag;

    fn at(container: u64, slot: u32) -> Location {
        Location::new(ContainerId(container), Slot(slot)).unwrap()
    }

    fn place(kind: ChildKind, location: Location) -> Place {
        Place { tag: Tag([0; 16]), location, length: 1, kind }
    }

    #[test]
    fn a_harm_has_its_slots_and_no_other() {
        let mut harms = Harms::new();
        add_harm(&mut harms, ContainerId(3), Harm { region: Region::Frame, first: Slot(5), count: 2 });
        add_harm(&mut harms, ContainerId(3), Harm { region: Region::Segment, first: Slot(6), count: 1 });
        assert_eq!(harms[&ContainerId(3)].len(), 1, "it is in the one before");
        let doubts = Doubts::default().damaged(harms.clone());
        let harmed: Vec<u32> = (0..9).filter(|slot| doubts.harm(at(3, *slot)).is_some()).collect();
        assert_eq!(harmed, [5, 6]);
        assert_eq!(doubts.harm(at(2, 5)), None);
        for slot in (10..).step_by(2).take(HARMS_PER_CONTAINER_MAX) {
            add_harm(&mut harms, ContainerId(3), Harm { region: Region::Frame, first: Slot(slot), count: 1 });
        }
        assert_eq!(harms[&ContainerId(3)], [Harm::whole(Region::Frame)]);
        assert_eq!(Doubts::opened(harms).harm(at(3, 1 << 20)), Some(Region::Frame));
    }

    /// Goal: with damage no node answers but those known to be sound; segments answer unless they are damaged.
    #[test]
    fn who_answers_while_something_is_damaged() {
        let doubts = Doubts::default();
        assert!(doubts.answers(&place(ChildKind::Node, at(1, 0))));
        let mut harms = Harms::new();
        add_harm(&mut harms, ContainerId(2), Harm { region: Region::Frame, first: Slot(1), count: 1 });
        let doubts = doubts.damaged(harms);
        assert!(!doubts.answers(&place(ChildKind::Node, at(1, 0))));
        assert!(doubts.answers(&place(ChildKind::Segment, at(2, 0))));
        assert!(!doubts.answers(&place(ChildKind::Segment, at(2, 1))));
        let mut nodes = Slots::default();
        assert!(nodes.insert(at(1, 70)) && !nodes.insert(at(1, 70)));
        let doubts = doubts.surveyed(nodes, ContainerId(9));
        let sound = |container, slot| doubts.answers(&place(ChildKind::Node, at(container, slot)));
        assert!(sound(1, 70) && sound(9, 0));
        assert!(!sound(1, 71) && !sound(8, 0) && !sound(2, 1));
    }
}
