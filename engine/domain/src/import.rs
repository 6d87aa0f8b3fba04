//! An image that arrived from a partner: what became of it, and what the sender is told.
//!
//! Guarantee: each arrival has one row, keyed by its place in the pool's image log and its sender, from before it is
//! decided until the sender has been told the last word.

use narrows_format::record::{CopyState, ImageRecord};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, Timestamp};

use crate::image::{Discarded, ImageCopy};
use crate::limits::REFUSAL_SHOWN;
use crate::machine::arrival::UNPROVEN;
use crate::moment::before;
use crate::operation::Note;
use crate::retention;

/// The code of stored bytes that are not what they were.
pub const DAMAGED: &str = "POOL-001";
/// What is noted of a copy that goes because others have been made of it that live on.
pub const COPIED_ON: &str = "copied-on";

/// A replication event: which pool, which position in its image log, whose. Two partners may send the
/// same image, and the pool commits it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportKey {
    /// The receiving pool.
    pub pool: PoolId,
    /// Position in its image log.
    pub sequence: Sequence,
    /// The partner that sent it.
    pub sender: DomainId,
}

/// What became of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportState {
    /// Seen, not yet decided.
    Pending,
    /// From the future: looked at again at this time (AIR-001).
    Waiting {
        /// When.
        until: Timestamp,
    },
    /// In the catalog.
    Imported,
    /// Cannot be imported as things stand (AIR-002..004); the data is kept until then and the import
    /// tried again as soon as the cause is mended.
    Failed {
        /// When the data is given up.
        keep_until: Timestamp,
    },
    /// Kept as long as promised and not mended: the source sends again.
    GivenUp,
    /// Not to be imported (AIR-005, 006, 011, 012); without a proof (AIR-012) it is decided anew once there is one.
    Refused,
}

impl ImportState {
    /// The stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Waiting { .. } => "waiting",
            Self::Imported => "imported",
            Self::Failed { .. } => "failed",
            Self::GivenUp => "given-up",
            Self::Refused => "refused",
        }
    }

    /// When it has to be looked at again by itself.
    pub fn next_step(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting { until } => Some(*until),
            Self::Failed { keep_until } => Some(*keep_until),
            _ => None,
        }
    }

    /// The reverse of [`Self::name`] and [`Self::next_step`].
    pub fn from_parts(name: &str, next_step: Option<Timestamp>) -> Option<Self> {
        Some(match name {
            "pending" => Self::Pending,
            "waiting" => Self::Waiting { until: next_step? },
            "imported" => Self::Imported,
            "failed" => Self::Failed { keep_until: next_step? },
            "given-up" => Self::GivenUp,
            "refused" => Self::Refused,
            _ => return None,
        })
    }
}

/// Where the data is of an arrival that is not imported; once it is, the image's copy says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArrivedData {
    /// In the pool.
    Here,
    /// On its way out: brought back if the image is imported by then.
    Discarded(Discarded),
    /// Taken out of the pool: only what is sent again can be imported.
    Gone,
}

impl ArrivedData {
    /// Why it goes and until when, if it is on its way out.
    pub fn discarded(self) -> Option<Discarded> {
        match self {
            Self::Discarded(discarded) => Some(discarded),
            Self::Here | Self::Gone => None,
        }
    }
}

/// Whether the origin's signature over the record was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By the key known for that origin.
    Good,
    /// No key known, or the signature does not fit.
    Missing,
}

/// A replicated image as the pool's image log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its record.
    pub record: ImageRecord,
    /// The signed record byte for byte.
    pub signed: Vec<u8>,
    /// Whether the signature was good when it arrived.
    pub proof: Proof,
    /// The partner that sent it.
    pub sender: DomainId,
    /// The import SLP that the sender named; `None` is the one of the record's SLP name.
    pub import_slp: Option<String>,
    /// The expiry that the sender asked for; `None` is never.
    pub asked_expiry: Option<Timestamp>,
}

impl Arrival {
    /// The SLP that is to import it.
    pub fn slp(&self) -> &str {
        self.import_slp.as_deref().unwrap_or(&self.record.slp)
    }
}

