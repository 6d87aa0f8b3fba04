//! A network with latency, bandwidth, breaks, and hosts that are cut off. Bytes arrive in order and whole, or the connection breaks.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::poll_fn,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use super::{Host, Seat, Shared};
use crate::{
    buffer::Buffer,
    world::{Listener, Local, Net, Stream},
};

/// How connections behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFaults {
    /// One way, at the least.
    pub latency: Duration,
    /// Bytes a second in one direction of one connection; 0 is no limit.
    pub bandwidth: u64,
    /// Each connection breaks after so many bytes in one direction; 0 is never.
    pub break_after: u64,
}

impl Default for LinkFaults {
    fn default() -> Self {
        Self { latency: Duration::from_micros(50), bandwidth: 0, break_after: 0 }
    }
}

/// Bytes that a direction holds before its sender waits.
const WINDOW: usize = 4 << 20;
/// How long a dial waits for a host that does not answer: what six repetitions of a SYN take on Linux.
const CONNECT_MAX: Duration = Duration::from_secs(127);
/// How often such a dial is repeated.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
/// First port that is given to a listener that asks for port 0.
const FIRST_PORT: u16 = 20_000;

#[derive(Default)]
pub(super) struct Network {
    pub(super) faults: LinkFaults,
    listeners: BTreeMap<SocketAddr, Listening>,
    /// Both directions of each connection; the ends are even and odd.
    pipes: BTreeMap<u64, Pipe>,
    next_connection: u64,
    next_port: u16,
    /// Hosts to and from which nothing comes through.
    cut_off: BTreeSet<Host>,
}

struct Listening {
    host: Host,
    waiting: VecDeque<(u64, SocketAddr)>,
    waker: Option<Waker>,
}

/// One direction: the end with this number receives from it.
struct Pipe {
    host: Host,
    pieces: VecDeque<(Duration, Vec<u8>)>,
    held: usize,
    carried: u64,
    /// When the last byte that was sent leaves the wire.
    wire_free: Duration,
    ended: bool,
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(host: Host) -> Self {
        Self {
            host,
            pieces: VecDeque::new(),
            held: 0,
            carried: 0,
            wire_free: Duration::ZERO,
            ended: false,
            broken: false,
            reader: None,
            writer: None,
        }
    }

    fn wakers(&mut self) -> Vec<Waker> {
        self.reader.take().into_iter().chain(self.writer.take()).collect()
    }
}

impl Network {
    pub(super) fn cut_off(&mut self, host: Host) {
        self.cut_off.insert(host);
    }

    /// The wakers of those who wait for something.
    pub(super) fn rejoin(&mut self, host: Host) -> Vec<Waker> {
        self.cut_off.remove(&host);
        self.pipes.values_mut().flat_map(Pipe::wakers).collect()
    }

    fn is_cut_off(&self, host: Host, to: SocketAddr) -> bool {
        let there = self.listeners.get(&to).map(|listening| listening.host);
        there.into_iter().chain([host]).any(|host| self.cut_off.contains(&host))
    }

    /// Connections and listeners of a host that lost power; the wakers of those who hear of it.
    pub(super) fn end_host(&mut self, host: Host) -> Vec<Waker> {
        self.listeners.retain(|_, listening| listening.host != host);
        let ends: Vec<u64> =
            self.pipes.iter().filter(|(_, pipe)| pipe.host == host).map(|(id, _)| *id).collect();
        ends.into_iter().flat_map(|end| self.break_connection(end)).collect()
    }

