//! Calls that block, for helper threads: file names and the making of sockets. Both real backends use them.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, FallocateFlags, Mode, OFlags},
    io::Errno,
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{
    limits::LISTEN_BACKLOG,
    world::{OpenMode, Space},
};

/// Whether file data goes through the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// `O_DIRECT` where the file system can.
    Around,
    /// The page cache.
    Through,
}

// What we store belongs to one user.
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o700);

/// Opens or creates a file.
pub(crate) fn open(path: &Path, mode: OpenMode, cache: Cache) -> io::Result<OwnedFd> {
    let access = match mode {
        OpenMode::Read => OFlags::RDONLY,
        OpenMode::Write => OFlags::RDWR,
        OpenMode::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
    };
    let flags = access | OFlags::CLOEXEC;
    if cache == Cache::Through {
        return Ok(fs::open(path, flags, FILE_MODE)?);
    }
    match fs::open(path, flags | OFlags::DIRECT, FILE_MODE) {
        // This file system knows no O_DIRECT. It says so only after it has created the file.
        Err(Errno::INVAL) if mode == OpenMode::Create => match fs::open(path, flags, FILE_MODE) {
            Err(Errno::EXIST) => Ok(fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, FILE_MODE)?),
            other => Ok(other?),
        },
        Err(Errno::INVAL) => Ok(fs::open(path, flags, FILE_MODE)?),
        other => Ok(other?),
    }
}

/// Renames, replacing the target.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(fs::rename(from, to)?)
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    Ok(fs::unlink(path)?)
}

/// Makes one directory.
pub(crate) fn create_dir(path: &Path) -> io::Result<()> {
    Ok(fs::mkdir(path, DIRECTORY_MODE)?)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    let directory = fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(fs::fsync(directory)?)
}

/// Room on the file system of a path.
pub(crate) fn space(path: &Path) -> io::Result<Space> {
    let state = fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(state.f_frsize);
    Ok(Space { total: bytes(state.f_blocks), available: bytes(state.f_bavail), device: state.f_fsid })
}

/// The size of a file.
pub(crate) fn size(file: impl AsFd) -> io::Result<u64> {
    u64::try_from(fs::fstat(file)?.st_size).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Sets the size of a file.
pub(crate) fn truncate(file: impl AsFd, length: u64) -> io::Result<()> {
    Ok(fs::ftruncate(file, length)?)
}

/// Reserves room.
pub(crate) fn allocate(file: impl AsFd, at: u64, length: u64) -> io::Result<()> {
    match fs::fallocate(file, FallocateFlags::KEEP_SIZE, at, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether socket calls wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// In the kernel; the ring does the waiting.
    InKernel,
    /// Never: the caller watches for readiness.
    Never,
}

/// A socket that was made elsewhere, as those made here are.
pub(crate) fn waits(socket: OwnedFd, waits: Waits) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&socket, waits == Waits::Never)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// A TCP socket that sends without delay.
pub(crate) fn socket(for_address: SocketAddr, waits: Waits) -> io::Result<OwnedFd> {
    let family = if for_address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = match waits {
        Waits::InKernel => SocketFlags::CLOEXEC,
        Waits::Never => SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
    };
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

/// A listening socket, and where it listens. Accepted connections inherit its options.
pub(crate) fn listen(on: SocketAddr, waits: Waits) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = socket(on, waits)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    net::bind(&socket, &on)?;
    net::listen(&socket, LISTEN_BACKLOG)?;
    let address = SocketAddr::try_from(net::getsockname(&socket)?)?;
    Ok((socket, address))
}
