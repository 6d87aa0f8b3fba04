//! Which domain has to have which image: an independent calculation, along the edges from the origin, never back to it.

use std::collections::BTreeSet;

use narrows_domain::Catalog as _;
use narrows_domain::operation::{Operation, OperationState};
use narrows_format::ImageId;

use super::{World, now};

impl World {
    /// Whether a person gave this replication up.
    pub(crate) fn is_given_up(&self, at: usize, operation: &Operation) -> bool {
        let target = operation.target.as_ref().map(|target| self.at(target.partner));
        target.is_some_and(|to| self.given_up.contains(&(operation.key.image, at, to)))
    }

    /// All images that may be in a domain.
    pub(crate) fn images_expected_at(&self, at: usize) -> BTreeSet<ImageId> {
        self.images_reaching(at, |_, _, _| true)
    }

    /// The same without what a person gave up, or what came too late, unless it comes another way.
    pub(crate) fn images_owed_to(&self, at: usize) -> BTreeSet<ImageId> {
        self.images_reaching(at, |image, from, to| {
            !self.given_up.contains(&(image, from, to)) && !self.came_too_late(image, from, to)
        })
    }

    /// Refused over there because its life was over; whether rightly so is another question.
    fn came_too_late(&self, image: ImageId, from: usize, to: usize) -> bool {
        let operations = now(self.domains[from].catalog().operations(image));
        let id = self.domains[to].id();
        let mut there =
            operations.iter().filter(|it| it.target.as_ref().is_some_and(|target| target.partner == id));
        there.any(|it| matches!(it.state, OperationState::Failed(_)))
    }

    fn images_reaching(&self, at: usize, goes: impl Fn(ImageId, usize, usize) -> bool) -> BTreeSet<ImageId> {
        let reaches = |image: ImageId, origin: usize| {
            let mut reached = BTreeSet::from([origin]);
            loop {
                let on = self.edges.iter().filter(|(of, from, to)| {
                    *of == origin && reached.contains(from) && goes(image, *from, *to)
                });
                let next: BTreeSet<usize> = on.map(|(.., to)| *to).collect();
                let before = reached.len();
                reached.extend(next);
                if reached.len() == before {
                    return reached.contains(&at);
                }
            }
        };
        let made = self.made.iter().filter(|(image, (origin, _))| reaches(**image, *origin));
        made.map(|(image, _)| *image).collect()
    }
}
