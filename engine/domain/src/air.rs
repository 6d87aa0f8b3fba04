//! The rules by which an image that arrived from a partner is taken over: AIR-001 to AIR-007, AIR-011
//! and AIR-012 as one pure function; and those by which an image may leave or be restored: AIR-008 to
//! AIR-010.
//!
//! It does not look anything up and does not act: the caller brings what is known and stores what follows.

use narrows_format::record::ImageFlags;
use narrows_format::{DomainId, PoolId, Timestamp};

use crate::image::Image;
use crate::import::{Arrival, Proof};
use crate::limits::{CLOCK_AHEAD_MAX, CLOCK_FORGED_MIN};
use crate::moment::{before, since};
use crate::operation::Note;
use crate::partner::Partner;
use crate::recall::{self, Homecoming};
use crate::retention;
use crate::slp::{ANY_CLASSIFICATION, Retention, Slp, SlpVersion};
use crate::storage::{ANY_AVAILABLE, Identity, StorageUnit, StorageUnitGroup};

/// The code of an identity that stands for other content already.
pub const CLASH: &str = "AIR-005";

/// What is known here when an arrival is judged.
#[derive(Clone, Debug)]
pub struct Receiver<'a> {
    /// This domain.
    pub own: &'a Identity,
    /// The pool that it arrived in.
    pub pool: PoolId,
    /// The partner that sent it, if still known.
    pub sender: Option<&'a Partner>,
    /// The newest version of the SLP that is to import it.
    pub slp: Option<&'a SlpVersion>,
    /// Why that SLP takes nothing from this sender, or none is made by itself (AIR-002); see [`crate::auto_import`].
    pub barred: Option<&'a Note>,
    /// All storage units.
    pub units: &'a [StorageUnit],
    /// All storage unit groups.
    pub groups: &'a [StorageUnitGroup],
    /// The image of this UUID in the catalog.
    pub existing: Option<&'a Image>,
    /// The image of this origin, client name and second in the catalog.
    pub labelled: Option<&'a Image>,
    /// How this domain stands to it, if it was made here.
    pub homecoming: Homecoming,
    /// Newest recipe format that this server restores.
    pub image_format_max: u16,
}

/// What becomes of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Into the catalog.
    Import(Terms),
    /// The catalog has it already, with the same content: a further copy, or a longer life.
    Merge(Terms),
    /// Looked at again then (AIR-001).
    Wait(Timestamp, Note),
    /// Not as things stand; kept and tried again (AIR-002..004).
    Fail(Note),
    /// Never (AIR-005, 006, 011, 012).
    Refuse(Note),
}

/// On which terms an image is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When the copy here expires; `None` is never.
    pub expires: Option<Timestamp>,
    /// False for a format newer than this server restores (AIR-007).
    pub restorable: bool,
    /// What the sender should see: AIR-007, or that the expiry was clamped.
    pub note: Option<Note>,
}

fn note(code: &str, sentence: impl Into<String>) -> Note {
    Note { code: code.to_owned(), sentence: sentence.into() }
}

