//! What the machine asks beside images and what is due for them.

use narrows_format::DomainId;

use super::Reading;
use crate::barrier::{Barrier, Part};
use crate::operation::Operation;

/// Questions of rows that are of no one image.
pub trait Beside<E>: Send + Sync {
    /// What stands before parts of the work for partners, by partner and part.
    fn barriers(&self) -> impl Reading<Result<Vec<Barrier>, E>>;

    /// The first in the order of turns of what waits behind a barrier.
    fn first_behind(&self, partner: DomainId, part: &Part) -> impl Reading<Result<Option<Operation>, E>>;
}
