//! Where a node ends: the content-defined rule that all levels of both trees share.
//!
//! Each item has a *mark*, 32 bits that depend on what it is and on nothing around it. A node ends after
//! an item with a low mark, so inserts and removals move ends only nearby. Part of what makes equal trees
//! give equal roots: any change here changes every recipe, and unchanged images cost one full recipe again.

use narrows_format::{limits::NODE_BYTES_MAX, node::envelope::HEAD_BYTES};

/// No node ends earlier by its marks.
pub const ITEMS_MIN: usize = 12;

/// No node has more items.
pub const ITEMS_MAX: usize = 128;

/// Items that follow [`ITEMS_MIN`] on average: 24 in all, and few nodes much longer than that. With 8 + 24, 1 %
/// scattered changes in a file of 4 GiB gave 3.5 MB of new nodes, with 16 + 16 3.0, with 12 + 12 2.4.
const ITEMS_GAP: u32 = 12;

/// From so many bytes on a node ends at the next good chance, whatever the number of items.
const BYTES_HEAVY: usize = 16 * 1024;

/// How much likelier a heavy node ends.
const HEAVY_FACTOR: u32 = 8;

/// What the items of a node may take beside the envelope's head.
pub(super) const BYTES_MAX: usize = NODE_BYTES_MAX - HEAD_BYTES;

/// Size of the node that is being filled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filling {
    items: usize,
    bytes: usize,
}

impl Filling {
    /// Whether an item of `bytes` (children included) would make the node too long.
    pub(super) fn overflows(self, bytes: usize) -> bool {
        self.items > 0 && self.bytes + bytes > BYTES_MAX
    }

    /// Takes an item; says whether the node ends after it.
    pub(super) fn add(&mut self, bytes: usize, mark: u32) -> bool {
        self.items += 1;
        self.bytes += bytes;
        let chance = u32::MAX / ITEMS_GAP;
        if self.bytes >= BYTES_HEAVY && mark < chance * HEAVY_FACTOR {
            return true;
        }
        self.items >= ITEMS_MAX || (self.items >= ITEMS_MIN && mark < chance)
    }
}

/// Whether a node that has been filled by [`Filling::add`] ended by its last item, with that `mark`, and not because
/// of what came behind it. Heavy nodes are left open: to tell, one would have to weigh them.
pub(super) fn ended_by_itself(items: usize, mark: u32) -> bool {
    items >= ITEMS_MAX || (items >= ITEMS_MIN && mark < u32::MAX / ITEMS_GAP)
}

/// Mark of something that is known by a path: metadata and content may change, the mark stays.
pub(super) fn path_mark(level: u8, path: &[u8]) -> u32 {
    let hash = blake3::Hasher::new().update(&[level]).update(path).finalize();
    first_word(hash.as_bytes())
}

/// Mark of something that is known by its content.
pub(super) fn first_word(fingerprint: &[u8; 32]) -> u32 {
    let [a, b, c, d, ..] = *fingerprint;
    u32::from_le_bytes([a, b, c, d])
}
