//! Bounds of a session. Each queue and buffer here has its maximum by name.

use std::time::Duration;

/// Largest message, header included, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// Bytes of one message header.
pub const HEADER_BYTES: usize = 8;

/// Type byte of the heartbeat message: the only one that the link itself sends and takes.
pub const HEARTBEAT_TYPE: u8 = 15;

/// Messages that wait for the socket: `send` waits while more than this many bytes are queued.
pub const SEND_QUEUE_BYTES_MAX: usize = 2 << 20;

/// Bytes handed to the socket in one operation.
pub const SOCKET_BYTES: usize = 256 << 10;

/// Room for one receive; each link holds so much of its core's arena, idle or not.
pub const RECEIVE_BYTES: usize = 128 << 10;

/// A side that has had nothing to send for so long sends a heartbeat.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);

/// A peer that was not heard for so long is gone.
pub const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A peer that lives and takes nothing of what is sent to it for so long is given up: what it keeps waiting holds buffers, and
/// a lease. It may come again. A line that takes a socket buffer in this time is slow, and no more.
pub const STALL_MAX: Duration = Duration::from_mins(5);

/// A handshake that takes longer is given up.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(15);

/// How long the last words may take.
pub const CLOSE_MAX: Duration = Duration::from_secs(10);

/// How long a refused peer is listened to, so that the refusal is not lost with the connection.
pub const LINGER: Duration = Duration::from_millis(500);

/// Bytes read and thrown away meanwhile.
pub const LINGER_BYTES_MAX: usize = 64 << 10;

/// CA certificates believed for one domain: the valid one and those of a rotation.
pub const CAS_PER_DOMAIN_MAX: usize = 4;

/// Bytes by which TLS may lengthen one socket buffer of plain text: 22 for each record of 16 KiB, and some.
pub const TLS_OVERHEAD_BYTES: usize = 1024;

const _: () = assert!(SEND_QUEUE_BYTES_MAX >= 2 * MESSAGE_BYTES_MAX);
const _: () = assert!(SILENCE_MAX.as_secs() > 2 * HEARTBEAT_EVERY.as_secs());
const _: () = assert!(STALL_MAX.as_secs() > SILENCE_MAX.as_secs());
