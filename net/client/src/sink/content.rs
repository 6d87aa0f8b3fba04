//! Jobs that fill files: bytes of segments, fills and holes, and the finish of each file.

use std::{io::IoSlice, ops::Range, sync::Arc};

use narrows_format::Fingerprint;
use narrows_simd::fingerprint;
use rustix::io::Errno;

use super::{
    Context,
    file::{FileJob, Progress},
    plan::{Blank, Write, Written},
    report::TroubleKind,
};

/// The destination cannot take more: the whole restore ends.
#[derive(Clone, Debug)]
pub(super) struct Fatal {
    pub(super) path: Vec<u8>,
    pub(super) error: Errno,
}

/// Files that ended in a job, one way or the other.
pub(super) type Ended = Vec<Arc<FileJob>>;

/// Segments of one frame, and where they go.
pub(super) struct FrameToWrite {
    /// Plain bytes of the frame.
    pub(super) plain: Vec<u8>,
    /// What goes where.
    pub(super) pieces: Vec<Piece>,
}

/// A segment and one of the places that it goes to.
pub(super) struct Piece {
    pub(super) name: Fingerprint,
    /// Where it lies in the frame.
    pub(super) range: Range<usize>,
    pub(super) write: Write,
}

impl FrameToWrite {
    /// The big file that all of it goes to, if that is so.
    pub(super) fn only_big_file(&self) -> Option<&Arc<FileJob>> {
        let (first, others) = self.pieces.split_first()?;
        let file = &first.write.file;
        let is_only = others.iter().all(|other| Arc::ptr_eq(&other.write.file, file));
        (is_only && file.is_big()).then_some(file)
    }
}

/// Writes frames: one, or several that go to the same file. What is adjacent in a file goes in one call.
pub(super) fn write_frames(context: &Context, frames: &[FrameToWrite]) -> Result<Ended, Fatal> {
    let mut runs: Vec<Run<'_>> = frames.iter().flat_map(FrameToWrite::runs).collect();
    if frames.len() > 1 {
        runs.sort_by_key(|run| run.at);
    }
    let groups: Vec<&[Run<'_>]> = runs.chunk_by(|before, next| next.follows(before)).collect();
    let outcomes: Vec<Result<(), Errno>> = groups.iter().map(|group| write_group(context, group)).collect();
    // Before the last of a file is settled: then it forgets them.
    for piece in frames.iter().flat_map(|frame| &frame.pieces) {
        piece.write.file.note_written(context, piece);
    }
    let mut ended = Ended::new();
    for (group, outcome) in groups.iter().zip(outcomes) {
        let total = group.iter().map(|run| run.bytes.len() as u64 * run.count).sum();
        step(context, group[0].file, (total, total), outcome, &mut ended)?;
    }
    Ok(ended)
}

fn write_group(context: &Context, group: &[Run<'_>]) -> Result<(), Errno> {
    let first = &group[0];
    let length = first.bytes.len() as u64;
    (0..first.count).try_for_each(|repeat| {
        // A run that is repeated is a group of its own.
        let mut pieces: Vec<IoSlice<'_>> = group.iter().map(|run| IoSlice::new(run.bytes)).collect();
        first.file.write(context, first.at + repeat * length, &mut pieces)
    })
}

/// Bytes of a frame that go to one place of a file, `count` times in a row.
struct Run<'a> {
    file: &'a Arc<FileJob>,
    at: u64,
    bytes: &'a [u8],
    count: u64,
}

impl Run<'_> {
    /// Whether it goes on where another one ends.
    fn follows(&self, before: &Self) -> bool {
        (self.count, before.count) == (1, 1)
            && Arc::ptr_eq(self.file, before.file)
            && before.at + before.bytes.len() as u64 == self.at
    }
}

impl FrameToWrite {
    fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.pieces.iter().map(|Piece { range, write, .. }| {
            // The plan checked the extent against the segment's length, and the exchange that against the bytes.
            let start = range.start + usize::try_from(write.offset).unwrap_or(usize::MAX);
            let end = start + usize::try_from(write.length).unwrap_or(usize::MAX);
            Run { file: &write.file, at: write.at, bytes: &self.plain[start..end], count: write.count }
        })
    }
}

/// Reads segments back from the files that have them. A file that gives something else than was written there is given up;
/// the second part is what other files may need of it.
pub(super) fn read_written(context: &Context, written: Vec<Written>) -> (FrameToWrite, Vec<Written>) {
    let mut frame = FrameToWrite { plain: Vec::new(), pieces: Vec::new() };
    let mut gone = Vec::new();
    for segment in written {
        let start = frame.plain.len();
        let read = segment.file.read_back(context, segment.at, segment.length, &mut frame.plain);
        if read.is_err() || fingerprint::data(&frame.plain[start..]).0 != segment.name {
            frame.plain.truncate(start);
            if segment.file.give_up(context) {
                context.progress.trouble(segment.file.path(), TroubleKind::Altered);
            }
            gone.push(segment);
            continue;
        }
        let (name, range) = (segment.name, start..frame.plain.len());
        let piece = |write| Piece { name, range: range.clone(), write };
        frame.pieces.extend(segment.writes.into_iter().map(piece));
    }
    (frame, gone)
}

/// Writes fills and counts holes.
pub(super) fn write_blanks(context: &Context, blanks: &[Blank]) -> Result<Ended, Fatal> {
    let mut ended = Ended::new();
    for blank in blanks {
        let outcome = match blank.byte {
            Some(byte) => blank.file.fill(context, blank.at, blank.length, byte),
            None => Ok(()),
        };
        step(context, &blank.file, (blank.length, blank.length), outcome, &mut ended)?;
    }
    Ok(ended)
}

/// Counts what a file without bytes, or with late attributes, was still waiting for.
pub(super) fn settle_one(context: &Context, files: &[Arc<FileJob>]) -> Result<Ended, Fatal> {
    let mut ended = Ended::new();
    for file in files {
        step(context, file, (1, 0), Ok(()), &mut ended)?;
    }
    Ok(ended)
}

/// Settles `due` units of a file's account, of which `bytes` are bytes.
fn step(
    context: &Context,
    file: &Arc<FileJob>,
    (due, bytes): (u64, u64),
    outcome: Result<(), Errno>,
    ended: &mut Ended,
) -> Result<(), Fatal> {
    match outcome.and_then(|()| file.settle(context, due)) {
        Ok(Progress::Going) => context.progress.add_written(bytes),
        Ok(Progress::Failed) => {}
        Ok(Progress::Whole(left_out)) => {
            context.progress.add_written(bytes);
            context.note_standing(file.path());
            context.restored(file.path(), left_out);
            ended.push(Arc::clone(file));
        }
        Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::IO | Errno::ROFS)) => {
            file.give_up(context);
            return Err(Fatal { path: file.path().to_vec(), error });
        }
        Err(error) => {
            if file.give_up(context) {
                let what = match error {
                    // It has come since the entry was looked at.
                    Errno::EXIST => TroubleKind::Kept,
                    error => TroubleKind::Failed(error),
                };
                context.progress.trouble(file.path(), what);
            }
            ended.push(Arc::clone(file));
        }
    }
    Ok(())
}
