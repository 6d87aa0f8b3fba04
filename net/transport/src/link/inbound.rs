//! The receiving side: bytes from the socket, through TLS, cut into messages.
//!
//! A message's memory is taken once its header was checked; what arrives goes straight there.

use std::collections::VecDeque;

use super::{LinkError, Shared};
use crate::limits::{HEADER_BYTES, MESSAGE_BYTES_MAX, RECEIVE_BYTES};

/// Type byte of a heartbeat: the link's own message.
pub(super) const HEARTBEAT: u8 = crate::limits::HEARTBEAT_TYPE;

/// What has arrived and was not taken: whole messages, and the one that is coming.
#[derive(Default)]
pub(super) struct Inbound {
    whole: VecDeque<Vec<u8>>,
    /// The message that is coming: its header first, then room for all of it.
    coming: Vec<u8>,
    /// What came behind the whole messages is none.
    bad: Option<LinkError>,
    ended: bool,
}

impl Inbound {
    /// Adds plain bytes that arrived: each goes straight to its message.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.bad.is_none() {
            let known = self.coming.first_chunk().copied().map_or(HEADER_BYTES, message_bytes);
            let (taken, rest) = bytes.split_at(bytes.len().min(known - self.coming.len()));
            self.coming.extend_from_slice(taken);
            bytes = rest;
            let Some(whole) = self.coming.first_chunk().copied().map(message_bytes) else { return };
            if whole > MESSAGE_BYTES_MAX {
                let why = "a message longer than the limit";
                self.bad = Some(LinkError::Malformed { code: "WIRE-003", why });
            } else if whole == self.coming.len() {
                self.whole.push_back(std::mem::take(&mut self.coming));
            } else {
                self.coming.reserve_exact(whole - self.coming.len());
            }
        }
    }

    /// The peer said goodbye: nothing comes any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    fn is_between_messages(&self) -> bool {
        self.coming.is_empty() && self.whole.is_empty()
    }
}

/// Length of a message by its header, which may say anything.
fn message_bytes(header: [u8; HEADER_BYTES]) -> usize {
    HEADER_BYTES + u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize
}

impl Shared {
    /// The next message that has arrived whole.
    pub(super) fn next_message(&self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            let mut inbound = self.inbound.borrow_mut();
            let Some(message) = inbound.whole.pop_front() else {
                return inbound.bad.clone().map_or(Ok(None), Err).inspect_err(|error| self.fail(error));
            };
            drop(inbound);
            self.count_received(message.len());
            if message[0] != HEARTBEAT {
                return Ok(Some(message));
            }
        }
    }

    /// Takes more from the socket.
    pub(super) async fn fill(&self) -> Result<(), LinkError> {
        if self.inbound.borrow().ended {
            return Err(self.end_of_stream());
        }
        let buffer = self.world.arena.take(RECEIVE_BYTES).await;
        if !self.listening.replace(true) {
            self.heard.set(self.world.clock.monotonic());
        }
        let (result, buffer) = self.stream.receive(buffer).await;
        let outcome = match result {
            Ok(0) => Err(self.end_of_stream()),
            Ok(_) => {
                self.listening.set(false);
                self.channel.borrow_mut().take_in(&buffer, &mut self.inbound.borrow_mut())
            }
            Err(error) => Err(LinkError::Broken(error.to_string())),
        };
        if self.channel.borrow().wants_write() {
            self.gate.open();
        }
        // A failure that was noted earlier (silence, revocation) is the reason for this one.
        outcome.map_err(|error| {
            self.fail(&error);
            self.failure().unwrap_or(error)
        })
    }

    fn end_of_stream(&self) -> LinkError {
        if self.inbound.borrow().is_between_messages() {
            LinkError::Closed
        } else {
            LinkError::Broken("the connection ended within a message".to_owned())
        }
    }
}
