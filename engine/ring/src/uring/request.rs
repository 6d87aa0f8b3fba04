//! Operations as the kernel wants them, together with the memory that they point to.
//!
//! Guarantee: every pointer in the entry of a [`Request`] leads into what the request holds (or into a
//! static), at an address that does not change when the request moves. Only this file makes requests.

use std::{cell::Cell, io, net::SocketAddr, os::fd::RawFd, ptr, rc::Rc, sync::Arc};

use io_uring::{opcode, squeue::Entry, types};

use super::driver::Descriptor;
use crate::{
    buffer::Buffer,
    inbox::Inbox,
    world::{BLOCK, BlockOffset},
};

/// An operation to hand in.
pub(super) struct Request {
    entry: Entry,
    held: Held,
    descriptor: Option<Rc<Descriptor>>,
}

/// What the kernel uses while the operation runs.
pub(super) enum Held {
    /// Numbers only.
    Nothing,
    /// The memory that is read into or written from.
    Buffer(Buffer),
    /// The same for a zero-copy send, and where its notification tells how that went.
    Sent(Buffer, Rc<Cell<ZeroCopy>>),
    /// The address to connect to. Never read: the kernel reads it.
    Address(#[expect(dead_code, reason = "only the kernel reads it")] Rc<Cell<Address>>),
    /// Where the kernel puts the address of an accepted connection.
    Peer(Rc<Cell<Address>>),
    /// Descriptors of another core.
    Bell(Arc<Inbox>, Rings),
}

/// What is known of zero-copy sends on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZeroCopy {
    /// Nothing.
    Untried,
    /// The first is under way; until its notification everything else is copied.
    Trying,
    /// The kernel sent from our memory.
    Works,
    /// The kernel copied, as on loopback, or refused; it then always does.
    Useless,
}

/// How a bell is rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rings {
    /// It is our own, and watched.
    Watched,
    /// By a message from ring to ring.
    ByMessage,
    /// By a write to its eventfd.
    ByWrite,
}

/// A socket address as the kernel writes it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Address {
    bytes: [u8; ADDRESS_BYTES],
    length: libc::socklen_t,
}

/// As large as any address (`sockaddr_storage`).
const ADDRESS_BYTES: usize = 128;

/// What a message between rings bears instead of an operation's number.
pub(super) const MESSAGE: u64 = u64::MAX;

/// What is written to an eventfd.
static ONE: u64 = 1;

/// Which turn reads and writes have at the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// That of the process.
    Usual,
    /// Behind everybody's who did not ask for less. The class for idle times would be one step further, and may wait for
    /// ever.
    Last,
}

impl Turn {
    /// As `ioprio_set(2)` numbers them: a class, and of the class for best effort the last of eight levels.
    const fn number(self) -> u16 {
        match self {
            Self::Usual => 0,
            Self::Last => 2 << 13 | 7,
        }
    }
}

impl Request {
    /// Gives up its parts; the entry then belongs with what is held.
    pub(super) fn into_parts(self) -> (Entry, Held, Option<Rc<Descriptor>>) {
        (self.entry, self.held, self.descriptor)
    }

    /// Reads from a file into `buffer[from..]`.
    pub(super) fn read(
        file: &Rc<Descriptor>,
        at: BlockOffset,
        buffer: Buffer,
        from: usize,
        turn: Turn,
    ) -> Self {
        let (memory, length) = piece(&buffer, from);
        let (fd, offset, turn) = (types::Fd(file.number()), at.bytes() + from as u64, turn.number());
        let entry = match buffer.registered() {
            Some(number) => {
                opcode::ReadFixed::new(fd, memory, length, number).offset(offset).ioprio(turn).build()
            }
            None => opcode::Read::new(fd, memory, length).offset(offset).ioprio(turn).build(),
        };
        Self { entry, held: Held::Buffer(buffer), descriptor: Some(Rc::clone(file)) }
    }

    /// Writes `buffer[from..]` to a file.
    pub(super) fn write(
        file: &Rc<Descriptor>,
        at: BlockOffset,
        buffer: Buffer,
        from: usize,
        turn: Turn,
    ) -> Self {
        let (memory, length) = piece(&buffer, from);
        let (fd, offset, turn) = (types::Fd(file.number()), at.bytes() + from as u64, turn.number());
        let entry = match buffer.registered() {
            Some(number) => {
                opcode::WriteFixed::new(fd, memory, length, number).offset(offset).ioprio(turn).build()
            }
            None => opcode::Write::new(fd, memory, length).offset(offset).ioprio(turn).build(),
        };
        Self { entry, held: Held::Buffer(buffer), descriptor: Some(Rc::clone(file)) }
    }

