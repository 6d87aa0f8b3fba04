//! Every code of the domain is documented once, and asserted from a running server's reply.

use std::{collections::BTreeSet, path::Path};

use super::{refuse, text, tracked};

/// The list of codes.
const REGISTRY: &str = "engine/domain/src/codes.rs";

/// Tables of live tests whose rows assert a code.
const TABLES: &[&str] = &["net/server/tests/live/codes.rs"];

/// Codes without a row, each with the reason. This list may only shrink: one that has a row by now is a fault.
const WITHOUT_ROW: &[(&str, &str)] = &[
    ("SLP-007", "no command makes a spanning pool yet"),
    ("SLP-015", "there are no backup policies yet"),
    ("SLP-016", "there are no schedules yet"),
    ("TRUST-001", "asserted by pairing.rs, in no table yet"),
    ("TRUST-002", "asserted by pairing.rs, in no table yet"),
    ("TRUST-003", "asserted by shown.rs, in no table yet"),
    ("AIR-001", "needs a switch for the clock"),
    ("AIR-002", "asserted by shown.rs, in no table yet"),
    ("AIR-003", "in no table yet"),
    ("AIR-004", "in no table yet"),
    ("AIR-005", "in no table yet"),
    ("AIR-006", "in no table yet"),
    ("AIR-007", "needs a switch for the format"),
    ("AIR-008", "asserted by data.rs, in no table yet"),
    ("AIR-009", "no client makes synthetic images"),
    ("AIR-010", "no command makes a spanning pool yet"),
    ("AIR-011", "needs a switch for the clock"),
    ("AIR-012", "asserted by forged.rs, in no table yet"),
];

/// Families of codes that the domain raises.
const FAMILIES: &[&str] = &["SLP-", "TOPO-", "TRUST-", "AIR-"];

/// All codes of the families in quotes: `"SLP-001"`.
fn codes_in(source: &str) -> BTreeSet<String> {
    let is_code = |text: &&str| {
        FAMILIES.iter().any(|family| {
            let digits = text.strip_prefix(family).unwrap_or_default();
            digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    source.split('"').filter(is_code).map(str::to_owned).collect()
}

fn registry() -> BTreeSet<String> {
    let known = codes_in(&text(Path::new(REGISTRY)));
    assert!(known.len() > 30, "{REGISTRY} lists the codes: {known:?}");
    known
}

#[test]
fn every_code_has_a_row_in_a_live_table() {
    let mut rows = BTreeSet::new();
    for table in TABLES {
        let source = text(Path::new(table));
        let marked = source.split("code: \"").skip(1).filter_map(|rest| rest.split('"').next());
        rows.extend(marked.map(str::to_owned));
    }
    assert!(rows.len() > 10, "the tables have rows: {rows:?}");
    let excepted: BTreeSet<_> = WITHOUT_ROW.iter().map(|(code, _)| (*code).to_owned()).collect();
    let known = registry();
    let mut faults = Vec::new();
    for code in &known {
        match (rows.contains(code), excepted.contains(code)) {
            (false, false) => faults.push(format!("{code}: no live table has a row that asserts it")),
            (true, true) => faults.push(format!("{code}: has a row now, take it off the exceptions")),
            _ => {}
        }
    }
    faults.extend(rows.difference(&known).map(|code| format!("{code}: has a row and is not in {REGISTRY}")));
    faults.extend(
        excepted.difference(&known).map(|code| format!("{code}: is excepted and is not in {REGISTRY}")),
    );
    refuse(&faults);
}

#[test]
fn every_code_that_is_raised_is_documented() {
    let known = registry();
    let mut faults = Vec::new();
    for sources in ["engine/domain/src/*.rs", "net/server/src/*.rs"] {
        for file in tracked(sources) {
            // A test may well use a code that does not exist.
            let source = text(&file);
            let production = source.split("#[cfg(test)]").next().unwrap_or_default();
            let unknown = codes_in(production).into_iter().filter(|code| !known.contains(code));
            faults.extend(
                unknown.map(|code| format!("{}: raises {code}, which {REGISTRY} lacks", file.display())),
            );
        }
    }
    refuse(&faults);
}