/// Judges one arrival. What its sender should not have sent (AIR-009, AIR-010) is refused like what it could not prove.
pub fn judge(arrival: &Arrival, receiver: &Receiver<'_>, now: Timestamp) -> Verdict {
    if let Err(note) = prove_origin(arrival, receiver).and_then(|()| may_travel(arrival.record.flags)) {
        return Verdict::Refuse(note);
    }
    // Before anything is kept of it for a while.
    if receiver.homecoming == Homecoming::Unasked {
        return Verdict::Refuse(recall::unasked(receiver.own, arrival.record.image));
    }
    if let Some(verdict) = check_clock(arrival.record.started, now) {
        return verdict;
    }
    if let Some(other) = clash(arrival, receiver) {
        return Verdict::Refuse(other);
    }
    let known = receiver.existing.is_some_and(|image| !image.state.is_gone());
    let unbounded = Retention::Target { at_least: None, at_most: None };
    let mut terms = match (import_operation(arrival, receiver), receiver.homecoming) {
        (Ok(retention), _) => terms(arrival, receiver, retention),
        // An image that was asked for needs no policy, here still, gone or unknown; nor does what is in the catalog already,
        // one's own or one that lives here as long as a policy said when it came.
        (Err(_), Homecoming::ForeignHere(expires)) if known => {
            Terms { expires, ..terms(arrival, receiver, unbounded) }
        }
        (Err(_), Homecoming::Here(_)) if known => terms(arrival, receiver, unbounded),
        (Err(_), Homecoming::Recalled) => terms(arrival, receiver, unbounded),
        (Err(note), _) => return Verdict::Fail(note),
    };
    if let Homecoming::Here(expires) = receiver.homecoming {
        // What is here already lives as long as this domain says.
        terms.expires = expires;
    }
    if terms.expires.is_some_and(|expires| expires <= now) {
        return Verdict::Refuse(note("AIR-006", "the image's expiry had passed when it arrived"));
    }
    if known { Verdict::Merge(terms) } else { Verdict::Import(terms) }
}

/// AIR-012: the origin's own signature, and from anybody but the origin the grant to relay for it.
pub fn prove_origin(arrival: &Arrival, receiver: &Receiver<'_>) -> Result<(), Note> {
    let origin = arrival.record.origin;
    if arrival.proof == Proof::Missing {
        return Err(note("AIR-012", format!("the signature of origin {origin} is missing or wrong")));
    }
    let relayed = receiver.sender.is_some_and(|sender| sender.grants.relay.contains_key(&origin));
    if arrival.sender == origin || origin == receiver.own.domain || relayed {
        return Ok(());
    }
    let sender = receiver.sender.map_or_else(|| arrival.sender.to_string(), |sender| sender.name.clone());
    Err(note("AIR-012", format!("{sender} has no grant to relay images of origin {origin}")))
}

/// AIR-001 and AIR-011.
pub fn check_clock(started: Timestamp, now: Timestamp) -> Option<Verdict> {
    let ahead = since(started, now);
    if ahead > CLOCK_FORGED_MIN {
        let hours = ahead.as_secs() / 3600;
        return Some(Verdict::Refuse(note("AIR-011", format!("the backup time is {hours} h in the future"))));
    }
    if ahead > CLOCK_AHEAD_MAX {
        let sentence = format!("the backup time is {:.1} s ahead of the clock here", ahead.as_secs_f64());
        return Some(Verdict::Wait(before(started, CLOCK_AHEAD_MAX), note("AIR-001", sentence)));
    }
    None
}

/// AIR-005: the same UUID, or the same name for people, with other content.
fn clash(arrival: &Arrival, receiver: &Receiver<'_>) -> Option<Note> {
    let record = &arrival.record;
    let same_id = receiver.existing.is_some_and(|image| !image.is_same_as(record));
    let same_label = receiver.labelled.is_some_and(|image| image.id != record.image);
    let what = if same_id {
        format!("image {}", record.image)
    } else if same_label {
        crate::image::label(&record.client_name, record.started)
    } else {
        return None;
    };
    Some(note(CLASH, format!("{what} of origin {} is in the catalog with different content", record.origin)))
}

/// Whether the SLP that is to import it lets it in; what was asked for comes in without, and is governed by none then.
pub fn lets_in(arrival: &Arrival, receiver: &Receiver<'_>) -> bool {
    import_operation(arrival, receiver).is_ok()
}

