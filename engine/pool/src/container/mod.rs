//! Containers: append-only files of frames with a table at the tail.
//!
//! Guarantees: a sealed container never changes. Its table was decoded and compared before it was written,
//! and everything in it survives power loss before anybody is told that it is sealed. A container that a crash left
//! open is told apart by its missing footer; its frames are found by scanning.

mod reader;
mod scan;
mod writer;

use std::path::{Path, PathBuf};

use narrows_format::{ContainerId, container::ContainerKind, node::ChildKind};

pub(crate) use reader::{OpenContainer, Opened, Span, open, read_in_place, read_span, read_table};
pub(crate) use scan::{Scanned, Trust, entries, scan};
pub(crate) use writer::{Appended, Sealed, Writer};

/// Where a container's file is, below the pool's directory.
pub(crate) fn path(pool: &Path, container: ContainerId) -> PathBuf {
    directory(pool).join(format!("{:010x}.nrwc", container.0))
}

/// What the segments of a container are to the nodes that name them.
pub(crate) fn child_kind(kind: ContainerKind) -> ChildKind {
    match kind {
        ContainerKind::Data => ChildKind::Segment,
        ContainerKind::Nodes => ChildKind::Node,
    }
}

/// The directory of all containers.
pub(crate) fn directory(pool: &Path) -> PathBuf {
    pool.join("containers")
}