    fn break_connection(&mut self, end: u64) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for end in [end, end ^ 1] {
            if let Some(pipe) = self.pipes.get_mut(&end) {
                pipe.broken = true;
                pipe.pieces.clear();
                wakers.extend(pipe.wakers());
            }
        }
        wakers
    }

    fn listen(&mut self, host: Host, mut on: SocketAddr) -> io::Result<SocketAddr> {
        if on.port() == 0 {
            on.set_port(FIRST_PORT + self.next_port);
            self.next_port += 1;
        }
        if self.listeners.contains_key(&on) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        self.listeners.insert(on, Listening { host, waiting: VecDeque::new(), waker: None });
        Ok(on)
    }

    /// The dialler's end of a new connection.
    fn connect(&mut self, host: Host, to: SocketAddr) -> io::Result<(u64, Option<Waker>)> {
        let listening = self.listeners.get_mut(&to).ok_or(io::ErrorKind::ConnectionRefused)?;
        let dialler = self.next_connection * 2;
        self.next_connection += 1;
        listening.waiting.push_back((dialler + 1, SocketAddr::from(([127, 0, 0, 1], 1))));
        self.pipes.insert(dialler, Pipe::new(host));
        self.pipes.insert(dialler + 1, Pipe::new(listening.host));
        Ok((dialler, listening.waker.take()))
    }

    /// Puts what there is room for into the direction towards `end`'s peer.
    fn put(&mut self, end: u64, bytes: &[u8], now: Duration) -> io::Result<(usize, Vec<Waker>)> {
        let faults = self.faults;
        let pipe = self.pipes.get_mut(&(end ^ 1)).ok_or(io::ErrorKind::BrokenPipe)?;
        if pipe.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if pipe.ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(WINDOW - pipe.held);
        if count == 0 {
            return Ok((0, Vec::new()));
        }
        pipe.carried += count as u64;
        if faults.break_after > 0 && pipe.carried > faults.break_after {
            return Ok((count, self.break_connection(end)));
        }
        let sending = (count as u64 * 1_000_000_000).checked_div(faults.bandwidth).unwrap_or(0);
        pipe.wire_free = pipe.wire_free.max(now) + Duration::from_nanos(sending);
        pipe.pieces.push_back((pipe.wire_free + faults.latency, bytes[..count].to_vec()));
        pipe.held += count;
        Ok((count, pipe.reader.take().into_iter().collect()))
    }
}

/// What a look at the incoming direction says.
enum Incoming {
    Bytes(usize, Option<Waker>),
    At(Duration),
    Nothing,
}

impl Network {
    fn get(&mut self, end: u64, into: &mut Buffer, most: usize, now: Duration) -> io::Result<Incoming> {
        let is_at_an_end =
            |end: u64| self.pipes.get(&end).is_some_and(|pipe| self.cut_off.contains(&pipe.host));
        let is_cut_off = is_at_an_end(end) || is_at_an_end(end ^ 1);
        let pipe = self.pipes.get_mut(&end).ok_or(io::ErrorKind::NotConnected)?;
        if pipe.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if is_cut_off {
            return Ok(Incoming::Nothing);
        }
        let Some((due, piece)) = pipe.pieces.front_mut() else {
            return Ok(if pipe.ended { Incoming::Bytes(0, None) } else { Incoming::Nothing });
        };
        if *due > now {
            return Ok(Incoming::At(*due));
        }
        let count = piece.len().min(most);
        into.set_len(0);
        into.append(&piece[..count]);
        if count == piece.len() {
            pipe.pieces.pop_front();
        } else {
            piece.drain(..count);
        }
        pipe.held -= count;
        Ok(Incoming::Bytes(count, pipe.writer.take()))
    }

    /// No more bytes from `end`; what is under way still arrives.
    fn end_sending(&mut self, end: u64) -> Option<Waker> {
        let pipe = self.pipes.get_mut(&(end ^ 1))?;
        pipe.ended = true;
        pipe.reader.take()
    }
}

impl Net for Seat {
    fn connect(&self, to: SocketAddr) -> Local<'_, io::Result<Rc<dyn Stream>>> {
        Box::pin(async move {
            let trip = self.shared.net.borrow().faults.latency * 2;
            self.shared.executor.sleep(trip).await;
            let given_up = self.shared.executor.now() + CONNECT_MAX;
            while self.shared.net.borrow().is_cut_off(self.host, to) {
                if self.shared.executor.now() >= given_up {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                self.shared.executor.sleep(CONNECT_AGAIN).await;
            }
            let (end, waker) = self.shared.net.borrow_mut().connect(self.host, to)?;
            if let Some(waker) = waker {
                waker.wake();
            }
            let stream: Rc<dyn Stream> = Rc::new(SimStream::new(self.shared.clone(), end));
            Ok(stream)
        })
    }

    fn listen(&self, on: SocketAddr) -> Local<'_, io::Result<Rc<dyn Listener>>> {
        Box::pin(async move {
            let on = self.shared.net.borrow_mut().listen(self.host, on)?;
            let listener: Rc<dyn Listener> = Rc::new(SimListener { shared: self.shared.clone(), on });
            Ok(listener)
        })
    }

    fn adopt(&self, _socket: OwnedFd) -> Local<'_, io::Result<Rc<dyn Stream>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

struct SimListener {
    shared: Rc<Shared>,
    on: SocketAddr,
}

