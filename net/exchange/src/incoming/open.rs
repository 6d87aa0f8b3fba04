//! Which children were asked about, how far each one is, and which nodes this session may refer to.
//!
//! Bounded by [`OPEN_CHILDREN_MAX`]; what the source may still send is decided here and nowhere else. The set of
//! nodes shown grows with the image: 16 bytes for each of its nodes.

use std::{collections::hash_map::Entry, time::Duration};

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use narrows_format::{
    Fingerprint, Tag,
    node::{Child, ChildKind},
};
use narrows_wire::{Class, Presence, Proof, TagPrefix, combine};

use super::stage::{Asker, Keep, Proven, Stage};
use crate::{
    ExchangeError, Found, Refusal,
    limits::{OPEN_CHILDREN_MAX, PENDING_MAX},
};

struct Open {
    stage: Stage,
    kind: ChildKind,
    length: u32,
    /// How many were asked for (more than one only when the store wants repeats).
    count: u32,
    /// A node refers to it, so the commit does.
    referred: bool,
    /// What another session made of it, heard before the answer went out.
    settled: Option<Found>,
}

/// What a node that came is to this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeCame {
    /// It was asked for, or is about to be.
    Named,
    /// This session has had it before.
    Repeated,
    /// Nobody named it.
    Unnamed,
}

/// See the module.
pub(super) struct OpenChildren {
    open: HashMap<Fingerprint, Open>,
    /// Those that have not come: what the source may count on.
    waiting: usize,
    pending: usize,
    shown: HashSet<[u8; 16]>,
    repeats: bool,
}

fn short(fingerprint: &Fingerprint) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&fingerprint.0[..16]);
    short
}

impl OpenChildren {
    pub(super) fn new(repeats: bool) -> Self {
        Self { open: HashMap::new(), waiting: 0, pending: 0, shown: HashSet::new(), repeats }
    }

    /// Notes what a question asks for, in the order of messages; tells for each child whether to ask the store.
    pub(super) fn ask(
        &mut self,
        children: &[Child],
        proof: &Proof,
        referred: bool,
    ) -> Result<Vec<bool>, ExchangeError> {
        let mut look_up = Vec::with_capacity(children.len());
        for (at, child) in children.iter().enumerate() {
            let known = proof.classes.get(at) == Some(&Class::Known);
            look_up.push(self.ask_one(child, known, referred)?);
        }
        if self.waiting > OPEN_CHILDREN_MAX {
            return Err(ExchangeError::limit(format!("more than {OPEN_CHILDREN_MAX} children are open")));
        }
        Ok(look_up)
    }

    fn ask_one(&mut self, child: &Child, known: bool, referred: bool) -> Result<bool, ExchangeError> {
        let shown = self.is_shown(&child.fingerprint);
        match self.open.entry(child.fingerprint) {
            Entry::Occupied(mut entry) => {
                let open = entry.get_mut();
                if open.kind != child.kind || open.length != child.length {
                    return Err(ExchangeError::malformed("one fingerprint with two lengths or kinds"));
                }
                open.referred |= referred;
                // A known child's tag is needed for the combination, even while it is being asked for.
                Ok(self.repeats || (known && open.stage == Stage::Asked))
            }
            Entry::Vacant(_) if shown && !known && child.kind == ChildKind::Node => Ok(false),
            Entry::Vacant(entry) => {
                let (kind, length) = (child.kind, child.length);
                entry.insert(Open { stage: Stage::Asked, kind, length, count: 0, referred, settled: None });
                self.waiting += 1;
                Ok(true)
            }
        }
    }

    /// The answer to a question, once the store has said what it found (`None` where it was not asked).
    /// Called in the order of questions.
    pub(super) fn answer(
        &mut self,
        ordinal: u32,
        children: &[Child],
        proof: &Proof,
        found: &[Option<Found>],
        now: Duration,
    ) -> Vec<Presence> {
        let combined = self.combination_holds(children, proof, found);
        let mut presences = Vec::with_capacity(children.len());
        for (at, (child, found)) in (0..).zip(children.iter().zip(found)) {
            let class = proof.classes.get(presences.len()).copied();
            let proven = Proven { class, combined, now };
            presences.push(self.answer_one(Asker { ordinal, child: at }, child, proven, *found));
        }
        presences
    }

