//! A TCP connection on the ring.
//!
//! Guarantee: no received byte is lost with a dropped future. The operation under way belongs to the stream,
//! not to the future: a dropped receive is cancelled, and the next one first awaits its end and serves what
//! it had brought. A dropped send goes on, and the next one follows after it.

use std::{
    cell::{Cell, RefCell},
    future::{Future as _, poll_fn},
    io,
    ops::Range,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::{
    driver::{Descriptor, Driver},
    operation::{Operation, Unawaited},
    request::{Request, ZeroCopy},
    slots::Landing,
};
use crate::{
    buffer::{Arena, Buffer},
    limits::{LINGERING_SHARE, SEND_ZC_BYTES_MIN},
    world::{Local, Stream},
};

/// A connection. Dropping it cancels what is under way; its descriptor is closed when that has ended.
pub(super) struct RingStream {
    driver: Rc<Driver>,
    socket: Rc<Descriptor>,
    reading: RefCell<Reading>,
    writing: RefCell<Writing>,
    arena: Arena,
    zero_copy: Rc<Cell<ZeroCopy>>,
}

#[derive(Default)]
struct Reading {
    busy: bool,
    under_way: Option<Operation>,
    /// What a receive brought whose future was dropped.
    kept: Option<(Buffer, Range<usize>)>,
}

#[derive(Default)]
struct Writing {
    busy: bool,
    under_way: Option<Sending>,
}

struct Sending {
    operation: Operation,
    from: usize,
    length: usize,
    /// Given back instead of the memory that a zero-copy send still uses.
    spare: Option<Buffer>,
}

/// How far a send has come.
enum Sent {
    /// The kernel has all bytes but still uses the memory; here is other memory instead.
    Accepted(Buffer),
    /// It has ended.
    Landed(Landing, usize),
}

/// One future's turn on one direction; another one at the same time is a bug of the caller.
struct Turn<'a> {
    stream: &'a RingStream,
    direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Reading,
    Writing,
}

impl RingStream {
    pub(super) fn over(driver: &Rc<Driver>, arena: &Arena, socket: Rc<Descriptor>) -> Rc<dyn Stream> {
        let at_first = if driver.may_send_zc() { ZeroCopy::Untried } else { ZeroCopy::Useless };
        Rc::new(Self {
            driver: Rc::clone(driver),
            socket,
            reading: RefCell::default(),
            writing: RefCell::default(),
            arena: arena.clone(),
            zero_copy: Rc::new(Cell::new(at_first)),
        })
    }