/// AIR-002, AIR-004 and AIR-003: the retention of the operation that imports it.
fn import_operation(arrival: &Arrival, receiver: &Receiver<'_>) -> Result<Retention, Note> {
    let name = arrival.slp();
    if let Some(barred) = receiver.barred {
        return Err(barred.clone());
    }
    let Some(version) = receiver.slp else {
        return Err(note("AIR-002", format!("there is no SLP `{name}` here")));
    };
    let Some(import) = version.slp.import() else {
        return Err(note("AIR-004", format!("SLP `{name}` does not begin with an Import operation")));
    };
    let storage = import.storage.as_deref().unwrap_or(ANY_AVAILABLE);
    if !includes(storage, receiver.pool, receiver.units, receiver.groups) {
        return Err(note(
            "AIR-004",
            format!("storage `{storage}` of SLP `{name}` does not include the receiving volume"),
        ));
    }
    if !takes(&version.slp, &arrival.record.classification) {
        let sentence = format!(
            "SLP `{name}` takes classification `{}`, the image has `{}`",
            version.slp.data_classification, arrival.record.classification
        );
        return Err(note("AIR-003", sentence));
    }
    Ok(import.retention.unwrap_or(Retention::Target { at_least: None, at_most: None }))
}

/// Whether an import SLP takes images of this classification (empty is none).
pub fn takes(import: &Slp, classification: &str) -> bool {
    import.data_classification == ANY_CLASSIFICATION || import.data_classification == classification
}

/// Whether a storage name stands for this pool, alone, in a group, or among all.
pub fn includes(storage: &str, pool: PoolId, units: &[StorageUnit], groups: &[StorageUnitGroup]) -> bool {
    let is_it = |unit: &StorageUnit| unit.pool == pool;
    if storage == ANY_AVAILABLE {
        return units.iter().any(is_it);
    }
    let group = groups.iter().find(|group| group.name == storage);
    let named = |unit: &&StorageUnit| match group {
        Some(group) => group.units.contains(&unit.name),
        None => unit.name == storage,
    };
    units.iter().filter(named).any(is_it)
}

fn terms(arrival: &Arrival, receiver: &Receiver<'_>, retention: Retention) -> Terms {
    let record = &arrival.record;
    let expires = retention::expiry(retention, record.started, arrival.asked_expiry);
    let restorable = record.image_format <= receiver.image_format_max;
    let bounded = matches!(retention, Retention::Target { .. }) && expires != arrival.asked_expiry;
    let remark = if !restorable {
        let sentence = format!(
            "image format {} is newer than {}: stored and replicable, not restorable here",
            record.image_format, receiver.image_format_max
        );
        Some(note("AIR-007", sentence))
    } else if bounded {
        Some(note("clamped", "the expiry asked for was moved into the receiver's bounds"))
    } else {
        None
    };
    Terms { expires, restorable, note: remark }
}

/// AIR-009 and AIR-010: whether an image may be replicated at all.
pub fn may_leave(image: &Image) -> Result<(), Note> {
    let flags = image.content.as_ref().map(|content| content.flags).unwrap_or_default();
    may_travel(flags)
}

/// AIR-009 and AIR-010, by what the record says.
fn may_travel(flags: ImageFlags) -> Result<(), Note> {
    if flags.synthetic {
        return Err(note("AIR-009", "an image made by a synthetic backup is not replicated"));
    }
    if flags.spans { Err(spanning()) } else { Ok(()) }
}

/// AIR-010.
pub fn spanning() -> Note {
    note("AIR-010", "an image on a spanning pool is not replicated")
}

/// AIR-008 and AIR-007: whether `reader`, a principal of `principal_domain`, may restore here.
///
/// The certificate alone decides: who holds one of a paired domain is never a destination here.
pub fn may_restore(own: &Identity, principal_domain: DomainId, restorable: bool) -> Result<(), Note> {
    if principal_domain != own.domain {
        let sentence = format!(
            "the receiving client belongs to domain {principal_domain}; `{}` restores to its own clients only",
            own.name
        );
        return Err(note("AIR-008", sentence));
    }
    if !restorable {
        return Err(note("AIR-007", "the image's format is newer than this server can restore"));
    }
    Ok(())
}
