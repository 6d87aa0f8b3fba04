//! The next backup's cache, written while this one runs.
//!
//! As long as all leaves are the last backup's, in their order, nothing is written: whole blocks are copied from its
//! cache once something differs, or at the end.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use narrows_format::{
    file_cache::{HEAD_BYTES, Head, encode_leaf, seal_block},
    limits::CACHE_BLOCK_BYTES,
};
use narrows_ring::world::{Task, World};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, ftruncate, openat, renameat, statat};

use super::Leaf;
use crate::{backup::FinishedNode, limits::CACHE_KEPT};

/// Collects leaves and writes them on helper threads. Any failure ends the cache, not the backup.
pub(crate) struct Writer {
    world: World,
    same: Option<Same>,
    block: Vec<u8>,
    writing: Option<Task<Option<Draft>>>,
}

/// So far this cache is the last one.
struct Same {
    last: Arc<File>,
    /// How many leaves.
    count: u64,
    /// Where the block of the latest begins, and those of this block.
    block: u64,
    leaves: Vec<Arc<Leaf>>,
}

/// A cache without a head under its working name.
struct Draft {
    file: File,
    path: PathBuf,
    working: PathBuf,
}

impl Writer {
    /// Begins a cache that is to lie at `path`; leaves of the last backup come from the cache `last`.
    pub(crate) fn new(world: &World, path: &Path, last: Option<Arc<File>>) -> Self {
        let path = path.to_path_buf();
        let draft = offload(world, move || match Draft::begin(path) {
            Ok(draft) => Some(draft),
            Err(error) => given_up(&error),
        });
        let begin = HEAD_BYTES as u64;
        let same = last.map(|last| Same { last, count: 0, block: begin, leaves: Vec::new() });
        Self { world: world.clone(), same, block: Vec::new(), writing: Some(draft) }
    }

    /// Takes the leaves among finished nodes, in the order of the tree.
    pub(crate) async fn add(&mut self, nodes: &[FinishedNode]) {
        for finished in nodes.iter().filter(|finished| !finished.stamps.is_empty()) {
            if let Some((same, leaf)) = self.same.as_mut().zip(finished.known.as_ref())
                && same.goes_on(leaf)
            {
                continue;
            }
            self.differs().await;
            let tags: Vec<_> = finished.shown.iter().map(|shown| shown.tag).collect();
            encode_leaf(&finished.node.bytes, &finished.stamps, &tags, &mut self.block);
            if self.block.len() >= CACHE_BLOCK_BYTES {
                self.flush().await;
            }
        }
    }

    /// From here on leaves are written: behind the whole blocks that are as they were.
    async fn differs(&mut self) {
        let Some(Same { last, block, leaves, .. }) = self.same.take() else { return };
        for leaf in leaves {
            encode_leaf(&leaf.node.bytes, &leaf.stamps, &leaf.tags, &mut self.block);
        }
        self.write(move |draft| draft.copy(&last, block)).await;
    }

    async fn flush(&mut self) {
        let block = std::mem::take(&mut self.block);
        if !block.is_empty() {
            self.write(move |draft| draft.file.write_all(&seal_block(&block))).await;
        }
    }

    /// Writes in the background, behind what was begun before.
    async fn write(&mut self, write: impl FnOnce(&mut Draft) -> std::io::Result<()> + Send + 'static) {
        let draft = self.draft().await;
        self.writing = draft.map(|mut draft| {
            offload(&self.world, move || match write(&mut draft) {
                Ok(()) => Some(draft),
                Err(error) => given_up(&error),
            })
        });
    }

    /// The image was committed: the cache takes the place of the last one.
    pub(crate) async fn finish(mut self, head: &Head) {
        self.differs().await;
        self.flush().await;
        let Some(draft) = self.draft().await else { return };
        let head = head.encode();
        let finish = move || draft.finish(&head).map_or_else(|error| given_up(&error), Some);
        self.world.offload(finish).await;
    }

    /// What was begun last has ended.
    async fn draft(&mut self) -> Option<Draft> {
        self.writing.take()?.join().await.flatten()
    }
}

fn offload(world: &World, job: impl FnOnce() -> Option<Draft> + Send + 'static) -> Task<Option<Draft>> {
    let helper = world.clone();
    world.spawn(async move { helper.offload(job).await.flatten() })
}

fn given_up<T>(error: &std::io::Error) -> Option<T> {
    tracing::debug!(%error, "no file cache is kept, so the next backup reads every file");
    None
}

impl Same {
    /// Whether `leaf` is the next one of the last cache.
    fn goes_on(&mut self, leaf: &Arc<Leaf>) -> bool {
        if leaf.place.number != self.count {
            return false;
        }
        self.count += 1;
        if leaf.place.begins_block {
            self.block = leaf.place.block;
            self.leaves.clear();
        }
        self.leaves.push(Arc::clone(leaf));
        true
    }
}

impl Draft {
    /// One at a time: a backup of the same lineage that runs already keeps its cache, this one none.
    fn begin(path: PathBuf) -> std::io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let working = path.with_extension("new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = File::from(openat(CWD, &working, flags, mode)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Whoever had the lock may have given the file its final name meanwhile.
        let (named, opened) = (statat(CWD, &working, AtFlags::SYMLINK_NOFOLLOW)?, file.metadata()?);
        if (named.st_dev, named.st_ino) != (opened.dev(), opened.ino()) {
            return Err(std::io::Error::other("another backup has just kept one"));
        }
        ftruncate(&file, 0)?;
        let mut draft = Self { file, path, working };
        draft.file.write_all(&[0; HEAD_BYTES])?;
        Ok(draft)
    }

    /// Takes over the blocks of another cache up to `end`.
    fn copy(&mut self, from: &File, end: u64) -> std::io::Result<()> {
        let (mut at, mut buffer) = (HEAD_BYTES as u64, vec![0; CACHE_BLOCK_BYTES]);
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
            from.read_exact_at(&mut buffer[..most], at)?;
            self.file.write_all(&buffer[..most])?;
            at += most as u64;
        }
        Ok(())
    }

    fn finish(self, head: &[u8]) -> std::io::Result<()> {
        self.file.write_all_at(head, 0)?;
        renameat(CWD, &self.working, CWD, &self.path)?;
        if let Some(Err(error)) = self.path.parent().map(sweep) {
            tracing::debug!(%error, "old file caches stay where they are");
        }
        Ok(())
    }
}

/// Removes what no backup has written for long from a folder of caches: their lineages are no more.
fn sweep(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // One whose time lies in the future has no age, and stays.
        if metadata.is_file() && metadata.modified()?.elapsed().is_ok_and(|age| age > CACHE_KEPT) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
