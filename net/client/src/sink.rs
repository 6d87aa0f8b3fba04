//! The target of a restore: writes an image beneath one directory.
//!
//! Guarantees: only bytes whose fingerprint the exchange has verified are written; nothing outside the directory is
//! touched; a file gets its name when it is whole; directories get their metadata last. Each node that comes is
//! turned into a plan at once, so memory follows what was asked for and not the image's size (but for names of
//! directories and hard links, which are needed at the end).
//!
//! A directory that was there before keeps its metadata under [`Overwrite::Never`], and under every mode when it only
//! lies above what was asked for. An empty top directory counts as made by the restore.
//!
//! It does not judge who may restore, and syncs only when asked. A restore that was killed is run again with
//! [`Overwrite::Changed`], for its directories have no metadata yet. One that a power loss interrupts needs
//! [`Overwrite::Always`]: a file may have its size and time while some of its bytes never reached the disk.

mod answering;
mod content;
mod device;
mod directories;
mod entries;
mod file;
mod identity;
mod layout;
mod links;
mod metadata;
mod nameless;
mod path_set;
mod plan;
mod prepare;
mod report;
mod selection;
mod single;
mod stream;
mod tar;
mod turns;
mod whole;

use std::{cell::RefCell, ops::Range, os::fd::OwnedFd, path::Path, sync::Arc};

use narrows_format::{
    Fingerprint, Timestamp,
    node::{Body, Child, Node},
    path as order,
};
use narrows_ring::world::World;
use rustix::{
    fs::{Dir, syncfs},
    io::Errno,
};

pub use device::{BadDevice, DeviceTarget};
pub use directories::Attempts;
pub use metadata::{Metadata, SharedMetadata};
pub use report::{RestoreProgress, Trouble, TroubleKind};
pub use selection::Selection;
pub use single::{SingleFound, SingleSink, SingleTarget};
pub use stream::{Reached, StreamTarget};
pub use tar::{TarSink, TarStep, TarTarget};
pub use whole::WholeFile;

use crate::{
    beneath::{Beneath, split_name},
    cache,
    limits::READ_BACK_BYTES,
    shown::Shown,
    walk::Status,
};
use content::{Ended, Fatal, FrameToWrite, Piece, read_written, settle_one, write_blanks, write_frames};
use directories::{Directories, State};
use file::Files;
use links::make_link;
use metadata::LeftOut;
use path_set::PathSet;
use plan::{Blank, Contradiction, Place, Plan, Written};
use prepare::{Make, put_on_late, put_time_back};
use turns::{Turn, Turns};

/// What to do about things that lie there already and differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// They stay and are listed.
    #[default]
    Never,
    /// They are replaced; what has the same size and time is taken for the same.
    Changed,
    /// Everything is written anew.
    Always,
}

/// How to restore.
#[derive(Clone, Debug, Default)]
pub struct SinkOptions {
    /// What to do about what is there.
    pub overwrite: Overwrite,
    /// Which part.
    pub selection: Selection,
    /// Ask for no data and write nothing; count only.
    pub dry_run: bool,
    /// Not empty: restore these and nothing else, each first path once. The selection names those paths.
    pub orphans: Vec<Orphan>,
    /// What attempts of one restore share. One that goes on after a broken one takes what that has finished for done, in
    /// every mode.
    pub attempts: Attempts,
    /// Ends only when everything is on disk.
    pub sync: bool,
}

/// Hard links that were asked for without the path under which the image holds their content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The path that was not asked for.
    pub first: Vec<u8>,
    /// The paths that were.
    pub links: Vec<Vec<u8>>,
}

/// What all jobs of one restore share.
#[derive(Debug)]
pub struct Context {
    /// Everything happens beneath it.
    pub top: Beneath,
    /// How.
    pub options: SinkOptions,
    /// What happened.
    pub progress: Arc<RestoreProgress>,
    directories: Directories,
    files: Files,
    /// Where the image's own object stands, in directories that were there before. In directories that the restore made,
    /// nothing else can stand.
    standing: PathSet,
}

impl Context {
    /// The links that were asked for of what lies at `first`.
    fn orphan(&self, first: &[u8]) -> Option<&Orphan> {
        let orphans = &self.options.orphans;
        let at = orphans.binary_search_by(|orphan| orphan.first.as_slice().cmp(first)).ok()?;
        orphans.get(at)
    }

    /// The image's own object stands at a path.
    fn note_standing(&self, path: &[u8]) {
        if self.directories.state(split_name(path).0) == State::Found {
            self.standing.add(path);
        }
    }

    /// An object is there, but for what was left out.
    fn restored(&self, path: &[u8], left_out: LeftOut) {
        if !left_out.xattrs.is_empty() {
            self.directories.note_partial(path);
        }
        self.progress.add_restored(path, left_out);
    }
}

/// A restore under way; survives the sessions that feed it.
pub struct Sink {
    world: World,
    context: Arc<Context>,
    plan: RefCell<Plan>,
    turns: Turns,
    /// Which of the paths that were asked for have shown up.
    found: RefCell<Vec<bool>>,
    /// Directories that are whole already and must look as if nothing had been put into them.
    settled: Vec<(Vec<u8>, Timestamp)>,
}

