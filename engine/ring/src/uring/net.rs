//! TCP through the ring: connecting, listening, accepting. Sockets are made on helper threads.

use std::{
    cell::RefCell, future::poll_fn, io, net::SocketAddr, os::fd::OwnedFd, pin::Pin, rc::Rc, sync::Arc,
};

use super::{
    driver::{Descriptor, Driver},
    operation::{Operation, Unawaited},
    request::Request,
    slots::Landing,
    stream::RingStream,
};
use crate::{
    buffer::Arena,
    files::{self, Waits},
    worker_threads::Helpers,
    world::{Listener, Local, Net, Stream},
};

/// The network.
pub(crate) struct RingNet {
    pub(crate) driver: Rc<Driver>,
    pub(crate) helpers: Arc<Helpers>,
    pub(crate) arena: Arena,
}

struct RingListener {
    driver: Rc<Driver>,
    socket: Rc<Descriptor>,
    address: SocketAddr,
    arena: Arena,
    /// Under way also while nobody waits, so that no connection is lost with a dropped future.
    accepting: RefCell<Option<Operation>>,
}

impl Net for RingNet {
    fn connect(&self, to: SocketAddr) -> Local<'_, io::Result<Rc<dyn Stream>>> {
        Box::pin(async move {
            let fd = self.helpers.call(move || files::socket(to, Waits::InKernel)).await?;
            let socket = Descriptor::new(&self.driver, fd);
            self.driver.start(Request::connect(&socket, to), Unawaited::Cancelled).await.count()?;
            Ok(RingStream::over(&self.driver, &self.arena, socket))
        })
    }

    fn listen(&self, on: SocketAddr) -> Local<'_, io::Result<Rc<dyn Listener>>> {
        Box::pin(async move {
            let (fd, address) = self.helpers.call(move || files::listen(on, Waits::InKernel)).await?;
            let (driver, socket) = (Rc::clone(&self.driver), Descriptor::new(&self.driver, fd));
            let (arena, accepting) = (self.arena.clone(), RefCell::new(None));
            let listener = RingListener { driver, socket, address, arena, accepting };
            Ok(Rc::new(listener) as Rc<dyn Listener>)
        })
    }

    fn adopt(&self, socket: OwnedFd) -> Local<'_, io::Result<Rc<dyn Stream>>> {
        Box::pin(async move {
            let socket = self.helpers.call(move || files::waits(socket, Waits::InKernel)).await?;
            Ok(RingStream::over(&self.driver, &self.arena, Descriptor::new(&self.driver, socket)))
        })
    }
}

impl RingListener {
    async fn next(&self) -> Landing {
        poll_fn(|context| {
            let mut accepting = self.accepting.borrow_mut();
            let start = || self.driver.start(Request::accept(&self.socket), Unawaited::Cancelled);
            let landed = Pin::new(accepting.get_or_insert_with(start)).poll(context);
            if landed.is_ready() {
                *accepting = None;
            }
            landed
        })
        .await
    }
}

impl Listener for RingListener {
    fn accept(&self) -> Local<'_, io::Result<(Rc<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            loop {
                let landing = self.next().await;
                match landing.count() {
                    Ok(_) => {
                        let peer = landing.held.peer();
                        let fd = landing.made.ok_or(io::ErrorKind::InvalidData)?;
                        let socket = Descriptor::new(&self.driver, fd);
                        return Ok((RingStream::over(&self.driver, &self.arena, socket), peer?));
                    }
                    // The peer went before it was accepted: the next one is meant.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}
