//! What a partner refuses of a part of the work for it: a storage unit that has no place, an import SLP that lets nothing in.
//!
//! One operation finds it out; all others that would meet it wait behind it, without a time of their own. Once in a while one of
//! them tries whether it is over, and when it gets through the others go on. What stands against all work for a partner is
//! its [`crate::partner::Reach`].

use narrows_format::{DomainId, Timestamp};

use crate::operation::{Note, OperationKey, WaitReason};

/// Which part of the work for a partner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part(String);

impl Part {
    /// What goes to this storage unit there; empty is the one that receives from here by default.
    pub fn unit(unit: &str) -> Self {
        Self(format!("unit {unit:?}"))
    }

    /// What is imported there by this SLP, with this data classification, into this storage unit.
    pub fn import(slp: &str, classification: &str, unit: &str) -> Self {
        Self(format!("import {slp:?} {classification:?} {unit:?}"))
    }

    /// It is of what is imported there.
    pub fn is_import(&self) -> bool {
        self.0.starts_with("import ")
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The reverse of [`Self::as_str`].
    pub fn stored(text: String) -> Self {
        Self(text)
    }
}

/// Something that stands before a part of the work for a partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The partner.
    pub partner: DomainId,
    /// Before which part of its work.
    pub part: Part,
    /// Why that waits.
    pub reason: WaitReason,
    /// What was met.
    pub note: Note,
    /// Since when.
    pub since: Timestamp,
    /// Tries in a row that met it.
    pub failures: u32,
    /// When one is tried next.
    pub next_probe: Timestamp,
    /// The one that tries it, or did last.
    pub trying: Option<OperationKey>,
}

impl Barrier {
    /// Whether this operation waits for nobody's try: it is the one that tries.
    pub fn lets_by(&self, key: OperationKey) -> bool {
        self.trying == Some(key)
    }
}
