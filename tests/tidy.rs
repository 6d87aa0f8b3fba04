//! Goal: what a machine can check of the house rules, a machine checks.
//! Method: the tracked sources are read as text; each rule has its own test and names file and line.

#[path = "tidy/codes.rs"]
mod codes;
#[path = "tidy/rules.rs"]
mod rules;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Which of our crates may use which: the layer table of ARCHITECTURE.md. Dev-dependencies are free.
const LAYERS: &[(&str, &str, &[&str])] = &[
    ("engine/format", "format", &[]),
    ("engine/simd", "simd", &["format"]),
    ("engine/ring", "ring", &[]),
    ("engine/pool", "pool", &["format", "simd", "ring"]),
    ("engine/domain", "domain", &["format"]),
    ("engine/catalog", "catalog", &["domain", "format"]),
    ("net/wire", "wire", &["format"]),
    ("net/api", "api", &["format"]),
    ("net/transport", "transport", &["wire", "ring", "format"]),
    ("net/exchange", "exchange", &["transport", "wire", "format", "simd", "ring"]),
    ("net/client", "client", &["exchange", "transport", "wire", "format", "pool", "simd", "ring"]),
    ("net/agent", "agent", &["client", "api", "ring", "format", "transport"]),
    (
        "net/server",
        "server",
        &[
            "agent",
            "api",
            "catalog",
            "domain",
            "exchange",
            "format",
            "pool",
            "ring",
            "simd",
            "transport",
            "wire",
        ],
    ),
    ("ctl", "ctl", &["agent", "client", "api", "ring", "format", "transport"]),
];

/// Most lines of a source file before its tests begin.
const FILE_LINES_MAX: usize = 600;

/// Files that are longer, with the number that may only fall.
const LONGER: &[(&str, usize)] = &[];

/// Top-level folders that the layout fixes.
const TOP: &[&str] = &["engine", "net", "ctl", "benches", "fuzz", "tests", ".cargo", ".ci"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_path_buf()
}

fn tracked(pattern: &str) -> Vec<PathBuf> {
    let output =
        Command::new("git").args(["ls-files", "-z", pattern]).current_dir(root()).output().expect("git runs");
    assert!(output.status.success(), "git lists the sources");
    let names = String::from_utf8(output.stdout).expect("paths are UTF-8");
    let files: Vec<PathBuf> = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect();
    assert!(!files.is_empty(), "no file matches {pattern}: this check would check nothing");
    files
}

fn text(file: &Path) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn refuse(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn layers_are_kept() {
    let allowed: BTreeMap<_, _> = LAYERS.iter().map(|(dir, _, uses)| (*dir, *uses)).collect();
    let names: BTreeMap<_, _> =
        LAYERS.iter().map(|(_, name, _)| (format!("narrows-{name}"), *name)).collect();
    let mut faults = Vec::new();
    for (dir, uses) in allowed {
        let manifest: toml::Table = text(&Path::new(dir).join("Cargo.toml")).parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for dependency in dependencies.keys() {
            if let Some(name) = names.get(dependency)
                && !uses.contains(name)
            {
                faults.push(format!("{dir} may not depend on {dependency}"));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn every_source_file_says_what_it_is() {
    let faults: Vec<_> = tracked("*.rs")
        .into_iter()
        .filter(|file| !text(file).starts_with("//!"))
        .map(|file| format!("{}:1: begins without a //! head", file.display()))
        .collect();
    refuse(&faults);
}

#[test]
fn files_stay_short() {
    let longer: BTreeMap<_, _> = LONGER.iter().copied().collect();
    let mut faults = Vec::new();
    for file in tracked("*.rs") {
        let name = file.to_string_lossy().into_owned();
        if name.contains("tests") || name.starts_with("fuzz/") || name.starts_with("benches/") {
            continue;
        }
        let source = text(&file);
        let lines = source.lines().take_while(|line| *line != "mod tests {").count();
        match longer.get(name.as_str()) {
            Some(limit) if lines > *limit => {
                faults.push(format!("{name}: {lines} lines, its number is {limit}"));
            }
            Some(limit) if lines < *limit => {
                faults.push(format!("{name}: {lines} lines, lower its number {limit}"));
            }
            None if lines > FILE_LINES_MAX => {
                faults.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}"));
            }
            _ => {}
        }
    }
    refuse(&faults);
}

#[test]
fn every_format_has_its_specification_beside_it() {
    let mut faults = Vec::new();
    for crate_source in ["engine/format/src/*.rs", "net/wire/src/*.rs"] {
        for file in tracked(crate_source) {
            let source = text(&file);
            if source.contains("fn decode") && !source.contains("include_str!(\"") {
                faults.push(format!("{}: decodes bytes without including a .md", file.display()));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn unsafe_stays_in_ring_and_simd() {
    let mut faults = Vec::new();
    for file in tracked("*.rs") {
        let name = file.to_string_lossy().into_owned();
        let crate_root = name.ends_with("src/lib.rs") || name.ends_with("src/main.rs");
        let may = name.starts_with("engine/ring/") || name.starts_with("engine/simd/");
        let ours = name.starts_with("engine/") || name.starts_with("net/") || name.starts_with("ctl/");
        if ours && crate_root && !may && !text(&file).contains("#![forbid(unsafe_code)]") {
            faults.push(format!("{name}: does not forbid unsafe code"));
        }
    }
    refuse(&faults);
}

#[test]
fn nothing_pretends() {
    let words = ["todo!(", "unimplemented!(", "FIXME", "#[ignore"];
    let mut faults = Vec::new();
    for file in tracked("*.rs") {
        if file == Path::new("tests/tidy.rs") {
            continue;
        }
        for (line, content) in text(&file).lines().enumerate() {
            if words.iter().any(|word| content.contains(word)) {
                faults.push(format!("{}:{}: {}", file.display(), line + 1, content.trim()));
            }
        }
    }
    refuse(&faults);
}

#[test]
fn the_top_level_is_as_agreed() {
    let faults: Vec<_> = tracked(".")
        .iter()
        .filter(|file| file.components().count() > 1)
        .map(|file| file.components().next().unwrap().as_os_str().to_string_lossy().into_owned())
        .filter(|top| !TOP.contains(&top.as_str()))
        .map(|top| format!("{top}: not a folder of the agreed layout"))
        .collect();
    refuse(&faults);
}

#[test]
fn names_of_modules_mean_something() {
    let empty_words = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs", "manager.rs"];
    let faults: Vec<_> = tracked("*.rs")
        .iter()
        .filter(|file| file.file_name().is_some_and(|name| empty_words.iter().any(|word| name == *word)))
        .map(|file| format!("{}: name it for what it holds", file.display()))
        .collect();
    refuse(&faults);
}

#[test]
fn readme_and_ci_run_the_same_tests() {
    let readme = text(Path::new("README.md"));
    let ci = text(Path::new(".ci/run"));
    let command = readme
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("cargo ") && line.contains("cargo test"))
        .expect("README has a line that runs the tests");
    assert!(ci.contains(command), ".ci/run does not call README's test command:\n{command}");
}
