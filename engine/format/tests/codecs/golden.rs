//! Goal: the bytes of a released version never change, and are always read.
//! Method: encode fixed samples and compare with the files in `golden/`, then decode the files.
//! `NARROWS_GOLDEN=write cargo test -p narrows-format golden` writes new ones; a change of an
//! existing one is a new version of its format, or a mistake.

use super::samples;
use narrows_format::container::{Footer, Header, table};
use narrows_format::cursor::Cursor;
use narrows_format::file_cache::{self, BLOCK_HEAD_BYTES, BlockHead, Head as CacheHead, Leaf};
use narrows_format::frame::{self, Codec};
use narrows_format::node::Node;
use narrows_format::record::SignedRecord;
use narrows_format::superblock::Superblock;
use narrows_format::{image_log, index_journal, manifest};
use std::path::PathBuf;

/// Gives the golden bytes, after writing them if that was asked for.
#[expect(clippy::disallowed_methods, reason = "a test reads its golden files itself")]
fn golden(name: &str, encoded: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{name}.bin"));
    if std::env::var("NARROWS_GOLDEN").is_ok_and(|value| value == "write") {
        std::fs::write(&path, encoded).expect("the golden file can be written");
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(super) fn check(name: &str, encoded: &[u8]) -> Vec<u8> {
    let bytes = golden(name, encoded);
    let differs = bytes.iter().zip(encoded).position(|(a, b)| a != b);
    assert!(bytes == encoded, "{name}: encoded bytes differ from the golden file at {differs:?}");
    bytes
}

#[test]
fn nodes() {
    for (name, node) in samples::nodes() {
        assert_eq!(Node::decode(&check(name, &node.encode())), Ok(node), "{name}");
    }
}

#[test]
fn frames() {
    check("frame-none", &samples::frame(Codec::None));
    check("frame-annex", &samples::annex());
    // What a compressor makes of the same bytes may change with its version; what was written stays readable.
    for (name, codec) in [("frame-none", Codec::None), ("frame-lz4", Codec::Lz4), ("frame-zstd", Codec::Zstd)]
    {
        let bytes = golden(name, &samples::frame(codec));
        let frame = frame::parse(&bytes).unwrap();
        assert_eq!(frame.codec(), codec);
        let mut plain = Vec::new();
        assert_eq!(frame.open(&mut plain), Ok(vec![0..1000, 1000..3000]), "{name}");
        assert_eq!(plain, samples::text(3000), "{name}");
    }
}

#[test]
fn container() {
    let header = check("container-header", &samples::header().encode());
    assert_eq!(Header::decode(&header), Ok(samples::header()));
    let tail = check("container-table", &samples::table());
    let footer = Footer::decode(&tail).unwrap();
    assert_eq!((footer.frames_end, footer.table_bytes()), (samples::FRAMES_END, tail.len()));
    assert_eq!(table::decode(&footer, &tail), Ok(samples::table_entries()));
}

#[test]
fn record() {
    let bytes = check("signed-record", &samples::signed().encode());
    assert_eq!(SignedRecord::decode(&bytes), Ok(samples::signed()));
    assert!(bytes.len() < 900, "a usual record is short: {}", bytes.len());
}

#[test]
fn superblock() {
    let bytes = check("superblock", &samples::superblock().encode());
    assert_eq!(Superblock::decode(&bytes), Ok(samples::superblock()));
}

#[test]
fn logs() {
    let head = samples::head();
    let bytes = check("manifest", &manifest::encode(&head, &samples::edits()));
    let batch = manifest::decode(&bytes).unwrap();
    assert_eq!((batch.head, batch.records, batch.bytes), (head, samples::edits(), bytes.len()));
    let bytes = check("manifest-quarantine", &manifest::encode(&head, &samples::quarantine_edits()));
    assert_eq!(manifest::decode(&bytes).unwrap().records, samples::quarantine_edits());
    let bytes = check("image-log", &image_log::encode(&head, &samples::log_records()));
    let batch = image_log::decode(&bytes).unwrap();
    assert_eq!((batch.head, batch.records, batch.bytes), (head, samples::log_records(), bytes.len()));
    let bytes = check("index-journal", &index_journal::encode(&head, &samples::journal_records()));
    let batch = index_journal::decode(&bytes).unwrap();
    assert_eq!((batch.head, batch.records, batch.bytes), (head, samples::journal_records(), bytes.len()));
}

#[test]
fn file_cache() {
    let head = check("file-cache-head", &samples::cache_head().encode());
    assert_eq!(CacheHead::decode(&head), Ok(samples::cache_head()));
    let leaves = check("file-cache-leaves", &samples::cache_leaves());
    let mut cursor = Cursor::new(&leaves);
    for _ in 0..2 {
        assert_eq!(Leaf::decode(&mut cursor), Ok(samples::cache_leaf()));
    }
    assert_eq!(cursor.left(), 0);
    // What a compressor makes of the same bytes may change with its version; what was written stays readable.
    let block = golden("file-cache-block", &file_cache::seal_block(&leaves));
    let (head, payload) = block.split_at(BLOCK_HEAD_BYTES);
    let head = BlockHead::decode(head).unwrap();
    assert!(head.payload_bytes() < leaves.len(), "it is compressed");
    assert_eq!(head.open(payload), Ok(leaves));
}
