//! How much is under way: credit, puts, and what is durable.
//!
//! Credit goes back when what it let in has been dealt with, so the window bounds what waits here; a second
//! bound on plain bytes holds against frames that are small on the wire and large inside.

use std::{collections::VecDeque, pin::pin};

use futures_util::{
    StreamExt as _,
    future::{select, try_join},
    stream,
};
use narrows_format::Fingerprint;
use narrows_wire::Message;

use super::Incoming;
use crate::{
    DataFrame, ExchangeError, NodeFrame,
    hello::send,
    limits::{CREDIT_BYTES_MIN, PLAIN_BYTES_MAX, PUTS_MAX, SYNC_BYTES, SYNC_EVERY},
};

/// Something for the store.
pub(super) struct Put {
    pub(super) kind: PutKind,
    /// What is in the store afterwards.
    pub(super) names: Vec<Fingerprint>,
    pub(super) receipt: Receipt,
}

pub(super) enum PutKind {
    Data(DataFrame),
    Nodes(NodeFrame),
    /// Possession was shown; nothing has to be kept.
    Nothing,
}

/// What a frame took on its way in, to be given back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    message_bytes: usize,
    plain_bytes: usize,
    /// Which frame of the session.
    frame: u64,
}

/// See the module.
pub(super) struct Intake {
    window: u64,
    /// Credit that the source has used and not got back.
    used: u64,
    /// Of it, what may go back.
    returnable: u64,
    plain_bytes: usize,
    /// Bytes of messages that were read and are not taken yet, and room for what they hold.
    opening_bytes: usize,
    /// Frames from `kept_frames` on, in order of arrival: bytes, and whether they are put.
    frames: VecDeque<(u64, bool)>,
    /// Frames and bytes up to which everything is put.
    kept: (u64, u64),
    /// The same, durable.
    synced: (u64, u64),
}

impl Intake {
    pub(super) fn new(window: u32) -> Self {
        Self {
            window: u64::from(window),
            used: 0,
            returnable: 0,
            plain_bytes: 0,
            opening_bytes: 0,
            frames: VecDeque::new(),
            kept: (0, 0),
            synced: (0, 0),
        }
    }

    /// A message that costs credit.
    pub(super) fn enter(&mut self, message_bytes: usize) -> Result<(), ExchangeError> {
        self.used += message_bytes as u64;
        if self.used > self.window {
            return Err(ExchangeError::limit("more was sent than credit was given"));
        }
        Ok(())
    }

    /// A message with a frame.
    pub(super) fn enter_frame(
        &mut self,
        message_bytes: usize,
        frame_bytes: usize,
        plain_bytes: usize,
    ) -> Result<Receipt, ExchangeError> {
        self.enter(message_bytes)?;
        self.plain_bytes += plain_bytes;
        let frame = self.kept.0 + self.frames.len() as u64;
        self.frames.push_back((frame_bytes as u64, false));
        Ok(Receipt { message_bytes, plain_bytes, frame })
    }

    /// A message without a frame was dealt with.
    pub(super) fn leave(&mut self, message_bytes: usize) {
        self.returnable += message_bytes as u64;
    }

    fn leave_frame(&mut self, receipt: Receipt) {
        self.leave(receipt.message_bytes);
        self.plain_bytes -= receipt.plain_bytes;
        let place = usize::try_from(receipt.frame - self.kept.0).ok();
        if let Some(frame) = place.and_then(|place| self.frames.get_mut(place)) {
            frame.1 = true;
        }
        while let Some((bytes, true)) = self.frames.front().copied() {
            self.frames.pop_front();
            self.kept = (self.kept.0 + 1, self.kept.1 + bytes);
        }
    }

    /// A message was read that takes so much room until it is taken.
    pub(super) fn begin_opening(&mut self, bytes: usize) {
        self.opening_bytes += bytes;
    }

    /// It is taken.
    pub(super) fn end_opening(&mut self, bytes: usize) {
        self.opening_bytes -= bytes;
    }

    /// Whether the reader may take the next message from the connection.
    pub(super) fn has_room(&self) -> bool {
        self.plain_bytes + self.opening_bytes < PLAIN_BYTES_MAX
    }

    pub(super) fn is_idle(&self) -> bool {
        self.frames.is_empty()
    }

    fn is_unsynced(&self) -> bool {
        self.kept.0 > self.synced.0
    }

    fn take_credit(&mut self) -> Option<u32> {
        let due = self.returnable >= u64::from(CREDIT_BYTES_MIN).min(self.window / 4);
        let bytes = u32::try_from(self.returnable).ok().filter(|_| due)?;
        self.used -= self.returnable;
        self.returnable = 0;
        Some(bytes)
    }
}

impl Incoming<'_> {
    /// Puts what has come, and gives back the credit, as long as the session lasts. Puts go on while credit waits for a source
    /// that does not read: others wait for the buffers that they stand for.
    pub(super) async fn keep_all(&self) -> Result<(), ExchangeError> {
        try_join(self.put_all(), self.return_credit()).await.map(|_| ())
    }

    /// Gives back credit whenever there is a fair piece of it.
    async fn return_credit(&self) -> Result<(), ExchangeError> {
        loop {
            let bytes = self.gate.until(|| self.state.borrow_mut().intake.take_credit()).await;
            send(&self.session.link, &Message::Credit(bytes)).await?;
        }
    }

    async fn put_all(&self) -> Result<(), ExchangeError> {
        let puts = stream::unfold((), |()| async {
            let next = self.gate.until(|| self.state.borrow_mut().puts.pop_front()).await;
            Some((next, ()))
        });
        let mut kept = Box::pin(puts.map(|put| self.keep(put)).buffer_unordered(PUTS_MAX));
        while let Some(outcome) = kept.next().await {
            outcome?;
        }
        Ok(())
    }

    async fn keep(&self, put: Put) -> Result<(), ExchangeError> {
        let outcome = match put.kind {
            PutKind::Data(frame) => self.store.put_data(frame).await,
            PutKind::Nodes(frame) => self.store.put_nodes(frame).await,
            PutKind::Nothing => Ok(()),
        };
        outcome.map_err(ExchangeError::Store)?;
        let mut state = self.state.borrow_mut();
        for name in &put.names {
            state.open.put_done(name);
        }
        state.intake.leave_frame(put.receipt);
        drop(state);
        self.gate.open();
        Ok(())
    }

    /// Makes durable what was put, and says so.
    pub(super) async fn sync_all(&self) -> Result<(), ExchangeError> {
        loop {
            self.gate.until(|| self.state.borrow().intake.is_unsynced().then_some(())).await;
            let enough = pin!(self.gate.until(|| {
                let intake = &self.state.borrow().intake;
                (intake.kept.1 - intake.synced.1 >= SYNC_BYTES).then_some(())
            }));
            select(enough, self.session.link.world().clock.sleep(SYNC_EVERY)).await;
            let upto = self.state.borrow().intake.kept;
            self.store.sync().await.map_err(ExchangeError::Store)?;
            {
                let mut state = self.state.borrow_mut();
                state.intake.synced = upto;
                state.received.durable_bytes = upto.1;
            }
            let (frames, bytes) = upto;
            send(&self.session.link, &Message::Durable { bytes, frames }).await?;
        }
    }
}
