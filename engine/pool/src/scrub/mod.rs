//! Damage: found by reading everything, kept out of use, and what of the images it hurts.
//!
//! A *pass* reads sealed containers one after the other at a set rate (`examine`): each frame against its checksum and
//! the table, or deeper, each segment against its fingerprint. What is damaged goes into *quarantine*: a durable
//! record in the manifest, then a word to all cores. From then on it counts as lacking for whoever brings it again, and
//! readers get another copy where there is one. A *survey* walks all images and tells which are hurt, and which nodes
//! are sound: only those answer "have" as long as anything is in quarantine (`crate::index`).
//!
//! What heals: any stream that brings what is damaged, for an image of its own or, with [`crate::Ingest::heal`], for one
//! that is here. What lies in a container of which only header or table are damaged is copied from there (`rescue`).
//! The quarantine itself stays: what lies in a damaged place is never believed again, until a pass finds
//! that all of the container holds.
//!
//! What this does not do: it reads no logs and no index (they are verified when the pool is opened), and takes a
//! container whose header and table the device does not give for neither good nor bad.

mod examine;
mod quarantine;
mod rescue;
mod survey;

use std::rc::Rc;

use narrows_format::ContainerId;

pub use crate::index::Harm;
use crate::{
    control::Listed,
    error::Error,
    index::{Harms, add_harm},
    shard::{Core, Order},
};
pub use examine::Depth;
use examine::{Examined, examine};
pub(crate) use quarantine::{Believed, ScrubOrder};
pub(crate) use rescue::rescue;
pub use survey::Survey;
pub(crate) use survey::{is_whole, survey};

/// One container of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Which.
    pub container: ContainerId,
    /// Bytes that were read of it.
    pub bytes: u64,
    /// What is damaged in it, known before or not.
    pub harms: Vec<Harm>,
    /// Whether some of that was not known before.
    pub news: bool,
    /// Places that hold nothing and are not as they were written: padding, advice to readers. Nothing is lost.
    pub stray: u64,
    /// What kept it from being read; then nothing is known of it.
    pub unread: Option<Error>,
}

/// Reads the first container behind `after`; `None`: there is none. At most `rate` bytes a second.
pub(crate) async fn next(
    core: &Rc<Core>,
    after: Option<ContainerId>,
    depth: Depth,
    rate: Option<u64>,
) -> Result<Option<Scrubbed>, Error> {
    let after = after.unwrap_or(ContainerId(0));
    match core.order(|reply| Order::Scrub(ScrubOrder::Next { after, reply })).await? {
        Some((container, listed)) => one(core, container, listed, depth, rate).await.map(Some),
        None => Ok(None),
    }
}

/// Looks closer at the containers in which a reader met damage.
pub(crate) async fn look_closer(core: &Rc<Core>, damage: &[Error]) -> Result<(), Error> {
    let places = damage.iter().filter_map(|error| match error {
        Error::Corrupt { container, .. } | Error::Unreadable { container, .. } => Some(*container),
        _ => None,
    });
    let mut containers: Vec<ContainerId> = places.collect();
    containers.sort_unstable();
    containers.dedup();
    for container in containers {
        // The one behind the one before: the same one, unless it has gone.
        next(core, Some(ContainerId(container.0 - 1)), Depth::Fingerprints, None).await?;
    }
    Ok(())
}

async fn one(
    core: &Rc<Core>,
    container: ContainerId,
    listed: Listed,
    depth: Depth,
    rate: Option<u64>,
) -> Result<Scrubbed, Error> {
    let known = core.owned.borrow().doubts().harms().get(&container).cloned().unwrap_or_default();
    // Only a close look can tell that it was a passing fault.
    let depth = if known.is_empty() { depth } else { Depth::Fingerprints };
    let examined = match examine(core, container, listed, depth, rate).await {
        Ok(examined) => examined,
        Err(error @ (Error::Closed | Error::Poisoned)) => return Err(error),
        Err(error) => {
            tracing::error!(code = error.code(), %error, container = container.0, "a container can't be read");
            let (harms, news) = (known, false);
            return Ok(Scrubbed { container, bytes: 0, harms, news, stray: 0, unread: Some(error) });
        }
    };
    let Examined { bytes, harms, stray } = examined;
    let mut all = Harms::from([(container, known.clone())]);
    for harm in &harms {
        add_harm(&mut all, container, *harm);
    }
    let mut fresh = all.remove(&container).unwrap_or_default();
    fresh.retain(|harm| !known.contains(harm));
    let news = !fresh.is_empty();
    if news {
        let note = |reply| Order::Scrub(ScrubOrder::Quarantine { container, harms: fresh, reply });
        core.order(note).await??;
    } else if harms.is_empty() && !known.is_empty() {
        core.order(|reply| Order::Scrub(ScrubOrder::Release { container, known, reply })).await??;
    }
    Ok(Scrubbed { container, bytes, harms, news, stray, unread: None })
}