    /// fdatasync.
    pub(super) fn sync_data(file: &Rc<Descriptor>) -> Self {
        let fd = types::Fd(file.number());
        Self::numbers(opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(), file)
    }

    /// fallocate that leaves the size as it is.
    pub(super) fn allocate(file: &Rc<Descriptor>, at: BlockOffset, length: u64) -> Self {
        let fd = types::Fd(file.number());
        let entry = opcode::Fallocate::new(fd, length).offset(at.bytes()).mode(libc::FALLOC_FL_KEEP_SIZE);
        Self::numbers(entry.build(), file)
    }

    /// Connects a socket.
    pub(super) fn connect(socket: &Rc<Descriptor>, to: SocketAddr) -> Self {
        let address = Address::from(to);
        let (length, address) = (address.length, Rc::new(Cell::new(address)));
        let place = address.as_ptr().cast_const().cast();
        let entry = opcode::Connect::new(types::Fd(socket.number()), place, length).build();
        Self { entry, held: Held::Address(address), descriptor: Some(Rc::clone(socket)) }
    }

    /// Takes the next connection.
    pub(super) fn accept(listener: &Rc<Descriptor>) -> Self {
        let address = Rc::new(Cell::new(Address::empty()));
        let whole = address.as_ptr();
        let length = whole.wrapping_byte_add(std::mem::offset_of!(Address, length)).cast();
        let fd = types::Fd(listener.number());
        let entry = opcode::Accept::new(fd, whole.cast(), length).flags(libc::SOCK_CLOEXEC).build();
        Self { entry, held: Held::Peer(address), descriptor: Some(Rc::clone(listener)) }
    }

    /// Receives as much as there is, up to the whole capacity.
    pub(super) fn receive(socket: &Rc<Descriptor>, buffer: Buffer) -> Self {
        let length = u32::try_from(buffer.capacity()).expect("BUFFER_BYTES_MAX fits");
        let entry = opcode::Recv::new(types::Fd(socket.number()), buffer.address(), length).build();
        Self { entry, held: Held::Buffer(buffer), descriptor: Some(Rc::clone(socket)) }
    }

    /// Sends `buffer[from..]`.
    pub(super) fn send(socket: &Rc<Descriptor>, buffer: Buffer, from: usize) -> Self {
        let (memory, length) = piece(&buffer, from);
        let fd = types::Fd(socket.number());
        let entry = opcode::Send::new(fd, memory, length).flags(SEND_FLAGS).build();
        Self { entry, held: Held::Buffer(buffer), descriptor: Some(Rc::clone(socket)) }
    }

    /// Sends `buffer[from..]` from where it lies; the memory is free only after the notification.
    pub(super) fn send_zc(
        socket: &Rc<Descriptor>,
        buffer: Buffer,
        from: usize,
        zero_copy: &Rc<Cell<ZeroCopy>>,
    ) -> Self {
        let (memory, length) = piece(&buffer, from);
        let entry = opcode::SendZc::new(types::Fd(socket.number()), memory, length)
            .buf_index(buffer.registered())
            .flags(SEND_FLAGS)
            .zc_flags(SEND_ZC_REPORT_USAGE);
        let held = Held::Sent(buffer, Rc::clone(zero_copy));
        Self { entry: entry.build(), held, descriptor: Some(Rc::clone(socket)) }
    }

    /// Ends both directions of a connection.
    pub(super) fn shut_down(socket: &Rc<Descriptor>) -> Self {
        let fd = types::Fd(socket.number());
        Self::numbers(opcode::Shutdown::new(fd, libc::SHUT_RDWR).build(), socket)
    }

    /// Closes a descriptor that nobody else has.
    pub(super) fn close(number: RawFd) -> Self {
        let entry = opcode::Close::new(types::Fd(number)).build();
        Self { entry, held: Held::Nothing, descriptor: None }
    }

    /// Cancels the operation with that number.
    pub(super) fn cancel(token: u64) -> Self {
        Self { entry: opcode::AsyncCancel::new(token).build(), held: Held::Nothing, descriptor: None }
    }

