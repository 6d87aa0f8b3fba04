//! What one core owns of the index: its partitions, the containers that are not closed yet, the claims.
//!
//! No waiting in here: every request is answered at once.

use std::collections::BTreeMap;

use narrows_format::{
    ContainerId, Fingerprint, ImageId,
    node::{Child, ChildKind},
};

use super::{
    claims::{Asker, Claims, Standing, StreamId},
    partition::{Keyed, Partition, PartitionMap, Place},
};
use crate::{error::Error, stream::Claim};

/// What a container is for that no committed image has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// Written for an image that is not committed.
    Staged {
        /// Which.
        image: ImageId,
        /// The stream that brings it; `None` when that was before the pool was opened.
        stream: Option<StreamId>,
        /// The core that writes it, or wrote it.
        home: usize,
    },
    /// A write to it failed: what it holds is not counted on.
    Broken,
}

/// What an owner is asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) fingerprint: Fingerprint,
    pub(crate) kind: ChildKind,
    /// `None`: the asker finds out from what it reads.
    pub(crate) length: Option<u32>,
}

impl From<&Child> for Asked {
    fn from(child: &Child) -> Self {
        Self { fingerprint: child.fingerprint, kind: child.kind, length: Some(child.length) }
    }
}

impl Asked {
    /// Whether a copy is what is asked about: whoever names it with another length or kind names nothing.
    fn is(&self, place: &Place) -> bool {
        place.kind == self.kind && self.length.is_none_or(|length| length == place.length)
    }
}

/// What an owner says about one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Lack,
    Expected,
    Pending,
    /// In a closed container.
    Closed(Place),
    /// In a container staged for the asker's image.
    Mine {
        place: Place,
        home: usize,
    },
    /// A data segment in a container staged for another image.
    Shared {
        place: Place,
        home: usize,
    },
}

/// Entries of one container that its stream has appended.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) stream: StreamId,
    pub(crate) image: ImageId,
    pub(crate) container: ContainerId,
    pub(crate) kind: ChildKind,
    pub(crate) entries: Vec<(Fingerprint, Place)>,
}

impl Batch {
    /// The same batch without entries.
    pub(crate) fn head(&self) -> Self {
        let Self { stream, image, container, kind, .. } = *self;
        Self { stream, image, container, kind, entries: Vec::new() }
    }
}

/// One core's part of the index.
pub(crate) struct Owned {
    map: PartitionMap,
    /// By partition number; `None` for those of other cores.
    partitions: Vec<Option<Partition>>,
    not_closed: BTreeMap<ContainerId, ContainerState>,
    claims: Claims,
    bytes: u64,
    bytes_max: u64,
}

/// Counts for [`crate::PoolSpace`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnedSpace {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) claims: u64,
}

impl Owned {
    /// Empty, for one core of `map`.
    pub(crate) fn new(core: usize, map: PartitionMap, key: Keyed, bytes_max: u64) -> Self {
        let own = |partition| (map.core_of_partition(partition) == core).then(|| Partition::new(key));
        let partitions = (0..map.partitions()).map(own).collect();
        Self { map, partitions, not_closed: BTreeMap::new(), claims: Claims::default(), bytes: 0, bytes_max }
    }

    /// When the pool is opened: a container that no commit has closed.
    pub(crate) fn set_staged(&mut self, container: ContainerId, image: ImageId) {
        self.not_closed.insert(container, ContainerState::Staged { image, stream: None, home: 0 });
    }

    /// When the pool is opened: an entry from a table or the journal. Taken even beyond the share, because what
    /// is stored has to be readable; new work is refused then.
    pub(crate) fn load(&mut self, fingerprint: Fingerprint, place: Place) {
        let share = std::mem::replace(&mut self.bytes_max, u64::MAX);
        let loaded = self.add(fingerprint, place);
        debug_assert!(loaded.is_ok(), "an endless share is never used up");
        self.bytes_max = share;
    }

    fn partition(&self, fingerprint: &Fingerprint) -> &Partition {
        let number = usize::from(self.map.partition(fingerprint));
        self.partitions[number].as_ref().expect("the router asks the owner only")
    }

