//! What is wrong with a policy in itself: SLP-001 to SLP-004, SLP-010 to SLP-012, duplicate ids
//! (SLP-013) and the length of its name (SLP-008).

use std::collections::BTreeSet;

use crate::limits::{BACKUPS_PER_SLP_MAX, REPLICATED_NAME_BYTES_MAX};
use crate::slp::check::LocalCopy;
use crate::slp::{ALL_TARGETS, Finding, Kind, Retention, Slp, SlpOperation, TargetSpec};

/// Everything that is wrong without looking around.
pub(super) fn check(slp: &Slp, local_copy: LocalCopy) -> Vec<Finding> {
    let mut findings = Vec::new();
    check_beginning(slp, &mut findings);
    check_ids(slp, &mut findings);
    for (at, operation) in slp.operations.iter().enumerate() {
        check_source(slp, at, operation, &mut findings);
        check_fields(at, operation, &mut findings);
        check_retention(slp, at, operation, local_copy, &mut findings);
    }
    check_whole(slp, &mut findings);
    findings
}

/// SLP-001, SLP-002, SLP-003.
fn check_beginning(slp: &Slp, findings: &mut Vec<Finding>) {
    let first = slp.operations.first();
    if !first.is_some_and(|first| matches!(first.kind, Kind::Backup | Kind::Import)) {
        let finding = match first {
            None => Finding::policy("SLP-001", &slp.name, "operation").what("has no operation"),
            Some(first) => Finding::operation("SLP-001", 0, first, "kind")
                .value(kind_word(first.kind))
                .what("comes first and is neither Backup nor Import"),
        };
        findings.push(
            finding
                .why("a lifecycle begins where an image comes from: a Backup or an Import")
                .help("put an operation of kind \"backup\" or \"import\" first"),
        );
    }
    let imports = slp.operations.iter().enumerate().filter(|(_, it)| it.kind == Kind::Import);
    for (at, import) in imports {
        if at > 0 {
            findings.push(
                Finding::operation("SLP-002", at, import, "kind")
                    .value("import")
                    .what("is an Import that is not the first operation")
                    .why("an SLP has at most one Import, and it comes first")
                    .help("move it to the front, or into an SLP of its own"),
            );
        }
        if let Some(source) = &import.source {
            findings.push(
                Finding::operation("SLP-002", at, import, "source")
                    .value(source)
                    .what("is an Import with a source")
                    .why("an Import takes what a partner sent, not another operation's copy")
                    .help("remove the field `source`"),
            );
        }
    }
    let backups: Vec<_> =
        slp.operations.iter().enumerate().filter(|(_, it)| it.kind == Kind::Backup).collect();
    if let Some((at, backup)) = backups.first()
        && slp.operations.iter().any(|it| it.kind == Kind::Import)
    {
        findings.push(
            Finding::operation("SLP-003", *at, backup, "kind")
                .value("backup")
                .what("is a Backup in an SLP that has an Import")
                .why("an image is either made here or comes from a partner")
                .help("make two SLPs"),
        );
    }
    if let Some((at, backup)) = backups.get(BACKUPS_PER_SLP_MAX) {
        findings.push(
            Finding::operation("SLP-003", *at, backup, "kind")
                .value("backup")
                .what(format!("is Backup number {}", BACKUPS_PER_SLP_MAX + 1))
                .why("an SLP has at most four Backup operations")
                .help("make further copies by Duplication"),
        );
    }
}

/// SLP-013: duplicate ids.
fn check_ids(slp: &Slp, findings: &mut Vec<Finding>) {
    let mut seen = BTreeSet::new();
    for (at, operation) in slp.operations.iter().enumerate() {
        if !seen.insert(&operation.id) {
            findings.push(
                Finding::operation("SLP-013", at, operation, "id")
                    .value(&operation.id)
                    .what("has the id of an operation before it")
                    .why("operations are told apart by their ids")
                    .help("give it an id of its own"),
            );
        }
    }
}

