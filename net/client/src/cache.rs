//! What the last backup of a lineage made of its files, so that those with the same status are not read again.
//!
//! A file counts as unchanged when size, mtime, ctime, device and inode are those that it was read with, and both times
//! lay [`SETTLED_AFTER`] in the past then: whatever has changed it since must have moved its ctime. Then its
//! entry is used again, or the whole leaf of the tree when all of its entries are as they were.
//!
//! Guarantees: the cache is advice. What does not verify, describes another image, or cannot be written costs reading
//! files and a line in the log, never a backup. A new one takes its place only when its image was committed, and then caches beside it
//! go that no backup has written for long. Memory is bounded by a block of each, whatever the tree.
//!
//! What it cannot see: content that changed without a change of status, which a disk does when it fails, and a program
//! that writes through a shared mapping may do for as long as the kernel keeps the page dirty. `Trust::Verify` finds both.

mod matching;
mod reader;
mod writer;

use std::{path::PathBuf, sync::Arc, time::Duration};

use narrows_format::{
    Fingerprint, PoolId, Tag, Timestamp,
    file_cache::Stamp,
    node::{Child, Content, Entry, EntryKind, Extent},
};
use narrows_pool::recipe::build::{BuiltNode, ordinals_of};
use narrows_ring::world::World;
use narrows_wire::Base;

pub(crate) use matching::Matcher;
pub(crate) use reader::Reader;
pub(crate) use writer::Writer;

use crate::{limits::SETTLED_AFTER, walk::Status};

/// Where a lineage's cache lies, and what to make of it.
#[derive(Clone, Debug)]
pub struct CachePlan {
    /// The file. Its directory is made when it is written.
    pub path: PathBuf,
    /// The pool that the image goes to.
    pub pool: PoolId,
    /// That pool's life.
    pub incarnation: u64,
    /// The newest image of the lineage there: a cache that describes another one is of no use.
    pub base: Option<Base>,
    /// What to do about files that are unchanged.
    pub trust: Trust,
}

/// What to do about files whose status is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They are not read.
    Skip,
    /// They are read, and those with other content are reported.
    Verify,
    /// The cache is not looked at.
    Nothing,
}

/// A leaf of the last backup's tree, in use.
#[derive(Debug)]
pub struct Leaf {
    pub(crate) node: BuiltNode,
    pub(crate) entries: Vec<Entry>,
    pub(crate) stamps: Vec<Option<Stamp>>,
    /// One for each child of the node.
    pub(crate) tags: Vec<Tag>,
    pub(crate) place: Place,
}

/// Where a leaf lies in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// How many come before it.
    pub(crate) number: u64,
    /// Where its block begins in the file.
    pub(crate) block: u64,
    /// It is the first one there.
    pub(crate) begins_block: bool,
}

/// What the last backup made of one file.
#[derive(Clone, Debug)]
pub struct Known {
    pub(crate) leaf: Arc<Leaf>,
    pub(crate) at: usize,
}

impl Leaf {
    /// Path of the first entry.
    pub(crate) fn first_path(&self) -> &[u8] {
        self.entries.first().map_or(&[], |entry| &entry.path)
    }

    /// How many of the entries are regular files, and their bytes.
    pub(crate) fn files(&self) -> (u64, u64) {
        let sizes = self.entries.iter().filter_map(|entry| match entry.kind {
            EntryKind::File { size, .. } => Some(size),
            _ => None,
        });
        sizes.fold((0, 0), |(count, bytes), size| (count + 1, bytes + size))
    }
}

impl Known {
    /// The entry; its ordinals count the leaf's children.
    pub(crate) fn entry(&self) -> &Entry {
        &self.leaf.entries[self.at]
    }

    /// What its status was, when that may be relied on.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        self.leaf.stamps[self.at]
    }

    /// The entry, and what it refers to with the tags: its ordinals count these.
    pub(crate) fn to_entry(&self) -> (Entry, Vec<(Child, Tag)>) {
        let mut entry = self.entry().clone();
        let mut own = Vec::new();
        for (number, ordinal) in (0..).zip(ordinals_of(&mut entry)) {
            let at = *ordinal as usize;
            own.push((self.leaf.node.children[at], self.leaf.tags[at]));
            *ordinal = number;
        }
        (entry, own)
    }

    /// Whether a file that was read comes to the same content.
    pub(crate) fn has_content(&self, content: &Content, children: &[Child]) -> bool {
        let EntryKind::File { content: ours, .. } = &self.entry().kind else { return false };
        runs(ours, &self.leaf.node.children) == runs(content, children)
    }
}

/// The stamp of a file that was read at `read_at` or later; `None` when its times are too near to be told from those of
/// a later change, or lie in the future.
pub(crate) fn stamp(status: &Status, read_at: Timestamp) -> Option<Stamp> {
    let (major, minor, inode) = status.inode.parts();
    is_settled(status, read_at)
        .then_some(Stamp { ctime: status.ctime, device: (major, minor), inode })
        .filter(|stamp| stamp.inode > 0)
}

/// Whether both times lie safely before `now`.
pub(crate) fn is_settled(status: &Status, now: Timestamp) -> bool {
    let latest = status.ctime.max(status.mtime);
    let margin = i64::try_from(SETTLED_AFTER.as_secs()).unwrap_or(i64::MAX);
    let settled = latest.seconds.saturating_add(margin);
    (settled, latest.nanos) <= (now.seconds, now.nanos)
}

/// The time of day.
pub(crate) fn now(world: &World) -> Timestamp {
    let wall: Duration = world.clock.wall();
    Timestamp { seconds: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX), nanos: wall.subsec_nanos() }
}

/// Content without ordinals, to be compared.
fn runs(content: &Content, children: &[Child]) -> Vec<(Option<Fingerprint>, Option<Extent>)> {
    let name = |ordinal: u32| children.get(ordinal as usize).map(|child| child.fingerprint);
    match content {
        Content::Tree(root) => vec![(name(*root), None)],
        Content::Inline(extents) => extents
            .iter()
            .map(|extent| match *extent {
                Extent::Data { child, offset, length } => {
                    (name(child), Some(Extent::Data { child: 0, offset, length }))
                }
                Extent::Repeat { child, count } => (name(child), Some(Extent::Repeat { child: 0, count })),
                other => (None, Some(other)),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