/// An arrival that was refused when it was to be committed: nothing of it is here but this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedArrival {
    /// The image.
    pub image: ImageId,
    /// The partner that brought it.
    pub sender: DomainId,
    /// The domain that made it, by its record.
    pub origin: DomainId,
    /// Its client and second.
    pub label: String,
    /// The SLP that was to import it.
    pub slp: String,
    /// Why.
    pub note: Note,
    /// How often.
    pub times: u32,
    /// When last.
    pub last: Timestamp,
}

impl RefusedArrival {
    /// It is lately that its sender tried: it may try again. One that has given it up for so long does not.
    pub fn is_recent(&self, now: Timestamp) -> bool {
        self.last > before(now, REFUSAL_SHOWN)
    }
}

/// One arrival and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// Where the event stands.
    pub key: ImportKey,
    /// Incarnation of that pool.
    pub incarnation: u64,
    /// What arrived.
    pub arrival: Arrival,
    /// When it arrived.
    pub arrived: Timestamp,
    /// Expiry, lock and hold as committed.
    pub copy: CopyState,
    /// Bytes that it added to the pool.
    pub stored_bytes: u64,
    /// What became of it.
    pub state: ImportState,
    /// Where its data is, unless it is imported.
    pub data: ArrivedData,
    /// When to look whether its data may go, or go for good; see [`crate::machine::leaving`].
    pub next_look: Option<Timestamp>,
    /// Why, with the AIR code; a clamped expiry or `AIR-007` is noted on success too.
    pub note: Option<Note>,
    /// Its copy here was found damaged (POOL-001), and was not found whole since: what was met.
    pub damage: Option<String>,
    /// The image lives on in this domain beyond the copy that came of it, which was kept for others only.
    pub copied_on: bool,
    /// Expiry of the copy here, within the receiver's bounds.
    pub expires: Option<Timestamp>,
    /// Rises with each change that the sender has to hear of.
    pub revision: u32,
    /// The highest revision that the sender has acknowledged.
    pub told: u32,
    /// Tries in a row to tell.
    pub failures: u32,
    /// When the sender is told (again); `None` when it knows everything, or does not answer.
    pub next_report: Option<Timestamp>,
}

impl Import {
    /// It was refused for good with this code.
    pub fn is_refused_with(&self, code: &str) -> bool {
        self.state == ImportState::Refused && self.note.as_ref().is_some_and(|note| note.code == code)
    }

    /// Enters `state` and owes the sender a report, at once.
    pub fn enter(&mut self, state: ImportState, note: Option<Note>, now: Timestamp) {
        self.state = state;
        self.note = note;
        self.copied_on = false;
        self.revision += 1;
        self.failures = 0;
        self.next_report = Some(now);
    }

    /// It is not at its end: not imported, or not gone after it was given up or refused; or what came of it is damaged.
    pub fn is_unsettled(&self) -> bool {
        match self.state {
            ImportState::Imported => self.damage.is_some(),
            ImportState::GivenUp | ImportState::Refused => self.next_look.is_some(),
            _ => true,
        }
    }

    /// Nothing will come of it by itself: its data has no reason to stay.
    pub const fn is_over(&self) -> bool {
        matches!(self.state, ImportState::GivenUp | ImportState::Refused)
    }

