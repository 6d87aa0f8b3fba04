//! What is wrong with a policy among the things that it names: SLP-005 to SLP-009, SLP-012 (locked volumes),
//! SLP-013, SLP-017, TOPO-001, TRUST-001, TRUST-003.

use std::collections::BTreeMap;

use narrows_format::DomainId;

use crate::limits::REPLICATED_NAME_BYTES_MAX;
use crate::partner::{Partner, Trust};
use crate::slp::check::{
    Checked, PartnerSlp, Surroundings, find_partner, is_paired, may_span, pool_of, reached_by, target_of,
};
use crate::slp::{
    ALL_TARGETS, ANY_CLASSIFICATION, Finding, Kind, NamedTarget, ResolvedTarget, Retention, Slp, SlpOperation,
};
use crate::storage::ANY_AVAILABLE;

/// Everything that is wrong with what the policy names.
pub(super) fn check(slp: &Slp, around: &Surroundings, checked: &mut Checked) {
    check_classification(slp, around, checked);
    let mut reached: BTreeMap<DomainId, usize> = BTreeMap::new();
    for (at, operation) in slp.operations.iter().enumerate() {
        check_storage(slp, at, operation, around, checked);
        check_lock(at, operation, around, checked);
        check_window(at, operation, around, checked);
        if operation.kind == Kind::Replication {
            check_source_copy(slp, at, operation, around, checked);
            check_target(slp, at, operation, around, checked);
            check_all(slp, at, operation, around, checked);
            check_apart(at, operation, around, checked);
            check_replication_target(slp, at, operation, around, checked);
            check_reached(at, operation, around, &mut reached, checked);
        }
    }
    check_all_twice(slp, checked);
}

/// SLP-013: the data classification exists.
fn check_classification(slp: &Slp, around: &Surroundings, checked: &mut Checked) {
    let name = &slp.data_classification;
    if name == ANY_CLASSIFICATION || around.classifications.contains(name) {
        return;
    }
    let names: Vec<_> = around.classifications.iter().map(|name| format!("\"{name}\"")).collect();
    checked.findings.push(
        Finding::policy("SLP-013", &slp.name, "data_classification")
            .value(name)
            .what(format!("has the data classification `{name}`, which does not exist"))
            .why("partners compare classifications by name: a slip of the pen would keep images out")
            .help(format!(
                "name one of \"any\", {}, or add it: `narrowsctl classification add {name}`",
                names.join(", ")
            )),
    );
}

/// SLP-013: the storage exists; a Duplication, or a further Backup, leaves the pool of what it copies.
fn check_storage(
    slp: &Slp,
    at: usize,
    operation: &SlpOperation,
    around: &Surroundings,
    checked: &mut Checked,
) {
    let Some(storage) = &operation.storage else { return };
    let is_group = around.groups.iter().any(|group| group.name == *storage);
    let known = storage == ANY_AVAILABLE || is_group || around.units.iter().any(|unit| unit.name == *storage);
    if operation.kind == Kind::Replication {
        return;
    }
    let finding = Finding::operation("SLP-013", at, operation, "storage").value(storage);
    if !known {
        let names: Vec<_> = around.units.iter().map(|unit| format!("\"{}\"", unit.name)).collect();
        checked.findings.push(
            finding
                .what(format!("names the storage `{storage}`, which does not exist"))
                .why("a copy can only lie on storage that this domain has")
                .help(format!("name one of {}", names.join(", "))),
        );
        return;
    }
    let source = slp.source_of(operation).and_then(|source| slp.operation(source));
    let from = source.and_then(|source| pool_of(source.storage.as_deref()?, around));
    let is_too_many = checked.findings.iter().any(|it| it.code == "SLP-003");
    if !is_too_many && from.is_some() && from == pool_of(storage, around) {
        let what = match operation.kind {
            Kind::Backup => "is a further Backup into the pool that the first one's copy lies in",
            _ => "duplicates into the pool that its source lies in",
        };
        checked.findings.push(
            finding
                .what(what)
                .why("a pool stores each segment once: a second copy in it would protect nothing")
                .help("name a storage unit of another pool"),
        );
    }
}

