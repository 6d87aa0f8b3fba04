//! Every bound of this crate, with its reason, and the relations between them.

use crate::{buffer::BUFFER_BYTES_MAX, world::BLOCK};

/// Submission entries of a ring when the setup does not say.
pub const RING_ENTRIES_DEFAULT: u32 = 256;

/// Completion entries for each submission entry. More operations than this may be in flight: the kernel
/// then keeps the rest itself.
pub(crate) const COMPLETIONS_PER_ENTRY: u32 = 8;

/// Polls of tasks between two looks at the kernel: bounds how long a completion waits behind ready tasks.
pub(crate) const RUN_BATCH_MAX: usize = 64;

/// Threads for file system calls that block (open, rename, mkdir, ..).
pub(crate) const DISK_THREADS: usize = 2;

/// Threads for the work that tasks hand over: one per processor up to here, for what arrives on all cores is opened
/// and hashed by them.
pub(crate) const WORK_THREADS_MAX: usize = 64;

/// The least number of those, also on one processor: work that waits for a disk needs company.
pub(crate) const WORK_THREADS_MIN: usize = 2;

/// Jobs that wait for a helper thread; who brings more waits itself.
pub(crate) const HELPER_QUEUE_MAX: usize = 256;

/// Smallest send that pays for zero-copy, in bytes.
pub(crate) const SEND_ZC_BYTES_MIN: usize = 16 << 10;

/// Fewest submission entries of a ring, where the limit on locked memory leaves no room for more.
pub(crate) const RING_ENTRIES_MIN: u32 = 8;

/// What part of the limit on locked memory one process registers: one in so many bytes. The limit is one per
/// user, and since Linux 6.14 rings count too: other processes need some.
pub(crate) const LOCKED_SHARE: usize = 4;

/// What part of an arena zero-copy sends may use whose notification has not come: one in so many bytes.
pub(crate) const LINGERING_SHARE: usize = 4;

/// Size and alignment of a huge page, in bytes; arenas are multiples of it.
pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Largest piece of memory that the kernel registers at once, in bytes.
pub(crate) const REGISTERED_PIECE_BYTES_MAX: usize = 1 << 30;

/// Largest arena, in bytes: pages are counted in 32 bits.
pub(crate) const ARENA_BYTES_MAX: usize = 1 << 40;

/// How long a core that ends waits for operations that the kernel still holds, in seconds. Beyond it their
/// memory is given up for good rather than reused.
pub(crate) const DRAIN_SECONDS_MAX: u64 = 30;

/// Connections that wait to be accepted.
pub(crate) const LISTEN_BACKLOG: i32 = 1024;

const _: () = assert!(HUGE_PAGE_BYTES.is_multiple_of(BLOCK));
const _: () = assert!(HUGE_PAGE_BYTES >= BUFFER_BYTES_MAX, "a buffer must fit in every region");
const _: () = assert!(REGISTERED_PIECE_BYTES_MAX.is_multiple_of(HUGE_PAGE_BYTES));
const _: () = assert!(ARENA_BYTES_MAX / BLOCK <= u32::MAX as usize);
const _: () = assert!(WORK_THREADS_MIN <= WORK_THREADS_MAX);
const _: () = assert!(SEND_ZC_BYTES_MIN <= BUFFER_BYTES_MAX);
