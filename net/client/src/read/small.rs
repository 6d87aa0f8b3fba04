//! A small file without holes: read straight to where its segments stay until they are sent.

use narrows_pool::ingest::{Piece, Splitter};
use rustix::{buffer::spare_capacity, io::pread};

use super::{Opened, Run, Segment, Unit, retry};
use crate::walk::Why;

/// No file system has blocks, and so holes, that are shorter or less aligned.
const BLOCK: usize = 512;

/// Reads all of it, and gives its size and runs; `None`, with the unit as it was, when it may have holes.
pub(super) fn read_whole(
    opened: &Opened,
    splitter: &mut Splitter,
    unit: &mut Unit,
) -> Result<Option<(u64, Vec<Run>)>, Why> {
    let start = unit.bytes.len();
    let size = usize::try_from(opened.status.size).unwrap_or(usize::MAX);
    unit.bytes.reserve(size);
    while unit.bytes.len() - start < size {
        let done = unit.bytes.len() - start;
        // The room behind may be larger than the file: what was appended since it was opened is not taken.
        let count = retry(|| pread(&opened.fd, spare_capacity(&mut unit.bytes), done as u64))?;
        unit.bytes.truncate(start + size);
        if count == 0 {
            break;
        }
    }
    if may_have_holes(&unit.bytes[start..]) {
        unit.bytes.truncate(start);
        return Ok(None);
    }
    let Unit { bytes, segments, .. } = unit;
    let (mut at, mut runs) = (start, Vec::new());
    let size = splitter.whole(&bytes[start..], &mut |piece| match piece {
        Piece::Segment { bytes, fingerprint, tag } => {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            segments.push(Segment { fingerprint, tag, start: at, length });
            runs.push(Run::Data(segments.len() - 1));
            at += bytes.len();
        }
        Piece::Fill { byte, length } => {
            runs.push(Run::Fill(byte, length));
            at += usize::try_from(length).unwrap_or(usize::MAX);
        }
        Piece::Hole(length) => runs.push(Run::Hole(length)),
    });
    Ok(Some((size, runs)))
}

/// Whether a block is zero from end to end, as holes are.
fn may_have_holes(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).any(|block| block.last() == Some(&0) && block.iter().all(|byte| *byte == 0))
}
