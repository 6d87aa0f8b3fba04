//! What the machine asks beside images and what is due for them.

use narrows_format::{DomainId, ImageId, Timestamp};

use super::Reading;
use crate::barrier::{Barrier, Part};
use crate::image::Image;
use crate::operation::Operation;
use crate::slp::Migrating;

/// Questions of rows that are of no one image.
pub trait Beside<E>: Send + Sync {
    /// What stands before parts of the work for partners, by partner and part.
    fn barriers(&self) -> impl Reading<Result<Vec<Barrier>, E>>;

    /// The first in the order of turns of what waits behind a barrier.
    fn first_behind(&self, partner: DomainId, part: &Part) -> impl Reading<Result<Option<Operation>, E>>;

    /// What the clock said when that was noted last.
    fn clock_seen(&self) -> impl Reading<Result<Option<Timestamp>, E>>;

    /// Which images are being planned anew, by the name of their policy.
    fn migrations(&self) -> impl Reading<Result<Vec<Migrating>, E>>;

    /// Whole images under this version of a policy, behind this one, that have an operation that keeps what it copies from; in
    /// the order of their ids.
    fn to_replan(
        &self,
        slp: (&str, u32),
        after: Option<ImageId>,
        limit: u32,
    ) -> impl Reading<Result<Vec<Image>, E>>;
}
