//! Storage lifecycle policies: a versioned tree of operations.
//!
//! [`Slp`] is what somebody wrote, well-formed in itself; [`check()`] says whether it makes sense, alone
//! and among the things that it names; [`version`] decides what applying it does.

pub mod check;
pub mod difference;
pub mod finding;
pub mod in_place;
pub mod read;
mod structure;
mod surroundings;
pub mod version;

use narrows_format::{DomainId, ImageId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::image::{Image, ImageState};
use crate::limits::PRIORITY_DEFAULT;
use crate::operation::OperationKind;
use crate::period::Period;

pub use check::{Checked, PartnerSlp, Surroundings, check};
pub use finding::Finding;
pub use read::{Format, Unreadable, parse};
pub use surroundings::receiving_unit;

/// A policy as written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slp {
    /// Its name; the same in all versions.
    pub name: String,
    /// A classification's name, or `any`.
    #[serde(default = "any")]
    pub data_classification: String,
    /// Of secondary operations: higher goes first.
    #[serde(default = "default_priority")]
    pub priority: u32,
    /// In the order of the text.
    #[serde(default, rename = "operation")]
    pub operations: Vec<SlpOperation>,
}

/// The classification that takes all.
pub const ANY_CLASSIFICATION: &str = "any";

pub(crate) fn any() -> String {
    ANY_CLASSIFICATION.to_owned()
}

pub(crate) const fn default_priority() -> u32 {
    PRIORITY_DEFAULT
}

/// One operation of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlpOperation {
    /// Unique in its policy.
    pub id: String,
    /// What it does.
    pub kind: Kind,
    /// Id of the operation whose copy it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Storage unit that its copy goes to; not for a replication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// Where a replication goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpec>,
    /// How long its copy lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Name of the window in which it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

/// An operation's kind as the text spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Makes the first copy from a client. A further one of the same policy is made from the first one's copy, as a
    /// Duplication is: the client is read once.
    Backup,
    /// Takes over what a partner sent.
    Import,
    /// Makes a copy in another domain.
    Replication,
    /// Makes a copy in another pool of this domain.
    Duplication,
}

impl From<Kind> for OperationKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Backup => Self::Backup,
            Kind::Import => Self::Import,
            Kind::Replication => Self::Replication,
            Kind::Duplication => Self::Duplication,
        }
    }
}

/// Where a replication goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetSpec {
    /// `target = "all"`: every partner that is there when the backup completes.
    Word(String),
    /// `target = { domain = "dr", import_slp = "gold-import" }`
    Named(NamedTarget),
}

/// One partner and the policy that imports there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedTarget {
    /// The partner's local alias, or its UUID.
    pub domain: String,
    /// The import SLP there; left out, it is the one of this policy's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import_slp: Option<String>,
}

/// The word for every partner.
pub const ALL_TARGETS: &str = "all";

/// How long a copy lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "read::RetentionText", into = "read::RetentionText")]
pub enum Retention {
    /// So long from the backup's start, wherever the copy is made.
    Fixed(Period),
    /// Until all direct children are complete.
    ExpireAfterCopy,
    /// The date that the source set, within bounds that count from the backup's start.
    Target {
        /// Not shorter.
        at_least: Option<Period>,
        /// Not longer.
        at_most: Option<Period>,
    },
    /// Oldest first between high and low water.
    CapacityManaged,
}

/// One version of a policy, as applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlpVersion {
    /// What was written.
    pub slp: Slp,
    /// From 1.
    pub version: u32,
    /// When it was applied.
    pub made: Timestamp,
    /// The domains named in it, as they were understood when it was applied.
    pub targets: Vec<ResolvedTarget>,
    /// False when saved with `--unverified` and not checked since: its Replications to named targets wait.
    pub verified: bool,
}

/// Work under a policy is held, whatever its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlpHold {
    /// The policy.
    pub slp: String,
    /// Deferred until then; `None` is paused until resumed.
    pub until: Option<Timestamp>,
}

/// Images of one version of a policy go on under another one, or under the same one as it was changed in place: all of them from
/// the moment on at which this was stored. They are planned anew in the order of their ids, so many at a time, and any that
/// something is to be decided of before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrating {
    /// The policy.
    pub slp: String,
    /// The version that they were under.
    pub from: u32,
    /// The version that they are under.
    pub to: u32,
    /// When this was ordered.
    pub since: Timestamp,
    /// The last that was planned anew, and all before it.
    pub reached: Option<ImageId>,
}

