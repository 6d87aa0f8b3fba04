//! Data that comes: opened, hashed, and put if each segment was asked for.

use narrows_format::frame::{self, FrameKind};

use super::{
    Incoming,
    flow::{Put, PutKind},
    stage::Keep,
};
use crate::{DataFrame, ExchangeError, ReceivedSegment};

impl Incoming<'_> {
    /// Costs one decompression and one hash over the plain bytes, on this core.
    pub(super) fn take_data(&self, bytes: &[u8], message_bytes: usize) -> Result<(), ExchangeError> {
        let bad_frame = |bad| ExchangeError::malformed(format!("frame of data: {bad}"));
        let frame = frame::parse(bytes).map_err(bad_frame)?;
        if frame.kind() != FrameKind::Data {
            return Err(ExchangeError::malformed("a frame of another kind in place of data"));
        }
        let mut plain = Vec::new();
        let ranges = frame.open(&mut plain).map_err(bad_frame)?;
        let mut state = self.state.borrow_mut();
        let receipt = state.intake.enter_frame(message_bytes, bytes.len(), plain.len())?;
        state.received.frames += 1;
        state.received.data_bytes += bytes.len() as u64;
        let mut segments = Vec::with_capacity(ranges.len());
        for range in ranges {
            let (fingerprint, tag) = narrows_simd::fingerprint::data(&plain[range.clone()]);
            let keep = state.open.segment_came(&fingerprint, range.len(), tag).ok_or_else(|| {
                let length = range.len();
                ExchangeError::unasked(format!("a segment of {length} bytes that was not asked for"))
            })?;
            segments.push(ReceivedSegment { fingerprint, tag, range, wanted: keep == Keep::Wanted });
        }
        let names = segments.iter().map(|segment| segment.fingerprint).collect();
        let kind = if segments.iter().any(|segment| segment.wanted) {
            PutKind::Data(DataFrame { frame: bytes.to_vec(), plain, segments })
        } else {
            PutKind::Nothing
        };
        state.puts.push_back(Put { kind, names, receipt });
        Ok(())
    }
}
