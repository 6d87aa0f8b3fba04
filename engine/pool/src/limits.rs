//! Every bound of the pool, by name, and what must hold between them.

use std::time::Duration;

use narrows_format::limits as format;
use narrows_ring::buffer::BUFFER_BYTES_MAX;

/// Header and frame bytes after which a container takes no further frame.
pub const CONTAINER_BYTES_MAX: u64 = format::CONTAINER_BYTES_MAX;

/// Smallest size at which containers can be asked to be full: any frame and its annex fit.
pub const CONTAINER_BYTES_MIN: u64 = 512 << 10;

/// Sealed containers that the manifest does not list yet: recovery hashes them anew.
pub const UNLISTED_CONTAINERS_MAX: usize = 8;

/// Image log records that may be missing in one place; a number further on is no number.
pub const LOST_RECORDS_MAX: u64 = 1 << 16;

/// Container ids that one reservation is believed to hold.
pub const RESERVED_IDS_MAX: u32 = 1 << 12;

/// Bytes gathered before a container is written to.
pub const WRITE_BYTES: usize = 1 << 20;

/// Writes under way per open container.
pub const WRITES_IN_FLIGHT_MAX: usize = 4;

/// Index journal records in one batch.
pub const JOURNAL_BATCH_RECORDS: usize = 8 << 10;

/// Index journal records that wait to be written; containers beyond are left out of it.
pub const JOURNAL_WAITING_RECORDS_MAX: usize = 1 << 19;

/// Container tables read at once when a pool is opened.
pub const OPEN_TABLES_IN_FLIGHT: usize = 8;

/// Container ids that a core sets aside at once: one durable manifest record for so many containers.
pub const RESERVED_IDS: u32 = 32;

/// Bytes of the file system that a pool leaves free: new containers are refused beyond.
pub const SPACE_RESERVE_BYTES: u64 = 64 << 20;

/// Children of one look-up.
pub const LOOK_UP_CHILDREN_MAX: usize = 64 << 10;

/// Segments that one stream may have claimed and not brought, or wait for.
pub const CLAIMS_PER_STREAM_MAX: usize = 256 << 10;

/// Children of nodes of one stream that have not arrived yet.
pub const OPEN_CHILDREN_MAX: usize = 1 << 20;

/// One in so many of them has to be free again when those were left out that others have brought.
pub const OPEN_CHILDREN_SPARE: usize = 8;

/// Requests queued at one core.
pub const MAILBOX_MAX: usize = 1024;

/// Bytes of one image log segment file, unless a test asks for less.
pub const LOG_SEGMENT_BYTES: u64 = 4 << 20;

/// Smallest image log segment that can be asked for.
pub const LOG_SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// Bytes of a manifest from which on it may be written anew, unless a test asks for less.
pub const MANIFEST_BYTES: u64 = 1 << 20;

/// It is when what still counts is no more than one in so many of them.
pub const MANIFEST_PAST_SHARE: u64 = 4;

/// Image log records that wait for the log's core.
pub const LOG_WAITING_MAX: usize = 1024;

/// The newest image log records, which are kept in memory.
pub const RECENT_RECORDS_MAX: usize = 1024;

/// Bytes of the image log between places at which reading it may begin.
pub const LOG_MARK_BYTES: u64 = 64 << 10;

/// Image log records given at once.
pub const EVENTS_MAX: usize = 4096;

/// Bytes of container tables that a core keeps.
pub const TABLE_CACHE_BYTES: usize = 8 << 20;

/// Open container files that a core keeps for reading.
pub const OPEN_FILES_MAX: usize = 128;

/// While no file can be opened because too many are, it is tried this often.
pub const DESCRIPTORS_LOOK: Duration = Duration::from_millis(100);

/// Bytes of unpacked node frames that a core keeps.
pub const NODE_CACHE_BYTES: usize = 4 << 20;

/// Neighbouring frames are read at once up to so many bytes.
pub const READ_BYTES_MAX: usize = 512 << 10;

/// A hole between two wanted frames that is read rather than skipped.
pub const READ_GAP_BYTES_MAX: u64 = 64 << 10;

/// Reads under way per reader.
pub const READS_IN_FLIGHT_MAX: usize = 16;

/// Segments that a verification reads together, in the order of containers.
pub const VERIFY_LIST_SEGMENTS: usize = 8192;

/// Such lists under way beside the walk that gathers the next one.
pub const VERIFY_LISTS_MAX: usize = 2;

/// Frames of one list that are opened and hashed at once.
pub const VERIFY_FRAMES_MAX: usize = 32;

/// Bytes of a file that are given at once.
pub const FILE_READ_BYTES_MAX: usize = 16 << 20;

/// Pieces of segments that one read of a file notes before it fetches them.
pub const FILE_READ_PIECES_MAX: usize = 16 << 10;

/// While a pool is left, it is looked this often whether anybody relies on it.
pub const LEAVING_LOOK: Duration = Duration::from_millis(20);

