//! Bounds of requests and answers.

/// Largest request body in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// Largest invitation line in bytes.
pub const LINE_BYTES_MAX: usize = 2048;
/// Most items in one answer to a list request.
pub const PAGE_ITEMS_MAX: u32 = 1000;
/// Most roots of one backup.
pub const ROOTS_MAX: usize = 256;
/// Longest name of a domain, client or SLP in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest time in seconds that `?wait_seconds=` holds an answer back.
pub const WAIT_SECONDS_MAX: u32 = 30;
/// Longest plain name (domain, client) in bytes: one DNS label.
pub const PLAIN_NAME_BYTES_MAX: usize = 63;
