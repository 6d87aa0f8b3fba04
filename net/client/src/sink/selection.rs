//! Which part of an image is restored.

use std::cmp::Ordering;

use narrows_format::path;

/// Paths asked for; everything when there are none.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    paths: Vec<Vec<u8>>,
}

impl Selection {
    /// From paths as typed: slashes at the ends do not count; the empty path is everything.
    pub fn new(paths: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let trim = |path: Vec<u8>| {
            let start = path.iter().take_while(|byte| **byte == b'/').count();
            let end = path.iter().rposition(|byte| *byte != b'/').map_or(start, |at| at + 1);
            path[start..end.max(start)].to_vec()
        };
        let mut paths: Vec<Vec<u8>> = paths.into_iter().map(trim).collect();
        if paths.iter().any(Vec::is_empty) {
            paths.clear();
        }
        Self { paths }
    }

    /// What was asked for.
    pub fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// Whether an entry is restored: it was asked for, lies below what was, or is a directory on the way there.
    pub fn takes(&self, entry: &[u8], is_directory: bool) -> bool {
        self.paths.is_empty()
            || self.paths.iter().any(|wanted| {
                lies_in(entry, wanted) || is_directory && (entry.is_empty() || lies_in(wanted, entry))
            })
    }

    /// Whether an entry itself was asked for, or something that it lies in.
    pub fn asks_for(&self, entry: &[u8]) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|wanted| lies_in(entry, wanted))
    }

    /// Sets the marks of all paths asked for in which the entry lies.
    pub(super) fn mark(&self, entry: &[u8], marks: &mut [bool]) {
        for (wanted, mark) in self.paths.iter().zip(marks) {
            *mark = *mark || lies_in(entry, wanted);
        }
    }

    /// Whether entries in `first..next` (no end: `None`) may be among those that are restored.
    pub fn may_take(&self, first: &[u8], next: Option<&[u8]>) -> bool {
        self.paths.is_empty()
            || self.paths.iter().any(|wanted| {
                let ends_before = next.is_some_and(|next| path::order(next, wanted) != Ordering::Greater);
                let begins_behind =
                    path::order(first, wanted) == Ordering::Greater && !lies_in(first, wanted);
                !ends_before && !begins_behind || way_in(wanted, first, next)
            })
    }
}

/// Whether `path` is `directory` or lies below it.
fn lies_in(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// Whether a directory on the way to `wanted` lies in `first..next`.
fn way_in(wanted: &[u8], first: &[u8], next: Option<&[u8]>) -> bool {
    let slashes = wanted.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    [0].into_iter().chain(slashes).any(|end| {
        let above = &wanted[..end];
        path::order(first, above) != Ordering::Greater
            && next.is_none_or(|next| path::order(above, next) == Ordering::Less)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: pruning never loses an entry that is taken. Method: all spans of a small tree against `takes`.
    #[test]
    fn pruning_loses_nothing() {
        let entries: Vec<&[u8]> =
            vec![b"", b"a", b"a/b", b"a/b/c", b"a/d", b"a b", b"a.b", b"b", b"b/a", b"c"];
        for wanted in ["a", "a/b", "a/b/c", "/a/b/", "b/a", "c", "nothing", "a/b/c/d"] {
            let selection = Selection::new([wanted.as_bytes().to_vec()]);
            for from in 0..entries.len() {
                for to in from + 1..=entries.len() {
                    let taken = entries[from..to].iter().any(|entry| selection.takes(entry, true));
                    let may = selection.may_take(entries[from], entries.get(to).copied());
                    assert!(may || !taken, "{wanted}: {from}..{to}");
                }
            }
        }
        assert!(!Selection::new([b"b".to_vec()]).may_take(b"c", None));
        assert!(Selection::new([b"/".to_vec()]).takes(b"x", false));
    }
}
