//! Files that can't be opened because the process, or the machine, has too many open.
//!
//! Then nothing was done that could be in doubt, so it may be tried again, and poisons nothing. What only a stream or a
//! reader needs is refused to it. What all of the pool rests on (its logs, runs of the index) waits here for a descriptor:
//! whoever holds one gives it back without any help from the pool.

use std::io;

use narrows_ring::world::{World, no_descriptor};

use crate::limits::DESCRIPTORS_LOOK;

/// Opens, as soon as there is a descriptor for it.
pub(crate) async fn waited<T>(world: &World, open: impl AsyncFn() -> io::Result<T>) -> io::Result<T> {
    let mut said = false;
    loop {
        match open().await {
            Err(error) if no_descriptor(&error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::error!(%error, "a file of a pool can't be opened; what needs it waits until one can");
                }
                world.clock.sleep(DESCRIPTORS_LOOK).await;
            }
            outcome => return outcome,
        }
    }
}
