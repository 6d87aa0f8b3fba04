//! From lacking segments to data messages: whole frames as they are stored, parts of frames packed together anew.

use foldhash::HashSet;
use futures_util::StreamExt as _;
use narrows_format::{
    Fingerprint,
    frame::{self, Codec, Frame, FrameKind},
};

use super::{PoolTree, StoredFrame, TreeChild, visit::codec_for};
use crate::{
    ExchangeError, Outgoing, StoreError,
    limits::{FRAME_BYTES_MAX, REPACK_LEVEL, SEGMENTS_PER_FRAME_MAX},
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

/// Sends each of these segments once, those that can be read; what is lost of them keeps no other back.
pub(super) async fn fetch(
    outgoing: &Outgoing,
    tree: &dyn PoolTree,
    batch: Vec<TreeChild>,
) -> Result<Option<Lost>, ExchangeError> {
    let mut missing: HashSet<Fingerprint> = batch.iter().map(|child| child.child.fingerprint).collect();
    let mut frames = tree.frames(batch);
    let (mut parts, mut lost) = (Parts::default(), None);
    while let Some(stored) = frames.next().await {
        let outcome = match stored {
            Ok(stored) => pass_on(outgoing, &mut parts, stored, &mut missing).await,
            Err(error) => Err(ExchangeError::Store(error)),
        };
        match outcome {
            Err(ExchangeError::Store(error)) => lost = lost.or(Some(error)),
            other => other?,
        }
    }
    parts.flush(outgoing).await?;
    if lost.is_none() && missing.is_empty() {
        return Ok(None);
    }
    let gone =
        || StoreError::new("POOL-001", format!("{} segments of the image were not found", missing.len()));
    Ok(Some(Lost { count: missing.len().max(1), error: lost.unwrap_or_else(gone) }))
}

/// Sends a frame, or packs what of it is lacking with others.
async fn pass_on(
    outgoing: &Outgoing,
    parts: &mut Parts,
    stored: StoredFrame,
    missing: &mut HashSet<Fingerprint>,
) -> Result<(), ExchangeError> {
    let StoredFrame { frame: bytes, mut wanted } = stored;
    wanted.retain(|(_, name)| missing.contains(name));
    if wanted.is_empty() {
        return Ok(());
    }
    wanted.sort_unstable();
    let bad_frame = |bad| corrupt(format!("stored frame: {bad}"));
    let (codec, segments) = frame::outline(&bytes).map_err(bad_frame)?;
    let names: Vec<Fingerprint> = wanted.iter().map(|(_, name)| *name).collect();
    if wanted.len() == segments && codec == codec_for(outgoing.session().peer.codecs, codec) {
        outgoing.data(&bytes, &names).await?;
    } else {
        let frame = frame::parse(&bytes).map_err(bad_frame)?;
        parts.take(outgoing, &frame, wanted).await?;
    }
    for name in &names {
        missing.remove(name);
    }
    Ok(())
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
