//! Which objects a pass over the image brings, and under which names. No I/O.
//!
//! The first pass brings what was asked for. Hard links among it whose content was not asked for are brought by a second
//! one, under the first of their own names.

use std::collections::BTreeMap;

use super::{super::Selection, head::Kind};

/// Places of the stream that one pass may use.
pub(super) const PASS: u64 = 1 << 61;

/// See the module.
pub(super) struct Pass {
    /// First of its places in the stream.
    pub(super) base: u64,
    selection: Selection,
    /// The second pass: path in the image, and the name under which it is brought.
    renamed: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
}

/// What a pass makes of an object.
pub(super) enum Role {
    /// It comes under this name.
    Taken(Vec<u8>),
    /// It does not come.
    Passed,
    /// It is a further name of what is at this path, which does not come.
    Orphan(Vec<u8>),
}

impl Pass {
    /// Of what was asked for.
    pub(super) fn first(selection: Selection) -> Self {
        Self { base: 0, selection, renamed: None }
    }

    /// Of these paths, each under another name.
    pub(super) fn second(renamed: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let selection = Selection::new(renamed.keys().cloned());
        Self { base: PASS, selection, renamed: Some(renamed) }
    }

    /// Whether objects in `first..next` may be among those that come.
    pub(super) fn may_take(&self, first: &[u8], next: Option<&[u8]>) -> bool {
        let takes_any = self.renamed.as_ref().is_none_or(|renamed| !renamed.is_empty());
        takes_any && self.selection.may_take(first, next)
    }

    /// Whether an object was asked for.
    pub(super) fn asks_for(&self, path: &[u8]) -> bool {
        self.renamed.is_none() && self.selection.asks_for(path)
    }

    pub(super) fn role(&self, path: &[u8], kind: &Kind) -> Role {
        match (&self.renamed, kind) {
            (None, _) if !self.selection.asks_for(path) => Role::Passed,
            (None, Kind::HardLink(first)) if !self.selection.asks_for(first) => Role::Orphan(first.clone()),
            (None, _) => Role::Taken(path.to_vec()),
            // A further name of a further name: no image has it.
            (Some(_), Kind::HardLink(_)) => Role::Passed,
            (Some(renamed), _) => renamed.get(path).map_or(Role::Passed, |name| Role::Taken(name.clone())),
        }
    }
}
