//! From lacking segments to data messages: whole frames as they are stored, parts of frames packed together anew.

use std::{pin::pin, rc::Rc};

use foldhash::HashSet;
use futures_util::{
    StreamExt as _,
    future::{Either, select},
};
use narrows_format::{
    Fingerprint,
    frame::{self, Codec, Frame, FrameKind},
};

use super::{PoolTree, StoredFrame, TreeChild, visit::codec_for};
use crate::{
    ExchangeError, Outgoing, StoreError,
    limits::{FETCH_SLOWLY_SEGMENTS, FRAME_BYTES_MAX, HELD_MAX, REPACK_LEVEL, SEGMENTS_PER_FRAME_MAX},
};

fn corrupt(why: impl Into<String>) -> ExchangeError {
    ExchangeError::Store(StoreError::new("POOL-001", why))
}

/// Segments that could not be read.
pub(super) struct Lost {
    /// How many.
    pub(super) count: usize,
    /// What is amiss with the first.
    pub(super) error: StoreError,
}

/// Sends each of these segments once, those that can be read; what is lost of them keeps no other back. What was read is not
/// held while it can't be sent for long: see [`HELD_MAX`].
pub(super) async fn fetch(
    outgoing: &Outgoing,
    tree: &dyn PoolTree,
    mut batch: Vec<TreeChild>,
) -> Result<Option<Lost>, ExchangeError> {
    let missing = batch.iter().map(|child| child.child.fingerprint).collect();
    let mut fetching = Fetching { outgoing, tree, missing, unsent: 0, lost: None, parts: Parts::default() };
    let mut at_once = batch.len();
    while !batch.is_empty() {
        let now: Vec<TreeChild> = batch.iter().take(at_once).copied().collect();
        match fetching.pass_all(now).await? {
            Passed::All => drop(batch.drain(..at_once.min(batch.len()))),
            Passed::Slowly => {
                at_once = FETCH_SLOWLY_SEGMENTS;
                batch.retain(|child| fetching.missing.contains(&child.child.fingerprint));
            }
        }
    }
    fetching.parts.flush(outgoing).await?;
    Ok(fetching.lost())
}

struct Fetching<'a> {
    outgoing: &'a Outgoing,
    tree: &'a dyn PoolTree,
    /// What has not come from the tree.
    missing: HashSet<Fingerprint>,
    /// Segments that came and could not be sent.
    unsent: usize,
    /// What is amiss with the first that was lost.
    lost: Option<StoreError>,
    parts: Parts,
}

/// How much of a list was passed on.
enum Passed {
    /// All that could be read.
    All,
    /// Not all: it was let go while a frame waited to be sent.
    Slowly,
}

impl Fetching<'_> {
    async fn pass_all(&mut self, batch: Vec<TreeChild>) -> Result<Passed, ExchangeError> {
        let tree = self.tree;
        let mut frames = tree.frames(batch);
        let clock = Rc::clone(&self.outgoing.session().link.world().clock);
        while let Some(stored) = frames.next().await {
            let stored = match stored {
                Ok(stored) => stored,
                Err(error) => {
                    self.lost.get_or_insert(error);
                    continue;
                }
            };
            let passing = pin!(self.pass_on(stored));
            match select(passing, clock.sleep(HELD_MAX)).await {
                Either::Left((outcome, _)) => outcome?,
                Either::Right(((), passing)) => {
                    drop(frames);
                    passing.await?;
                    return Ok(Passed::Slowly);
                }
            }
        }
        Ok(Passed::All)
    }

    /// Sends a frame, or packs what of it is lacking with others.
    async fn pass_on(&mut self, stored: StoredFrame) -> Result<(), ExchangeError> {
        let StoredFrame { frame: bytes, mut wanted } = stored;
        wanted.retain(|(_, name)| self.missing.remove(name));
        if wanted.is_empty() {
            return Ok(());
        }
        self.tree.turn(bytes.len()).await;
        let count = wanted.len();
        match self.send(&bytes, wanted).await {
            Err(ExchangeError::Store(error)) => {
                self.unsent += count;
                self.lost.get_or_insert(error);
                Ok(())
            }
            other => other,
        }
    }

    async fn send(&mut self, bytes: &[u8], mut wanted: Vec<(u32, Fingerprint)>) -> Result<(), ExchangeError> {
        wanted.sort_unstable();
        let bad_frame = |bad| corrupt(format!("stored frame: {bad}"));
        let (codec, segments) = frame::outline(bytes).map_err(bad_frame)?;
        if wanted.len() == segments && codec == codec_for(self.outgoing.session().peer.codecs, codec) {
            let names: Vec<Fingerprint> = wanted.iter().map(|(_, name)| *name).collect();
            return self.outgoing.data(bytes, &names).await;
        }
        let frame = frame::parse(bytes).map_err(bad_frame)?;
        self.parts.take(self.outgoing, &frame, wanted).await
    }

    fn lost(self) -> Option<Lost> {
        let count = self.missing.len() + self.unsent;
        if self.lost.is_none() && count == 0 {
            return None;
        }
        let gone = || StoreError::new("POOL-001", format!("{count} segments of the image were not found"));
        Some(Lost { count: count.max(1), error: self.lost.unwrap_or_else(gone) })
    }
}

/// Segments of frames of which only a part is lacking.
#[derive(Default)]
struct Parts {
    plain: Vec<u8>,
    lengths: Vec<u32>,
    names: Vec<Fingerprint>,
    opened: Vec<u8>,
}

impl Parts {
    async fn take(
        &mut self,
        outgoing: &Outgoing,
        frame: &Frame<'_>,
        wanted: Vec<(u32, Fingerprint)>,
    ) -> Result<(), ExchangeError> {
        let mut opened = std::mem::take(&mut self.opened);
        let ranges = frame.open(&mut opened).map_err(|bad| corrupt(format!("stored frame: {bad}")))?;
        for (ordinal, name) in wanted {
            let range = ranges.get(ordinal as usize).ok_or_else(|| corrupt("no such segment in a frame"))?;
            let full = self.plain.len() + range.len() > FRAME_BYTES_MAX
                || self.lengths.len() == SEGMENTS_PER_FRAME_MAX;
            if full {
                self.flush(outgoing).await?;
            }
            self.plain.extend_from_slice(&opened[range.clone()]);
            // A range of a frame is at most 128 KiB.
            self.lengths.push(u32::try_from(range.len()).unwrap_or(u32::MAX));
            self.names.push(name);
        }
        self.opened = opened;
        Ok(())
    }

    async fn flush(&mut self, outgoing: &Outgoing) -> Result<(), ExchangeError> {
        if self.names.is_empty() {
            return Ok(());
        }
        let codec = codec_for(outgoing.session().peer.codecs, Codec::Zstd);
        let frame = frame::build_joined(FrameKind::Data, codec, REPACK_LEVEL, &self.plain, &self.lengths);
        let names = std::mem::take(&mut self.names);
        self.plain.clear();
        self.lengths.clear();
        outgoing.data(&frame, &names).await
    }
}