impl Sink {
    /// Restores beneath `directory`, which is there already.
    pub fn new(
        world: World,
        directory: &Path,
        mut options: SinkOptions,
        progress: Arc<RestoreProgress>,
    ) -> Result<Self, Errno> {
        let top = Beneath::open_top(directory)?;
        options.orphans.sort_by(|left, right| left.first.cmp(&right.first));
        let links = options.orphans.iter().flat_map(|orphan| &orphan.links);
        let above = links.map(|link| split_name(link).0.to_vec());
        let settled = above.filter_map(|path| Some((Status::new(&top.status(&path).ok()?).mtime, path)));
        let settled = settled.map(|(mtime, path)| (path, mtime)).collect();
        let is_empty = !options.dry_run && is_empty(top.top())?;
        let directories =
            Directories::new(top.clone(), options.attempts.clone(), (cache::now(&world), is_empty))?;
        let found = RefCell::new(vec![false; options.selection.paths().len()]);
        let (files, standing) = (Files::new(), PathSet::default());
        let context = Context { top, options, progress, directories, files, standing };
        Ok(Self {
            world,
            context: Arc::new(context),
            plan: RefCell::default(),
            turns: Turns::default(),
            found,
            settled,
        })
    }

    /// Hard links whose content was not asked for under its own path, once everything has come.
    pub fn orphans(&self) -> Vec<Orphan> {
        self.plan.borrow().orphans()
    }

    /// What was asked for and has not shown up, once everything has come.
    pub fn missing(&self) -> Vec<Vec<u8>> {
        let found = self.found.borrow();
        let asked = self.context.options.selection.paths().iter().zip(&*found);
        asked.filter(|(_, found)| !**found).map(|(path, _)| path.clone()).collect()
    }

    /// Files and bytes so far, and what went wrong.
    pub fn progress(&self) -> &Arc<RestoreProgress> {
        &self.context.progress
    }
}

/// A part of the restore that cannot go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// A node does not decode, or does not fit what was said of it.
    #[error("a recipe node is malformed: {0}")]
    Malformed(String),
    /// The destination takes no more.
    #[error("cannot write {}: {error}", Shown(path))]
    Destination {
        /// Path within the image.
        path: Vec<u8>,
        /// What the system said.
        error: Errno,
    },
    /// A helper thread panicked.
    #[error("a helper thread failed")]
    Helper,
}

impl From<Fatal> for SinkError {
    fn from(fatal: Fatal) -> Self {
        Self::Destination { path: fatal.path, error: fatal.error }
    }
}

impl Sink {
    /// A verified node came: plans what it says and tells which of its children are wanted.
    pub async fn take_node(&self, name: Fingerprint, bytes: &[u8]) -> Result<Vec<bool>, SinkError> {
        let node = Node::decode(bytes).map_err(|bad| SinkError::Malformed(bad.to_string()))?;
        match &node.body {
            Body::Tree { spans, .. } => {
                let selection = &self.context.options.selection;
                let next = |at: usize| spans.get(at + 1).map(|span| span.first.as_slice());
                return Ok((0..spans.len())
                    .map(|at| selection.may_take(&spans[at].first, next(at)))
                    .collect());
            }
            Body::Entries(entries) => self.take_entries(entries, &node.children).await?,
            Body::ExtentTree { lengths, .. } => {
                let outcome = self.plan.borrow_mut().extents_tree(name, lengths, &node.children);
                self.contradicted(outcome);
            }
            Body::Extents(extents) => {
                let outcome = self.plan.borrow_mut().extents_node(name, extents, &node.children);
                let blanks = self.contradicted(outcome).unwrap_or_default();
                self.blanks(blanks).await?;
            }
        }
        self.read_back(&node.children).await?;
        let mut plan = self.plan.borrow_mut();
        Ok(node.children.iter().map(|child| plan.ask(child)).collect())
    }

    /// Verified segments came, with where they lie in `plain`.
    pub async fn take_data(
        &self,
        plain: Vec<u8>,
        segments: &[(Fingerprint, Range<usize>)],
    ) -> Result<(), SinkError> {
        let mut pieces = Vec::new();
        let mut complete = Vec::new();
        for (name, range) in segments {
            let places = self.plan.borrow_mut().take_places(name);
            for place in places {
                match place {
                    Place::File(write) => pieces.push(Piece { name: *name, range: range.clone(), write }),
                    Place::Attributes(late, part) => {
                        let outcome = late.take(part, &plain[range.clone()]);
                        if self.contradicted(outcome) == Some(true) {
                            complete.extend(late.file.clone());
                        }
                    }
                }
            }
        }
        if !complete.is_empty() {
            let context = Arc::clone(&self.context);
            self.job(move || settle_one(&context, &complete)).await?;
        }
        self.write(FrameToWrite { plain, pieces }).await
    }

