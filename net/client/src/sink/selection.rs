//! Which part of an image is restored.
//!
//! Paths asked for are kept in the order of images, in which all that lies below a directory follows it. So whatever is
//! asked costs one binary search, however many they are, and a step for each of them that the entry lies in.

use std::{cmp::Ordering, sync::Arc};

use narrows_format::path;

/// Paths asked for; everything when there are none. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// In the order of images, each once.
    paths: Arc<[Vec<u8>]>,
    /// For each of them, the nearest one that it lies in.
    around: Arc<[Option<usize>]>,
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
        paths.sort_by(|left, right| path::order(left, right));
        paths.dedup();
        let mut around: Vec<Option<usize>> = Vec::with_capacity(paths.len());
        for (at, path) in paths.iter().enumerate() {
            let mut before = std::iter::successors(at.checked_sub(1), |before| around[*before]);
            let nearest = before.find(|before| lies_in(path, &paths[*before]));
            around.push(nearest);
        }
        Self { paths: paths.into(), around: around.into() }
    }

    /// What was asked for: each path once, in the order of images.
    pub fn paths(&self) -> &[Vec<u8>] {
        &self.paths
    }

    /// Whether an entry is restored: it was asked for, lies below what was, or is a directory on the way there.
    pub fn takes(&self, entry: &[u8], is_directory: bool) -> bool {
        self.asks_for(entry) || is_directory && self.is_on_the_way(entry)
    }

    /// Whether an entry itself was asked for, or something that it lies in.
    pub fn asks_for(&self, entry: &[u8]) -> bool {
        self.paths.is_empty() || self.around(entry).next().is_some()
    }

    /// Sets the marks of all paths asked for in which the entry lies.
    pub(super) fn mark(&self, entry: &[u8], marks: &mut [bool]) {
        self.around(entry).for_each(|at| marks[at] = true);
    }

    /// Whether entries in `first..next` (no end: `None`) may be among those that are restored.
    pub fn may_take(&self, first: &[u8], next: Option<&[u8]>) -> bool {
        let ends_behind = |path: &[u8]| next.is_none_or(|next| path::order(path, next) == Ordering::Less);
        let asked = self.paths.get(self.first_from(first));
        // Of those from the end on, no other has a directory above it in there that this one has not.
        self.asks_for(first)
            || asked.is_some_and(|asked| {
                above(asked).any(|way| path::order(first, way) != Ordering::Greater && ends_behind(way))
                    || ends_behind(asked)
            })
    }

    /// Something that was asked for lies below this directory.
    fn is_on_the_way(&self, directory: &[u8]) -> bool {
        let asked = self.paths.get(self.first_from(directory));
        directory.is_empty() || asked.is_some_and(|asked| lies_in(asked, directory))
    }

    /// The paths in which the entry lies, or that are the entry; the longest first.
    fn around(&self, entry: &[u8]) -> impl Iterator<Item = usize> {
        let behind = self.paths.partition_point(|path| path::order(path, entry) != Ordering::Greater);
        // What the entry lies in stands before it, with nothing between them but what lies in the same.
        let chain = std::iter::successors(behind.checked_sub(1), |at| self.around[*at]);
        chain.filter(move |at| lies_in(entry, &self.paths[*at]))
    }

    /// The first path that does not stand before `entry`.
    fn first_from(&self, entry: &[u8]) -> usize {
        self.paths.partition_point(|path| path::order(path, entry) == Ordering::Less)
    }
}

/// Whether `path` is `directory` or lies below it.
fn lies_in(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The directories above `path`, from the top down.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    [0].into_iter().chain(slashes).map(|end| &path[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said of paths one by one.
    struct Naive(Vec<Vec<u8>>);

    impl Naive {
        fn asks_for(&self, entry: &[u8]) -> bool {
            self.0.is_empty() || self.0.iter().any(|wanted| lies_in(entry, wanted))
        }

        fn takes(&self, entry: &[u8]) -> bool {
            self.asks_for(entry)
                || self.0.iter().any(|wanted| above(wanted).any(|directory| directory == entry))
        }

        fn may_take(&self, first: &[u8], next: Option<&[u8]>) -> bool {
            let begins = |path: &[u8]| path::order(first, path) != Ordering::Greater;
            let ends = |path: &[u8]| next.is_none_or(|next| path::order(path, next) == Ordering::Less);
            let meets = |wanted: &Vec<u8>| {
                lies_in(first, wanted)
                    || above(wanted).chain([&wanted[..]]).any(|path| begins(path) && ends(path))
            };
            self.0.is_empty() || self.0.iter().any(meets)
        }
    }

    fn paths(count: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Few names, among them such as sort before and behind a slash.
        let name = prop::sample::select(vec!["a", "b", "ab", "a!", "a.b"]);
        let path = prop::collection::vec(name, 1..5).prop_map(|names| names.join("/").into_bytes());
        prop::collection::vec(path, 0..count)
    }

    proptest! {
        /// Goal: what a search says is what a look at each path says. Method: entries and spans of a dense tree.
        #[test]
        fn a_search_says_what_each_path_says(asked in paths(40), mut entries in paths(40)) {
            let selection = Selection::new(asked.clone());
            let naive = Naive(asked);
            entries.push(vec![]);
            entries.sort_by(|left, right| path::order(left, right));
            entries.dedup();
            for (at, entry) in entries.iter().enumerate() {
                prop_assert_eq!(selection.asks_for(entry), naive.asks_for(entry));
                prop_assert_eq!(selection.takes(entry, true), naive.takes(entry));
                prop_assert_eq!(selection.takes(entry, false), naive.asks_for(entry));
                let mut marks = vec![false; selection.paths().len()];
                selection.mark(entry, &mut marks);
                for (wanted, mark) in selection.paths().iter().zip(marks) {
                    prop_assert_eq!(mark, lies_in(entry, wanted));
                }
                for next in entries[at + 1..].iter().map(|next| Some(next.as_slice())).chain([None]) {
                    prop_assert_eq!(selection.may_take(entry, next), naive.may_take(entry, next));
                }
            }
        }
    }

    /// Goal: many paths cost no more than their logarithm. Method: as many as would take minutes one by one.
    #[test]
    fn many_paths_are_searched_at_once() {
        let name = |number: u32| format!("d{}/e{}/f{number}", number % 100, number % 1000).into_bytes();
        let selection = Selection::new((0..100_000).map(|number| name(2 * number)));
        let mut marks = vec![false; selection.paths().len()];
        for number in 0..100_000 {
            assert_eq!(selection.asks_for(&name(number)), number % 2 == 0);
            selection.mark(&name(2 * number), &mut marks);
        }
        assert!(marks.iter().all(|mark| *mark));
    }

    #[test]
    fn slashes_at_the_ends_and_doubles_do_not_count() {
        let selection = Selection::new(["b/", "/a", "a", "a b"].map(Into::into));
        assert_eq!(selection.paths(), [&b"a"[..], b"a b", b"b"]);
        assert!(!Selection::new([b"b".to_vec()]).may_take(b"c", None));
        assert!(Selection::new([b"/".to_vec()]).takes(b"x", false));
    }
}
