//! Tags of the segments that the open nodes refer to, so that possession can be shown when they are sent.

use std::collections::{HashMap, VecDeque};

use narrows_format::{Fingerprint, Tag};

/// Segments that the open extents leaf of a file (and the inline list before it) can refer to, with room to spare.
const WINDOW: usize = 1024;

const _: () = assert!(
    WINDOW > narrows_pool::recipe::build::ITEMS_MAX + narrows_pool::recipe::build::EXTENTS_INLINE_MAX + 1
);

/// The tags of one file's latest segments.
#[derive(Default)]
pub(super) struct FileTags {
    /// Each with the number of its places in the window.
    tags: HashMap<Fingerprint, (Tag, usize)>,
    window: VecDeque<Fingerprint>,
}

impl FileTags {
    /// The file's next segment. Repeats are one extent, so they take one place.
    pub(super) fn add(&mut self, name: Fingerprint, tag: Tag) {
        if self.window.back() == Some(&name) {
            return;
        }
        self.tags.entry(name).or_insert((tag, 0)).1 += 1;
        self.window.push_back(name);
        if self.window.len() <= WINDOW {
            return;
        }
        if let Some(oldest) = self.window.pop_front()
            && let Some((_, places)) = self.tags.get_mut(&oldest)
        {
            *places -= 1;
            if *places == 0 {
                self.tags.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, name: &Fingerprint) -> Option<Tag> {
        self.tags.get(name).map(|(tag, _)| *tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_keeps_what_is_recent() {
        let name = |number: usize| {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&(number as u64).to_le_bytes());
            Fingerprint(name)
        };
        let mut tags = FileTags::default();
        tags.add(name(0), Tag([0; 16]));
        for _ in 0..10 * WINDOW {
            tags.add(name(1), Tag([1; 16]));
        }
        assert!(tags.get(&name(0)).is_some(), "repeats push nothing out");
        for number in 2..2 * WINDOW {
            tags.add(name(number), Tag([2; 16]));
            tags.add(name(1), Tag([1; 16]));
        }
        assert!(tags.get(&name(0)).is_none());
        assert_eq!(tags.get(&name(1)), Some(Tag([1; 16])));
        assert!(tags.tags.len() <= WINDOW);
    }
}