impl Migrating {
    /// Whether an image is still to be planned anew.
    pub fn concerns(&self, image: &Image) -> bool {
        image.state == ImageState::Whole
            && image.slp == self.slp
            && image.slp_version == self.from
            && self.reached.is_none_or(|reached| image.id > reached)
    }

    /// The version itself was changed.
    pub const fn is_in_place(&self) -> bool {
        self.from == self.to
    }
}

/// A name in a policy and the domain that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// As written.
    pub name: String,
    /// As understood.
    pub domain: DomainId,
    /// What goes there was checked, though not all of the version's targets were.
    pub checked: bool,
}

impl ResolvedTarget {
    /// Whether it is the same, checked or not.
    pub fn is(&self, other: &Self) -> bool {
        (&self.name, self.domain) == (&other.name, other.domain)
    }

    /// Whether these are the same, checked or not.
    pub fn are(some: &[Self], others: &[Self]) -> bool {
        some.len() == others.len() && some.iter().zip(others).all(|(one, other)| one.is(other))
    }
}

impl Slp {
    /// The operation of this id.
    pub fn operation(&self, id: &str) -> Option<&SlpOperation> {
        self.operations.iter().find(|operation| operation.id == id)
    }

    /// The operations that name `id` as their source.
    pub fn children<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a SlpOperation> {
        self.operations.iter().filter(move |operation| operation.source.as_deref() == Some(id))
    }

    /// The operations that take the copy of `id`: its children, and further Backups that of the first one.
    pub fn takers<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a SlpOperation> {
        self.operations.iter().filter(move |operation| self.source_of(operation) == Some(id))
    }

    /// The operation whose copy this one takes: its source, or of a further Backup the first one.
    pub fn source_of<'a>(&'a self, operation: &'a SlpOperation) -> Option<&'a str> {
        let first = self.backup().filter(|it| operation.kind == Kind::Backup && it.id != operation.id);
        operation.source.as_deref().or_else(|| first.map(|first| first.id.as_str()))
    }

    /// The import that it begins with, if it does.
    pub fn import(&self) -> Option<&SlpOperation> {
        self.operations.first().filter(|operation| operation.kind == Kind::Import)
    }

    /// The backup that it begins with, if it does.
    pub fn backup(&self) -> Option<&SlpOperation> {
        self.operations.first().filter(|operation| operation.kind == Kind::Backup)
    }

    /// Whether any operation leaves the domain.
    pub fn replicates(&self) -> bool {
        self.operations.iter().any(|operation| operation.kind == Kind::Replication)
    }
}

impl SlpOperation {
    /// Its target is every partner.
    pub fn goes_to_all(&self) -> bool {
        matches!(&self.target, Some(TargetSpec::Word(word)) if word == ALL_TARGETS)
    }

    /// Its target is this one partner.
    pub fn named_target(&self) -> Option<&NamedTarget> {
        match &self.target {
            Some(TargetSpec::Named(target)) => Some(target),
            _ => None,
        }
    }
}

impl SlpVersion {
    /// Whether this operation waits because its target could not be checked. To all it does not: who could not be asked is
    /// out of reach, which delays nobody else; nor does one whose own target was checked.
    pub fn keeps_back(&self, operation: &SlpOperation) -> bool {
        let named = operation.named_target();
        let is_checked = || {
            let mut checked = self.targets.iter().filter(|target| target.checked);
            named.is_some_and(|named| checked.any(|target| target.name == named.domain))
        };
        !self.verified && operation.kind == Kind::Replication && !operation.goes_to_all() && !is_checked()
    }

    /// Knowing of these targets that they were checked, too, if they are the same that it names.
    #[must_use]
    pub fn having_checked(&self, found: &[ResolvedTarget]) -> Self {
        let mut version = self.clone();
        for target in &mut version.targets {
            let is_it = |it: &&ResolvedTarget| it.checked && it.is(target);
            target.checked |= !self.verified && found.iter().any(|it| is_it(&it));
        }
        version
    }

    /// The domain that a name in this version stands for.
    pub fn domain_of(&self, name: &str) -> Option<DomainId> {
        self.targets.iter().find(|target| target.name == name).map(|target| target.domain)
    }
}
