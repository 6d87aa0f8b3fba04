//! What can be typed about pools.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::storage::Rate;
use crate::confirm::ConsentArgs;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = narrows_api::size::bytes_in(text);
        bytes.map(Self).ok_or_else(|| "bytes like `500MiB`, `20GiB` or `1TiB`".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Lists pools, their room, and what stands against writing to them.
    #[command(after_help = "Example:\n  narrowsctl --context east pool list")]
    List,
    /// Shows one: where it lies, its room, its index.
    #[command(after_help = "Example:\n  narrowsctl --context east pool show vault")]
    Show {
        /// Its name.
        name: String,
    },
    /// Says where the room of all pools goes.
    #[command(after_help = "Example:\n  narrowsctl --context east pool space")]
    Space,
    /// Shows what is damaged in one, what is in quarantine, and what came of mending it.
    #[command(after_help = "Example:\n  narrowsctl --context east pool damage vault")]
    Damage {
        /// Its name.
        name: String,
    },
    /// Reads everything in one and looks for damage, which is mended at once from whoever holds the same: another pool, or
    /// a partner that granted `heal`. Goes on in the server; takes the place of a scrub that is under way.
    #[command(
        after_help = "Examples:\n  narrowsctl pool scrub vault\n  narrowsctl pool scrub vault --deep --rate 50MiB --wait"
    )]
    Scrub {
        /// Its name.
        name: String,
        /// Opens and hashes every segment, instead of comparing checksums of what is stored.
        #[arg(long)]
        deep: bool,
        /// Bytes a second, e.g. 50MiB; as fast as it goes when left out.
        #[arg(long, value_name = "BYTES")]
        rate: Option<Size>,
        /// Waits for its end; ends with code 1 when damage is left.
        #[arg(long)]
        wait: bool,
    },
    /// Opens and hashes every segment in one: a deep scrub, and what follows from it.
    #[command(after_help = "Example:\n  narrowsctl pool verify vault --wait")]
    Verify {
        /// Its name.
        name: String,
        /// Bytes a second, e.g. 50MiB; as fast as it goes when left out.
        #[arg(long, value_name = "BYTES")]
        rate: Option<Size>,
        /// Waits for its end; ends with code 1 when damage is left.
        #[arg(long)]
        wait: bool,
    },
    /// Brings anew what is damaged in one.
    #[command(
        after_help = "Examples:\n  narrowsctl pool heal vault\n  narrowsctl pool heal vault --from dr --wait"
    )]
    Heal {
        /// Its name.
        name: String,
        /// From this domain only; this one's own name: from its other pools.
        #[arg(long, value_name = "DOMAIN")]
        from: Option<String>,
        /// Waits for its end; ends with code 1 when damage is left.
        #[arg(long)]
        wait: bool,
    },
    /// Makes one in empty folders of the server; nothing is ever overwritten. Storage units before it are added afterwards.
    #[command(after_help = "Examples:\n  narrowsctl --context east pool create vault --data /mnt/vault\n  \
                      narrowsctl pool create vault --data /mnt/vault --high-water 95 --low-water 80\n  \
                      narrowsctl pool create wide --data /mnt/d1 --data /mnt/d2 --spanning\n  \
                      narrowsctl pool create far --server m1 --data /srv/far\n  \
                      narrowsctl storage-unit add vault --pool vault")]
    Create(PoolCreateArgs),
    /// Opens one that could not be opened when the server started, or that a failed write has stopped (POOL-004), once the
    /// cause is mended. What waited for it goes on.
    #[command(after_help = "Example:\n  narrowsctl --context east pool open vault")]
    Open {
        /// Its name.
        name: String,
    },
    /// Changes one: how much it keeps free, its water marks, its bandwidth, or that it spans from now on.
    #[command(
        after_help = "Examples:\n  narrowsctl pool set vault --keep-free 200GiB\n  narrowsctl pool set vault --high-water 95 --low-water 80\n  narrowsctl pool set vault --bandwidth 50M\n  narrowsctl pool set wide --spanning --dry-run"
    )]
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        room: RoomArgs,
        /// Bytes a second at most that leave it for all replication targets together, which share them by their weights
        /// (`target set --weight`), with k, M or G for thousands, millions, billions; `unlimited`.
        #[arg(long, value_name = "RATE")]
        bandwidth: Option<Rate>,
        /// It spans volumes from now on: nothing is replicated from it any more. There is no way back.
        #[arg(long)]
        spanning: bool,
        #[command(flatten)]
        sure: ConsentArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Lists the disk volumes that pools present, and what each is to replication: source, target, both or neither.
    #[command(after_help = "Examples:\n  narrowsctl --context east volume list\n  \
                            narrowsctl --context east volume list --json")]
    List,
}

/// What a new pool is to be.
#[derive(Clone, Debug, Args)]
pub(crate) struct PoolCreateArgs {
    /// Its name.
    pub(crate) name: String,
    /// The media server that is to have it; the primary's own process when left out.
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// An empty folder on the server, by its absolute path; more than once, containers go to each in turn.
    #[arg(long = "data", required = true, value_name = "DIR")]
    pub(crate) data: Vec<PathBuf>,
    /// Each folder is a volume, and one image lies on several: nothing is replicated from this pool (SLP-007).
    #[arg(long)]
    pub(crate) spanning: bool,
    /// Mean length of segments, fixed for good: 8KiB, 16KiB, 32KiB or 64KiB; that of the first pool when left out.
    #[arg(long, value_name = "SIZE")]
    pub(crate) segment_mean: Option<Size>,
    #[command(flatten)]
    pub(crate) room: RoomArgs,
}

/// When a pool counts as full.
#[derive(Clone, Debug, Args)]
pub(crate) struct RoomArgs {
    /// With less free than this, e.g. 200GiB, it counts as full, and nothing new begins in it; 0 unless set.
    #[arg(long, value_name = "BYTES")]
    pub(crate) keep_free: Option<Size>,
    /// With more than so many percent of its disk in use it counts as full; 99 unless set.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) high_water: Option<u8>,
    /// At high water, copies that are kept for as long as there is room (`capacity-managed`) go, oldest first, until no more
    /// than so many percent would be in use; 80 unless set. Nothing goes before one of the two marks was set, and what went in any pool of
    /// the same server counts, as nothing reclaims its room yet.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) low_water: Option<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("0", 0), ("32KiB", 32 << 10), ("20GiB", 20 << 30)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
        }
        for text in ["", "GiB", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
