//! The receiving side: bytes from the socket, through TLS, cut into messages.
//!
//! A message's memory is taken once its header was checked, and grows with what really arrives.

use super::{LinkError, Shared};
use crate::limits::{HEADER_BYTES, MESSAGE_BYTES_MAX, RECEIVE_BYTES};

/// Type byte of a heartbeat: the link's own message.
pub(super) const HEARTBEAT: u8 = crate::limits::HEARTBEAT_TYPE;

/// Plain bytes that have arrived and are no whole message yet.
#[derive(Default)]
pub(super) struct Inbound {
    plain: Vec<u8>,
    /// Where the next message begins in `plain`.
    start: usize,
    ended: bool,
}

impl Inbound {
    /// Adds plain bytes that arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && self.start * 2 >= self.plain.len() {
            self.plain.drain(..self.start);
            self.start = 0;
        }
        self.plain.extend_from_slice(bytes);
    }

    /// Cuts off the next whole message.
    fn cut(&mut self) -> Result<Option<Vec<u8>>, LinkError> {
        let rest = &self.plain[self.start..];
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length > MESSAGE_BYTES_MAX - HEADER_BYTES {
            return Err(LinkError::Malformed { code: "WIRE-003", why: "a message longer than the limit" });
        }
        let Some(message) = rest.get(..HEADER_BYTES + length) else { return Ok(None) };
        let message = message.to_vec();
        self.start += message.len();
        if self.start == self.plain.len() {
            self.plain.clear();
            self.start = 0;
        }
        Ok(Some(message))
    }

    /// The peer said goodbye: nothing comes any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    fn is_between_messages(&self) -> bool {
        self.start == self.plain.len()
    }
}

impl Shared {
    /// The next message that has arrived whole.
    pub(super) fn next_message(&self) -> Result<Option<Vec<u8>>, LinkError> {
        loop {
            let cut = self.inbound.borrow_mut().cut();
            match cut {
                Ok(Some(message)) => {
                    self.count_received(message.len());
                    if message[0] != HEARTBEAT {
                        return Ok(Some(message));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => {
                    self.fail(&error);
                    return Err(error);
                }
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
