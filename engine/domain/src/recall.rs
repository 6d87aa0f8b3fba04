//! Images of this domain on their way home: which may come in.
//!
//! Guarantee: a partner that may send can't bring back what was let go here, nor lengthen the life of what is here:
//! an image of this domain comes in only if somebody here asked that partner for it, or if a copy of it is here, and
//! then it lives as long as that copy.

use std::time::Duration;

use narrows_format::{DomainId, ImageId, Timestamp};

use crate::image::{Image, ImageCopy, ImageState};
use crate::limits::RECALL_OPEN;
use crate::moment::since;
use crate::operation::Note;
use crate::retention;
use crate::storage::Identity;

/// Somebody here asked a partner for an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Which.
    pub image: ImageId,
    /// Whom.
    pub partner: DomainId,
    /// When.
    pub asked: Timestamp,
}

impl Recall {
    /// Whether it still holds.
    pub fn is_open(&self, now: Timestamp) -> bool {
        const _: () = assert!(RECALL_OPEN.as_secs() > Duration::from_hours(24).as_secs());
        since(now, self.asked) <= RECALL_OPEN
    }
}

/// How this domain stands to an image that a partner brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Homecoming {
    /// It was made in another domain, is not here, and nobody asked for it.
    Foreign,
    /// It was made in another domain, and is here, until then.
    ForeignHere(Option<Timestamp>),
    /// That partner was asked for it: it was made here, or it is not here.
    Recalled,
    /// It was made here, and is here, until then.
    Here(Option<Timestamp>),
    /// It was made here, is not here, and nobody asked for it.
    Unasked,
}

/// How this domain stands to an image of `origin` that `sender` brings; the image, its copies and recalls are what
/// is known of it here.
pub fn homecoming(
    own: &Identity,
    (origin, sender): (DomainId, DomainId),
    (known, copies): (Option<&Image>, &[ImageCopy]),
    recalls: &[Recall],
    now: Timestamp,
) -> Homecoming {
    let is_whole = known.is_some_and(|image| image.state == ImageState::Whole);
    let readable = copies.iter().filter(|copy| is_whole && copy.is_readable());
    let here = readable.map(|copy| copy.wanted.expires).reduce(retention::later);
    let is_asked = recalls.iter().any(|recall| recall.partner == sender && recall.is_open(now));
    if origin != own.domain {
        let unknown = if is_asked { Homecoming::Recalled } else { Homecoming::Foreign };
        return here.map_or(unknown, Homecoming::ForeignHere);
    }
    if is_asked {
        return Homecoming::Recalled;
    }
    here.map_or(Homecoming::Unasked, Homecoming::Here)
}

/// AUTH-005: what is said to who brings an image that nobody asked for.
pub fn unasked(own: &Identity, image: ImageId) -> Note {
    let name = &own.name;
    let sentence = format!(
        "image {image} was made in domain `{name}`, is not there any more, and nobody there has asked for it"
    );
    Note { code: "AUTH-005".to_owned(), sentence }
}

/// How that is mended.
pub const HELP: &str = "ask for it there: `narrowsctl image recall`";
