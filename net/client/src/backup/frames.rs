//! Packs lacking segments into frames, compressed on helper threads.

use std::sync::Arc;

use narrows_format::{
    Fingerprint,
    frame::{Codec, FrameKind, build, build_joined},
    limits::FRAME_SEGMENTS_MAX,
};
use narrows_ring::world::World;

use super::BackupError;
use crate::{
    limits::FRAME_BYTES_MAX,
    read::{Segment, Unit},
};

/// How frames are compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compression {
    codec: Codec,
    level: i32,
}

impl Compression {
    /// The best that the target reads.
    pub(super) fn for_peer(codecs: u32) -> Self {
        let reads = |codec: Codec| codecs & 1 << codec.number() != 0;
        let codec = [Codec::Zstd, Codec::Lz4].into_iter().find(|codec| reads(*codec)).unwrap_or(Codec::None);
        Self { codec, level: 1 }
    }

    /// One frame of one kind.
    pub(super) fn frame(self, kind: FrameKind, segments: &[&[u8]]) -> Vec<u8> {
        build(kind, self.codec, self.level, segments)
    }

    /// A frame of segments of one unit: those of whole files lie side by side there.
    fn data(self, unit: &Unit, group: &[Segment]) -> Vec<u8> {
        let end = |segment: &Segment| segment.start + usize::try_from(segment.length).unwrap_or(usize::MAX);
        if let [first, .., last] = group
            && group.array_windows().all(|[one, next]| end(one) == next.start)
        {
            let lengths: Vec<u32> = group.iter().map(|segment| segment.length).collect();
            let plain = &unit.bytes[first.start..end(last)];
            return build_joined(FrameKind::Data, self.codec, self.level, plain, &lengths);
        }
        let segments: Vec<&[u8]> = group.iter().map(|segment| unit.segment_bytes(segment)).collect();
        self.frame(FrameKind::Data, &segments)
    }
}

/// A frame and what is in it.
pub(super) struct BuiltFrame {
    pub(super) bytes: Vec<u8>,
    pub(super) segments: Vec<Fingerprint>,
}

/// Packs segments of one unit, in their order.
pub(super) async fn pack(
    world: &World,
    unit: &Arc<Unit>,
    segments: Vec<Segment>,
    compression: Compression,
) -> Result<Vec<BuiltFrame>, BackupError> {
    let groups = group(segments);
    let jobs = groups.into_iter().map(|group| {
        let unit = Arc::clone(unit);
        world.offload(move || BuiltFrame {
            bytes: compression.data(&unit, &group),
            segments: group.iter().map(|segment| segment.fingerprint).collect(),
        })
    });
    let built = futures_util::future::join_all(jobs).await;
    built.into_iter().map(|frame| frame.ok_or(BackupError::Helper)).collect()
}

/// Runs of segments that fit one frame each.
fn group(segments: Vec<Segment>) -> Vec<Vec<Segment>> {
    let mut groups: Vec<Vec<Segment>> = Vec::new();
    let mut bytes = 0;
    for segment in segments {
        let length = usize::try_from(segment.length).unwrap_or(usize::MAX);
        match groups.last_mut() {
            Some(group) if bytes + length <= FRAME_BYTES_MAX && group.len() < FRAME_SEGMENTS_MAX => {
                bytes += length;
                group.push(segment);
            }
            _ => {
                bytes = length;
                groups.push(vec![segment]);
            }
        }
    }
    groups
}