/// SLP-012: a copy on a locked volume has a life that can be locked.
fn check_lock(at: usize, operation: &SlpOperation, around: &Surroundings, checked: &mut Checked) {
    let pool = operation.storage.as_deref().and_then(|storage| pool_of(storage, around));
    let Some(range) = pool.and_then(|pool| pool.lock) else { return };
    let (shortest, longest) = match operation.retention {
        Some(Retention::Fixed(period)) => (Some(period), Some(period)),
        Some(Retention::Target { at_least, at_most }) => (at_least, at_most),
        Some(Retention::ExpireAfterCopy | Retention::CapacityManaged) | None => (None, None),
    };
    let fits =
        shortest.is_some_and(|it| it >= range.at_least) && longest.is_some_and(|it| it <= range.at_most);
    if fits || operation.retention.is_none() {
        return;
    }
    checked.findings.push(
        Finding::operation("SLP-012", at, operation, "retention")
            .value(operation.storage.as_deref().unwrap_or_default())
            .what(format!(
                "may live shorter than {} or longer than {}, the lock range of its volume",
                range.at_least, range.at_most
            ))
            .why("a locked copy lives as long as its volume locks")
            .help(format!("give it a retention from {} to {}", range.at_least, range.at_most)),
    );
}

/// SLP-013: the window exists, and holds something back: a client's backup begins by its policy, an import when it arrives.
fn check_window(at: usize, operation: &SlpOperation, around: &Surroundings, checked: &mut Checked) {
    let Some(window) = &operation.window else { return };
    if at == 0 && matches!(operation.kind, Kind::Backup | Kind::Import) {
        let (what, help) = if operation.kind == Kind::Backup {
            ("a backup, which begins when its policy says", "give the schedules of its policy a window")
        } else {
            ("an import, which is made when an image arrives", "let the sender's operation have a window")
        };
        checked.findings.push(
            Finding::operation("SLP-013", at, operation, "window")
                .value(window)
                .what(format!("names the window `{window}` for {what}"))
                .why("a window of an SLP holds back secondary work only")
                .help(format!("remove the field; {help}, or name it in the operations that copy from here")),
        );
        return;
    }
    if around.windows.iter().any(|it| it.name == *window) {
        return;
    }
    checked.findings.push(
        Finding::operation("SLP-013", at, operation, "window")
            .value(window)
            .what(format!("names the window `{window}`, which does not exist"))
            .why("without its window it would never be known when it may run")
            .help("make the window first, or remove the field"),
    );
}

/// SLP-005 and SLP-007: one exact unit, not spanning.
fn check_source_copy(
    slp: &Slp,
    at: usize,
    operation: &SlpOperation,
    around: &Surroundings,
    checked: &mut Checked,
) {
    let source = operation.source.as_deref().and_then(|source| slp.operation(source));
    let Some(source) = source else { return };
    let Some(storage) = &source.storage else { return };
    let is_group = around.groups.iter().any(|group| group.name == *storage);
    let is_first = matches!(source.kind, Kind::Backup | Kind::Import);
    if is_first && (is_group || storage == ANY_AVAILABLE) {
        let unit = around.units.first().map_or("default", |unit| unit.name.as_str());
        let what =
            if is_group { format!("storage unit group `{storage}`") } else { "any available storage".into() };
        checked.findings.push(
            Finding::operation("SLP-005", at, operation, "source")
                .value(storage)
                .what(format!("replicates from {what}"))
                .why("a replication source must be one exact storage unit")
                .help(format!(
                    "give operation `{}` a `storage` of kind storage unit, e.g. \"{unit}\"",
                    source.id
                )),
        );
        return;
    }
    if may_span(storage, (&around.units, &around.groups, &around.pools)) {
        checked.findings.push(
            Finding::operation("SLP-007", at, operation, "source")
                .value(storage)
                .what(format!("replicates from `{storage}`, whose pool spans several volumes"))
                .why("an image that lies on several volumes is not replicated")
                .help(format!("give operation `{}` a storage unit whose pool does not span", source.id)),
        );
    }
}