    fn combination_holds(&self, children: &[Child], proof: &Proof, found: &[Option<Found>]) -> bool {
        let mut tags = Vec::new();
        for (at, class) in proof.classes.iter().enumerate() {
            if *class != Class::Known {
                continue;
            }
            let arriving = children.get(at).and_then(|child| self.open.get(&child.fingerprint));
            match (found.get(at).copied().flatten(), arriving.map(|open| open.stage)) {
                (_, Some(Stage::Arriving { tag, .. })) | (Some(Found::Closed(tag) | Found::Mine(tag)), _) => {
                    tags.push(tag);
                }
                _ => return false,
            }
        }
        !tags.is_empty() && combine(tags) == proof.combined
    }

    fn answer_one(&mut self, asker: Asker, child: &Child, proven: Proven, found: Option<Found>) -> Presence {
        let name = child.fingerprint;
        let shown = self.is_shown(&name);
        let open = self.open.get_mut(&name);
        let Some(found) = found else { return Presence::Have };
        let settled = open.as_ref().and_then(|open| open.settled);
        let found = if found == Found::Pending { settled.unwrap_or(found) } else { found };
        let (presence, stage) = proven.judge(asker, child, found, shown);
        let Some(open) = open else {
            // An earlier question about it was answered meanwhile, with nothing left to do.
            let Some(stage) = stage.filter(|_| self.repeats) else { return Presence::Have };
            let (kind, length) = (child.kind, child.length);
            let open = Open { stage, kind, length, count: 1, referred: true, settled: None };
            self.open.insert(name, open);
            self.waiting += 1;
            return presence;
        };
        match (open.stage, stage) {
            (Stage::Arriving { tag, keep: None }, _) => {
                open.stage = Stage::Arriving { tag, keep: Some(Keep::of(found)) };
                // It has come already; nobody has to settle it.
                return if presence == Presence::Pending { Presence::Have } else { presence };
            }
            (Stage::Asked, Some(stage)) => {
                if matches!(stage, Stage::Pending { .. }) {
                    self.pending += 1;
                }
                open.stage = stage;
                open.count = 1;
            }
            (Stage::Asked, None) => {
                self.forget(&name);
                if child.kind == ChildKind::Node && presence == Presence::Have {
                    self.show(&name);
                }
            }
            (Stage::Lacking, Some(Stage::Lacking)) if self.repeats => open.count += 1,
            (Stage::Arriving { .. }, Some(Stage::Lacking)) if self.repeats => {
                open.stage = Stage::Lacking;
                self.waiting += 1;
            }
            // Asked for by an earlier question: that one's answer stands for this one too.
            _ => return Presence::Have,
        }
        presence
    }

    /// Takes off the list something that has not come.
    fn forget(&mut self, name: &Fingerprint) {
        if self.open.remove(name).is_some() {
            self.waiting -= 1;
        }
    }

    /// A segment came: tells whether the store needs it, or that nobody asked for it.
    pub(super) fn segment_came(&mut self, name: &Fingerprint, length: usize, tag: Tag) -> Option<Keep> {
        let open = self.open.get_mut(name)?;
        if open.kind != ChildKind::Segment || open.length as usize != length {
            return None;
        }
        let keep = match open.stage {
            Stage::Lacking => Keep::Wanted,
            Stage::Unproven => Keep::Shown,
            _ => return None,
        };
        if open.count > 1 {
            open.count -= 1;
        } else {
            open.stage = Stage::Arriving { tag, keep: Some(keep) };
            self.waiting -= 1;
        }
        Some(keep)
    }

    /// A node came.
    pub(super) fn node_came(
        &mut self,
        name: &Fingerprint,
        length: usize,
        tag: Tag,
    ) -> Result<NodeCame, ExchangeError> {
        let Some(open) = self.open.get_mut(name) else {
            let repeated = self.is_shown(name);
            return Ok(if repeated { NodeCame::Repeated } else { NodeCame::Unnamed });
        };
        if open.kind != ChildKind::Node || open.length as usize != length {
            return Err(ExchangeError::malformed("a node of another length or kind than was named"));
        }
        let keep = match open.stage {
            Stage::Asked => None,
            Stage::Lacking => Some(Keep::Wanted),
            Stage::Pending { .. } => {
                self.pending -= 1;
                Some(Keep::Wanted)
            }
            Stage::Unproven => Some(Keep::Shown),
            Stage::Staged => Some(Keep::Again),
            Stage::Arriving { .. } => return Ok(NodeCame::Repeated),
        };
        if open.count > 1 {
            open.count -= 1;
        } else {
            open.stage = Stage::Arriving { tag, keep };
            self.waiting -= 1;
        }
        self.show(name);
        Ok(NodeCame::Named)
    }

