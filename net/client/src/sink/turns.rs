//! Who writes to a big file next: one at a time, with all that has come for it meanwhile.
//!
//! Two threads that write to one file wait for each other in the kernel, and could open frames instead. Whose turn it is
//! takes the frames of those who wait behind, so that neighbours go in one call; then the turn goes to the next who came.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use futures_channel::oneshot;

use super::{SinkError, content::FrameToWrite, file::FileJob};

/// By path: who waits behind the one who writes. No entry: nobody writes.
#[derive(Default)]
pub(super) struct Turns(RefCell<HashMap<Arc<[u8]>, VecDeque<Waiting>>>);

struct Waiting {
    frame: FrameToWrite,
    told: oneshot::Sender<Turn>,
}

/// What becomes of a frame that waits.
pub(super) enum Turn {
    /// Write it, and what waits behind.
    Yours(FrameToWrite),
    /// Somebody has written it.
    Over(Result<(), SinkError>),
}

/// Those whose frames somebody else writes.
pub(super) struct Behind(Vec<oneshot::Sender<Turn>>);

impl Turns {
    /// Waits until it is this frame's turn, or was.
    pub(super) async fn line_up(&self, file: &FileJob, frame: FrameToWrite) -> Turn {
        let told = {
            let mut lanes = self.0.borrow_mut();
            let Some(lane) = lanes.get_mut(file.path()) else {
                lanes.insert(file.shared_path(), VecDeque::new());
                return Turn::Yours(frame);
            };
            let (told, turn) = oneshot::channel();
            lane.push_back(Waiting { frame, told });
            turn
        };
        // Who had the turn is gone without passing it on: so is the session.
        told.await.unwrap_or(Turn::Over(Err(SinkError::Helper)))
    }

    /// The frames that wait for the file.
    pub(super) fn take_behind(&self, file: &FileJob) -> (Vec<FrameToWrite>, Behind) {
        let mut lanes = self.0.borrow_mut();
        let waiting = lanes.get_mut(file.path()).map(std::mem::take).unwrap_or_default();
        let (frames, told) = waiting.into_iter().map(|waiting| (waiting.frame, waiting.told)).unzip();
        (frames, Behind(told))
    }

    /// The turn is over.
    pub(super) fn pass_on(&self, file: &FileJob) {
        let mut lanes = self.0.borrow_mut();
        while let Some(next) = lanes.get_mut(file.path()).and_then(VecDeque::pop_front) {
            if next.told.send(Turn::Yours(next.frame)).is_ok() {
                return;
            }
        }
        lanes.remove(file.path());
    }
}

impl Behind {
    /// Tells them how it went.
    pub(super) fn tell(self, outcome: &Result<(), SinkError>) {
        for told in self.0 {
            // Who does not listen any more has given the session up.
            drop(told.send(Turn::Over(outcome.clone())));
        }
    }
}
