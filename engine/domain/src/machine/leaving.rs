//! Lets the data of an arrival go that is not imported: given up, or refused once it was here. Hidden first, removed when its
//! window is over, as with a copy whose time has come.
//!
//! Guarantee: nothing that was sent stays in a pool for good unless the catalog has a copy of it. What a copy or another
//! arrival of the same image in that pool needs stays. The log is the authority for what was done; until it says so, commands are
//! given again.

use narrows_format::Timestamp;
use narrows_format::image_log::RemoveReason;

use crate::event::{Change, Command, Decision};
use crate::image::{Discarded, ImageCopy};
use crate::import::{ArrivedData, Import, ImportState};
use crate::limits::{ANSWER_WAIT_MAX, UNDELETE_FOREIGN};
use crate::moment::after;
use crate::operation::Note;

/// What is over by now is looked at at once, unless that is under way.
pub fn begin(import: &mut Import, now: Timestamp) {
    if !import.is_over() || import.data == ArrivedData::Gone {
        import.next_look = None;
    } else if import.next_look.is_none() {
        import.next_look = Some(now);
    }
}

/// Whether something in the catalog stands for what this pool has of the image.
pub fn is_needed(import: &Import, copies: &[ImageCopy], siblings: &[Import]) -> bool {
    let pool = import.key.pool;
    copies.iter().any(|copy| copy.pool == pool)
        || siblings.iter().any(|it| it.key.pool == pool && it.is_open() && it.data != ArrivedData::Gone)
}

/// Looks whether the data may go.
pub fn look(import: &Import, is_needed: bool, now: Timestamp) -> Decision {
    let mut import = import.clone();
    let (image, pool) = (import.arrival.record.image, import.key.pool);
    let answered_by = Some(after(now, ANSWER_WAIT_MAX));
    let (next_look, command) = match import.data {
        ArrivedData::Gone => (None, None),
        // Whatever it is needed for says itself when it is over.
        _ if is_needed || !import.is_over() => (None, None),
        ArrivedData::Here => {
            let discarded = Discarded { reason: RemoveReason::Expired, until: after(now, UNDELETE_FOREIGN) };
            (answered_by, Some(Command::DiscardCopy { image, pool, discarded }))
        }
        ArrivedData::Discarded(discarded) if discarded.until > now => (Some(discarded.until), None),
        ArrivedData::Discarded(_) => (answered_by, Some(Command::RemoveCopy { image, pool })),
    };
    import.next_look = next_look;
    Decision { changes: vec![Change::Import(import)], commands: command.into_iter().collect() }
}

/// The log says where the data is now. One that is imported has a copy, which says it.
pub fn seen(import: &Import, data: ArrivedData, now: Timestamp) -> Option<Import> {
    if import.state == ImportState::Imported || import.data == ArrivedData::Gone || import.data == data {
        return None;
    }
    let next_look = match data {
        ArrivedData::Gone => None,
        ArrivedData::Discarded(discarded) => Some(discarded.until),
        ArrivedData::Here => Some(now),
    };
    Some(Import { data, next_look: next_look.filter(|_| import.is_over()), ..import.clone() })
}

/// How a copy stands that is made of what was on its way out.
pub(super) fn discarded(import: &Import) -> Option<Discarded> {
    match import.data {
        ArrivedData::Discarded(discarded) => Some(discarded),
        ArrivedData::Here | ArrivedData::Gone => None,
    }
}

/// There is nothing left to decide about: what was open is given up.
pub(super) fn lost(import: &mut Import, now: Timestamp) {
    if import.is_open() {
        let sentence = "its data was removed from the pool before it was imported".to_owned();
        let note = import.note.clone().unwrap_or(Note { code: "API-002".to_owned(), sentence });
        import.enter(ImportState::GivenUp, Some(note), now);
    }
}