/// Damage that a verification lists.
pub const DAMAGE_LISTED_MAX: usize = 1000;

/// A scrub that is to be slow looks so often whether the pool is being closed.
pub const SCRUB_SLEEP_MAX: Duration = Duration::from_secs(1);

/// Damaged places of one container that are told apart; with more it is in quarantine as a whole.
pub const HARMS_PER_CONTAINER_MAX: usize = 64;

/// Levels of nodes that a survey follows; what is deeper counts as damaged.
pub const SURVEY_DEPTH_MAX: usize = 4096;

/// What part of the index's memory its table of new entries may take: one in so many bytes. As much again is
/// for the table that is being written to disk.
pub const INDEX_TABLE_SHARE: u64 = 4;

/// What part of the index's memory fences and filters may take: one in so many bytes.
pub const INDEX_FILTER_SHARE: u64 = 4;

/// What part of the index's memory goes to making filters: one in so many bytes.
pub const INDEX_WORK_SHARE: u64 = 8;

/// What part of the index's memory tables of containers may take that are kept for look-ups: one in so many bytes.
pub const INDEX_LOCALITY_SHARE: u64 = 8;

/// Children that are asked for at first, to find out where the others may be.
pub const LOCALITY_PROBE: usize = 32;

/// Hits in one container that make its table worth reading: while more is asked, and for what will be asked.
pub const LOCALITY_HITS: usize = 2;
/// See [`LOCALITY_HITS`].
pub const LOCALITY_HITS_AHEAD: usize = 4;

/// Children that are asked for together at most: what belongs to their questions and answers stays in the core's cache.
pub const LOOK_UP_AT_ONCE_MAX: usize = 8 << 10;

/// Tables of containers that are kept after one such question.
pub const LOCALITY_TABLES_AT_ONCE: usize = 8;

/// Runs that one look-up may have to ask.
pub const RUNS_PER_PARTITION_MAX: usize = 4;

/// Runs that are merged at once.
pub const MERGE_INPUTS_MAX: usize = 16;

/// For so long at most a merge lets look-ups go first before each read or write.
pub const GIVE_WAY_MAX: Duration = Duration::from_millis(1);

/// Pages of one input that a merge reads at once.
pub const MERGE_READ_PAGES: u64 = 32;

/// Runs that one reservation is believed to hold.
pub const RESERVED_RUNS_MAX: u32 = 1 << 12;

/// Pages of runs that one batch of look-ups reads at once.
pub const INDEX_READS_IN_FLIGHT_MAX: usize = 64;

/// Memory per key while a filter is made.
pub const FILTER_KEY_WORK_BYTES: u64 = 40;

/// Keys of a filter that is made between two requests, rather than by a helper thread.
pub const FILTER_KEYS_AT_ONCE: usize = 4 << 10;

/// Partitions of a new pool.
pub const PARTITIONS: u16 = 256;

/// Cores that can run one pool.
pub const CORES_MAX: usize = 1024;

const _: () = {
    assert!(CONTAINER_BYTES_MIN > 4096 + 3 * format::FRAME_BYTES_MAX as u64, "any frame fits a container");
    assert!(RESERVED_IDS <= RESERVED_IDS_MAX, "our own reservations are believed");
    assert!(READ_BYTES_MAX <= BUFFER_BYTES_MAX, "a read fits a buffer");
    assert!(
        JOURNAL_BATCH_RECORDS <= narrows_format::index_journal::RECORDS_MAX,
        "a journal batch is a batch"
    );
    assert!(JOURNAL_WAITING_RECORDS_MAX >= format::CONTAINER_SEGMENTS_MAX, "any container can be journaled");
    assert!(WRITE_BYTES <= BUFFER_BYTES_MAX, "a write fits a buffer");
    assert!(CORES_MAX < RESERVED_RUNS_MAX as usize, "our own reservations of runs are believed");
    assert!(LOCALITY_PROBE <= LOOK_UP_AT_ONCE_MAX, "a probe is the least that is asked for");
    let table = 1000 / INDEX_TABLE_SHARE * 2 + 1000 / INDEX_LOCALITY_SHARE;
    let runs = 1000 / INDEX_FILTER_SHARE + 1000 / INDEX_WORK_SHARE;
    assert!(table + runs <= 1000, "shares of the index's memory");
    assert!(
        RUNS_PER_PARTITION_MAX >= 2 && MERGE_INPUTS_MAX >= RUNS_PER_PARTITION_MAX,
        "merges come to an end"
    );
    assert!(MERGE_READ_PAGES * 4096 <= BUFFER_BYTES_MAX as u64, "a stretch fits a buffer");
    assert!(LOG_SEGMENT_BYTES_MIN <= LOG_SEGMENT_BYTES, "the default segment can be asked for");
    assert!(LOG_SEGMENT_BYTES >= format::LOG_BATCH_BYTES_MAX as u64, "a batch fits a segment");
};