    /// Writes a frame; one that goes to a big file when it is its turn.
    async fn write(&self, frame: FrameToWrite) -> Result<(), SinkError> {
        let Some(file) = frame.only_big_file().cloned() else { return self.write_now(vec![frame]).await };
        let frame = match self.turns.line_up(&file, frame).await {
            Turn::Yours(frame) => frame,
            Turn::Over(outcome) => return outcome,
        };
        let (mut frames, behind) = self.turns.take_behind(&file);
        frames.push(frame);
        let outcome = self.write_now(frames).await;
        behind.tell(&outcome);
        self.turns.pass_on(&file);
        outcome
    }

    async fn write_now(&self, frames: Vec<FrameToWrite>) -> Result<(), SinkError> {
        let context = Arc::clone(&self.context);
        self.job(move || write_frames(&context, &frames)).await
    }

    /// Serves what needs these segments from files that have them, where that can be.
    async fn read_back(&self, children: &[Child]) -> Result<(), SinkError> {
        let mut written = self.plan.borrow_mut().take_written(children).into_iter().peekable();
        while written.peek().is_some() {
            let mut bytes = 0;
            let batch: Vec<Written> = std::iter::from_fn(|| {
                let next = written.next_if(|_| bytes < READ_BACK_BYTES)?;
                bytes += next.length;
                Some(next)
            })
            .collect();
            let context = Arc::clone(&self.context);
            let read = self.world.offload(move || read_written(&context, batch)).await;
            let (frame, gone) = read.ok_or(SinkError::Helper)?;
            for Written { name, writes, .. } in gone {
                self.plan.borrow_mut().need_again(name, writes);
            }
            self.write(frame).await?;
        }
        Ok(())
    }

    /// No more will come: removes what is not whole.
    pub async fn abandon(&self) {
        let unfinished = self.plan.borrow_mut().take_unfinished();
        let context = Arc::clone(&self.context);
        let abandon = move || {
            for file in unfinished {
                file.give_up(&context);
            }
        };
        // A helper that fails here leaves files behind, as a killed process does.
        self.world.offload(abandon).await;
    }

    /// Everything that was asked for has come: links, then what is put on last.
    pub async fn finish(&self) -> Result<(), SinkError> {
        self.tell_missing();
        let (unfinished, links, mut later) = {
            let mut plan = self.plan.borrow_mut();
            (plan.take_unfinished(), std::mem::take(&mut plan.links), std::mem::take(&mut plan.later))
        };
        // Sorted by path, so that the reverse has what lies in a directory before the directory.
        later.sort_by(|a, b| order::order(&a.path, &b.path));
        let (directories, objects): (Vec<_>, Vec<_>) =
            later.into_iter().partition(|entry| entry.what == Make::Directory);
        let (context, settled) = (Arc::clone(&self.context), self.settled.clone());
        let finish = move || {
            for file in unfinished {
                if file.give_up(&context) {
                    context.progress.trouble(file.path(), TroubleKind::Incomplete);
                }
            }
            // Before they have further names, by which others may be taken for them.
            for entry in &objects {
                put_on_late(&context, entry);
            }
            for (link, first) in &links {
                make_link(&context, link, first);
            }
            for entry in directories.iter().rev() {
                put_on_late(&context, entry);
            }
            for (directory, mtime) in &settled {
                put_time_back(&context, directory, *mtime);
            }
            if context.options.sync { syncfs(context.top.top()) } else { Ok(()) }
        };
        let synced = self.world.offload(finish).await.ok_or(SinkError::Helper)?;
        synced.map_err(|error| SinkError::Destination { path: Vec::new(), error })
    }

    fn tell_missing(&self) {
        for path in self.missing() {
            let links = self.context.orphan(&path).into_iter().flat_map(|orphan| &orphan.links);
            links.for_each(|link| self.context.progress.trouble(link, TroubleKind::Unlinked(path.clone())));
            if self.context.options.orphans.is_empty() {
                self.context.progress.trouble(&path, TroubleKind::NotInImage);
            }
        }
    }

    /// Runs a job on a helper thread and notes the files that ended in it.
    async fn job(
        &self,
        work: impl FnOnce() -> Result<Ended, Fatal> + Send + 'static,
    ) -> Result<(), SinkError> {
        let ended = self.world.offload(work).await.ok_or(SinkError::Helper)??;
        let mut plan = self.plan.borrow_mut();
        for file in &ended {
            plan.end(file);
        }
        Ok(())
    }

    async fn blanks(&self, blanks: Vec<Blank>) -> Result<(), SinkError> {
        if blanks.is_empty() {
            return Ok(());
        }
        let context = Arc::clone(&self.context);
        self.job(move || write_blanks(&context, &blanks)).await
    }

    /// Reports a contradiction and gives the file up.
    fn contradicted<T>(&self, outcome: Result<T, Contradiction>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(Contradiction { path, what }) => {
                let file = self.plan.borrow_mut().unfinished(&path);
                if file.is_none_or(|file| file.give_up(&self.context)) {
                    self.context.progress.trouble(&path, TroubleKind::Inconsistent(what));
                }
                None
            }
        }
    }
}

fn is_empty(directory: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(directory)? {
        if ![b".".as_slice(), b".."].contains(&entry?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
