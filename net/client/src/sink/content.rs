//! Jobs that fill files: bytes of segments, fills and holes, and the finish of each file.

use std::{ops::Range, sync::Arc};

use rustix::io::Errno;

use super::{
    Context,
    file::{FileJob, Progress},
    plan::{Blank, Write},
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

/// Writes segments of one frame where they go. What is adjacent both in the frame and in a file goes in one call.
pub(super) fn write_segments(
    context: &Context,
    plain: &[u8],
    writes: &[(Range<usize>, Write)],
) -> Result<Ended, Fatal> {
    let mut ended = Ended::new();
    for run in runs(writes) {
        let bytes = &plain[run.plain];
        let length = bytes.len() as u64;
        let total = length * run.count;
        let outcome =
            (0..run.count).try_for_each(|repeat| run.file.write(context, run.at + repeat * length, bytes));
        step(context, run.file, (total, total), outcome, &mut ended)?;
    }
    Ok(ended)
}

/// Bytes of a frame that go to one place of a file, `count` times in a row.
struct Run<'a> {
    file: &'a Arc<FileJob>,
    at: u64,
    plain: Range<usize>,
    count: u64,
}

impl Run<'_> {
    /// Takes another one in if it goes on where this one ends.
    fn takes(&mut self, next: &Run<'_>) -> bool {
        let goes_on = (self.count, next.count) == (1, 1)
            && Arc::ptr_eq(self.file, next.file)
            && self.plain.end == next.plain.start
            && self.at + self.plain.len() as u64 == next.at;
        if goes_on {
            self.plain.end = next.plain.end;
        }
        goes_on
    }
}

fn runs(writes: &[(Range<usize>, Write)]) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::with_capacity(writes.len());
    for (segment, write) in writes {
        // The plan checked the extent against the segment's length, and the exchange that against the bytes.
        let start = segment.start + usize::try_from(write.offset).unwrap_or(usize::MAX);
        let end = start + usize::try_from(write.length).unwrap_or(usize::MAX);
        let next = Run { file: &write.file, at: write.at, plain: start..end, count: write.count };
        if !runs.last_mut().is_some_and(|run| run.takes(&next)) {
            runs.push(next);
        }
    }
    runs
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
            context.progress.add_restored(file.path(), left_out);
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
