//! Where a tar goes, and what the attempts at it share.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use narrows_format::xattrs::Attributes;
use rustix::io::Errno;

use super::{
    super::{
        Selection, StreamTarget, Trouble, TroubleKind,
        path_set::PathSet,
        stream::{Passed, Reached},
    },
    SLOT,
    head::{self, END_BYTES, Head, Kind, Owned},
    passes::{PASS, Pass},
};
use crate::limits::TROUBLES_LISTED_MAX;

/// See the module.
#[derive(Debug)]
pub struct TarTarget {
    stream: Arc<StreamTarget>,
    selection: Selection,
    /// What a tar cannot hold, further names of it, and what comes at the end: as far as the stream has come, at least.
    not_in_it: PathSet,
    shared: Mutex<Shared>,
}

/// How a pass over the image has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TarStep {
    /// Nothing of what was asked for is in the image; nothing was written.
    Nothing,
    /// Some hard links need one more pass.
    More,
    /// The tar is whole.
    Whole,
}

/// What is said by nodes, which another attempt may hear again.
#[derive(Debug, Default)]
struct Shared {
    /// Which of the paths that were asked for have shown up.
    found: Vec<bool>,
    /// Hard links by the path of their content, which was not asked for.
    orphans: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Owned>>,
    /// Of these, contents that have come.
    brought: BTreeSet<Vec<u8>>,
    /// What a tar cannot hold, by its place in the stream.
    left_out: BTreeMap<u64, Trouble>,
}

impl TarTarget {
    /// A tar of what `selection` asks for; nothing is written yet.
    pub fn new(fd: OwnedFd, selection: Selection) -> Arc<Self> {
        let shared = Shared { found: vec![false; selection.paths().len()], ..Shared::default() };
        let stream = StreamTarget::new(fd);
        Arc::new(Self { stream, selection, not_in_it: PathSet::default(), shared: Mutex::new(shared) })
    }

    /// How far it is.
    pub fn reached(&self) -> Reached {
        self.stream.reached()
    }

    /// What was asked for and has not shown up, once the tar is whole.
    pub fn missing(&self) -> Vec<Vec<u8>> {
        let shared = self.lock();
        let asked = self.selection.paths().iter().zip(&shared.found);
        asked.filter(|(_, found)| !**found).map(|(path, _)| path.clone()).collect()
    }

    /// How many of the objects that were asked for are not in it, and the first of them, once the tar is whole.
    pub fn troubles(&self) -> (u64, Vec<Trouble>) {
        let missing = self.missing().into_iter().map(|path| Trouble { path, what: TroubleKind::NotInImage });
        let (reached, shared) = (self.reached(), self.lock());
        let lost = shared.orphans.iter().filter(|(first, _)| !shared.brought.contains(*first));
        let unlinked = lost.flat_map(|(first, links)| {
            let trouble =
                |link: &Vec<u8>| Trouble { path: link.clone(), what: TroubleKind::Unlinked(first.clone()) };
            links.keys().map(trouble).collect::<Vec<_>>()
        });
        let others: Vec<_> = missing.chain(unlinked).collect();
        let count = reached.left_out + others.len() as u64;
        (count, shared.left_out.values().cloned().chain(others).take(TROUBLES_LISTED_MAX).collect())
    }

    pub(super) fn stream(&self) -> &Arc<StreamTarget> {
        &self.stream
    }

    /// The pass that a stream is in which stands at `at`.
    pub(super) fn pass(&self, at: u64) -> Pass {
        if at < PASS {
            return Pass::first(self.selection.clone());
        }
        let shared = self.lock();
        let named = shared.orphans.iter().filter_map(|(first, links)| Some((first, links.keys().next()?)));
        Pass::second(named.map(|(first, name)| (first.clone(), name.clone())).collect())
    }

    /// An object of the image was seen.
    pub(super) fn mark(&self, path: &[u8]) {
        self.selection.mark(path, &mut self.lock().found);
    }

    /// A further name of something that was not asked for.
    pub(super) fn orphan(&self, first: Vec<u8>, link: &[u8], owned: Owned) {
        self.not_in_it.add(link);
        self.lock().orphans.entry(first).or_default().insert(link.to_vec(), owned);
    }

    /// The content of orphans is on its way.
    pub(super) fn bring(&self, first: &[u8]) {
        self.lock().brought.insert(first.to_vec());
    }

    /// An object is not in the tar.
    pub(super) fn leave_out(&self, at: u64, path: &[u8], what: TroubleKind) {
        self.not_in_it.add(path);
        let mut shared = self.lock();
        if shared.left_out.len() < TROUBLES_LISTED_MAX {
            shared.left_out.insert(at, Trouble { path: path.to_vec(), what });
        }
    }

    /// Whether a further name of what lies at `first` is left out, because that was. Asked when the link has its turn: all
    /// that stands before it in the image has been seen.
    pub(super) fn leaves_out_link(&self, at: u64, link: &[u8], first: &[u8]) -> bool {
        let is_left_out = self.not_in_it.has(first);
        if is_left_out {
            self.leave_out(at, link, TroubleKind::Unlinked(first.to_vec()));
        }
        is_left_out
    }

    /// The pass that began at `base` has ended.
    pub(super) fn end(&self, base: u64) -> Result<TarStep, Errno> {
        let asked = self.selection.paths().len();
        if asked > 0 && self.missing().len() == asked {
            return Ok(TarStep::Nothing);
        }
        if base == 0 && !self.lock().orphans.is_empty() {
            return Ok(TarStep::More);
        }
        for head in self.last_links() {
            // A hard link has no attributes of its own.
            let encoded = head::encode(&head, &Attributes::new());
            let at = self.stream.write(self.reached().at, &encoded)?;
            self.stream.pass(at, SLOT, Passed::Object(0));
        }
        self.stream.write(self.reached().at, &[0; END_BYTES])?;
        Ok(TarStep::Whole)
    }

    /// The other names of what the second pass has brought.
    fn last_links(&self) -> Vec<Head> {
        let shared = self.lock();
        let brought = shared.orphans.iter().filter(|(first, _)| shared.brought.contains(*first));
        let heads = brought.flat_map(|(_, links)| {
            let mut names = links.iter();
            let first = names.next().map(|(name, _)| name.clone());
            names.zip(std::iter::repeat(first)).filter_map(|((path, owned), first)| {
                Some(Head { path: path.clone(), owned: *owned, kind: Kind::HardLink(first?) })
            })
        });
        heads.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Each change is one insertion.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