    fn add(&mut self, fingerprint: Fingerprint, place: Place) -> Result<(), Error> {
        let number = usize::from(self.map.partition(&fingerprint));
        let partition = self.partitions[number].as_mut().expect("the router asks the owner only");
        let known = partition.places(&fingerprint).any(|other| {
            let container = other.location.container();
            container == place.location.container() || !self.not_closed.contains_key(&container)
        });
        if known {
            return Ok(());
        }
        let before = partition.bytes();
        let room = self.bytes_max.saturating_sub(self.bytes);
        let outcome = partition.add(fingerprint, place, room);
        self.bytes = self.bytes + partition.bytes() - before;
        outcome.map_err(|_| Error::Full { what: "the index's share of memory" })
    }

    /// The best copy for a stream: closed before its own, before its image's, before another's.
    fn best(&self, child: &Asked, asker: &Asker) -> Option<Answer> {
        let (mut best, mut own) = (None, false);
        let name = &child.fingerprint;
        for place in self.partition(name).places(name).filter(|place| child.is(place)) {
            match self.not_closed.get(&place.location.container()) {
                None => return Some(Answer::Closed(place)),
                Some(ContainerState::Broken) => {}
                Some(ContainerState::Staged { image, stream, home }) if *image == asker.image => {
                    // A node counts for a commit only where this very session put it, and others may bring
                    // the same image at the same time.
                    if !own {
                        best = Some(Answer::Mine { place, home: *home });
                        own = *stream == Some(asker.stream);
                    }
                }
                Some(ContainerState::Staged { home, .. }) => {
                    if best.is_none() && child.kind == ChildKind::Segment {
                        best = Some(Answer::Shared { place, home: *home });
                    }
                }
            }
        }
        best
    }

    /// Answers one batch, in order.
    pub(crate) fn look_up(&mut self, asker: &Asker, children: &[Asked], claim: Claim) -> Vec<Answer> {
        children.iter().map(|child| self.look_up_one(asker, child, claim)).collect()
    }

    fn look_up_one(&mut self, asker: &Asker, child: &Asked, claim: Claim) -> Answer {
        if let Some(answer) = self.best(child, asker) {
            return answer;
        }
        let fingerprint = child.fingerprint;
        let standing = match (child.kind, claim) {
            (ChildKind::Node, _) => None,
            (ChildKind::Segment, Claim::Peek) => self.claims.peek(&fingerprint, asker.stream),
            (ChildKind::Segment, Claim::Take) => Some(self.claims.take(fingerprint, asker)),
        };
        match standing {
            None | Some(Standing::Taken) => Answer::Lack,
            Some(Standing::Expected) => Answer::Expected,
            Some(Standing::Waiting) => Answer::Pending,
        }
    }

    /// Notes what a stream has appended to its container, and tells those who wait for it.
    pub(crate) fn register(&mut self, home: usize, batch: &Batch) -> Result<(), Error> {
        let staged = ContainerState::Staged { image: batch.image, stream: Some(batch.stream), home };
        self.not_closed.entry(batch.container).or_insert(staged);
        for (fingerprint, place) in &batch.entries {
            let place = *place;
            self.add(*fingerprint, place)?;
            if batch.kind == ChildKind::Segment {
                self.claims.brought(fingerprint, batch.stream, Answer::Shared { place, home });
            }
        }
        Ok(())
    }

    /// Any copy that can be read, closed ones first.
    pub(crate) fn locate(&self, fingerprint: &Fingerprint) -> Option<Place> {
        let mut found = None;
        for place in self.partition(fingerprint).places(fingerprint) {
            match self.not_closed.get(&place.location.container()) {
                None => return Some(place),
                Some(ContainerState::Staged { .. }) => found = found.or(Some(place)),
                Some(ContainerState::Broken) => {}
            }
        }
        found
    }

    /// An image with these containers has been committed.
    pub(crate) fn close(&mut self, containers: &[ContainerId]) {
        for container in containers {
            self.not_closed.remove(container);
        }
    }

    /// A write to this container has failed.
    pub(crate) fn break_container(&mut self, container: ContainerId) {
        self.not_closed.insert(container, ContainerState::Broken);
    }

    /// A stream has gone.
    pub(crate) fn release(&mut self, stream: StreamId) {
        self.claims.release(stream);
    }

    pub(crate) fn space(&self) -> OwnedSpace {
        OwnedSpace {
            entries: self.partitions.iter().flatten().map(|partition| partition.len() as u64).sum(),
            bytes: self.bytes,
            bytes_max: self.bytes_max,
            claims: self.claims.len() as u64,
        }
    }
}