/// SLP-004.
fn check_source(slp: &Slp, at: usize, operation: &SlpOperation, findings: &mut Vec<Finding>) {
    let finding = Finding::operation("SLP-004", at, operation, "source")
        .why("a copy is made from the copy of a Backup, an Import or a Duplication of the same SLP");
    let feeds = |it: &SlpOperation| it.kind != Kind::Replication;
    let found = match (&operation.source, operation.kind) {
        (None, Kind::Backup | Kind::Import) | (Some(_), Kind::Import) => return,
        (Some(source), Kind::Backup) => {
            finding.value(source).what("is a Backup with a source").help("remove the field `source`")
        }
        (None, _) => {
            finding.what("has no source").help(format!("name one, e.g. {}", feeder(slp, &operation.id)))
        }
        (Some(source), _) => match slp.operation(source) {
            None => finding
                .value(source)
                .what(format!("has the source `{source}`, which does not exist"))
                .help(format!("name one that does, e.g. {}", feeder(slp, &operation.id))),
            Some(it) if !feeds(it) => finding
                .value(source)
                .what(format!("has the source `{source}`, a Replication, whose copy is in another domain"))
                .help(format!("name one whose copy is here, e.g. {}", feeder(slp, &operation.id))),
            Some(_) if is_loop(slp, operation) => finding
                .value(source)
                .what("is, over its sources, its own source")
                .help("let the chain of sources end at the first operation"),
            Some(_) => return,
        },
    };
    findings.push(found);
}

/// An operation that could be the source, for the help.
fn feeder(slp: &Slp, except: &str) -> String {
    let feeds = slp.operations.iter().find(|it| it.kind != Kind::Replication && it.id != except);
    feeds.map_or_else(|| "\"backup\"".to_owned(), |it| format!("\"{}\"", it.id))
}

fn is_loop(slp: &Slp, operation: &SlpOperation) -> bool {
    let mut at = operation;
    for _ in 0..=slp.operations.len() {
        match at.source.as_deref().and_then(|source| slp.operation(source)) {
            Some(source) => at = source,
            None => return false,
        }
    }
    true
}

/// Fields that a kind needs or cannot have: storage (SLP-013) and target (SLP-008).
fn check_fields(at: usize, operation: &SlpOperation, findings: &mut Vec<Finding>) {
    let replication = operation.kind == Kind::Replication;
    let storage = Finding::operation("SLP-013", at, operation, "storage");
    match (&operation.storage, replication) {
        (None, false) => findings.push(
            storage
                .what("has no storage")
                .why("a copy has to lie somewhere")
                .help("name a storage unit, e.g. storage = \"default\""),
        ),
        (Some(unit), true) => findings.push(
            storage
                .value(unit)
                .what("is a Replication with a storage unit of this domain")
                .why("a replica lies in the target's storage, which the import SLP there names")
                .help("remove the field `storage`; say where it goes with `target`"),
        ),
        _ => {}
    }
    let target = Finding::operation("SLP-008", at, operation, "target");
    match (&operation.target, replication) {
        (None, true) => findings.push(
            target
                .what("has no target")
                .why("a Replication goes to one paired domain, or to all")
                .help("add target = { domain = \"...\", import_slp = \"...\" } or target = \"all\""),
        ),
        (Some(TargetSpec::Word(word)), true) if word != ALL_TARGETS => findings.push(
            target
                .value(word)
                .what(format!("has the target `{word}`"))
                .why("the only target in one word is \"all\"")
                .help(format!("write target = {{ domain = \"{word}\", import_slp = \"...\" }}")),
        ),
        (Some(_), false) => findings.push(
            target
                .what("has a target and is not a Replication")
                .why("only a Replication leaves the domain")
                .help("remove the field `target`, or make it a Replication"),
        ),
        _ => {}
    }
}