    /// Watches our own bell.
    pub(super) fn watch(inbox: Arc<Inbox>) -> Self {
        use std::os::fd::AsRawFd as _;
        let fd = types::Fd(inbox.bell().as_raw_fd());
        let events = u32::from(libc::POLLIN.cast_unsigned());
        let entry = opcode::PollAdd::new(fd, events).multi(true).build();
        Self { entry, held: Held::Bell(inbox, Rings::Watched), descriptor: None }
    }

    /// Rings another core's bell by a message; `None` when it has no ring.
    pub(super) fn message(inbox: &Arc<Inbox>) -> Option<Self> {
        let entry = opcode::MsgRingData::new(types::Fd(inbox.ring()?), 0, MESSAGE, None).build();
        Some(Self { entry, held: Held::Bell(Arc::clone(inbox), Rings::ByMessage), descriptor: None })
    }

    /// Rings another core's bell by its eventfd.
    pub(super) fn write_bell(inbox: Arc<Inbox>) -> Self {
        use std::os::fd::AsRawFd as _;
        let fd = types::Fd(inbox.bell().as_raw_fd());
        let entry = opcode::Write::new(fd, ptr::from_ref(&ONE).cast(), 8).offset(u64::MAX).build();
        Self { entry, held: Held::Bell(inbox, Rings::ByWrite), descriptor: None }
    }

    fn numbers(entry: Entry, descriptor: &Rc<Descriptor>) -> Self {
        Self { entry, held: Held::Nothing, descriptor: Some(Rc::clone(descriptor)) }
    }
}

/// A broken connection is an error, not a signal; the kernel goes on by itself after a short send.
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// The notification then says whether the kernel copied (`IORING_SEND_ZC_REPORT_USAGE`).
const SEND_ZC_REPORT_USAGE: u16 = 1 << 3;

/// Where `buffer[from..]` begins, and its length.
fn piece(buffer: &Buffer, from: usize) -> (*mut u8, u32) {
    assert!(from <= buffer.len(), "a piece of a buffer begins within it");
    let length = u32::try_from(buffer.len() - from).expect("BUFFER_BYTES_MAX fits");
    (buffer.address().wrapping_add(from), length)
}

impl Held {
    /// The buffer of an operation that was given one.
    pub(super) fn into_buffer(self) -> Buffer {
        match self {
            Self::Buffer(buffer) | Self::Sent(buffer, _) => buffer,
            _ => unreachable!("operations on buffers hold a buffer until they land"),
        }
    }

    /// The address that `accept` found.
    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Peer(address) => address.get().parse().ok_or_else(|| io::ErrorKind::InvalidData.into()),
            _ => unreachable!("accepting holds an address until it lands"),
        }
    }
}

impl Address {
    fn empty() -> Self {
        Self { bytes: [0; ADDRESS_BYTES], length: 128 }
    }

    fn parse(&self) -> Option<SocketAddr> {
        let family = u16::from(self.bytes[0]) | u16::from(self.bytes[1]) << 8;
        let port = u16::from(self.bytes[2]) << 8 | u16::from(self.bytes[3]);
        match i32::from(family) {
            libc::AF_INET => {
                let octets: [u8; 4] = self.bytes[4..8].try_into().ok()?;
                Some(SocketAddr::from((octets, port)))
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = self.bytes[8..24].try_into().ok()?;
                let scope: [u8; 4] = self.bytes[24..28].try_into().ok()?;
                let scope = u32::from_le_bytes(scope);
                Some(std::net::SocketAddrV6::new(octets.into(), port, 0, scope).into())
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        let mut this = Self::empty();
        let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        // Families are below 256 and in host order; ports in network order.
        this.bytes[0] = u8::try_from(family).expect("AF_INET and AF_INET6 are small");
        let port = address.port();
        this.bytes[2..4].copy_from_slice(&[(port >> 8) as u8, (port & 0xff) as u8]);
        match address {
            SocketAddr::V4(v4) => {
                this.bytes[4..8].copy_from_slice(&v4.ip().octets());
                this.length = 16;
            }
            SocketAddr::V6(v6) => {
                this.bytes[8..24].copy_from_slice(&v6.ip().octets());
                this.bytes[24..28].copy_from_slice(&v6.scope_id().to_le_bytes());
                this.length = 28;
            }
        }
        this
    }
}

const _: () = assert!(ADDRESS_BYTES == size_of::<libc::sockaddr_storage>());
const _: () =
    assert!(cfg!(target_endian = "little"), "addresses are parsed as little-endian hosts lay them out");
const _: () = assert!(BLOCK.is_power_of_two());
