//! The words between an owner and those who ask it.

use narrows_format::{
    ContainerId, Fingerprint, ImageId,
    node::{Child, ChildKind},
};

use super::{claims::StreamId, partition::Place, pieces::PageId};

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
    pub(super) fn is(&self, place: &Place) -> bool {
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

/// What tables and filters tell of a batch.
pub(crate) struct Warm<A> {
    /// In order; those of `pages` are not answered yet.
    pub(crate) answers: Vec<A>,
    /// Pages that may have the child of this number.
    pub(crate) pages: Vec<(PageId, usize)>,
    /// Of which tables and runs that is true.
    pub(crate) generation: Generation,
}

impl<A> Warm<A> {
    /// The same with answers of another kind.
    pub(crate) fn map<B>(self, to: impl FnMut(A) -> B) -> Warm<B> {
        let Self { answers, pages, generation } = self;
        Warm { answers: answers.into_iter().map(to).collect(), pages, generation }
    }
}

/// What an answer was true of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Generation {
    /// Rises when entries went from a table to runs: who looked at the table before and at pages of the runs that were
    /// there then, has seen them nowhere.
    pub(crate) thawed: u64,
    /// Rises when runs were replaced by one that has the same: their files may be gone.
    pub(crate) merged: u64,
}

/// How far a batch got into the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    Whole,
    /// The table is full. So many entries are in it; the others have to wait until it is frozen.
    Part(usize),
}

/// Counts for [`crate::PoolSpace`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OwnedSpace {
    pub(crate) entries: u64,
    /// Those of them that no run has.
    pub(crate) unwritten: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_max: u64,
    pub(crate) filter_bytes: u64,
    pub(crate) unfiltered: u64,
    pub(crate) claims: u64,
}