/// TOPO-001: nothing goes to what stores for this domain.
fn check_apart(at: usize, operation: &SlpOperation, around: &Surroundings, checked: &mut Checked) {
    for partner in reached_by(operation, &around.partners) {
        let Some(shared) = around.shared.get(&partner.domain) else { continue };
        checked.findings.push(
            Finding::operation("TOPO-001", at, operation, "target")
                .value(&partner.name)
                .what(format!("goes to domain `{}`, but {shared}", partner.name))
                .why("a target storage server is none of the source's own domain")
                .help(format!(
                    "let another pool receive in domain `{}`, on a server of its own",
                    partner.name
                )),
        );
    }
}

/// SLP-006: the source pool has a replication target at each partner that is reached, on similar storage.
fn check_replication_target(
    slp: &Slp,
    at: usize,
    operation: &SlpOperation,
    around: &Surroundings,
    checked: &mut Checked,
) {
    let source = operation.source.as_deref().and_then(|source| slp.operation(source));
    let pool = source.and_then(|source| pool_of(source.storage.as_deref()?, around));
    // A spanning pool has no targets, and a half-made partner none yet: those have findings of their own.
    let Some(pool) = pool.filter(|pool| !pool.spanning) else { return };
    for partner in reached_by(operation, &around.partners).into_iter().filter(|it| is_paired(it)) {
        let target = target_of((slp, operation), partner.domain, &around.units, &around.targets);
        let finding = Finding::operation("SLP-006", at, operation, "target").value(&partner.name);
        match target {
            Some(target) => {
                let Some(why) = &target.unlike else { continue };
                checked.findings.push(
                    finding
                        .what(format!(
                            "goes to storage in domain `{}` that is not similar: {why}",
                            partner.name
                        ))
                        .why("both ends have to agree on the fingerprint function and share a codec")
                        .help("let the replication target name a storage unit whose pool does"),
                );
            }
            None => checked.findings.push(
                finding
                    .what(format!(
                        "replicates from pool `{}`, which has no replication target in domain `{}`",
                        pool.name, partner.name
                    ))
                    .why("a pool replicates only where a replication target was configured")
                    .help("configure a replication target from that pool to that domain"),
            ),
        }
    }
}

/// SLP-008, SLP-009, SLP-013, TRUST-001, TRUST-003 for a targeted Replication.
fn check_target(
    slp: &Slp,
    at: usize,
    operation: &SlpOperation,
    around: &Surroundings,
    checked: &mut Checked,
) {
    let Some(target) = operation.named_target() else { return };
    let Some(partner) = find_partner(target, &around.partners) else {
        checked.findings.push(
            Finding::operation("SLP-008", at, operation, "target.domain")
                .value(&target.domain)
                .what(format!("goes to domain `{}`, which is not paired", target.domain))
                .why("a Replication needs a paired domain")
                .help(format!(
                    "pair it first: `narrowsctl domain invite` here, `domain pair LINE` in `{}`",
                    target.domain
                )),
        );
        return;
    };
    let resolved = ResolvedTarget { name: target.domain.clone(), domain: partner.domain, checked: false };
    if !checked.targets.contains(&resolved) {
        checked.targets.push(resolved);
    }
    if let Some(finding) = check_trust(at, operation, partner) {
        checked.findings.push(finding);
        return;
    }
    let import_slp = target.import_slp.as_deref().unwrap_or(&slp.name);
    if import_slp.len() > REPLICATED_NAME_BYTES_MAX {
        checked.findings.push(
            Finding::operation("SLP-008", at, operation, "target.import_slp")
                .value(import_slp)
                .what(format!("names an import SLP of {} bytes", import_slp.len()))
                .why("the name of an SLP that takes part in replication has at most 112 bytes")
                .help("name one that is shorter"),
        );
        return;
    }
    let (unit, said) = said_of(slp, operation, (partner, import_slp), around);
    check_import_slp(slp, at, operation, (target, import_slp, unit), said.as_ref(), checked);
}

