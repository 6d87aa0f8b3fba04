//! Lists a directory of an image, straight from its recipe.

use std::rc::Rc;

use narrows_api::{
    PathText,
    images::{BrowseEntry, BrowsePage},
    text::time_out,
};
use narrows_format::{
    Location,
    node::{Child, Entry, EntryKind, Node},
};
use narrows_pool::{
    Error, Pool,
    recipe::walk::{Listed, NodeReader, Tree, WalkError},
};
use narrows_ring::world::Local;

use super::Browse;

pub(super) struct Nodes<'a>(pub(super) &'a Pool);

impl NodeReader for Nodes<'_> {
    type Error = Error;

    fn node<'a>(&'a self, child: &'a Child) -> Local<'a, Result<Rc<Node>, Error>> {
        Box::pin(async move {
            let stored = self.0.node(child.fingerprint, Location::UNKNOWN).await?;
            let node = Node::decode(&stored.bytes);
            node.map(Rc::new).map_err(|_| damaged(stored.location))
        })
    }
}

fn damaged(location: Location) -> Error {
    Error::Corrupt {
        container: location.container(),
        slot: Some(location.slot()),
        region: narrows_pool::error::Region::Segment,
    }
}

/// One page; `None` when the path is no directory of the image.
pub(super) async fn browse(pool: &Pool, asked: &Browse) -> Result<Option<BrowsePage>, Error> {
    let _lease = pool.lease();
    let nodes = Nodes(pool);
    let tree = Tree::new(&nodes, asked.root);
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let listed = tree.browse(&asked.path, asked.after.as_deref(), limit.saturating_add(1)).await;
    let mut listed = listed.map_err(walked)?;
    if listed.is_empty() && asked.after.is_none() && !asked.path.is_empty() {
        let entry = tree.lookup(&asked.path).await.map_err(walked)?;
        let is_directory = entry.is_some_and(|found| found.entry().kind == EntryKind::Directory);
        if !is_directory {
            return Ok(None);
        }
    }
    let more = listed.len() > limit;
    listed.truncate(limit);
    Ok(Some(BrowsePage { entries: listed.iter().map(entry).collect(), more }))
}

/// What a walk failed at.
pub(super) fn walked(error: WalkError<Error>) -> Error {
    match error {
        WalkError::Node(error) => error,
        WalkError::Inconsistent { .. } => Error::Malformed { what: "the image's recipe" },
    }
}

fn entry(listed: &Listed) -> BrowseEntry {
    let Some(located) = &listed.located else {
        let name = PathText::from_bytes(&listed.name);
        let modified = jiff::Timestamp::UNIX_EPOCH;
        let kind = "directory".to_owned();
        return BrowseEntry { name, kind, mode: 0o755, uid: 0, gid: 0, size: 0, modified, target: None };
    };
    described(&listed.name, located.entry())
}

/// An entry for people and programs.
pub(super) fn described(name: &[u8], entry: &Entry) -> BrowseEntry {
    let Entry { mode, uid, gid, mtime, kind, .. } = entry;
    let (word, size, target) = match kind {
        EntryKind::Directory => ("directory", 0, None),
        EntryKind::File { size, .. } => ("file", *size, None),
        EntryKind::Symlink(target) => ("symlink", 0, Some(target)),
        EntryKind::HardLink(target) => ("hardlink", 0, Some(target)),
        EntryKind::Fifo => ("fifo", 0, None),
        EntryKind::Socket => ("socket", 0, None),
        EntryKind::CharDevice(..) => ("char-device", 0, None),
        EntryKind::BlockDevice(..) => ("block-device", 0, None),
    };
    BrowseEntry {
        name: PathText::from_bytes(name),
        kind: word.to_owned(),
        mode: *mode,
        uid: *uid,
        gid: *gid,
        size,
        modified: time_out(*mtime),
        target: target.map(|target| PathText::from_bytes(target)),
    }
}
