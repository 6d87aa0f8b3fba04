//! One image's file tree, for look-up and listing.

use narrows_format::{node::Child, path::is_legal};

use super::{Cursor, Located, NodeReader, WalkError};

/// A file tree by its root.
pub struct Tree<'r, R: NodeReader + ?Sized> {
    reader: &'r R,
    root: Child,
}

/// One name in a directory.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Last component of its path.
    pub name: Vec<u8>,
    /// The entry; `None` for a directory that has no entry of its own, only entries below it.
    pub located: Option<Located>,
}

impl<'r, R: NodeReader + ?Sized> Tree<'r, R> {
    /// The tree below `root`, an `Entries` or `Tree` node.
    pub const fn new(reader: &'r R, root: Child) -> Self {
        Self { reader, root }
    }

    /// The entry with this path.
    pub async fn lookup(&self, path: &[u8]) -> Result<Option<Located>, WalkError<R::Error>> {
        let found = self.between(path, None).next().await?;
        Ok(found.filter(|located| located.entry().path == path))
    }

    /// Up to `limit` names in a directory, in order, those after the name `after`. Reads one leaf per some
    /// 24 names, and none for what lies deeper.
    pub async fn browse(
        &self,
        directory: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Listed>, WalkError<R::Error>> {
        let mut listed = Vec::new();
        if !is_legal(directory) {
            return Ok(listed);
        }
        let prefix = if directory.is_empty() { Vec::new() } else { [directory, b"/"].concat() };
        let from = after.map_or_else(|| prefix.clone(), |name| beyond(&[&prefix[..], name].concat()));
        let mut cursor = self.between(&from, end_of(directory).as_deref());
        while listed.len() < limit {
            let Some(located) = cursor.next().await? else { break };
            let Some(rest) = located.entry().path.strip_prefix(&prefix[..]) else { break };
            if rest.is_empty() {
                // Only the root's own entry has the empty prefix and nothing behind it.
                continue;
            }
            let name = rest.split(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
            let implied = name.len() < rest.len();
            cursor.skip_to(&beyond(&[&prefix[..], &name].concat()));
            listed.push(Listed { name, located: (!implied).then_some(located) });
        }
        Ok(listed)
    }

    /// All entries.
    pub fn all(&self) -> Cursor<'r, R> {
        self.between(b"", None)
    }

    /// An entry and everything below it.
    pub fn below(&self, path: &[u8]) -> Cursor<'r, R> {
        self.between(path, end_of(path).as_deref())
    }

    /// The entries from `from` up to but not including `until`.
    pub fn between(&self, from: &[u8], until: Option<&[u8]>) -> Cursor<'r, R> {
        Cursor::new(self.reader, self.root, from.to_vec(), until.map(<[u8]>::to_vec))
    }
}

/// The smallest string of bytes that sorts after `path` and all that lies below it.
fn beyond(path: &[u8]) -> Vec<u8> {
    // `/` sorts lowest and NUL is in no path, so the byte 1 comes right after everything below `path`.
    [path, b"\x01"].concat()
}

/// The same for a directory; the root has no end.
fn end_of(directory: &[u8]) -> Option<Vec<u8>> {
    (!directory.is_empty()).then(|| beyond(directory))
}
