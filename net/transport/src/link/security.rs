//! Plaintext or TLS 1.3: the handshake, sealing and opening, with all buffers in memory.
//!
//! rustls never touches a socket; what it wants sent and what came for it passes through here.

use std::{
    io::{self, BufRead as _, Write as _},
    pin::pin,
    rc::Rc,
    sync::Arc,
};

use futures_util::future::{Either, select};
use narrows_format::DomainId;
use narrows_ring::{
    buffer::Buffer,
    world::{Stream, World},
};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use super::{LinkError, inbound::Inbound};
use crate::{
    TrustStore,
    limits::{HANDSHAKE_MAX, LINGER, LINGER_BYTES_MAX, RECEIVE_BYTES, SOCKET_BYTES, TLS_OVERHEAD_BYTES},
    trust::{self, Principal, certificate_serial, server_name},
};

/// How a link is protected.
#[derive(Clone)]
pub enum Security {
    /// We dial a server of this domain.
    Dial {
        /// From [`TrustStore::client_config`] for the same domain.
        config: Arc<ClientConfig>,
        /// Whose server it has to be.
        domain: DomainId,
        /// Asked at each heartbeat whether the peer's certificate was revoked.
        trust: Arc<TrustStore>,
    },
    /// We were dialled.
    Accept {
        /// From [`TrustStore::server_config`] with `ClientAuth::Required`.
        config: Arc<ServerConfig>,
        /// Asked at each heartbeat whether the peer's certificate was revoked.
        trust: Arc<TrustStore>,
    },
    /// No protection and no principal: for loopback, simulation and benches, and only when asked for by name.
    Plaintext,
}

/// Who the peer is, from its verified certificate.
pub(super) struct Peer {
    pub(super) principal: Principal,
    pub(super) serial: Vec<u8>,
}

/// A link's protection once the handshake is done.
pub(super) enum Channel {
    Plain,
    Tls(Box<Connection>),
}

/// What a handshake makes.
pub(super) struct Made {
    pub(super) channel: Channel,
    /// Messages may have come right behind the handshake.
    pub(super) inbound: Inbound,
    pub(super) peer: Option<Peer>,
    pub(super) trust: Option<Arc<TrustStore>>,
}

/// Does the handshake, in bounded time.
pub(super) async fn establish(
    world: &World,
    stream: &Rc<dyn Stream>,
    security: Security,
) -> Result<Made, LinkError> {
    let (mut connection, trust) = match security {
        Security::Plaintext => {
            let inbound = Inbound::default();
            return Ok(Made { channel: Channel::Plain, inbound, peer: None, trust: None });
        }
        Security::Dial { config, domain, trust } => {
            let name = ServerName::try_from(server_name(domain))
                .map_err(|error| LinkError::Broken(error.to_string()))?;
            (ClientConnection::new(config, name).map(Connection::Client).map_err(|bad| failure(&bad))?, trust)
        }
        Security::Accept { config, trust } => {
            (ServerConnection::new(config).map(Connection::Server).map_err(|bad| failure(&bad))?, trust)
        }
    };
    // How much is buffered is decided by us, message by message.
    connection.set_buffer_limit(None);
    let mut inbound = Inbound::default();
    let outcome = {
        let work = pin!(handshake(world, stream, &mut connection, &mut inbound));
        match select(work, world.clock.sleep(HANDSHAKE_MAX)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(LinkError::Silent),
        }
    };
    if let Err(error) = outcome {
        // The alert that says why was sent; the peer shall be able to read it.
        if matches!(error, LinkError::Untrusted { .. }) {
            linger(world, stream).await;
        }
        stream.shut_down().await;
        return Err(error);
    }
    let peer = peer_of(&connection)?;
    let channel = Channel::Tls(Box::new(connection));
    Ok(Made { channel, inbound, peer: Some(peer), trust: Some(trust) })
}

fn peer_of(connection: &Connection) -> Result<Peer, LinkError> {
    let nameless = || LinkError::Untrusted {
        code: "AUTH-001",
        why: "the peer showed no certificate that names a principal".to_owned(),
    };
    let certificate = connection.peer_certificates().and_then(<[_]>::first).ok_or_else(nameless)?;
    Ok(Peer {
        principal: Principal::of(certificate).map_err(|_| nameless())?,
        serial: certificate_serial(certificate).map_err(|_| nameless())?,
    })
}

async fn handshake(
    world: &World,
    stream: &Rc<dyn Stream>,
    connection: &mut Connection,
    inbound: &mut Inbound,
) -> Result<(), LinkError> {
    loop {
        send_pending(world, stream, connection).await?;
        if !connection.is_handshaking() {
            return Ok(());
        }
        let buffer = world.arena.take(RECEIVE_BYTES).await;
        let (result, buffer) = stream.receive(buffer).await;
        if result.map_err(|error| LinkError::Broken(error.to_string()))? == 0 {
            return Err(LinkError::Closed);
        }
        if let Err(error) = process(connection, &buffer, inbound) {
            // Tell the peer why, if that is still possible; our reason stands either way.
            let _ = send_pending(world, stream, connection).await;
            return Err(error);
        }
    }
}

