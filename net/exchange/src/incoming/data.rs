//! Data that comes: put if each segment was asked for.

use super::{
    Incoming,
    flow::{Put, PutKind},
    opening::Opened,
    stage::Keep,
};
use crate::{DataFrame, ExchangeError, ReceivedSegment};

impl Incoming<'_> {
    /// Takes a frame whose segments are hashed.
    pub(super) fn take_data(&self, opened: Opened) -> Result<(), ExchangeError> {
        let frame_bytes = opened.frame_bytes();
        let Opened { message_bytes, frame, plain, segments: hashed } = opened;
        let mut state = self.state.borrow_mut();
        let receipt = state.intake.enter_frame(message_bytes, frame_bytes, plain.len())?;
        state.received.frames += 1;
        state.received.data_bytes += frame_bytes as u64;
        let mut segments = Vec::with_capacity(hashed.len());
        for (fingerprint, tag, range) in hashed {
            let keep = state.open.segment_came(&fingerprint, range.len(), tag).ok_or_else(|| {
                let length = range.len();
                ExchangeError::unasked(format!("a segment of {length} bytes that was not asked for"))
            })?;
            segments.push(ReceivedSegment { fingerprint, tag, range, wanted: keep == Keep::Wanted });
        }
        let names = segments.iter().map(|segment| segment.fingerprint).collect();
        let kind = if segments.iter().any(|segment| segment.wanted) {
            PutKind::Data(DataFrame { frame, plain, segments })
        } else {
            PutKind::Nothing
        };
        state.puts.push_back(Put { kind, names, receipt });
        Ok(())
    }
}
