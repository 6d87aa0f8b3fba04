//! Every bound of the client, in one place.

use std::time::Duration;

/// Longest path within an image, in bytes; the recipe format's own limit.
pub const PATH_BYTES_MAX: usize = 32 << 10;

/// Longest path handed to one system call, in bytes; longer ones are walked in pieces. Below `PATH_MAX`.
pub const PATH_PIECE_BYTES_MAX: usize = 3 << 10;

/// Longest name of one component, in bytes, that the walk expects; longer ones are left to the kernel to refuse.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of names that are listed by one system call.
pub const LIST_BYTES: usize = 32 << 10;

/// Directories kept open at once by a walk; those above are opened again on the way back.
pub const WALK_DIRECTORIES_OPEN_MAX: usize = 64;

/// Names listed by one job of the walk, about.
pub const WALK_BATCH_ENTRIES: usize = 512;

/// Directories that such a batch holds open, about.
pub const WALK_DIRECTORIES_PER_BATCH: usize = 64;

/// Batches that are looked at, or were, while those before them are held against the last backup.
pub const WALK_LOOKS_AHEAD_MAX: usize = 4;

/// So long ago a file must have changed last when it is read, for the next backup to rely on its times: longer than the
/// steps in which any file system or kernel counts time.
pub const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How long a file cache is kept that no backup has written anew; a backup after that reads every file once.
pub const CACHE_KEPT: Duration = Duration::from_hours(180 * 24);

/// Steps of the walk that wait to be read; the walk goes on meanwhile by one job.
pub const WALK_STEPS_AHEAD_MAX: usize = 2048;

/// Encoded bytes of leaves among these steps; decoded they are about three times as long.
pub const WALK_LEAVES_AHEAD_BYTES_MAX: u64 = 4 << 20;

/// Files read by one job.
pub const UNIT_ENTRIES_MAX: usize = 128;

/// Bytes read by one job: so many small files, or one piece of a big one.
pub const UNIT_BYTES_MAX: usize = 2 << 20;

/// Bytes read by one system call; small enough to stay in the core's cache until they are hashed.
pub const READ_BYTES: usize = 256 << 10;

/// Alignment of what is read around the page cache, in bytes: at least that of every device.
pub const DIRECT_BYTES: usize = 4 << 10;

/// Reads of a device, of [`UNIT_BYTES_MAX`] each, in flight or waiting to be split.
pub const DEVICE_READS_MAX: usize = 4;

/// Jobs that read, in flight.
pub const READS_IN_FLIGHT_MAX: usize = 6;

/// Units that wait for the target's answer or for compression, in flight.
pub const ASKS_IN_FLIGHT_MAX: usize = 12;

/// Plain bytes of one frame.
pub const FRAME_BYTES_MAX: usize = 128 << 10;

/// All extended attributes of one object, in bytes; more is listed as unreadable.
pub const XATTR_BYTES_MAX: usize = 8 << 20;

/// How often a file that changes while it is read is read again.
pub const CHANGED_RETRIES_MAX: u32 = 2;

/// Objects named in the report of a partial image; the rest is only counted.
pub const TROUBLES_LISTED_MAX: usize = 10_000;

/// Bytes that one backup may hold in memory, from reading to the last acknowledgement.
pub const BACKUP_BYTES_MAX: usize = 128 << 20;

/// Files that a restore keeps open between writes.
pub const SINK_FILES_OPEN_MAX: usize = 256;

/// Directories that a restore keeps open; those of open files come on top.
pub const SINK_DIRECTORIES_OPEN_MAX: usize = 256;

/// Bytes written by one system call when a run of one byte is restored.
pub const WRITE_BYTES: usize = 1 << 20;

/// Segments of big files not yet whole that a restore remembers having written, to read them back where they occur again:
/// about 60 bytes each.
pub const SINK_WRITTEN_MAX: usize = 1 << 18;

/// Bytes that are read back so by one job.
pub const READ_BACK_BYTES: usize = 1 << 20;

/// Pieces of memory written by one system call; the kernel takes no more.
pub const WRITE_PIECES_MAX: usize = 1024;

/// Bytes of a file that goes to a stream which were asked for, or have come and must wait for what stands before them:
/// no more is asked for above it.
pub const STREAM_AHEAD_BYTES: u64 = 64 << 20;

/// Of these, bytes that wait in memory; the rest waits in a file without a name.
pub const STREAM_HELD_BYTES_MAX: usize = 64 << 20;

/// Files from this size on are read piece by piece.
pub const BIG_FILE_BYTES: u64 = 1 << 20;

/// Names of segments (and of nodes) that a backup remembers having asked about: 40 bytes each.
pub const ASKED_NAMES_MAX: usize = 1 << 18;

/// Nodes offered by one question.
pub const NODE_BATCH_MAX: usize = 256;

/// Such questions in flight.
pub const NODE_OFFERS_IN_FLIGHT_MAX: usize = 4;

/// Nodes sent whose children's answers were not looked at yet.
pub const NODE_ANSWERS_OPEN_MAX: usize = 1024;

const _: () =
    assert!((READS_IN_FLIGHT_MAX + ASKS_IN_FLIGHT_MAX + 2) * UNIT_BYTES_MAX * 2 <= BACKUP_BYTES_MAX);
const _: () = assert!(
    (READS_IN_FLIGHT_MAX + ASKS_IN_FLIGHT_MAX + 2 + DEVICE_READS_MAX + 1) * UNIT_BYTES_MAX * 2
        <= BACKUP_BYTES_MAX
);
const _: () = assert!(UNIT_BYTES_MAX.is_multiple_of(DIRECT_BYTES));
const _: () = assert!(PATH_PIECE_BYTES_MAX + NAME_BYTES_MAX < 4096);
