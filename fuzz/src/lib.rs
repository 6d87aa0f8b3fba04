//! Targets per codec and per state machine; the corpus is replayed by the tests.
//!
//! A target takes any bytes, decodes them, and holds what came out to its promises: what decodes
//! encodes again, and to the same bytes where the format has one encoding for one value. It tells whether
//! they decoded. Made for `cargo fuzz` and the like, for the corpus under `corpus/<target>/`, and for the
//! mutations of [`mutate`]. No target reads a file or a clock.
#![forbid(unsafe_code)]
#![expect(clippy::missing_panics_doc, reason = "a target panics when it has found something")]

pub mod mend;
pub mod mutate;

use narrows_format::container::{Footer, Header, table};
use narrows_format::cursor::Cursor;
use narrows_format::frame::{self, Codec, FrameKind};
use narrows_format::index_run::{self, Directory, Page};
use narrows_format::limits::{
    CACHE_BLOCK_BYTES_MAX, FRAME_BYTES_MAX, LOG_BATCH_BYTES_MAX, NODE_BYTES_MAX, NODE_PATHS_BYTES_MAX,
    RECORD_BYTES_MAX, XATTRS_BYTES_MAX,
};
use narrows_format::node::{Node, envelope};
use narrows_format::record::{SignedRecord, signed_part};
use narrows_format::superblock::Superblock;
use narrows_format::{
    BadBytes, file_cache as cache, image_log as log, index_journal as journal, manifest as edits,
    xattrs as list,
};
use narrows_wire::{MESSAGE_BYTES_MAX, Message};

/// A codec under attack.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Decodes, and checks what came out; tells whether the bytes decoded.
    pub run: fn(&[u8]) -> bool,
    /// Makes lengths and checksums right again after a mutation, so that it gets past them.
    pub mend: fn(&mut [u8]),
    /// Memory that `run` may take at any instant for any input, beyond a small multiple of the input.
    pub memory_max: usize,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "node",
        run: node,
        mend: mend::node,
        memory_max: NODE_PATHS_BYTES_MAX + 4 * NODE_BYTES_MAX,
    },
    Target { name: "xattrs", run: xattrs, mend: mend::nothing, memory_max: XATTRS_BYTES_MAX },
    Target { name: "frame", run: frame, mend: mend::frame, memory_max: 4 * FRAME_BYTES_MAX },
    Target { name: "container_header", run: container_header, mend: mend::block, memory_max: 16 << 10 },
    Target { name: "container_table", run: container_table, mend: mend::table, memory_max: 16 << 10 },
    Target { name: "superblock", run: superblock, mend: mend::block, memory_max: 16 << 10 },
    Target { name: "manifest", run: manifest, mend: mend::batch, memory_max: LOG_BATCH_BYTES_MAX },
    Target { name: "image_log", run: image_log, mend: mend::batch, memory_max: LOG_BATCH_BYTES_MAX },
    Target { name: "index_journal", run: index_journal, mend: mend::batch, memory_max: LOG_BATCH_BYTES_MAX },
    Target {
        name: "file_cache",
        run: file_cache,
        mend: mend::file_cache,
        memory_max: NODE_PATHS_BYTES_MAX + 4 * NODE_BYTES_MAX + CACHE_BLOCK_BYTES_MAX,
    },
    Target { name: "index_page", run: index_page, mend: mend::page, memory_max: 16 << 10 },
    Target { name: "index_directory", run: index_directory, mend: mend::table, memory_max: 16 << 10 },
    Target { name: "record", run: record, mend: mend::record, memory_max: 8 * RECORD_BYTES_MAX },
    Target { name: "wire_message", run: wire_message, mend: mend::message, memory_max: MESSAGE_BYTES_MAX },
];

/// A recipe node, and its envelope for itself.
pub fn node(bytes: &[u8]) -> bool {
    let envelope = envelope::children(bytes);
    let Ok(node) = Node::decode(bytes) else { return false };
    assert_eq!(envelope.as_ref(), Ok(&node.children), "the envelope of a good node can be read");
    assert!(node.encode() == bytes, "a node has one encoding");
    true
}

/// A list of extended attributes.
pub fn xattrs(bytes: &[u8]) -> bool {
    let Ok(attributes) = list::decode(bytes) else { return false };
    assert_eq!(list::encoded_length(&attributes), bytes.len(), "the length is foreseen");
    assert!(list::encode(&attributes) == bytes, "a list has one encoding");
    true
}

/// A frame with anything behind it, opened.
pub fn frame(bytes: &[u8]) -> bool {
    let Ok((frame, rest)) = frame::parse_first(bytes) else { return false };
    assert_eq!(frame.bytes().len() + rest.len(), bytes.len(), "nothing is lost");
    assert_eq!(frame::stored_bytes(bytes), Ok(frame.bytes().len()), "the head tells the length");
    let mut plain = Vec::new();
    let Ok(ranges) = frame.open(&mut plain) else { return false };
    assert_eq!(ranges.last().map(|range| range.end), Some(plain.len()), "segments fill the frame");
    for range in &ranges {
        let segment = plain.get(range.clone()).expect("a segment lies in the frame");
        let annex = frame.kind() == FrameKind::Annex;
        assert!(!annex || frame::annex_locations(segment).is_ok(), "an annex is made of locations");
    }
    let lengths: Vec<u32> = frame.lengths().collect();
    let again = frame::build_joined(frame.kind(), Codec::None, 0, &plain, &lengths);
    assert!(frame.codec() != Codec::None || again == frame.bytes(), "a plain frame has one encoding");
    true
}

