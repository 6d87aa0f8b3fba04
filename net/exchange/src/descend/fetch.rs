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

/// Sends each of these segments once.
pub(super) async fn fetch(
    outgoing: &Outgoing,
    tree: &dyn PoolTree,
    batch: Vec<TreeChild>,
) -> Result<(), ExchangeError> {
    let mut missing: HashSet<Fingerprint> = batch.iter().map(|child| child.child.fingerprint).collect();
    let mut frames = tree.frames(batch);
    let mut parts = Parts::default();
    let peer = outgoing.session().peer.codecs;
    while let Some(stored) = frames.next().await {
        let StoredFrame { frame: bytes, mut wanted } = stored.map_err(ExchangeError::Store)?;
        wanted.retain(|(_, name)| missing.remove(name));
        if wanted.is_empty() {
            continue;
        }
        wanted.sort_unstable();
        let frame = frame::parse(&bytes).map_err(|bad| corrupt(format!("stored frame: {bad}")))?;
        let whole = wanted.len() == frame.segments() && codec_for(peer, frame.codec()) == frame.codec();
        if whole {
            let names: Vec<Fingerprint> = wanted.into_iter().map(|(_, name)| name).collect();
            outgoing.data(&bytes, &names).await?;
        } else {
            parts.take(outgoing, &frame, wanted).await?;
        }
    }
    parts.flush(outgoing).await?;
    if missing.is_empty() {
        Ok(())
    } else {
        Err(corrupt(format!("{} segments of the image were not found", missing.len())))
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
