//! Lets a copy go when its time has come and nothing needs it any more: hidden first, removed when it can't be brought
//! back.
//!
//! Guarantee: what [`crate::retention::standing`] names is never against a copy that is hidden. Commands are given again
//! until the log says that they were carried out; the log refuses what is held or locked, whoever asks.

use narrows_format::Timestamp;
use narrows_format::image_log::RemoveReason;

use crate::event::{Change, Command, Decision};
use crate::image::{Discarded, Image, ImageCopy};
use crate::limits::{ANSWER_WAIT_MAX, KEPT_LOOK, UNDELETE_FOREIGN, UNDELETE_OWN};
use crate::machine::children::{self, Parent};
use crate::machine::replication::{self, ReplicationView};
use crate::moment::after;
use crate::partner::Partner;
use crate::retention::{KeptBecause, standing};
use crate::slp::SlpOperation;

/// Whose image a copy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This domain's.
    Own,
    /// Another's.
    Foreign,
}

/// Looks whether a copy may go.
pub fn look(copy: &ImageCopy, view: &ReplicationView<'_>, owner: Owner, now: Timestamp) -> Decision {
    let mut copy = copy.clone();
    let (image, pool) = (copy.image, copy.pool);
    let is_needed = !standing(&copy, view.slp.map(|it| &it.slp), view.operations, now).is_empty();
    let command = match copy.discarded {
        Some(discarded) if discarded.until > now => return Decision::nothing(),
        // Something has come to need it meanwhile.
        Some(_) if is_needed => {
            let mut decision = Decision::nothing();
            replication::amend(&mut copy, now, &mut decision);
            decision.changes.push(Change::Copy(copy));
            return decision;
        }
        Some(_) => Some(Command::RemoveCopy { image, pool }),
        None if !is_needed => {
            let window = match owner {
                Owner::Own => UNDELETE_OWN,
                Owner::Foreign => UNDELETE_FOREIGN,
            };
            let discarded = Discarded { reason: RemoveReason::Expired, until: after(now, window) };
            Some(Command::DiscardCopy { image, pool, discarded })
        }
        None => None,
    };
    copy.not_before = Some(after(now, if command.is_some() { ANSWER_WAIT_MAX } else { KEPT_LOOK }));
    Decision { changes: vec![Change::Copy(copy)], commands: command.into_iter().collect() }
}

/// Whether something is to copy from this one by its policy that was never made.
pub fn lacks_work(copy: &ImageCopy, view: &ReplicationView<'_>, now: Timestamp) -> bool {
    let kept = standing(copy, view.slp.map(|it| &it.slp), view.operations, now);
    copy.is_readable() && kept.iter().any(|it| matches!(it, KeptBecause::Unmade { .. }))
}

/// What was never made of that, because the image is older than the server that knows how to, is due now. A Replication to
/// all has reached those who were partners then.
pub fn make_up(
    copy: &ImageCopy,
    image: &Image,
    view: &ReplicationView<'_>,
    partners: &[Partner],
    now: Timestamp,
) -> Decision {
    let Some(version) = view.slp else { return Decision::nothing() };
    let parent = Parent {
        image,
        version,
        operation: &copy.operation,
        asked: copy.wanted.expires,
        existing: view.operations,
        replicas: view.replicas,
        partners,
    };
    let mut due = children::due(&parent, now);
    due.retain(|it| {
        let goes_to_all = version.slp.operation(&it.name).is_some_and(SlpOperation::goes_to_all);
        !goes_to_all && view.operations.iter().all(|known| known.name != it.name)
    });
    Decision { changes: due.into_iter().map(Change::Operation).collect(), commands: Vec::new() }
}

/// What stands against it that a person asks for a copy to go now: its own period does not.
pub fn forbids(copy: &ImageCopy, view: &ReplicationView<'_>, now: Timestamp) -> Vec<KeptBecause> {
    let mut kept = standing(copy, view.slp.map(|it| &it.slp), view.operations, now);
    kept.retain(|it| {
        !matches!(
            it,
            KeptBecause::Period(_) | KeptBecause::NoExpiry | KeptBecause::AfterCopy | KeptBecause::Capacity
        )
    });
    kept
}

/// Sets when a copy expires: now, to let it go; later or never, to bring it back if it was discarded.
pub fn set_expiry(copy: &ImageCopy, expires: Option<Timestamp>, now: Timestamp, decision: &mut Decision) {
    let mut copy = copy.clone();
    copy.wanted.expires = expires;
    replication::amend(&mut copy, now, decision);
    decision.changes.push(Change::Copy(copy));
}
