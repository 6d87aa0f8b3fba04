//! Holds the walk against the last backup: both are in the order of the tree, so one pass over each is enough.

use std::{cmp::Ordering, fs::File, sync::Arc};

use narrows_format::{
    Timestamp,
    node::{Entry, EntryKind, Xattrs},
    path,
};

use super::{Known, Leaf, Reader, Trust, stamp};
use crate::walk::{Found, FoundKind, Step};

/// Replaces steps that need no reading by what the last backup made of them.
#[derive(Debug)]
pub(crate) struct Matcher {
    reader: Reader,
    trust: Trust,
    leaf: Option<Arc<Leaf>>,
    /// The leaf's next entry.
    at: usize,
    /// All entries of the leaf so far were found unchanged, and nothing between them: these are their steps.
    held: Option<Vec<Step>>,
}

impl Matcher {
    pub(crate) fn new(mut reader: Reader, trust: Trust) -> Self {
        let leaf = reader.next_leaf();
        Self { reader, trust, leaf, at: 0, held: Some(Vec::new()) }
    }

    /// The cache that it reads.
    pub(crate) fn file(&self) -> Arc<File> {
        self.reader.file()
    }

    /// Goes on with the walk's next steps; none at its end. `now` is no later than when they were found. What is held
    /// back to make up a whole leaf comes with a later batch.
    pub(crate) fn match_batch(&mut self, steps: Vec<Step>, now: Timestamp) -> Vec<Step> {
        let mut out = Vec::with_capacity(steps.len());
        if steps.is_empty() {
            self.give_up_leaf(&mut out);
        }
        for step in steps {
            self.take(step, now, &mut out);
        }
        out
    }

    fn take(&mut self, step: Step, now: Timestamp, out: &mut Vec<Step>) {
        while let Some(leaf) = self.leaf.clone() {
            match path::order(&leaf.entries[self.at].path, step.path()) {
                // It has gone.
                Ordering::Less => self.give_up_leaf(out),
                Ordering::Equal => {
                    let (step, same) = self.hold_against(step, &leaf, now);
                    match &mut self.held {
                        Some(held) if same => held.push(step),
                        _ => {
                            self.give_up_leaf(out);
                            out.push(step);
                        }
                    }
                    return self.next_entry(leaf, out);
                }
                Ordering::Greater => {
                    // Before the first entry it does not matter: the leaf is still whole.
                    if self.at > 0 {
                        self.give_up_leaf(out);
                    }
                    return out.push(step);
                }
            }
            self.next_entry(leaf, out);
        }
        out.push(step);
    }

    /// Its entries go one by one.
    fn give_up_leaf(&mut self, out: &mut Vec<Step>) {
        out.extend(self.held.take().into_iter().flatten());
    }

    fn next_entry(&mut self, leaf: Arc<Leaf>, out: &mut Vec<Step>) {
        self.at += 1;
        if self.at < leaf.entries.len() {
            return;
        }
        if self.held.take().is_some() {
            out.push(Step::Leaf(leaf));
        }
        self.leaf = self.reader.next_leaf();
        self.at = 0;
        self.held = Some(Vec::new());
    }

    /// The step with what is known of it, and whether it is just as the entry says.
    fn hold_against(&self, step: Step, leaf: &Arc<Leaf>, now: Timestamp) -> (Step, bool) {
        let Step::Found(found) = step else { return (step, false) };
        let known = Known { leaf: Arc::clone(leaf), at: self.at };
        if found.kind != FoundKind::File {
            let same = self.trust == Trust::Skip && is_same(known.entry(), &found);
            return (Step::Found(found), same);
        }
        if !is_unchanged(&known, &found, now) {
            return (Step::Found(found), false);
        }
        match self.trust {
            Trust::Skip => (Step::Unchanged(found, known), true),
            Trust::Verify => (Step::Found(Found { expected: Some(known), ..found }), false),
            Trust::Nothing => (Step::Found(found), false),
        }
    }
}

/// Whether a regular file has the status that it was read with.
fn is_unchanged(known: &Known, found: &Found, now: Timestamp) -> bool {
    let status = &found.status;
    let EntryKind::File { size, .. } = known.entry().kind else { return false };
    // Of a time in the future one cannot tell what came first, if the clock was set back since.
    size == status.size
        && known.stamp().is_some()
        && known.stamp() == stamp(status, now)
        && has_status(known.entry(), found)
}

/// Whether anything else is what its entry says. Further names of a file never are: the first may have been lost.
fn is_same(entry: &Entry, found: &Found) -> bool {
    let same_kind = match (&entry.kind, &found.kind) {
        (EntryKind::Directory, FoundKind::Directory)
        | (EntryKind::Fifo, FoundKind::Fifo)
        | (EntryKind::Socket, FoundKind::Socket) => true,
        (EntryKind::Symlink(ours), FoundKind::Symlink(theirs)) => ours == theirs,
        (EntryKind::CharDevice(a, b), FoundKind::CharDevice(c, d))
        | (EntryKind::BlockDevice(a, b), FoundKind::BlockDevice(c, d)) => (a, b) == (c, d),
        _ => false,
    };
    let same_xattrs = matches!(&entry.xattrs, Xattrs::Inline(list) if *list == found.xattrs);
    same_kind && same_xattrs && has_status(entry, found)
}

fn has_status(entry: &Entry, found: &Found) -> bool {
    let status = &found.status;
    (entry.mode, entry.uid, entry.gid, entry.mtime) == (status.mode, status.uid, status.gid, status.mtime)
}