    fn turn(&self, direction: Direction) -> Turn<'_> {
        let busy = match direction {
            Direction::Reading => std::mem::replace(&mut self.reading.borrow_mut().busy, true),
            Direction::Writing => std::mem::replace(&mut self.writing.borrow_mut().busy, true),
        };
        assert!(!busy, "one receive and one send at a time");
        Turn { stream: self, direction }
    }

    async fn read(&self, mut buffer: Buffer) -> (io::Result<usize>, Buffer) {
        let _turn = self.turn(Direction::Reading);
        loop {
            if let Some(count) = self.serve_kept(&mut buffer) {
                return (Ok(count), buffer);
            }
            if self.reading.borrow().under_way.is_some() {
                let landing = self.received().await;
                match landing.count() {
                    Err(error) if cancelled(&error) => {}
                    Ok(count) if count > 0 => self.keep(landing.held.into_buffer(), count),
                    outcome => {
                        buffer.set_len(0);
                        return (outcome, buffer);
                    }
                }
                continue;
            }
            let request = Request::receive(&self.socket, buffer);
            let operation = self.driver.start(request, Unawaited::Cancelled);
            self.reading.borrow_mut().under_way = Some(operation);
            let landing = self.received().await;
            let outcome = landing.count();
            buffer = landing.held.into_buffer();
            match outcome {
                Err(error) if cancelled(&error) => {}
                outcome => {
                    buffer.set_len(*outcome.as_ref().unwrap_or(&0));
                    return (outcome, buffer);
                }
            }
        }
    }

    async fn received(&self) -> Landing {
        poll_fn(|context| {
            let mut reading = self.reading.borrow_mut();
            let operation = reading.under_way.as_mut().expect("taken only when it has landed");
            let landing = ready!(Pin::new(operation).poll(context));
            reading.under_way = None;
            Poll::Ready(landing)
        })
        .await
    }

    fn keep(&self, buffer: Buffer, count: usize) {
        self.reading.borrow_mut().kept = Some((buffer, 0..count));
    }

    fn serve_kept(&self, buffer: &mut Buffer) -> Option<usize> {
        let mut reading = self.reading.borrow_mut();
        let (mut kept, mut rest) = reading.kept.take()?;
        kept.set_len(rest.end);
        buffer.set_len(0);
        let count = buffer.append(&kept[rest.clone()]);
        rest.start += count;
        if !rest.is_empty() {
            reading.kept = Some((kept, rest));
        }
        Some(count)
    }

    async fn write(&self, buffer: Buffer) -> (io::Result<()>, Buffer) {
        let _turn = self.turn(Direction::Writing);
        if self.writing.borrow().under_way.is_some()
            && let (Err(error), _) = self.sent().await
        {
            return (Err(error), buffer);
        }
        if buffer.is_empty() {
            return (Ok(()), buffer);
        }
        self.send_from(buffer, 0);
        self.sent().await
    }

    fn send_from(&self, buffer: Buffer, from: usize) {
        let length = buffer.len();
        let spare = self.spare_for(&buffer, length - from);
        let request = if spare.is_some() {
            Request::send_zc(&self.socket, buffer, from, &self.zero_copy)
        } else {
            Request::send(&self.socket, buffer, from)
        };
        let operation = self.driver.start(request, Unawaited::Cancelled);
        self.writing.borrow_mut().under_way = Some(Sending { operation, from, length, spare });
    }

    /// Memory to give back instead of the buffer's, if so many bytes of it are to be sent from where they lie.
    ///
    /// The notification comes when the peer has acknowledged. Nobody waits for it: two peers that both send
    /// before they receive would wait for each other. So without memory to spare the kernel copies, and what
    /// is unacknowledged never takes the memory that receiving needs.
    fn spare_for(&self, buffer: &Buffer, bytes: usize) -> Option<Buffer> {
        let worth_it = matches!(self.zero_copy.get(), ZeroCopy::Untried | ZeroCopy::Works);
        let most = self.arena.total() / LINGERING_SHARE;
        if !worth_it || bytes < SEND_ZC_BYTES_MIN || self.driver.lingering() + buffer.capacity() > most {
            return None;
        }
        let spare = self.arena.try_take(buffer.capacity())?;
        if self.zero_copy.get() == ZeroCopy::Untried {
            self.zero_copy.set(ZeroCopy::Trying);
        }
        Some(spare)
    }

    /// Awaits the end of the send under way, going on after short ones.
    async fn sent(&self) -> (io::Result<()>, Buffer) {
        loop {
            let (landing, from) = match poll_fn(|context| self.poll_sent(context)).await {
                Sent::Accepted(other) => return (Ok(()), other),
                Sent::Landed(landing, from) => (landing, from),
            };
            let outcome = landing.count();
            let buffer = landing.held.into_buffer();
            let from = match outcome {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(count) => from + count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => from,
                Err(error) if self.zero_copy.get() != ZeroCopy::Useless && refuses_zero_copy(&error) => {
                    self.zero_copy.set(ZeroCopy::Useless);
                    from
                }
                Err(error) => return (Err(error), buffer),
            };
            if from == buffer.len() {
                return (Ok(()), buffer);
            }
            self.send_from(buffer, from);
        }
    }

    fn poll_sent(&self, context: &mut Context<'_>) -> Poll<Sent> {
        let mut writing = self.writing.borrow_mut();
        let sending = writing.under_way.as_mut().expect("taken only when it has ended");
        let from = sending.from;
        if let Poll::Ready(landing) = Pin::new(&mut sending.operation).poll(context) {
            writing.under_way = None;
            return Poll::Ready(Sent::Landed(landing, from));
        }
        let accepted = sending.operation.so_far().and_then(|count| usize::try_from(count).ok());
        if accepted.is_none_or(|count| from + count < sending.length) {
            return Poll::Pending;
        }
        let Some(Sending { operation, spare: Some(spare), .. }) = writing.under_way.take() else {
            unreachable!("only zero-copy sends are accepted before they land, and each has a spare")
        };
        drop(writing);
        operation.let_finish();
        Poll::Ready(Sent::Accepted(spare))
    }
}

// The socket cannot, or pinning the memory would pass a limit: copying always works.
fn refuses_zero_copy(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    matches!(code, Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOMEM | libc::ENOBUFS))
}

fn cancelled(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED) || error.kind() == io::ErrorKind::Interrupted
}

impl Stream for RingStream {
    fn receive(&self, buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(self.read(buffer))
    }

    fn send(&self, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        Box::pin(self.write(buffer))
    }

    fn shut_down(&self) -> Local<'_, ()> {
        Box::pin(async move {
            // A connection that is down already is what was asked for.
            drop(self.driver.start(Request::shut_down(&self.socket), Unawaited::Finishes).await.count());
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        match self.direction {
            Direction::Reading => {
                let mut reading = self.stream.reading.borrow_mut();
                reading.busy = false;
                if let Some(operation) = &reading.under_way {
                    // The future was dropped: its end is for the next one to await.
                    operation.cancel();
                }
            }
            Direction::Writing => self.stream.writing.borrow_mut().busy = false,
        }
    }
}
