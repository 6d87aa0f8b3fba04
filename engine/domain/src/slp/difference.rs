//! What changes from one text of a policy to another: operation by operation, field by field.

use std::collections::BTreeMap;

use crate::slp::structure::kind_word;
use crate::slp::{NamedTarget, Retention, Slp, SlpOperation, TargetSpec};

/// One field that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The operation's id; `None` for the policy as a whole.
    pub operation: Option<String>,
    /// The field as the text spells it.
    pub field: &'static str,
    /// What it was; `None` if it was not there.
    pub before: Option<String>,
    /// What it is; `None` if it is not there any more.
    pub after: Option<String>,
}

/// Everything that differs: the policy first, then operations in the order of the new text, then those that go.
pub fn differences(before: &Slp, after: &Slp) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(None, &policy_fields(before), &policy_fields(after), &mut found);
    let none = Fields::new();
    for operation in &after.operations {
        let fields = before.operation(&operation.id).map_or_else(|| none.clone(), operation_fields);
        compare(Some(&operation.id), &fields, &operation_fields(operation), &mut found);
    }
    for operation in before.operations.iter().filter(|it| after.operation(&it.id).is_none()) {
        compare(Some(&operation.id), &operation_fields(operation), &none, &mut found);
    }
    found
}

/// In the order in which people read them.
const FIELDS: [&str; 9] = [
    "data_classification",
    "priority",
    "first operation",
    "kind",
    "source",
    "storage",
    "target",
    "retention",
    "window",
];

type Fields = BTreeMap<&'static str, String>;

fn compare(operation: Option<&String>, before: &Fields, after: &Fields, found: &mut Vec<Difference>) {
    for field in FIELDS {
        let (was, is) = (before.get(field), after.get(field));
        if was != is {
            let operation = operation.cloned();
            found.push(Difference { operation, field, before: was.cloned(), after: is.cloned() });
        }
    }
}

fn policy_fields(slp: &Slp) -> Fields {
    let mut fields = Fields::from([
        ("data_classification", slp.data_classification.clone()),
        ("priority", slp.priority.to_string()),
    ]);
    // The order of the others says nothing.
    fields.extend(slp.operations.first().map(|first| ("first operation", first.id.clone())));
    fields
}

fn operation_fields(operation: &SlpOperation) -> Fields {
    let mut fields = Fields::from([("kind", kind_word(operation.kind).to_owned())]);
    fields.extend(operation.source.clone().map(|source| ("source", source)));
    fields.extend(operation.storage.clone().map(|storage| ("storage", storage)));
    fields.extend(operation.target.as_ref().map(|target| ("target", target_words(target))));
    fields.extend(operation.retention.map(|retention| ("retention", retention_words(retention))));
    fields.extend(operation.window.clone().map(|window| ("window", window)));
    fields
}

/// Where a Replication goes, for people: `all`, `dr`, `dr (gold-import)`.
pub fn target_words(target: &TargetSpec) -> String {
    match target {
        TargetSpec::Word(word) => word.clone(),
        TargetSpec::Named(NamedTarget { domain, import_slp: Some(slp) }) => format!("{domain} ({slp})"),
        TargetSpec::Named(NamedTarget { domain, import_slp: None }) => domain.clone(),
    }
}

/// A retention, for people: `fixed 30d`.
pub fn retention_words(retention: Retention) -> String {
    match retention {
        Retention::Fixed(period) => format!("fixed {period}"),
        Retention::ExpireAfterCopy => "expire-after-copy".to_owned(),
        Retention::CapacityManaged => "capacity-managed".to_owned(),
        Retention::Target { at_least, at_most } => {
            let least = at_least.map(|period| format!(", at least {period}")).unwrap_or_default();
            let most = at_most.map(|period| format!(", at most {period}")).unwrap_or_default();
            format!("target{least}{most}")
        }
    }
}
