//! Every bound of the pool, by name, and what must hold between them.

/// Frame bytes after which a container is sealed.
pub const CONTAINER_BYTES_MAX: u64 = 32 << 20;

/// Children of one look-up.
pub const LOOK_UP_CHILDREN_MAX: usize = 64 << 10;

/// Bytes of one image log segment file, unless a test asks for less.
pub const LOG_SEGMENT_BYTES: u64 = 4 << 20;

/// Damage that a verification lists.
pub const DAMAGE_LISTED_MAX: usize = 1000;

/// Partitions of a new pool.
pub const PARTITIONS: u16 = 256;
