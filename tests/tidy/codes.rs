//! Every code of the domain is documented once, and asserted from a running server's reply.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{refuse, text, tracked};

/// The list of codes.
const REGISTRY: &str = "engine/domain/src/codes.rs";

/// Tables of live tests whose rows assert a code.
const TABLES: &[&str] = &["tests/live/codes.rs", "tests/live/slp_codes.rs"];

/// Codes without a row, each with the reason. This list may only shrink: one that has a row by now is a fault.
const WITHOUT_ROW: &[(&str, &str)] = &[];

/// Families of codes that the specification has.
const FAMILIES: &[&str] = &["SLP-", "TOPO-", "TRUST-", "AIR-", "AUTH-", "WIRE-", "POOL-"];

/// Sources that may raise codes: all but tests.
fn raising() -> Vec<PathBuf> {
    let is_test = |file: &PathBuf| {
        file.components()
            .any(|part| ["tests", "benches", "fuzz", "tests.rs"].iter().any(|it| part.as_os_str() == *it))
    };
    tracked("*.rs").into_iter().filter(|file| !is_test(file)).collect()
}

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
        // A row names its code in a field, or is a pair that begins with it.
        let begins = |line: &&str| line.contains("code: \"") || line.trim_start().starts_with("(\"");
        rows.extend(source.lines().filter(begins).filter_map(|line| codes_in(line).first().cloned()));
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
    let (mut crates, mut raised) = (BTreeSet::new(), BTreeSet::new());
    for file in raising() {
        // A test may well use a code that does not exist.
        let source = text(&file);
        let production = source.split("#[cfg(test)]").next().unwrap_or_default();
        let found = codes_in(production);
        if !found.is_empty() {
            crates.insert(file.components().take(2).collect::<PathBuf>());
        }
        let unknown = found.difference(&known);
        faults
            .extend(unknown.map(|code| format!("{}: raises {code}, which {REGISTRY} lacks", file.display())));
        if file != Path::new(REGISTRY) {
            raised.extend(found);
        }
    }
    for expected in ["ctl/src", "engine/pool", "net/api", "net/client", "net/exchange", "net/server"] {
        assert!(
            crates.contains(Path::new(expected)),
            "{expected} raises codes, and was not looked at: {crates:?}"
        );
    }
    faults.extend(
        known.difference(&raised).map(|code| format!("{code}: is in {REGISTRY}, and nothing raises it")),
    );
    refuse(&faults);
}
