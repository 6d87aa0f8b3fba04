//! Bounds of an exchange, and how they hang together.

use std::time::Duration;

/// Children that were asked about and are neither answered nor, if lacking, received: at most so many.
pub const OPEN_CHILDREN_MAX: usize = 64 << 10;

/// Nodes and offers that were sent and not answered yet.
pub const OPEN_ASKS_MAX: usize = 4096;

/// A pool source begins with new nodes only below this many open children; the rest is room to finish the
/// deepest ones.
pub const DESCEND_CHILDREN_MAX: usize = OPEN_CHILDREN_MAX / 2;

/// Initial credit that a target gives: message bytes that the source may have under way.
pub const WINDOW_BYTES: u32 = 32 << 20;

/// Credit is returned in pieces of at least this size.
pub const CREDIT_BYTES_MIN: u32 = 256 << 10;

/// Staged bytes after which the target syncs and acknowledges; with the time a sync takes this keeps
/// acknowledgements within 64 MiB.
pub const SYNC_BYTES: u64 = 32 << 20;

/// Time after which the target syncs what it has; with the sync itself this keeps acknowledgements within a second.
pub const SYNC_EVERY: Duration = Duration::from_millis(500);

/// How long a goodbye is waited for once everything is done.
pub const GOODBYE_MAX: Duration = Duration::from_secs(10);

/// How long a child may be awaited from another session, which may have stopped at any point and still be
/// connected. Then this session's source has to bring it.
pub const PENDING_MAX: Duration = Duration::from_mins(1);

/// How often it is looked whether some child was awaited so long.
pub const PENDING_TICK: Duration = Duration::from_secs(5);

/// A partner's session in which nothing came for so long, although nothing is owed to it, is ended: the place that it
/// holds is somebody else's. At the latest after twice this time. A source that is let through at 1 KiB a second
/// sends more often.
pub const QUIET_PARTNER_MAX: Duration = Duration::from_mins(15);

/// The same for a client's backup, whose source may be a stream that pauses.
pub const QUIET_CLIENT_MAX: Duration = Duration::from_hours(24);

/// Plain bytes of one frame.
pub const FRAME_BYTES_MAX: usize = 128 << 10;

/// Children of one node: what fits into its encoded length.
pub const NODE_CHILDREN_MAX: usize = FRAME_BYTES_MAX / 36;

/// Nodes in one message.
pub const NODES_PER_FRAME_MAX: usize = 1024;

/// Segments in one frame.
pub const SEGMENTS_PER_FRAME_MAX: usize = 8192;

/// Depth of a recipe tree, extents included.
pub const DEPTH_MAX: usize = 24;

/// Look-ups that a target has under way in its store.
pub const LOOK_UPS_MAX: usize = 32;

/// Puts that a target has under way in its store.
pub const PUTS_MAX: usize = 32;

/// Plain bytes of frames that wait to be opened or put; a target reads on below it.
pub const PLAIN_BYTES_MAX: usize = 32 << 20;

/// Messages that a target has read and not taken yet: so many frames of data are opened at once.
pub const OPENINGS_MAX: usize = 64;

/// Data messages up to this size are opened by the reader: handing them over costs more.
pub const OPENED_BY_READER_BYTES: usize = 2 << 10;

const _: () = assert!(DESCEND_CHILDREN_MAX + 8 * NODE_CHILDREN_MAX <= OPEN_CHILDREN_MAX);

/// Nodes that a pool source reads at once.
pub const NODE_READS_MAX: usize = 32;

/// Lists of lacking segments that a pool source fetches at once; the pool has 16 reads in flight for each, of half a MiB at
/// most, and what they were read into is held until it can be sent. Of an arena they have half: sends have the other one.
pub const FETCHES_MAX: usize = 4;

/// Segments in one such list: enough to be read in the order of containers.
pub const FETCH_SEGMENTS_MAX: usize = 4096;

/// What waits to be sent for so long is kept, and what was read behind it is let go: others need the buffers, and it can be
/// read again.
pub const HELD_MAX: Duration = Duration::from_secs(2);

/// From then on so many segments of that list are read at once.
pub const FETCH_SLOWLY_SEGMENTS: usize = 16;

/// A source of a restore begins with new nodes only below so many bytes of nodes that the target has not answered.
pub const NODES_HELD_BYTES_MAX: usize = 8 << 20;

// With the nodes being read and sent, half of the credit is left for data.
const _: () =
    assert!(NODES_HELD_BYTES_MAX + (NODE_READS_MAX + 2) * FRAME_BYTES_MAX <= WINDOW_BYTES as usize / 2);

/// Bytes of nodes that go into one frame together, when so many are ready.
pub const NODES_FRAME_BYTES: usize = 96 << 10;

/// Level of compression of frames that a source has to make anew.
pub const REPACK_LEVEL: i32 = 1;
