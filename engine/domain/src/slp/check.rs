//! Says what is wrong with a policy: SLP-001 to SLP-013, SLP-017, TOPO-001, TRUST-001 and TRUST-003.
//!
//! All findings at once, in the order of the text, each with the way to mend it. SLP-014 is in
//! [`crate::slp::version`]; SLP-015 and SLP-016 need a backup policy and are here as functions of their own.

use std::collections::BTreeMap;

use narrows_format::record::ScheduleKind;
use narrows_format::{DomainId, PoolId};

use crate::air::includes;
use crate::partner::{Partner, Trust};
use crate::slp::{
    ANY_CLASSIFICATION, Finding, Kind, NamedTarget, ResolvedTarget, Slp, SlpOperation, SlpVersion, structure,
    surroundings,
};
use crate::storage::{Pool, ReplicationTarget, StorageUnit, StorageUnitGroup};
use crate::window::Window;

/// Everything that a policy may name, and what its author accepts.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// All storage units.
    pub units: Vec<StorageUnit>,
    /// All storage unit groups.
    pub groups: Vec<StorageUnitGroup>,
    /// All pools.
    pub pools: Vec<Pool>,
    /// All partners.
    pub partners: Vec<Partner>,
    /// All replication targets.
    pub targets: Vec<ReplicationTarget>,
    /// Partners that receive with what stores for this domain, and what that is, in one sentence.
    pub shared: BTreeMap<DomainId, String>,
    /// All windows.
    pub windows: Vec<Window>,
    /// Names of all data classifications.
    pub classifications: Vec<String>,
    /// What partners said about the import SLPs that this policy names, by (domain, SLP).
    pub partner_slps: BTreeMap<(DomainId, String), PartnerSlp>,
    /// Whether a copy may be left only elsewhere.
    pub local_copy: LocalCopy,
}

/// What a partner said about an import SLP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartnerSlp {
    /// Nothing: it could not be asked.
    Unreachable(String),
    /// There is none of this name.
    Absent,
    /// There is one.
    Present {
        /// Its classification, or `any`.
        classification: String,
        /// It begins with an Import whose storage includes the unit that receives from here.
        receives: bool,
        /// Names of all storage units that it imports into, for replication targets that name one.
        units: Vec<String>,
    },
}

impl PartnerSlp {
    /// What that means for images that are brought to this unit there; an empty name is the one that receives.
    #[must_use]
    pub fn for_unit(self, unit: &str) -> Self {
        match self {
            Self::Present { classification, units, .. } if !unit.is_empty() => {
                Self::Present { classification, receives: units.iter().any(|it| it == unit), units }
            }
            other => other,
        }
    }
}

/// Whether the author accepts that `expire-after-copy` leaves no local copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalCopy {
    /// One has to stay.
    #[default]
    Needed,
    /// `--accept-no-local-copy`.
    NotNeeded,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What is wrong; empty means that the policy may be stored.
    pub findings: Vec<Finding>,
    /// The domains that it names, as understood.
    pub targets: Vec<ResolvedTarget>,
    /// What could not be checked because a partner did not answer; stored only with `--unverified`.
    pub unverified: Vec<Finding>,
}

/// Checks a policy alone and among what it names.
pub fn check(slp: &Slp, around: &Surroundings) -> Checked {
    let mut checked = Checked { findings: structure::check(slp, around.local_copy), ..Checked::default() };
    surroundings::check(slp, around, &mut checked);
    checked.findings.sort_by_key(|finding| finding.operation);
    note_checked(slp, &mut checked);
    checked
}

/// Targets of which nothing was found, though others could not be asked, or have to be mended.
fn note_checked(slp: &Slp, checked: &mut Checked) {
    let found: Vec<_> = checked.findings.iter().chain(&checked.unverified).map(|it| it.operation).collect();
    if found.is_empty() || found.contains(&None) {
        return;
    }
    for target in &mut checked.targets {
        let goes_there =
            |it: &SlpOperation| it.named_target().is_some_and(|named| named.domain == target.name);
        let mut those = slp.operations.iter().zip(1..).filter(|(it, _)| goes_there(it));
        target.checked = those.all(|(_, place)| !found.contains(&Some(place)));
    }
}

/// The import SLPs at partners that have to be asked for before [`check`]: (domain, SLP name). To all goes through those of
/// the policy's own name.
pub fn partner_slps_named(slp: &Slp, partners: &[Partner]) -> Vec<(DomainId, String)> {
    let mut asked = Vec::new();
    for operation in slp.operations.iter().filter(|it| it.kind == Kind::Replication) {
        let target = operation.named_target();
        let name = target.and_then(|target| target.import_slp.as_ref()).unwrap_or(&slp.name);
        asked.extend(reached_by(operation, partners).into_iter().map(|it| (it.domain, name.clone())));
    }
    asked.sort_unstable();
    asked.dedup();
    asked
}

/// The partners that a Replication reaches as things are.
pub(super) fn reached_by<'a>(operation: &SlpOperation, partners: &'a [Partner]) -> Vec<&'a Partner> {
    match operation.named_target() {
        Some(target) => find_partner(target, partners).into_iter().collect(),
        None if operation.goes_to_all() => {
            partners.iter().filter(|it| is_paired(it) && it.draining.is_none()).collect()
        }
        None => Vec::new(),
    }
}

