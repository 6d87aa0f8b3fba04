//! The sending side: one task per link that hands queued messages to the socket, many at once, and keeps
//! watch over the peer, whether there is anything to send or not.

use std::{
    pin::{Pin, pin},
    rc::Rc,
};

use futures_util::future::{Either, select};
use narrows_ring::{buffer::Buffer, world::Local};

use super::{LinkError, Shared, inbound::HEARTBEAT};
use crate::limits::{HEADER_BYTES, HEARTBEAT_EVERY, SILENCE_MAX, SOCKET_BYTES, STALL_MAX};

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
    let mut tick = next_tick(shared);
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
                tick = under_watch(shared, tick, pin!(write_queue(shared))).await?;
            }
            Either::Right(((), _)) => {
                watch(shared)?;
                if !wrote {
                    let heartbeat = heartbeat();
                    shared.count_sent(heartbeat.len());
                    shared.enqueue(heartbeat);
                }
                wrote = false;
                tick = next_tick(shared);
            }
        }
    }
}

fn next_tick(shared: &Shared) -> Local<'_, ()> {
    shared.world.clock.sleep(HEARTBEAT_EVERY)
}

/// Writes, and looks at each tick whether it still makes sense: a queue that never empties, or a peer that does not read,
/// puts nothing off. Gives the tick that is to come.
async fn under_watch<'a>(
    shared: &'a Shared,
    mut tick: Local<'a, ()>,
    mut writing: Pin<&mut impl Future<Output = Result<(), LinkError>>>,
) -> Result<Local<'a, ()>, LinkError> {
    loop {
        match select(writing.as_mut(), &mut tick).await {
            Either::Left((outcome, _)) => return outcome.map(|()| tick),
            Either::Right(((), _)) => {
                shared.failure().map_or(Ok(()), Err)?;
                watch(shared)?;
                tick = next_tick(shared);
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

/// A peer that is silent, takes nothing or is no longer believed ends the link.
fn watch(shared: &Shared) -> Result<(), LinkError> {
    let now = shared.world.clock.monotonic();
    if shared.listening.get() && now.saturating_sub(shared.heard.get()) > SILENCE_MAX {
        return Err(LinkError::Silent);
    }
    if shared.sending.get().is_some_and(|since| now.saturating_sub(since) > STALL_MAX) {
        return Err(LinkError::Stalled);
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
    shared.sending.set(Some(shared.world.clock.monotonic()));
    let (result, _buffer) = shared.stream.send(buffer).await;
    shared.sending.set(None);
    result.map_err(|error| LinkError::Broken(error.to_string()))
}
