//! Goal: what the programs speak, write and read is what the compatibility page says, and the page is made from them.
//! Method: the page is written from the constants and from what both programs say of themselves, and held against
//! `COMPATIBILITY.md` beside this. With `NARROWS_COMPAT_WRITE=1` it is written there.
#![cfg(test)]

use std::{fmt::Write as _, fs, path::Path, process::Command};

use narrows_domain::limits::IMAGE_FORMAT_MAX;
use narrows_format::{DomainId, PoolId, batch, container, file_cache, index_run, node, superblock};
use narrows_tests::domains::binary;
use narrows_wire::{Hello, Purpose, hello};

const HEAD: &str = "\
# Compatibility

Made from the programs by `tests/compat`; `NARROWS_COMPAT_WRITE=1 cargo test -p narrows-tests --test compat` writes it anew.
Until the first release is tagged formats and protocol may change freely, and a version says nothing of builds in between.

A session uses the highest wire version that both sides speak. Without a common one it is refused with both ranges (WIRE-001), and
what is to be sent waits until one side is updated. An image of a newer format than a server restores is stored and
passed on, and not restored there (AIR-007). A pool of another version is refused (POOL-005) and left as it is; a client's cache of
another version is not used.

";

/// What is versioned: its name, its specification, the oldest and newest version that is read, and the one that is written.
fn formats() -> Vec<(&'static str, &'static str, (u16, u16), u16)> {
    let one = |version: u16| ((version, version), version);
    let rows = [
        ("pool (superblock)", "engine/format/src/superblock.md", one(superblock::VERSION)),
        ("image (recipe nodes)", "engine/format/src/node.md", one(u16::from(node::VERSION))),
        ("containers", "engine/format/src/container.md", one(container::VERSION)),
        ("journals (manifest, image log, index)", "engine/format/src/batch.md", one(batch::VERSION)),
        ("runs of the index", "engine/format/src/index_run.md", one(index_run::VERSION)),
        ("a client's file cache", "engine/format/src/file_cache.md", one(file_cache::VERSION)),
    ];
    let wire = ("wire", "net/wire/src/wire.md", (hello::VERSION_MIN, hello::VERSION_MAX), hello::VERSION_MAX);
    let stored = rows.into_iter().map(|(name, place, (read, written))| (name, place, read, written));
    std::iter::once(wire).chain(stored).collect()
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str(
        "| format | specification | read, or spoken | written, or preferred |\n|---|---|---|---|\n",
    );
    for (name, place, (low, high), written) in formats() {
        let read = if low == high { low.to_string() } else { format!("{low} to {high}") };
        writeln!(page, "| {name} | `{place}` | {read} | {written} |").expect("a text grows");
    }
    page
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace")
}

#[test]
fn the_page_is_what_the_programs_do() {
    let file = root().join("tests/compat/COMPATIBILITY.md");
    if std::env::var_os("NARROWS_COMPAT_WRITE").is_some() {
        fs::write(&file, page()).expect("the page can be written");
    }
    let there = fs::read_to_string(&file).expect("the page is there");
    assert_eq!(there, page(), "NARROWS_COMPAT_WRITE=1 writes it anew; say in CHANGELOG.md what has changed");
    for (_, place, ..) in formats() {
        assert!(root().join(place).is_file(), "{place}");
    }
}

#[test]
fn both_programs_say_the_versions_of_the_page() {
    for name in ["narrowsd", "narrowsctl"] {
        let output = Command::new(binary(name)).arg("--version").output().expect("the program runs");
        let said = String::from_utf8(output.stdout).expect("text");
        for line in [
            format!("wire format: {}..{}", hello::VERSION_MIN, hello::VERSION_MAX),
            format!("pool format: {}", superblock::VERSION),
            format!("image format: {}", node::VERSION),
        ] {
            assert!(said.lines().any(|it| it == line), "{name} says {said:?} without {line:?}");
        }
    }
    assert_eq!(IMAGE_FORMAT_MAX, u16::from(node::VERSION), "what is written here can be restored here");
}

/// Every pair of ranges: the highest that both speak, or neither.
#[test]
fn a_session_takes_the_highest_version_that_both_speak() {
    let speaks = |versions: (u16, u16)| Hello {
        version_min: versions.0,
        version_max: versions.1,
        mandatory: 0,
        optional: 0,
        codecs: 0,
        domain: DomainId([1; 16]),
        pool: PoolId([2; 16]),
        incarnation: 1,
        clock: narrows_format::Timestamp { seconds: 0, nanos: 0 },
        window: 1,
        purpose: Purpose::Replicate,
        ticket: [0; 32],
        wanted: Vec::new(),
    };
    let ranges: Vec<_> = (1..5).flat_map(|low| (low..5).map(move |high| (low, high))).collect();
    for ours in &ranges {
        for theirs in &ranges {
            let common = (1..5).rev().find(|it| {
                let within = |range: &(u16, u16)| (range.0..=range.1).contains(it);
                within(ours) && within(theirs)
            });
            assert_eq!(speaks(*ours).agree(&speaks(*theirs)).ok(), common, "{ours:?} {theirs:?}");
        }
    }
}
