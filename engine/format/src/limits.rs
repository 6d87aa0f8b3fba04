//! Every bound of the formats, by name, and how they hang together.

/// Disk blocks: headers, log blocks and tables are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// Plain bytes of a segment, at most, whatever the mean.
pub const SEGMENT_BYTES_MAX: u32 = 128 << 10;

/// Encoded bytes of a recipe node.
pub const NODE_BYTES_MAX: usize = 128 << 10;

/// Children of one node: what fits beside an envelope.
pub const NODE_CHILDREN_MAX: usize = (NODE_BYTES_MAX - 16) / 36;

/// Height of a tree above its leaves.
pub const NODE_LEVEL_MAX: u8 = 24;

/// All paths of one node, prefixes written out: bounds what a small node can unfold to in memory.
pub const NODE_PATHS_BYTES_MAX: usize = 8 << 20;

/// One path, components and slashes.
pub const PATH_BYTES_MAX: usize = 32 << 10;

/// Encoded extended attributes that may stay in the leaf.
pub const XATTRS_INLINE_BYTES_MAX: usize = 1 << 10;

/// Encoded extended attributes of one entry.
pub const XATTRS_BYTES_MAX: usize = 16 << 20;

/// Extended attributes of one entry; Linux lists 64 KiB of names.
pub const XATTRS_MAX: usize = 32 << 10;

/// Name of an extended attribute.
pub const XATTR_NAME_BYTES_MAX: usize = 255;

/// Logical size of a file, and of all files under a node.
pub const FILE_BYTES_MAX: u64 = i64::MAX.unsigned_abs();

/// Plain bytes of a frame.
pub const FRAME_PLAIN_BYTES_MAX: usize = 128 << 10;

/// Segments (or nodes) in one frame.
pub const FRAME_SEGMENTS_MAX: usize = 8192;

/// A whole frame as stored: header, lengths, payload.
pub const FRAME_BYTES_MAX: usize = 24 + 3 * FRAME_SEGMENTS_MAX + FRAME_PLAIN_BYTES_MAX;

/// Header and frames of a container; its table comes on top.
pub const CONTAINER_BYTES_MAX: u64 = 32 << 20;

/// Entries of a container's table.
pub const CONTAINER_SEGMENTS_MAX: usize = 1 << 18;

/// An encoded image record without its signature.
pub const RECORD_BYTES_MAX: usize = 2 << 10;

/// A name in an image record.
pub const NAME_BYTES_MAX: usize = 255;

/// The name of an SLP that takes part in replication.
pub const IMPORT_SLP_BYTES_MAX: usize = 112;

/// One batch of a log, padding included.
pub const LOG_BATCH_BYTES_MAX: usize = 1 << 20;

/// Plain bytes after which a block of a client's file cache is full.
pub const CACHE_BLOCK_BYTES: usize = 256 << 10;

/// Plain bytes of such a block: its last leaf may be as long as a node can be, with all that stands beside it.
pub const CACHE_BLOCK_BYTES_MAX: usize = 640 << 10;

/// Container ids named by one commit record; further ones of data are closed by the manifest before it.
pub const COMMIT_CONTAINERS_MAX: usize = 1 << 16;

/// Records of one page of an index run: what fits a block beside its trailer.
pub const RUN_PAGE_RECORDS: usize = BLOCK_BYTES / 64 - 1;

/// Pages of one partition in an index run.
pub const RUN_PAGES_MAX: usize = 1 << 24;

/// Slots of one segment of a filter are so many bits: what a processor's cache holds.
pub const FILTER_SEGMENT_BITS_MAX: u8 = 18;

/// Seeds that are tried for one filter. One fails about once in a hundred times, and then only for few keys.
pub const FILTER_SEEDS_MAX: u64 = 100;

const _: () = {
    assert!(RUN_PAGES_MAX * RUN_PAGE_RECORDS < 1 << 30, "slots of a filter are counted in 32 bits");
    assert!(NODE_BYTES_MAX <= FRAME_PLAIN_BYTES_MAX, "a node fits a frame");
    assert!(NODE_BYTES_MAX < 1 << 24, "a node's length fits three bytes");
    assert!(FRAME_BYTES_MAX < 1 << 24, "a frame's length fits three bytes");
    assert!(CONTAINER_BYTES_MAX <= 1 << 32, "a frame's offset fits four bytes");
    assert!(CONTAINER_SEGMENTS_MAX <= 1 << 24, "a slot fits three bytes");
    assert!(PATH_BYTES_MAX <= 65_535, "a path's length fits two bytes");
    assert!(8 * COMMIT_CONTAINERS_MAX + 2 * RECORD_BYTES_MAX < LOG_BATCH_BYTES_MAX, "a commit fits a batch");
    // An entry takes 48 bytes of a node and has a stamp of 28, a child has a tag of 16.
    let beside_a_node = NODE_BYTES_MAX / 48 * 28 + NODE_CHILDREN_MAX * 16 + 4;
    assert!(
        CACHE_BLOCK_BYTES + NODE_BYTES_MAX + beside_a_node <= CACHE_BLOCK_BYTES_MAX,
        "a leaf fits a block"
    );
    assert!(NODE_CHILDREN_MAX * 8 <= FRAME_PLAIN_BYTES_MAX, "an annex fits a frame");
};
