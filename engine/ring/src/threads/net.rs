//! TCP by calls that never wait; waiting is for readiness, so a dropped future loses nothing.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{self, RecvFlags, SendFlags, Shutdown, SocketFlags, sockopt},
};

use super::readiness::Readiness;
use crate::{
    buffer::Buffer,
    files::{self, Waits},
    worker_threads::Helpers,
    world::{Listener, Local, Net, Stream},
};

/// The network.
pub(crate) struct ThreadNet {
    pub(crate) readiness: Rc<Readiness>,
    pub(crate) helpers: Arc<Helpers>,
}

struct ThreadListener {
    readiness: Rc<Readiness>,
    socket: Arc<OwnedFd>,
    address: SocketAddr,
}

struct ThreadStream {
    readiness: Rc<Readiness>,
    socket: Arc<OwnedFd>,
    receiving: Cell<bool>,
    sending: Cell<bool>,
    /// The rest of a send whose future was dropped; it goes out before the next one.
    unsent: RefCell<Option<(Buffer, usize)>>,
}

impl Net for ThreadNet {
    fn connect(&self, to: SocketAddr) -> Local<'_, io::Result<Rc<dyn Stream>>> {
        Box::pin(async move {
            let socket = Arc::new(self.helpers.call(move || files::socket(to, Waits::Never)).await?);
            match net::connect(&*socket, &to) {
                Ok(()) => {}
                Err(Errno::INPROGRESS | Errno::INTR) => {
                    self.readiness.ready(&socket, PollFlags::OUT).await;
                    sockopt::socket_error(&*socket)??;
                }
                Err(error) => return Err(error.into()),
            }
            Ok(ThreadStream::over(&self.readiness, socket))
        })
    }

    fn listen(&self, on: SocketAddr) -> Local<'_, io::Result<Rc<dyn Listener>>> {
        Box::pin(async move {
            let (socket, address) = self.helpers.call(move || files::listen(on, Waits::Never)).await?;
            let (readiness, socket) = (Rc::clone(&self.readiness), Arc::new(socket));
            Ok(Rc::new(ThreadListener { readiness, socket, address }) as Rc<dyn Listener>)
        })
    }

    fn adopt(&self, socket: OwnedFd) -> Local<'_, io::Result<Rc<dyn Stream>>> {
        Box::pin(async move {
            let socket = self.helpers.call(move || files::waits(socket, Waits::Never)).await?;
            Ok(ThreadStream::over(&self.readiness, Arc::new(socket)))
        })
    }
}

impl Listener for ThreadListener {
    fn accept(&self) -> Local<'_, io::Result<(Rc<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let accept = || match net::acceptfrom_with(&*self.socket, flags) {
                // The peer went before it was accepted: the next one is meant.
                Err(Errno::CONNABORTED) => Err(Errno::INTR),
                outcome => outcome,
            };
            let (socket, peer) = self.readiness.when_ready(&self.socket, PollFlags::IN, accept).await?;
            let peer = SocketAddr::try_from(peer.ok_or(io::ErrorKind::InvalidData)?)?;
            Ok((ThreadStream::over(&self.readiness, Arc::new(socket)), peer))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// One future's turn on one direction; another one at the same time is a bug of the caller.
struct Turn<'a>(&'a Cell<bool>);

impl<'a> Turn<'a> {
    fn new(busy: &'a Cell<bool>) -> Self {
        assert!(!busy.replace(true), "one receive and one send at a time");
        Self(busy)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl ThreadStream {
    fn over(readiness: &Rc<Readiness>, socket: Arc<OwnedFd>) -> Rc<dyn Stream> {
        Rc::new(Self {
            readiness: Rc::clone(readiness),
            socket,
            receiving: Cell::new(false),
            sending: Cell::new(false),
            unsent: RefCell::new(None),
        })
    }

    async fn read(&self, buffer: &mut Buffer) -> io::Result<usize> {
        let _turn = Turn::new(&self.receiving);
        buffer.set_len(buffer.capacity());
        let receive = || net::recv(&*self.socket, &mut **buffer, RecvFlags::empty());
        let outcome = self.readiness.when_ready(&self.socket, PollFlags::IN, receive).await;
        let outcome = outcome.map(|(_, count)| count);
        buffer.set_len(*outcome.as_ref().unwrap_or(&0));
        outcome
    }

    async fn write(&self, buffer: Buffer) -> (io::Result<()>, Buffer) {
        let _turn = Turn::new(&self.sending);
        if let (Err(error), _) = self.send_rest().await {
            return (Err(error), buffer);
        }
        *self.unsent.borrow_mut() = Some((buffer, 0));
        let (outcome, sent) = self.send_rest().await;
        (outcome, sent.expect("it was put there above"))
    }

    /// Sends what is left; a dropped future leaves the rest where the next one finds it.
    async fn send_rest(&self) -> (io::Result<()>, Option<Buffer>) {
        let send = || {
            let mut unsent = self.unsent.borrow_mut();
            let Some((buffer, from)) = &mut *unsent else { return Ok(()) };
            while *from < buffer.len() {
                *from += net::send(&*self.socket, &buffer[*from..], SendFlags::NOSIGNAL)?;
            }
            Ok(())
        };
        let outcome = self.readiness.when_ready(&self.socket, PollFlags::OUT, send).await;
        (outcome, self.unsent.take().map(|(buffer, _)| buffer))
    }
}

impl Stream for ThreadStream {
    fn receive(&self, mut buffer: Buffer) -> Local<'_, (io::Result<usize>, Buffer)> {
        Box::pin(async move { (self.read(&mut buffer).await, buffer) })
    }

    fn send(&self, buffer: Buffer) -> Local<'_, (io::Result<()>, Buffer)> {
        Box::pin(self.write(buffer))
    }

    fn shut_down(&self) -> Local<'_, ()> {
        // A connection that is down already is what was asked for.
        let _ = net::shutdown(&*self.socket, Shutdown::Both);
        Box::pin(std::future::ready(()))
    }
}
