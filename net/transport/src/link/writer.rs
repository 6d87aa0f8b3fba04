//! The sending side: one task per link that hands queued messages to the socket, many at once, and keeps
//! watch over a quiet peer.

use std::{pin::pin, rc::Rc};

use futures_util::future::{Either, select};
use narrows_ring::buffer::Buffer;

use super::{LinkError, Shared, inbound::HEARTBEAT};
use crate::limits::{HEADER_BYTES, HEARTBEAT_EVERY, SILENCE_MAX, SOCKET_BYTES};

/// What the writer woke up for.
enum Work {
    Send,
    Close,
    Failed,
}

/// Runs until the link is closed or fails.
pub(super) async fn run(shared: Rc<Shared>) {
    let outcome = write_all(&shared).await;
    if let Err(error) = outcome {
        shared.fail(&error);
    }
    shared.outbound.borrow_mut().done = true;
    shared.gate.open();
    if shared.failure().is_some() {
        // Wakes a receive that waits for a peer that will not come.
        shared.stream.shut_down().await;
    }
}

async fn write_all(shared: &Shared) -> Result<(), LinkError> {
    let clock = Rc::clone(&shared.world.clock);
    let mut tick = clock.sleep(HEARTBEAT_EVERY);
    let mut wrote = false;
    loop {
        let work = pin!(shared.gate.until(|| work(shared)));
        match select(work, &mut tick).await {
            Either::Left((Work::Failed, _)) => return Ok(()),
            Either::Left((Work::Close, _)) => {
                shared.channel.borrow_mut().say_goodbye();
                return flush_channel(shared).await;
            }
            Either::Left((Work::Send, _)) => {
                wrote = true;
                let mut writing = pin!(write_queue(shared));
                // That may take for ever: a peer that reads nothing, or always has more to read.
                loop {
                    match select(&mut writing, &mut tick).await {
                        Either::Left((outcome, _)) => break outcome?,
                        Either::Right(((), _)) => {
                            watch(shared)?;
                            tick = clock.sleep(HEARTBEAT_EVERY);
                        }
                    }
                }
            }
            Either::Right(((), _)) => {
                watch(shared)?;
                if !wrote {
                    let heartbeat = heartbeat();
                    shared.count_sent(heartbeat.len());
                    shared.enqueue(heartbeat);
                }
                wrote = false;
                tick = clock.sleep(HEARTBEAT_EVERY);
            }
        }
    }
}

fn work(shared: &Shared) -> Option<Work> {
    if shared.failed.borrow().is_some() {
        return Some(Work::Failed);
    }
    let outbound = shared.outbound.borrow();
    if !outbound.messages.is_empty() || shared.channel.borrow().wants_write() {
        return Some(Work::Send);
    }
    outbound.closing.then_some(Work::Close)
}

fn heartbeat() -> Vec<u8> {
    let mut message = vec![0; HEADER_BYTES];
    message[0] = HEARTBEAT;
    message
}

/// A peer that is silent or no longer believed ends the link.
fn watch(shared: &Shared) -> Result<(), LinkError> {
    let silent = shared.listening.get()
        && shared.world.clock.monotonic().saturating_sub(shared.heard.get()) > SILENCE_MAX;
    if silent {
        return Err(LinkError::Silent);
    }
    let (Some(peer), Some(trust)) = (&shared.peer, &shared.trust) else { return Ok(()) };
    let domain = peer.principal.domain();
    if trust.refuses(&peer.principal, &peer.serial) {
        return Err(LinkError::Untrusted {
            code: "AUTH-003",
            why: format!("the certificate of the {} was revoked", peer.principal),
        });
    }
    if !trust.believes(domain) {
        return Err(LinkError::Untrusted {
            code: "AUTH-001",
            why: format!("nobody of the domain of the {} is believed any more", peer.principal),
        });
    }
    Ok(())
}

/// Hands over what is queued, one socket buffer after the other.
async fn write_queue(shared: &Shared) -> Result<(), LinkError> {
    loop {
        let mut buffer = shared.world.arena.take(SOCKET_BYTES).await;
        fill(shared, &mut buffer)?;
        if buffer.is_empty() {
            return Ok(());
        }
        send(shared, buffer).await?;
        // Room in the queue: whoever waits in `send` may go on.
        shared.gate.open();
    }
}

/// Moves queued messages, sealed under TLS, into the buffer until either is at its end.
fn fill(shared: &Shared, buffer: &mut Buffer) -> Result<(), LinkError> {
    let mut channel = shared.channel.borrow_mut();
    let mut outbound = shared.outbound.borrow_mut();
    loop {
        channel.drain_sealed(buffer);
        if channel.wants_write() {
            return Ok(());
        }
        let Some(message) = outbound.messages.front() else { return Ok(()) };
        let room = channel.room_in(buffer);
        if message.len() > room && !buffer.is_empty() {
            return Ok(());
        }
        channel.seal(message, buffer)?;
        outbound.bytes -= message.len();
        outbound.messages.pop_front();
    }
}

async fn flush_channel(shared: &Shared) -> Result<(), LinkError> {
    loop {
        let mut buffer = shared.world.arena.take(SOCKET_BYTES).await;
        shared.channel.borrow_mut().drain_sealed(&mut buffer);
        if buffer.is_empty() {
            return Ok(());
        }
        send(shared, buffer).await?;
    }
}

async fn send(shared: &Shared, buffer: Buffer) -> Result<(), LinkError> {
    let (result, _buffer) = shared.stream.send(buffer).await;
    result.map_err(|error| LinkError::Broken(error.to_string()))
}