    /// It may still be decided otherwise by itself, and needs its data.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, ImportState::Pending | ImportState::Waiting { .. } | ImportState::Failed { .. })
    }

    /// It is not imported, and may be once its cause is mended.
    pub fn may_be_tried(&self) -> bool {
        match self.state {
            _ if self.data == ArrivedData::Gone => false,
            ImportState::Imported => false,
            ImportState::Refused => self.is_refused_with(UNPROVEN),
            _ => true,
        }
    }

    /// It may be decided otherwise once it is proved who made it.
    pub fn is_unproven(&self) -> bool {
        let is_proved = self.arrival.proof == Proof::Good;
        match self.state {
            _ if self.data == ArrivedData::Gone => false,
            ImportState::Failed { .. } | ImportState::GivenUp => !is_proved,
            _ => self.is_refused_with(UNPROVEN),
        }
    }

    /// The copy that came of it expires then, by the log; whether that is news for the sender.
    pub fn lives_until(&mut self, expires: Option<Timestamp>, now: Timestamp) -> bool {
        let is_news = self.state == ImportState::Imported && self.expires != expires;
        if is_news {
            self.expires = expires;
            self.revision += 1;
            self.next_report = Some(now);
        }
        is_news
    }

    /// The copy that came of it is gone: it lived until then, and nothing of it is damaged any more; whether that is news
    /// for the sender.
    pub fn is_gone(&mut self, expires: Option<Timestamp>, now: Timestamp) -> bool {
        let was_damaged = self.state == ImportState::Imported && self.damage.take().is_some();
        if self.lives_until(expires, now) {
            return true;
        }
        if was_damaged {
            self.revision += 1;
            self.next_report = Some(now);
        }
        was_damaged
    }

    /// Notes whether the image lives on in this domain beyond the copy that came of it: that one was kept for others only, and its
    /// early end is none of the image.
    pub fn note_copied_on(&mut self, copies: &[ImageCopy]) {
        let outlives = |copy: &ImageCopy| {
            copy.pool != self.key.pool
                && copy.is_readable()
                && retention::later(copy.wanted.expires, self.expires) != self.expires
        };
        self.copied_on = copies.iter().any(outlives);
    }

    /// What the sender is told of an image that lives on here, and of its terms.
    fn note_of_terms(&self) -> Option<Note> {
        if !self.copied_on {
            return self.note.clone();
        }
        let lives_on = "a further copy there lives on".to_owned();
        let sentence = match &self.note {
            Some(terms) => format!("{lives_on}; {}", terms.sentence),
            None => lives_on,
        };
        Some(Note { code: COPIED_ON.to_owned(), sentence })
    }

    /// What the sender is told.
    pub fn report(&self) -> ImportReport {
        let note =
            || self.note.clone().unwrap_or_else(|| Note { code: String::new(), sentence: String::new() });
        let outcome = match &self.state {
            ImportState::Pending => Outcome::Waiting { note: note(), until: None },
            ImportState::Waiting { until } => Outcome::Waiting { note: note(), until: Some(*until) },
            ImportState::Imported => {
                let damage = self.damage.clone();
                let damage = damage.map(|sentence| Note { code: DAMAGED.to_owned(), sentence });
                Outcome::Imported { expires: self.expires, note: damage.or_else(|| self.note_of_terms()) }
            }
            ImportState::Failed { .. } => Outcome::Failed { note: note() },
            ImportState::GivenUp => Outcome::GivenUp { note: note() },
            ImportState::Refused => Outcome::Refused { note: note() },
        };
        ImportReport {
            image: self.arrival.record.image,
            pool: self.key.pool,
            incarnation: self.incarnation,
            sequence: self.key.sequence,
            revision: self.revision,
            outcome,
        }
    }
}

/// The target's word to the source about one arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportReport {
    /// Which image.
    pub image: ImageId,
    /// In which pool there.
    pub pool: PoolId,
    /// In which incarnation of it.
    pub incarnation: u64,
    /// Where the event stands in the image log there.
    pub sequence: Sequence,
    /// Rises with each report about this event; an older one than known is ignored.
    pub revision: u32,
    /// What became of it.
    pub outcome: Outcome,
}

/// What the target says became of an arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// In the catalog: the import confirmation.
    Imported {
        /// Expiry there, within the receiver's bounds.
        expires: Option<Timestamp>,
        /// Clamping or AIR-007.
        note: Option<Note>,
    },
    /// Not yet: AIR-001.
    Waiting {
        /// Why.
        note: Note,
        /// When it will be looked at again.
        until: Option<Timestamp>,
    },
    /// Kept, to be tried again when mended there: AIR-002..004.
    Failed {
        /// Why.
        note: Note,
    },
    /// No longer kept: send again once mended.
    GivenUp {
        /// Why.
        note: Note,
    },
    /// Never: AIR-005, 006, 011; AIR-012 as long as the proof lacks.
    Refused {
        /// Why.
        note: Note,
    },
}

impl Outcome {
    /// Imported, and the copy that came of it goes because others there have been made of it.
    pub fn is_copied_on(&self) -> bool {
        matches!(self, Self::Imported { note: Some(note), .. } if note.code == COPIED_ON)
    }

    /// The stable name, as it stands in messages between domains.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Imported { .. } => "imported",
            Self::Waiting { .. } => "waiting",
            Self::Failed { .. } => "failed",
            Self::GivenUp { .. } => "given-up",
            Self::Refused { .. } => "refused",
        }
    }
}