async fn send_pending(
    world: &World,
    stream: &Rc<dyn Stream>,
    connection: &mut Connection,
) -> Result<(), LinkError> {
    while connection.wants_write() {
        let mut buffer = world.arena.take(SOCKET_BYTES).await;
        drain(connection, &mut buffer);
        let (result, _buffer) = stream.send(buffer).await;
        result.map_err(|error| LinkError::Broken(error.to_string()))?;
    }
    Ok(())
}

/// Reads and throws away until the peer ends, for a short while: closing with unread bytes would reset the
/// connection and could destroy our last words on their way.
pub(super) async fn linger(world: &World, stream: &Rc<dyn Stream>) {
    let reading = pin!(async {
        let mut left = LINGER_BYTES_MAX;
        while left > 0 {
            let buffer = world.arena.take(LINGER_BYTES_MAX).await;
            match stream.receive(buffer).await {
                (Ok(0) | Err(_), _) => return,
                (Ok(count), _) => left = left.saturating_sub(count),
            }
        }
    });
    select(reading, world.clock.sleep(LINGER)).await;
}

/// Feeds bytes from the socket to rustls, and what they hold to `inbound`.
fn process(connection: &mut Connection, mut bytes: &[u8], inbound: &mut Inbound) -> Result<(), LinkError> {
    while !bytes.is_empty() {
        let broken = |error: io::Error| LinkError::Broken(error.to_string());
        connection.read_tls(&mut bytes).map_err(broken)?;
        let state = connection.process_new_packets().map_err(|error| failure(&error))?;
        let mut reader = connection.reader();
        loop {
            let count = match reader.fill_buf() {
                Ok([]) => break,
                Ok(plain) => {
                    inbound.push(plain);
                    plain.len()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(broken(error)),
            };
            reader.consume(count);
        }
        if state.peer_has_closed() {
            inbound.end();
            return Ok(());
        }
    }
    Ok(())
}

/// A TLS error in our words.
fn failure(error: &rustls::Error) -> LinkError {
    match trust::code_of(error) {
        Some(code) => LinkError::Untrusted { code, why: error.to_string() },
        None => LinkError::Broken(error.to_string()),
    }
}

/// Appends to a buffer; takes what fits.
struct Sink<'a>(&'a mut Buffer);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.append(bytes) {
            0 if !bytes.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn drain(connection: &mut Connection, buffer: &mut Buffer) {
    while connection.wants_write() {
        // The only error is a full buffer; the rest goes with the next one.
        if connection.write_tls(&mut Sink(buffer)).is_err() {
            return;
        }
    }
}

impl Channel {
    /// Whether bytes wait to be sent that are no message of ours, or the rest of one.
    pub(super) fn wants_write(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(connection) => connection.wants_write(),
        }
    }

    /// Appends what waits, as far as it fits.
    pub(super) fn drain_sealed(&mut self, buffer: &mut Buffer) {
        if let Self::Tls(connection) = self {
            drain(connection, buffer);
        }
    }

    /// Plain bytes that the rest of the buffer has room for.
    pub(super) fn room_in(&self, buffer: &Buffer) -> usize {
        let room = buffer.capacity() - buffer.len();
        match self {
            Self::Plain => room,
            Self::Tls(_) => room.saturating_sub(TLS_OVERHEAD_BYTES),
        }
    }

    /// Appends a message, sealed; the part that does not fit waits for the next buffer (TLS only).
    pub(super) fn seal(&mut self, message: &[u8], buffer: &mut Buffer) -> Result<(), LinkError> {
        match self {
            Self::Plain => {
                let taken = buffer.append(message);
                assert_eq!(taken, message.len(), "the caller asked for room first");
            }
            Self::Tls(connection) => {
                connection
                    .writer()
                    .write_all(message)
                    .map_err(|error| LinkError::Broken(error.to_string()))?;
                drain(connection, buffer);
            }
        }
        Ok(())
    }

    /// Takes what came from the socket.
    pub(super) fn take_in(&mut self, bytes: &[u8], inbound: &mut Inbound) -> Result<(), LinkError> {
        match self {
            Self::Plain => inbound.push(bytes),
            Self::Tls(connection) => process(connection, bytes, inbound)?,
        }
        Ok(())
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn say_goodbye(&mut self) {
        if let Self::Tls(connection) = self {
            connection.send_close_notify();
        }
    }
}
