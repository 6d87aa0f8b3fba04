//! How far a child is, and the judgement that takes it there: what the store found against what the source showed.

use std::time::Duration;

use narrows_format::{
    Tag,
    node::{Child, ChildKind},
};
use narrows_wire::{Class, Presence, TagPrefix};

use crate::Found;

/// How far a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The store is being asked.
    Asked,
    /// Answered `Lack`: to be sent.
    Lacking,
    /// There, but possession was not shown: answered `Lack`, to be sent for proof.
    Unproven,
    /// Another session is bringing it.
    Pending { asker: Asker, prefix: TagPrefix, since: Duration },
    /// A node staged by an earlier session: to be reopened.
    Staged,
    /// It came and is being put. Whether to keep it is not known yet for a node that came while the store was
    /// still being asked for it.
    Arriving { tag: Tag, keep: Option<Keep> },
}

/// The question and the child in it that a settlement names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asker {
    pub(super) ordinal: u32,
    pub(super) child: u32,
}

/// Whether the store needs what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// It has nothing of it.
    Wanted,
    /// It has it; only possession had to be shown.
    Shown,
    /// It has it of another session of this image: the source sent it for nothing, and it is kept anew.
    Again,
}

impl Keep {
    pub(super) fn of(found: Found) -> Self {
        match found {
            Found::Lack | Found::Pending => Self::Wanted,
            Found::Mine(_) => Self::Again,
            Found::Closed(_) | Found::Skip => Self::Shown,
        }
    }
}

/// What a source showed of one child.
#[derive(Clone, Copy)]
pub(super) struct Proven {
    pub(super) class: Option<Class>,
    /// The combined tag of the question's known children is right.
    pub(super) combined: bool,
    /// When it is judged, on the monotonic clock.
    pub(super) now: Duration,
}

impl Proven {
    fn shows(self, tag: Tag) -> bool {
        match self.class {
            Some(Class::Known) => self.combined,
            Some(Class::Fresh(prefix)) => prefix == TagPrefix::from(tag),
            None => false,
        }
    }

    /// The answer, and what stays open because of it. `shown`: a node that came or was shown in this session.
    pub(super) fn judge(
        self,
        asker: Asker,
        child: &Child,
        found: Found,
        shown: bool,
    ) -> (Presence, Option<Stage>) {
        match found {
            Found::Skip => (Presence::Have, None),
            Found::Lack => (Presence::Lack, Some(Stage::Lacking)),
            Found::Closed(tag) if self.shows(tag) => (Presence::Have, None),
            Found::Closed(_) => (Presence::Lack, Some(Stage::Unproven)),
            Found::Mine(_) if child.kind == ChildKind::Segment => (Presence::Mine, None),
            Found::Mine(_) if shown => (Presence::Have, None),
            Found::Mine(_) => (Presence::Mine, Some(Stage::Staged)),
            Found::Pending => match self.class {
                Some(Class::Fresh(prefix)) => {
                    (Presence::Pending, Some(Stage::Pending { asker, prefix, since: self.now }))
                }
                // Known children are closed; who says so of this one has to bring it.
                _ => (Presence::Lack, Some(Stage::Lacking)),
            },
        }
    }
}