impl Listener for SimListener {
    fn accept(&self) -> Local<'_, io::Result<(Rc<dyn Stream>, SocketAddr)>> {
        Box::pin(poll_fn(|context| {
            let mut net = self.shared.net.borrow_mut();
            let Some(listening) = net.listeners.get_mut(&self.on) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let Some((end, from)) = listening.waiting.pop_front() else {
                listening.waker = Some(context.waker().clone());
                return Poll::Pending;
            };
            let stream: Rc<dyn Stream> = Rc::new(SimStream::new(self.shared.clone(), end));
            Poll::Ready(Ok((stream, from)))
        }))
    }

    fn local_addr(&self) -> SocketAddr {
        self.on
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.shared.net.borrow_mut().listeners.remove(&self.on);
    }
}

struct SimStream {
    shared: Rc<Shared>,
    end: u64,
    shut: Cell<bool>,
    receiving: Cell<bool>,
    sending: Cell<bool>,
}

/// One future's turn on one direction; another one at the same time is a bug of the caller, here as on the ring.
struct Turn<'a>(&'a Cell<bool>);

impl<'a> Turn<'a> {
    fn take(busy: &'a Cell<bool>) -> Self {
        assert!(!busy.replace(true), "one receive and one send at a time");
        Self(busy)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl SimStream {
    fn new(shared: Rc<Shared>, end: u64) -> Self {
        Self { shared, end, shut: Cell::default(), receiving: Cell::default(), sending: Cell::default() }
    }

    /// Waits until somebody wakes the reading side.
    async fn readable(&self) {
        let mut first = true;
        poll_fn(|context| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            if let Some(pipe) = self.shared.net.borrow_mut().pipes.get_mut(&self.end) {
                pipe.reader = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    async fn writable(&self) {
        let mut first = true;
        poll_fn(|context| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            if let Some(pipe) = self.shared.net.borrow_mut().pipes.get_mut(&(self.end ^ 1)) {
                pipe.writer = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    async fn receive_into(&self, buffer: &mut Buffer) -> io::Result<usize> {
        let most = 1 + self.shared.rng.borrow_mut().index(buffer.capacity());
        loop {
            let now = self.shared.executor.now();
            let incoming = self.shared.net.borrow_mut().get(self.end, buffer, most, now)?;
            match incoming {
                Incoming::Bytes(count, waker) => {
                    buffer.set_len(count);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                    return Ok(count);
                }
                Incoming::At(due) => self.shared.executor.sleep(due.saturating_sub(now)).await,
                // Of its own end of a connection to a host that is cut off, it hears all the same.
                Incoming::Nothing if self.shut.get() => {
                    buffer.set_len(0);
                    return Ok(0);
                }
                Incoming::Nothing => self.readable().await,
            }
        }
    }

    async fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let now = self.shared.executor.now();
            let (count, wakers) = self.shared.net.borrow_mut().put(self.end, bytes, now)?;
            for waker in wakers {
                waker.wake();
            }
            bytes = &bytes[count..];
            if count == 0 {
                self.writable().await;
            }
        }
        Ok(())
    }

    fn end_sending(&self) {
        let waker = self.shared.net.borrow_mut().end_sending(self.end);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Stream for SimStream {
    fn receive(&self, mut buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(async move {
            let _turn = Turn::take(&self.receiving);
            let outcome = self.receive_into(&mut buffer).await;
            (outcome, buffer)
        })
    }

    fn send(&self, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        Box::pin(async move {
            let _turn = Turn::take(&self.sending);
            let outcome = if self.shut.get() {
                Err(io::ErrorKind::BrokenPipe.into())
            } else {
                self.send_all(&buffer).await
            };
            (outcome, buffer)
        })
    }

    fn shut_down(&self) -> Local<'_, ()> {
        Box::pin(async move {
            self.shut.set(true);
            self.end_sending();
            let wakers = {
                let mut net = self.shared.net.borrow_mut();
                net.pipes.get_mut(&self.end).map(|pipe| {
                    pipe.ended = true;
                    pipe.wakers()
                })
            };
            for waker in wakers.into_iter().flatten() {
                waker.wake();
            }
        })
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.end_sending();
        // Who still sends to this end is told, as by a reset.
        let writer = {
            let mut net = self.shared.net.borrow_mut();
            net.pipes.get_mut(&self.end).and_then(|pipe| {
                pipe.ended = true;
                pipe.pieces.clear();
                pipe.writer.take()
            })
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}