/// SLP-009 for a Replication to all, and who of them could not be asked. Where no SLP of this name takes it, one may be made
/// by itself.
fn check_all(slp: &Slp, at: usize, operation: &SlpOperation, around: &Surroundings, checked: &mut Checked) {
    if !operation.goes_to_all() {
        return;
    }
    for partner in reached_by(operation, &around.partners) {
        let finding = Finding::operation("SLP-008", at, operation, "target").value(&partner.name);
        match said_of(slp, operation, (partner, &slp.name), around).1 {
            Some(PartnerSlp::Unreachable(why)) => {
                checked.unverified.push(unasked(finding, &partner.name, &why));
            }
            Some(PartnerSlp::Present { classification, receives: true, .. }) => {
                let finding = Finding::operation("SLP-009", at, operation, "target");
                let there = (slp.name.as_str(), partner.name.as_str());
                checked.findings.extend(other_class(finding, slp, there, &classification));
            }
            // It was paired meanwhile, and is as one that is paired later.
            Some(PartnerSlp::Absent | PartnerSlp::Present { .. }) | None => {}
        }
    }
}

/// The unit there that images from this source are brought to, and what the partner said of an import SLP for it.
fn said_of<'a>(
    slp: &Slp,
    operation: &SlpOperation,
    (partner, import_slp): (&Partner, &str),
    around: &'a Surroundings,
) -> (&'a str, Option<PartnerSlp>) {
    let way = target_of((slp, operation), partner.domain, &around.units, &around.targets);
    let unit = way.map(|way| way.unit.as_str()).unwrap_or_default();
    let said = around.partner_slps.get(&(partner.domain, import_slp.to_owned())).cloned();
    (unit, said.map(|said| said.for_unit(unit)))
}

/// A partner that could not be asked.
fn unasked(finding: Finding, domain: &str, why: &str) -> Finding {
    finding
        .what(format!("could not be checked against domain `{domain}`: {why}"))
        .why("that it is reached, its import SLP and the classification are checked when the SLP is applied")
        .help("try again when it answers, or save with --unverified: it is checked when it does")
}

/// SLP-009, if it is another classification than the import SLP there takes.
fn other_class(
    finding: Finding,
    slp: &Slp,
    (import_slp, domain): (&str, &str),
    classification: &str,
) -> Option<Finding> {
    let mine = &slp.data_classification;
    if classification == ANY_CLASSIFICATION || classification == mine {
        return None;
    }
    let what =
        format!("has classification `{mine}`, `{import_slp}` in domain `{domain}` takes `{classification}`");
    let help =
        format!("set data_classification = \"{classification}\" here, or \"any\" in `{import_slp}` there");
    let why = "classifications have to be equal, unless the import takes any";
    Some(finding.value(classification).what(what).why(why).help(help))
}

