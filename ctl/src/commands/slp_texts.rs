//! How SLPs are shown to people: what changes, line by line, and whose images are under way.

use narrows_api::slps::{ApplyReply, Difference, Hold, SlpInfo, VersionUse};

use super::slps::sentence;
use crate::output::{counted, time};

/// What applying did or would do.
pub(super) fn applied(reply: &ApplyReply) -> String {
    let planned = if reply.applied { "" } else { " (only planned)" };
    let mut lines =
        vec![format!("{} version {}: {}{planned}", reply.slp.name, reply.slp.version, reply.change)];
    let mut operation = "";
    for difference in &reply.differences {
        if difference.operation != operation {
            operation = &difference.operation;
            lines.push(format!("  operation {operation}"));
        }
        lines.push(changed(difference));
    }
    lines.extend(reply.errors.iter().map(ToString::to_string));
    lines.extend(reply.findings.iter().map(sentence));
    lines.extend(uses(&reply.slp.versions));
    lines.join("\n")
}

/// One field: `~ retention: fixed 30d -> fixed 90d`, `+ window: nights`, `- window: nights`.
fn changed(difference: &Difference) -> String {
    let indent = if difference.operation.is_empty() { "  " } else { "    " };
    let field = &difference.field;
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => format!("{indent}~ {field}: {before} -> {after}"),
        (None, Some(after)) => format!("{indent}+ {field}: {after}"),
        (Some(before), None) => format!("{indent}- {field}: {before}"),
        (None, None) => format!("{indent}  {field}"),
    }
}

/// Images that are not complete, by version and target.
fn uses(versions: &[VersionUse]) -> Vec<String> {
    let line = |of: &VersionUse| {
        let targets = of.targets.iter().map(|target| format!(", {} to {}", target.images, target.domain));
        let images = counted(of.images, "image", "images");
        format!("version {}: {images} not complete{}", of.version, targets.collect::<String>())
    };
    versions.iter().map(line).collect()
}

/// One SLP with its text.
pub(super) fn shown(info: &SlpInfo) -> String {
    let mut lines = vec![format!("# {} version {}, applied {}", info.name, info.version, time(info.applied))];
    lines.extend(info.made_for.iter().map(|domain| format!("# made by itself, for images of {domain}")));
    lines.extend(info.held.map(|held| format!("# {}", hold(held))));
    lines.extend(uses(&info.versions).into_iter().map(|line| format!("# {line}")));
    lines.push(info.text.clone());
    lines.join("\n")
}

/// How its work is held.
pub(super) fn hold(held: Hold) -> String {
    held.until.map_or_else(|| "paused".to_owned(), |until| format!("deferred until {}", time(until)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_api::slps::TargetUse;

    #[test]
    fn differences_are_read_line_by_line() {
        let difference =
            |operation: &str, field: &str, before: Option<&str>, after: Option<&str>| Difference {
                operation: operation.into(),
                field: field.into(),
                before: before.map(str::to_owned),
                after: after.map(str::to_owned),
            };
        let slp = SlpInfo {
            name: "gold".into(),
            version: 2,
            data_classification: "any".into(),
            priority: 7,
            operations: Vec::new(),
            applied: jiff::Timestamp::UNIX_EPOCH,
            text: String::new(),
            images_unfinished: 3,
            versions: vec![VersionUse {
                version: 1,
                images: 3,
                targets: vec![TargetUse { domain: "west".into(), images: 2 }],
            }],
            made_for: None,
            held: None,
        };
        let reply = ApplyReply {
            slp,
            change: "changed".into(),
            applied: false,
            differences: vec![
                difference("", "priority", Some("50000"), Some("7")),
                difference("copy", "retention", Some("fixed 30d"), Some("fixed 90d")),
                difference("copy", "window", None, Some("nights")),
                difference("old", "kind", Some("replication"), None),
            ],
            findings: Vec::new(),
            errors: Vec::new(),
        };
        let expected = "gold version 2: changed (only planned)\n  ~ priority: 50000 -> 7\n  operation copy\n    \
                        ~ retention: fixed 30d -> fixed 90d\n    + window: nights\n  operation old\n    \
                        - kind: replication\nversion 1: 3 images not complete, 2 to west";
        assert_eq!(applied(&reply), expected);
    }
}
