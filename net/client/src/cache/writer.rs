//! The next backup's cache, written while this one runs.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use narrows_format::{
    file_cache::{HEAD_BYTES, Head, encode_leaf, seal_block},
    limits::CACHE_BLOCK_BYTES,
};
use narrows_ring::world::{Task, World};
use rustix::{
    fs::{CWD, FlockOperation, Mode, OFlags, flock, ftruncate, openat, renameat, statat, AtFlags},
    io::pwrite,
};

use crate::backup::FinishedNode;

/// Collects leaves and writes them on helper threads. Any failure ends the cache, not the backup.
pub(crate) struct Writer {
    world: World,
    block: Vec<u8>,
    writing: Option<Task<Option<Draft>>>,
}

/// A cache without a head under its working name.
struct Draft {
    file: File,
    path: PathBuf,
    working: PathBuf,
}

impl Writer {
    /// Begins a cache that is to lie at `path`.
    pub(crate) fn new(world: &World, path: &Path) -> Self {
        let path = path.to_path_buf();
        let draft = offload(world, move || match Draft::begin(path) {
            Ok(draft) => Some(draft),
            Err(error) => given_up(&error),
        });
        Self { world: world.clone(), block: Vec::new(), writing: Some(draft) }
    }

    /// Takes the leaves among finished nodes, in the order of the tree.
    pub(crate) async fn add(&mut self, nodes: &[FinishedNode]) {
        for finished in nodes.iter().filter(|finished| !finished.stamps.is_empty()) {
            let tags: Vec<_> = finished.shown.iter().map(|shown| shown.tag).collect();
            encode_leaf(&finished.node.bytes, &finished.stamps, &tags, &mut self.block);
            if self.block.len() >= CACHE_BLOCK_BYTES {
                self.flush().await;
            }
        }
    }

    async fn flush(&mut self) {
        let block = std::mem::take(&mut self.block);
        let draft = self.draft().await;
        self.writing = draft.map(|mut draft| {
            offload(&self.world, move || match draft.file.write_all(&seal_block(&block)) {
                Ok(()) => Some(draft),
                Err(error) => given_up(&error),
            })
        });
    }

    /// The image was committed: the cache takes the place of the last one.
    pub(crate) async fn finish(mut self, head: &Head) {
        if !self.block.is_empty() {
            self.flush().await;
        }
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

fn offload(
    world: &World,
    job: impl FnOnce() -> Option<Draft> + Send + 'static,
) -> Task<Option<Draft>> {
    let helper = world.clone();
    world.spawn(async move { helper.offload(job).await.flatten() })
}

fn given_up<T>(error: &std::io::Error) -> Option<T> {
    tracing::debug!(%error, "no file cache is kept, so the next backup reads every file");
    None
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

    fn finish(self, head: &[u8]) -> std::io::Result<()> {
        let written = pwrite(&self.file, head, 0)?;
        if written != head.len() {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        Ok(renameat(CWD, &self.working, CWD, &self.path)?)
    }
}