/// TRUST-001 and TRUST-003: both sides have to trust each other. An expired certificate mends itself and only waits.
fn check_trust(at: usize, operation: &SlpOperation, partner: &Partner) -> Option<Finding> {
    let name = &partner.name;
    let (code, what, help) = match partner.trust {
        Trust::Complete | Trust::Expired => return None,
        Trust::Half => (
            "TRUST-001",
            "is only half paired",
            "finish the pairing: `narrowsctl domain pair LINE` on the other side".to_owned(),
        ),
        Trust::Frozen => (
            "TRUST-003",
            "is frozen because its identity is in doubt",
            format!(
                "stop the wrong one there, then `narrowsctl domain decide {name}` takes the one that answers"
            ),
        ),
        Trust::Unpaired => ("TRUST-001", "was unpaired", "pair it again".to_owned()),
    };
    Some(
        Finding::operation(code, at, operation, "target.domain")
            .value(name)
            .what(format!("goes to domain `{name}`, which {what}"))
            .why("replication needs trust in both directions")
            .help(help),
    )
}

fn check_import_slp(
    slp: &Slp,
    at: usize,
    operation: &SlpOperation,
    (target, import_slp, unit): (&NamedTarget, &str, &str),
    said: Option<&PartnerSlp>,
    checked: &mut Checked,
) {
    let finding = |code| Finding::operation(code, at, operation, "target.import_slp").value(import_slp);
    let domain = &target.domain;
    match said {
        None | Some(PartnerSlp::Unreachable(_)) => {
            let why = match said {
                Some(PartnerSlp::Unreachable(sentence)) => sentence.as_str(),
                _ => "it was not asked",
            };
            checked.unverified.push(unasked(finding("SLP-008"), domain, why));
        }
        Some(PartnerSlp::Absent) => checked.findings.push(
            finding("SLP-008")
                .what(format!("names import SLP `{import_slp}`, which does not exist in domain `{domain}`"))
                .why("an image is taken over there by the import SLP that is named here")
                .help(format!("apply an SLP `{import_slp}` with an Import operation in `{domain}`")),
        ),
        Some(PartnerSlp::Present { receives: false, .. }) => {
            let unit = receiving_unit(unit);
            checked.findings.push(
                finding("SLP-008")
                    .what(format!(
                        "names `{import_slp}`, which in domain `{domain}` does not import into {unit}"
                    ))
                    .why("the import SLP has to begin with an Import whose storage is the receiving unit")
                    .help(format!("in `{domain}`, give the Import of `{import_slp}` {unit}")),
            );
        }
        Some(PartnerSlp::Present { classification, .. }) => {
            let there = (import_slp, domain.as_str());
            checked.findings.extend(other_class(finding("SLP-009"), slp, there, classification));
        }
    }
}

/// The unit of a replication target in words.
pub fn receiving_unit(unit: &str) -> String {
    if unit.is_empty() {
        "the unit that receives from here".to_owned()
    } else {
        format!("the storage unit `{unit}`")
    }
}

/// SLP-017: no domain twice.
fn check_reached(
    at: usize,
    operation: &SlpOperation,
    around: &Surroundings,
    reached: &mut BTreeMap<DomainId, usize>,
    checked: &mut Checked,
) {
    for partner in reached_by(operation, &around.partners) {
        let Some(before) = reached.insert(partner.domain, at) else { continue };
        let what = format!("reaches domain `{}`, as operation {} does", partner.name, before + 1);
        checked.findings.push(twice(at, operation, &partner.name, &what));
    }
}

/// SLP-017 without any partner yet: two Replications to all will reach each one twice.
fn check_all_twice(slp: &Slp, checked: &mut Checked) {
    let mut to_all = slp.operations.iter().enumerate().filter(|(_, it)| it.goes_to_all());
    if let (Some((first, _)), Some((at, operation))) = (to_all.next(), to_all.next())
        && !checked.findings.iter().any(|it| it.code == "SLP-017")
    {
        let what = format!("reaches every domain, as operation {} does", first + 1);
        checked.findings.push(twice(at, operation, ALL_TARGETS, &what));
    }
}

fn twice(at: usize, operation: &SlpOperation, value: &str, what: &str) -> Finding {
    Finding::operation("SLP-017", at, operation, "target")
        .value(value)
        .what(what)
        .why("one SLP sends an image to a domain at most once")
        .help("remove one of them")
}