/// SLP-010, SLP-011, SLP-012, as far as one operation is concerned.
fn check_retention(
    slp: &Slp,
    at: usize,
    operation: &SlpOperation,
    local_copy: LocalCopy,
    findings: &mut Vec<Finding>,
) {
    let finding = |code| Finding::operation(code, at, operation, "retention");
    let mut children = slp.children(&operation.id).peekable();
    match operation.retention {
        None => findings.push(
            finding("SLP-012")
                .what("has no retention")
                .why("every copy has a life that somebody decided")
                .help("add e.g. retention = { fixed = \"30d\" }"),
        ),
        Some(Retention::Target { .. }) if slp.import().is_none() => findings.push(
            finding("SLP-010")
                .value("target")
                .what("has target retention in an SLP that does not begin with Import")
                .why("only an imported image has an expiry that its source set")
                .help("use retention = { fixed = \"30d\" }"),
        ),
        Some(Retention::ExpireAfterCopy) if children.peek().is_none() => findings.push(
            finding("SLP-011")
                .value("expire-after-copy")
                .what("expires after copying, but nothing copies from it")
                .why("`expire-after-copy` ends when all operations that have it as source are complete")
                .help("use retention = { fixed = \"30d\" }, or add an operation with it as source"),
        ),
        Some(Retention::ExpireAfterCopy)
            if local_copy == LocalCopy::Needed && children.all(|it| it.kind == Kind::Replication) =>
        {
            findings.push(
                finding("SLP-011")
                    .value("expire-after-copy")
                    .what("expires after copying, and all its copies are in other domains")
                    .why("no local copy would be left")
                    .help("use retention = { fixed = \"30d\" }, or say --accept-no-local-copy"),
            );
        }
        Some(Retention::CapacityManaged) if slp.replicates() => findings.push(
            finding("SLP-012")
                .value("capacity-managed")
                .what("is capacity-managed in an SLP that replicates")
                .why("a replicated image has to have a life that both sides can tell")
                .help("use retention = { fixed = \"30d\" }"),
        ),
        Some(_) => {}
    }
}

/// SLP-008 (name), SLP-010 and SLP-012 for the policy as a whole.
fn check_whole(slp: &Slp, findings: &mut Vec<Finding>) {
    let concerned = slp.replicates() || slp.import().is_some();
    if concerned && slp.name.len() > REPLICATED_NAME_BYTES_MAX {
        findings.push(
            Finding::policy("SLP-008", &slp.name, "name")
                .value(&slp.name)
                .what(format!("has a name of {} bytes", slp.name.len()))
                .why("the name of an SLP that takes part in replication has at most 112 bytes")
                .help("make it shorter"),
        );
    }
    let targets = |it: &SlpOperation| matches!(it.retention, Some(Retention::Target { .. }));
    if slp.import().is_some() && !slp.operations.iter().any(targets) {
        findings.push(
            Finding::policy("SLP-010", &slp.name, "retention")
                .what("imports, but none of its operations has target retention")
                .why("one copy here has to live as long as the source asked for")
                .help("give one operation retention = { target = {} }"),
        );
    }
    let lives = |it: &SlpOperation| {
        it.kind != Kind::Replication
            && matches!(it.retention, Some(Retention::Fixed(_) | Retention::Target { .. }))
    };
    if !slp.operations.is_empty() && !slp.operations.iter().any(lives) && !leaves_by_intent(slp) {
        findings.push(no_local_life(slp));
    }
}

/// `expire-after-copy` towards Replications only is SLP-011's business, accepted or not.
fn leaves_by_intent(slp: &Slp) -> bool {
    let local = slp.operations.iter().filter(|it| it.kind != Kind::Replication);
    local.clone().count() == 1 && local.clone().all(|it| it.retention == Some(Retention::ExpireAfterCopy))
}

fn no_local_life(slp: &Slp) -> Finding {
    Finding::policy("SLP-012", &slp.name, "retention")
        .what("has no operation in this domain with fixed or target retention")
        .why("one copy here has to have a life of its own")
        .help("give a Backup, Import or Duplication retention = { fixed = \"30d\" }")
}

/// The word that the text uses for a kind.
pub(super) fn kind_word(kind: Kind) -> &'static str {
    crate::operation::OperationKind::from(kind).as_str()
}
