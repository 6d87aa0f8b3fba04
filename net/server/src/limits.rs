//! Every bound of the server that is not the pool's or the protocol's.

use std::time::Duration;

/// Most API connections at once; more wait in the kernel.
pub const API_CONNECTIONS_MAX: usize = 512;
/// A TLS handshake of the API ends within this, or is dropped.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Answers of a partner's API come within this.
pub const PARTNER_TIME_MAX: Duration = Duration::from_secs(15);
/// Largest answer of a partner's API in bytes.
pub const PARTNER_BODY_BYTES_MAX: usize = 1 << 20;
/// Requests to the control task that may wait.
pub const CONTROL_MAILBOX: usize = 256;
/// Orders to the data plane that may wait.
pub const PLANE_MAILBOX: usize = 256;
/// Partners that a domain may have.
pub const PARTNERS_MAX: usize = 32;
/// Life of the CA certificate.
pub const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Life of server, client and administrator certificates.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(2 * 365 * 86_400);
/// A certificate begins so long before it is made: clocks differ.
pub const CERTIFICATE_BACKDATE: Duration = Duration::from_secs(3600);
/// Life of an invitation when none is asked for.
pub const INVITATION_LIFE: Duration = Duration::from_secs(86_400);
/// Life of a data ticket that is not used.
pub const TICKET_LIFE: Duration = Duration::from_secs(15 * 60);
/// Tickets that may be out at once.
pub const TICKETS_MAX: usize = 4096;
/// Least memory that a server runs with, in bytes.
pub const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Memory when none is said, in bytes.
pub const MEMORY_BYTES_DEFAULT: u64 = 1 << 30;
/// How long a stopping server waits for open requests.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(5);