    /// Lets in a node that nobody has named; whether to keep it is told by [`OpenChildren::unnamed_found`].
    pub(super) fn let_in(&mut self, child: &Child, tag: Tag) {
        let (stage, kind, length) = (Stage::Arriving { tag, keep: None }, child.kind, child.length);
        let open = Open { stage, kind, length, count: 1, referred: false, settled: None };
        self.open.insert(child.fingerprint, open);
        self.show(&child.fingerprint);
    }

    /// What the store has of a node that was let in.
    pub(super) fn unnamed_found(&mut self, name: &Fingerprint, found: Found) {
        if let Some(Open { stage: Stage::Arriving { keep: keep @ None, .. }, .. }) = self.open.get_mut(name) {
            *keep = Some(Keep::of(found));
        }
    }

    /// Whether to keep a node that came: called when its own children are answered, and so its parent's too.
    pub(super) fn keep_node(&self, name: &Fingerprint) -> Keep {
        match self.open.get(name).map(|open| open.stage) {
            Some(Stage::Arriving { keep: Some(keep), .. }) => keep,
            _ => Keep::Wanted,
        }
    }

    /// What came is in the store.
    pub(super) fn put_done(&mut self, name: &Fingerprint) {
        if matches!(self.open.get(name).map(|open| open.stage), Some(Stage::Arriving { .. })) {
            self.open.remove(name);
        }
    }

    /// Takes a staged node off the list; false when it was not answered `Mine`.
    pub(super) fn reopen(&mut self, name: &Fingerprint) -> bool {
        let staged = self.open.get(name).is_some_and(|open| open.stage == Stage::Staged);
        if staged {
            self.forget(name);
            self.show(name);
        }
        staged
    }

    /// A node that this session may refer to: it came, was reopened, or is there and was shown.
    pub(super) fn show(&mut self, name: &Fingerprint) {
        if !self.repeats {
            self.shown.insert(short(name));
        }
    }

    fn is_shown(&self, name: &Fingerprint) -> bool {
        self.shown.contains(&short(name))
    }

    pub(super) fn has_pending(&self) -> bool {
        self.pending > 0
    }

    /// What to tell of something that was pending; `None` when it no longer is, or not yet.
    pub(super) fn settle(&mut self, name: &Fingerprint, found: Found) -> Option<(Asker, Presence)> {
        let open = self.open.get_mut(name)?;
        if found == Found::Pending {
            return None;
        }
        let Stage::Pending { asker, prefix, .. } = open.stage else {
            open.settled = Some(found);
            return None;
        };
        self.pending -= 1;
        let kind = open.kind;
        match found {
            Found::Closed(tag) if TagPrefix::from(tag) == prefix => {
                self.forget(name);
                if kind == ChildKind::Node {
                    self.show(name);
                }
                return Some((asker, Presence::Have));
            }
            Found::Lack => open.stage = Stage::Lacking,
            _ => open.stage = Stage::Unproven,
        }
        Some((asker, Presence::Lack))
    }

    /// Gives up on what other sessions have not brought for so long: now it lacks, and its source is to be told.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<Asker> {
        let give_up = |open: &mut Open| match open.stage {
            Stage::Pending { asker, since, .. } if now.saturating_sub(since) >= PENDING_MAX => {
                open.stage = Stage::Lacking;
                Some(asker)
            }
            _ => None,
        };
        let mut overdue: Vec<Asker> = self.open.values_mut().filter_map(give_up).collect();
        overdue.sort_unstable();
        self.pending -= overdue.len();
        overdue
    }

    /// Whether a commit of this root leaves nothing open.
    pub(super) fn check_complete(&self, root: &Fingerprint) -> Result<(), ExchangeError> {
        let referred = || self.open.values().filter(|open| open.referred);
        let unproven = referred().filter(|open| open.stage == Stage::Unproven).count();
        if unproven > 0 {
            let sentence =
                format!("{unproven} children are present here, but possession of them was not shown");
            return Err(ExchangeError::Refused(Refusal::new("WIRE-005", sentence)));
        }
        let missing = referred().count();
        if missing > 0 || !self.is_shown(root) {
            let sentence = if missing > 0 {
                format!("{missing} children that nodes refer to did not come")
            } else {
                "the root is no node of this session".to_owned()
            };
            return Err(ExchangeError::Refused(Refusal::new("WIRE-006", sentence)));
        }
        Ok(())
    }

    /// Whether everything asked for has come (a restore).
    pub(super) fn check_delivered(&self) -> Result<(), ExchangeError> {
        match self.open.len() {
            0 => Ok(()),
            missing => {
                let sentence = format!("{missing} children that were asked for did not come");
                Err(ExchangeError::Refused(Refusal::new("WIRE-006", sentence)))
            }
        }
    }
}