/// The first block of a container.
pub fn container_header(bytes: &[u8]) -> bool {
    let Ok(header) = Header::decode(bytes) else { return false };
    assert!(bytes.starts_with(&header.encode()), "a header has one encoding");
    true
}

/// A container from its table on.
pub fn container_table(bytes: &[u8]) -> bool {
    let Ok(footer) = Footer::decode(bytes) else { return false };
    let Ok(entries) = table::decode(&footer, bytes) else { return false };
    let again = table::encode(footer.container, footer.epoch, footer.frames_end, &entries);
    assert!(again.len() != bytes.len() || again == bytes, "a table has one encoding");
    true
}

/// A superblock, and a file of two.
pub fn superblock(bytes: &[u8]) -> bool {
    let newest = Superblock::newest(bytes);
    let Ok(superblock) = Superblock::decode(bytes) else { return newest.is_ok() };
    assert!(bytes.starts_with(&superblock.encode()), "a superblock has one encoding");
    assert!(bytes.len() < 4096 * 2 || newest.is_ok(), "a file with a good slot can be read");
    true
}

/// A batch of a manifest.
pub fn manifest(bytes: &[u8]) -> bool {
    let Ok(batch) = edits::decode(bytes) else { return false };
    assert!(bytes.get(..batch.bytes) == Some(&edits::encode(&batch.head, &batch.records)), "one encoding");
    true
}

/// A batch of an image log, and the records inside.
pub fn image_log(bytes: &[u8]) -> bool {
    let Ok(batch) = log::decode(bytes) else { return false };
    assert!(bytes.get(..batch.bytes) == Some(&log::encode(&batch.head, &batch.records)), "one encoding");
    for entry in &batch.records {
        if let log::Change::Commit(commit) = &entry.change {
            record(&commit.signed);
        }
    }
    true
}

/// A page of an index run, taken for the one that it says it is.
pub fn index_page(bytes: &[u8]) -> bool {
    let number = |at: usize| {
        let raw = bytes.get(at..at + 8).and_then(|raw| raw.first_chunk());
        u64::from_le_bytes(raw.copied().unwrap_or_default())
    };
    let (run, block) = (number(4032), number(4040));
    let Ok(page) = Page::open(bytes, run, block) else { return false };
    let Ok(entries) = page.entries().collect::<Result<Vec<_>, _>>() else { return false };
    for entry in &entries {
        page.continues(&entry.fingerprint);
        assert!(page.find(&entry.fingerprint).all(|found| found.is_ok()), "what is found is an entry");
    }
    assert!(bytes.starts_with(&Page::encode(run, block, page.start, &entries)), "a page has one encoding");
    true
}

/// An index run from its directory on.
pub fn index_directory(bytes: &[u8]) -> bool {
    let Ok(footer) = index_run::Footer::decode(bytes) else { return false };
    let Ok(directory) = Directory::decode(&footer, bytes) else { return false };
    let again = directory.encode();
    assert!(again.len() != bytes.len() || again == bytes, "a directory has one encoding");
    for part in &directory.parts {
        assert!(part.decode_section(bytes).is_err(), "a directory is no section");
    }
    true
}

/// A batch of an index journal.
pub fn index_journal(bytes: &[u8]) -> bool {
    let Ok(batch) = journal::decode(bytes) else { return false };
    assert!(bytes.get(..batch.bytes) == Some(&journal::encode(&batch.head, &batch.records)), "one encoding");
    true
}

/// A client's file cache, block by block.
pub fn file_cache(bytes: &[u8]) -> bool {
    let Some((head, mut rest)) = bytes.split_at_checked(cache::HEAD_BYTES) else { return false };
    let Ok(decoded) = cache::Head::decode(head) else { return false };
    assert!(decoded.encode() == head, "a head has one encoding");
    while let Some((head, behind)) = rest.split_at_checked(cache::BLOCK_HEAD_BYTES) {
        let Ok(head) = cache::BlockHead::decode(head) else { return false };
        let Some((payload, behind)) = behind.split_at_checked(head.payload_bytes()) else { return false };
        let Ok(plain) = head.open(payload) else { return false };
        let mut cursor = Cursor::new(&plain);
        while cursor.left() > 0 {
            let before = cursor.rest();
            let Ok(leaf) = cache::Leaf::decode(&mut cursor) else { return false };
            let mut again = Vec::new();
            leaf.encode(&mut again);
            assert!(before.starts_with(&again), "a leaf has one encoding");
        }
        rest = behind;
    }
    rest.is_empty()
}

/// A signed image record.
pub fn record(bytes: &[u8]) -> bool {
    record_of(bytes).is_ok()
}

fn record_of(bytes: &[u8]) -> Result<(), BadBytes> {
    let signed = SignedRecord::decode(bytes)?;
    let (part, signature) = signed_part(bytes).expect("a good record has a signed part");
    assert_eq!(signature, &signed.signature, "one signature");
    assert_eq!(part.len() + signature.len(), bytes.len(), "nothing is lost");
    // Fields of newer versions are dropped, so it is the value that comes back, not the bytes.
    assert_eq!(SignedRecord::decode(&signed.encode()), Ok(signed), "a record comes back");
    Ok(())
}

/// A message of the data plane.
pub fn wire_message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::decode(bytes) else { return false };
    let mut again = Vec::new();
    message.encode(&mut again);
    match &message {
        // Fields of newer versions are dropped, so it is the value that comes back, not the bytes.
        Message::Hello(_) => assert_eq!(Message::decode(&again).as_ref(), Ok(&message), "a hello comes back"),
        _ => assert!(again == bytes, "a message has one encoding"),
    }
    true
}
