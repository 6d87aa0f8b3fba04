//! Pools: what they are, where they lie, and how they are.

use narrows_format::PoolId;
use serde::{Deserialize, Serialize};

use crate::text;

/// Makes a pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolRequest {
    /// Its name.
    pub name: String,
    /// Absolute paths of empty folders on the server, or of ones that are not there yet.
    pub directories: Vec<String>,
    /// It places one image over several folders, each a volume: nothing is replicated from it.
    #[serde(default)]
    pub spanning: bool,
    /// Mean segment size in bytes: 8192, 16384, 32768 or 65536; that of the first pool when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_mean: Option<u32>,
    /// The media server that is to have it; the primary's own process when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// With less free than so many bytes it counts as full; 64 MiB is the least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_free: Option<u64>,
    /// With more than so many parts of a hundred of its disk in use it counts as full; 99 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_water: Option<u8>,
    /// So far down copies go that live for as long as there is room, if either mark is given; 80 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_water: Option<u8>,
}

/// Changes a pool.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct PoolChange {
    /// It spans from now on. There is no way back.
    #[serde(default)]
    pub spanning: bool,
    /// With less free than so many bytes it counts as full; as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_free: Option<u64>,
    /// With more than so many parts of a hundred of its disk in use it counts as full; as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_water: Option<u8>,
    /// So far down copies go that live for as long as there is room, in a pool of which either mark was set; as it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_water: Option<u8>,
    /// Bytes a second at most that leave it for all replication targets together, which share them by weight; 0 is unlimited. As
    /// it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
}

/// When a pool will be full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forecast {
    /// It is not open, or has been watched for less than a day.
    #[default]
    Unknown,
    /// Not in the next ten years, at the pace of the last 30 days.
    Steady,
    /// At that pace it is.
    Full,
}

/// When a pool is full, and what lies in it that could go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    /// High water in parts of a hundred of its disk: above it nothing new begins.
    pub high_water: u8,
    /// Low water, the same: so far down copies go that live for as long as there is room.
    pub low_water: u8,
    /// Bytes of its disk that are to stay free, by its high water and by what it keeps free.
    pub stays_free: u64,
    /// When it will be full.
    pub forecast: Forecast,
    /// The date, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_at: Option<jiff::Timestamp>,
    /// Bytes of copies that were removed from it; nothing reclaims them yet, and other images may use some.
    pub removed_bytes: u64,
    /// Bytes of copies that have expired or were deleted and can be brought back still.
    pub discarded_bytes: u64,
    /// Until when the last of them can be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded_until: Option<jiff::Timestamp>,
    /// Bytes of copies whose period is over and that something needs: `image show` says what.
    pub kept_bytes: u64,
}

/// A disk volume: what a copy lies on. A pool presents one, and one that spans each of its folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Its name: that of its pool, numbered in one that spans.
    pub name: String,
    /// The pool.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// The pool's name.
    pub pool_name: String,
    /// The media server that has it.
    pub server: String,
    /// Where it lies on that server.
    pub directories: Vec<String>,
    /// What it is to replication, as replication targets have it: `source`, `target`, `source+target` or `none`.
    pub replication: String,
}

/// A pool and its room.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PoolInfo {
    /// Its UUID.
    #[serde(with = "text::by_text")]
    pub pool: PoolId,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Incarnation.
    pub incarnation: u64,
    /// The storage units before it.
    pub storage_unit: String,
    /// The media server that has it.
    #[serde(default)]
    pub server: String,
    /// Where it lies on that server.
    #[serde(default)]
    pub directories: Vec<String>,
    /// It places one image over several volumes, and can't be a replication source.
    #[serde(default)]
    pub spanning: bool,
    /// The volumes that it presents.
    #[serde(default)]
    pub volumes: Vec<VolumeInfo>,
    /// Code of what stands against writing to it; empty when it takes what comes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The same in one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What is in it can be read.
    #[serde(default)]
    pub readable: bool,
    /// Bytes a second at most that leave it for all replication targets together; unlimited when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// Mean segment size in bytes.
    #[serde(default)]
    pub segment_mean: u32,
    /// Bytes of containers and logs.
    pub used_bytes: u64,
    /// Free bytes of its file system.
    pub free_bytes: u64,
    /// Total bytes of its file system.
    pub total_bytes: u64,
    /// Free bytes below which it counts as full.
    #[serde(default)]
    pub keep_free: u64,
    /// When it is full, and what could go.
    #[serde(default)]
    pub room: RoomInfo,
    /// Bytes of containers that no committed image has closed.
    #[serde(default)]
    pub staged_bytes: u64,
    /// Images in it, hidden ones included.
    #[serde(default)]
    pub images: u64,
    /// Distinct segments and nodes in the index.
    pub segments: u64,
    /// Images in it that can't be read as a whole.
    #[serde(default)]
    pub damaged_images: u64,
    /// When a scrub of it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrubbed: Option<jiff::Timestamp>,
    /// Memory that its index takes.
    #[serde(default)]
    pub index_bytes: u64,
    /// And may take.
    #[serde(default)]
    pub index_bytes_max: u64,
}

impl PoolInfo {
    /// A pool of which nothing else is known: not open, and without room.
    pub fn named(pool: PoolId, name: impl Into<String>) -> Self {
        Self {
            pool,
            name: name.into(),
            incarnation: 0,
            storage_unit: String::new(),
            server: String::new(),
            directories: Vec::new(),
            spanning: false,
            volumes: Vec::new(),
            code: String::new(),
            why: String::new(),
            readable: false,
            bandwidth: None,
            segment_mean: 0,
            used_bytes: 0,
            free_bytes: 0,
            total_bytes: 0,
            keep_free: 0,
            room: RoomInfo::default(),
            staged_bytes: 0,
            images: 0,
            segments: 0,
            damaged_images: 0,
            scrubbed: None,
            index_bytes: 0,
            index_bytes_max: 0,
        }
    }
}
