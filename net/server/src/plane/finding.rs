//! Looks for paths in an image, and for what differs between two, straight in their recipes.
//!
//! One page costs a bounded number of nodes: whoever asks goes on where it ended.

use std::cmp::Ordering;

use narrows_api::{
    PathText,
    finding::{ChangeInfo, DiffPage, FindPage, FoundEntry},
};
use narrows_format::{node::Child, path::order};
use narrows_pool::{
    Error, Pool,
    recipe::{
        glob::Glob,
        walk::{Aspect, Change, Diff, Located, Tree},
    },
};

use super::browse::{Nodes, described, walked};
use crate::limits::{FIND_ENTRIES_MAX, FIND_NODES_MAX, FIND_PAGE_MAX};

/// What is looked for in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// Root node of the image.
    pub root: Child,
    /// What a path has to fit.
    pub glob: Glob,
    /// Where to begin; empty is the top.
    pub from: Vec<u8>,
}

/// Two images that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Root node of the first.
    pub before: Child,
    /// Root node of the second.
    pub after: Child,
    /// Where to begin; empty is the top.
    pub from: Vec<u8>,
}

/// One page of what fits.
pub(super) async fn find(pool: &Pool, asked: &Find) -> Result<FindPage, Error> {
    let _lease = pool.lease();
    let nodes = Nodes(pool);
    let tree = Tree::new(&nodes, asked.root);
    let directory = asked.glob.directory();
    let mut cursor = tree.below(directory);
    if order(&asked.from, directory) == Ordering::Greater {
        cursor.skip_to(&asked.from);
    }
    let (mut page, mut seen) = (FindPage::default(), 0);
    while let Some(located) = cursor.next().await.map_err(walked)? {
        let path = &located.entry().path;
        seen += 1;
        if asked.glob.fits(path) {
            page.entries.push(FoundEntry { path: PathText::from_bytes(path), entry: entry(&located) });
        }
        if seen == FIND_ENTRIES_MAX || page.entries.len() == FIND_PAGE_MAX {
            // No path ends in a slash: this is what sorts next.
            page.next = Some(PathText::from_bytes(&[path, &b"/"[..]].concat()));
            break;
        }
    }
    Ok(page)
}

/// One page of what differs.
pub(super) async fn compare(pool: &Pool, asked: &Compare) -> Result<DiffPage, Error> {
    let _lease = pool.lease();
    let nodes = Nodes(pool);
    let mut diff = Diff::new(&nodes, asked.before, asked.after, asked.from.clone(), FIND_NODES_MAX);
    let mut changes = Vec::new();
    while changes.len() < FIND_PAGE_MAX {
        let Some(change) = diff.next().await.map_err(walked)? else { break };
        changes.push(told(&change));
    }
    Ok(DiffPage { changes, next: diff.rest().map(PathText::from_bytes) })
}

fn told(change: &Change) -> ChangeInfo {
    let (word, before, after) = match change {
        Change::Added(after) => ("added", None, Some(after)),
        Change::Removed(before) => ("removed", Some(before), None),
        Change::Changed(before, after) => ("changed", Some(before), Some(after)),
    };
    let what = match change {
        Change::Changed(..) => change.aspects().into_iter().map(|aspect| name(aspect).to_owned()).collect(),
        _ => Vec::new(),
    };
    let path = after.or(before).map(|located| located.entry().path.as_slice()).unwrap_or_default();
    ChangeInfo {
        path: PathText::from_bytes(path),
        change: word.to_owned(),
        what,
        before: before.map(entry),
        after: after.map(entry),
    }
}

fn name(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Kind => "kind",
        Aspect::Content => "content",
        Aspect::Mode => "mode",
        Aspect::Owner => "owner",
        Aspect::Time => "time",
        Aspect::Attributes => "attributes",
    }
}

fn entry(located: &Located) -> narrows_api::images::BrowseEntry {
    let path = &located.entry().path;
    described(path.rsplit(|byte| *byte == b'/').next().unwrap_or(path), located.entry())
}
