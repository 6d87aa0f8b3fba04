//! What a base already holds where a new node lies.
//!
//! A source that names a base must tell of each child of a new node whether the base has it too
//! (class *known*) or not (*fresh*). Only the same place in the base is looked at: what moved elsewhere is
//! fresh, which costs a tag and nothing else. Cost: the base's nodes of that height that overlap, and the
//! way down to them.

use std::{cmp::Ordering, collections::HashSet, ops::Range, rc::Rc};

use narrows_format::{
    Fingerprint,
    node::{Body, Child, Content, EntryKind, Node},
    path::order,
};

use super::{Located, NodeReader, Tree, WalkError, content::check, rule};

/// Children of the base's nodes of height `level` that overlap the paths from `from` up to, not including,
/// `until`. The root of a base that is lower than `level` is its own only answer.
pub async fn known_children<R: NodeReader + ?Sized>(
    reader: &R,
    base: Child,
    from: &[u8],
    until: Option<&[u8]>,
    level: u8,
) -> Result<HashSet<Fingerprint>, WalkError<R::Error>> {
    let mut known = HashSet::from([base.fingerprint]);
    let mut open = vec![(base, None)];
    while let Some((child, height)) = open.pop() {
        let node = reader.node(&child).await.map_err(WalkError::Node)?;
        let found = tree_height(&node).ok_or(WalkError::Inconsistent {
            node: child.fingerprint,
            rule: "it belongs to a file, not to the file tree",
        })?;
        rule(&child, height.is_none_or(|height| height == found), "its height")?;
        match &node.body {
            Body::Tree { spans, .. } if found > level => {
                for (at, span) in spans.iter().enumerate() {
                    let next = spans.get(at + 1).map(|next| &next.first[..]);
                    let begins = until.is_none_or(|until| order(&span.first, until) == Ordering::Less);
                    let ends = next.is_none_or(|next| order(next, from) == Ordering::Greater);
                    if begins && ends {
                        open.push((node.children[at], Some(found - 1)));
                    }
                }
            }
            _ if found == level => known.extend(node.children.iter().map(|child| child.fingerprint)),
            _ => {}
        }
    }
    Ok(known)
}

/// The same within one file: children of the base's extent nodes of height `level` that overlap `bytes` of
/// the file `path`; its segments if they are inline; nothing if it is no file in the base.
pub async fn known_in_file<R: NodeReader + ?Sized>(
    reader: &R,
    base: Child,
    path: &[u8],
    bytes: Range<u64>,
    level: u8,
) -> Result<HashSet<Fingerprint>, WalkError<R::Error>> {
    let mut known = HashSet::new();
    let Some(located) = Tree::new(reader, base).lookup(path).await? else { return Ok(known) };
    let Some((root, size)) = extent_root(&located) else {
        known.extend(located.children().iter().map(|child| child.fingerprint));
        return Ok(known);
    };
    known.insert(root.fingerprint);
    let mut open = vec![(root, None, 0, size)];
    while let Some((child, height, begin, length)) = open.pop() {
        let node = reader.node(&child).await.map_err(WalkError::Node)?;
        check(&child, &node, height, length)?;
        match &node.body {
            Body::ExtentTree { level: found, lengths } if *found > level => {
                let mut at: u64 = begin;
                for (child, length) in node.children.iter().zip(lengths) {
                    let end = at.saturating_add(*length);
                    if at < bytes.end && end > bytes.start {
                        open.push((*child, Some(found - 1), at, *length));
                    }
                    at = end;
                }
            }
            Body::ExtentTree { level: found, .. } if *found < level => {}
            Body::Extents(_) if level > 0 => {}
            _ => known.extend(node.children.iter().map(|child| child.fingerprint)),
        }
    }
    Ok(known)
}

/// Height of a node of a file tree; `None` for others.
fn tree_height(node: &Rc<Node>) -> Option<u8> {
    match &node.body {
        Body::Tree { level, .. } => Some(*level),
        Body::Entries(_) => Some(0),
        Body::Extents(_) | Body::ExtentTree { .. } => None,
    }
}

/// The extent tree of a file and the file's length.
fn extent_root(located: &Located) -> Option<(Child, u64)> {
    let EntryKind::File { size, content: Content::Tree(ordinal) } = &located.entry().kind else {
        return None;
    };
    located.children().get(*ordinal as usize).map(|root| (*root, *size))
}