pub(super) fn is_paired(partner: &Partner) -> bool {
    matches!(partner.trust, Trust::Complete | Trust::Expired)
}

/// The partner that a target names, by alias or UUID.
pub(super) fn find_partner<'a>(target: &NamedTarget, partners: &'a [Partner]) -> Option<&'a Partner> {
    let id: Option<DomainId> = target.domain.parse().ok();
    let fits = |partner: &&Partner| partner.name == target.domain || Some(partner.domain) == id;
    partners.iter().find(fits)
}

/// The pool behind a storage unit's name.
pub(super) fn pool_of<'a>(unit: &str, around: &'a Surroundings) -> Option<&'a Pool> {
    pool_behind(unit, &around.units, &around.pools)
}

fn pool_behind<'a>(unit: &str, units: &[StorageUnit], pools: &'a [Pool]) -> Option<&'a Pool> {
    let pool: PoolId = units.iter().find(|it| it.name == unit)?.pool;
    pools.iter().find(|it| it.id == pool)
}

/// By which replication target a Replication leaves for a partner: that of the pool in which its source's copy lies.
pub fn target_of<'a>(
    (slp, operation): (&Slp, &SlpOperation),
    partner: DomainId,
    units: &[StorageUnit],
    targets: &'a [ReplicationTarget],
) -> Option<&'a ReplicationTarget> {
    let source = slp.operation(operation.source.as_deref()?)?;
    let unit = source.storage.as_deref()?;
    let pool = units.iter().find(|it| it.name == unit)?.pool;
    targets.iter().find(|it| it.pool == pool && it.partner == partner)
}

/// SLP-005: what an SLP names as one exact unit to replicate from must not become a group.
pub fn check_group(group: &StorageUnitGroup, slps: &[SlpVersion]) -> Result<(), Box<Finding>> {
    for SlpVersion { slp, .. } in slps {
        let sources = slp.operations.iter().enumerate().filter(|(_, it)| it.kind == Kind::Replication);
        for (at, operation) in sources {
            let source = operation.source.as_deref().and_then(|source| slp.operation(source));
            let is_behind = |it: &SlpOperation| {
                it.storage.as_ref() == Some(&group.name) && matches!(it.kind, Kind::Backup | Kind::Import)
            };
            if source.is_some_and(is_behind) {
                let finding = Finding::operation("SLP-005", at, operation, "source")
                    .value(&group.name)
                    .what(format!(
                        "of SLP `{}` replicates from `{}`, which would be a group",
                        slp.name, group.name
                    ))
                    .why("a replication source must be one exact storage unit")
                    .help("give the group another name");
                return Err(Box::new(finding));
            }
        }
    }
    Ok(())
}

/// A Replication that would read from a spanning pool, and the operation whose copy lies there (SLP-007).
pub(crate) fn reads_spanning<'a>(
    slp: &'a Slp,
    storage: (&[StorageUnit], &[StorageUnitGroup], &[Pool]),
) -> Option<(&'a SlpOperation, &'a SlpOperation)> {
    let replications = slp.operations.iter().filter(|it| it.kind == Kind::Replication);
    let mut with_source = replications.filter_map(|it| Some((it, slp.operation(it.source.as_deref()?)?)));
    with_source.find(|(_, source)| source.storage.as_deref().is_some_and(|name| may_span(name, storage)))
}

/// Whether a pool that this name may stand for spans: of a unit, of any unit of a group, of any at all.
pub(super) fn may_span(
    name: &str,
    (units, groups, pools): (&[StorageUnit], &[StorageUnitGroup], &[Pool]),
) -> bool {
    pools.iter().any(|pool| pool.spanning && includes(name, pool.id, units, groups))
}

/// SLP-015: a policy and its SLP must have the same classification.
pub fn check_policy_classification(
    policy: &str,
    classification: &str,
    slp: &Slp,
) -> Result<(), Box<Finding>> {
    if slp.data_classification == ANY_CLASSIFICATION || slp.data_classification == classification {
        return Ok(());
    }
    let finding = Finding::policy("SLP-015", &slp.name, "data_classification")
        .value(classification)
        .what(format!(
            "has classification `{}`, policy `{policy}` has `{classification}`",
            slp.data_classification
        ))
        .why("a policy and its SLP must have the same data classification")
        .help(format!(
            "give policy `{policy}` the classification `{}`, or name another SLP",
            slp.data_classification
        ));
    Err(Box::new(finding))
}

/// SLP-016: a synthetic schedule with an SLP that replicates.
pub fn check_schedule(schedule: ScheduleKind, slp: &Slp) -> Result<(), Box<Finding>> {
    if schedule != ScheduleKind::Synthetic || !slp.replicates() {
        return Ok(());
    }
    let finding = Finding::policy("SLP-016", &slp.name, "operation")
        .value("synthetic")
        .what("replicates and is used by a synthetic schedule")
        .why("images of synthetic backups are not replicated")
        .help("use a full or incremental schedule, or an SLP without Replication");
    Err(Box::new(finding))
}
