//! A small file without holes: read straight to where its segments stay until they are sent.

use narrows_pool::ingest::Splitter;
use rustix::{buffer::spare_capacity, io::pread};

use super::{Draft, Opened, Run, retry};
use crate::walk::Why;

/// No file system has blocks, and so holes, that are shorter or less aligned.
const BLOCK: usize = 512;

/// Reads all of it, and gives its size and runs; `None`, with the draft as it was, when it may have holes.
pub(super) fn read_whole(
    opened: &Opened,
    splitter: &mut Splitter,
    draft: &mut Draft,
) -> Result<Option<(u64, Vec<Run>)>, Why> {
    let start = draft.bytes.len();
    let size = usize::try_from(opened.status.size).unwrap_or(usize::MAX);
    draft.bytes.reserve(size);
    while draft.bytes.len() - start < size {
        let done = draft.bytes.len() - start;
        // The room behind may be larger than the file: what was appended since it was opened is not taken.
        let count = retry(|| pread(&opened.fd, spare_capacity(&mut draft.bytes), done as u64))?;
        draft.bytes.truncate(start + size);
        if count == 0 {
            break;
        }
    }
    if may_have_holes(&draft.bytes[start..]) {
        draft.bytes.truncate(start);
        return Ok(None);
    }
    let mut runs = Vec::new();
    let size = draft.take_in_place(start, &mut runs, |bytes, sink| splitter.whole(bytes, sink));
    Ok(Some((size, runs)))
}

/// Whether a block is zero from end to end, as holes are.
fn may_have_holes(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK).any(|block| block.last() == Some(&0) && block.iter().all(|byte| *byte == 0))
}
