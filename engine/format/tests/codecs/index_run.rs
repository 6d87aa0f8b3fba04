//! Goal: an index run is found again as it was written, its bytes never change, and no other bytes are believed.
//! Method: a small file with three partitions, one of them with a fingerprint on two pages; golden bytes; each byte
//! of it changed in turn, with and without a checksum that fits.

use super::golden;
use narrows_format::index_journal::IndexEntry;
use narrows_format::index_run::{
    BadRun, Directory, FIRST_BLOCK, Filter, Footer, Header, Page, Start, encode_section, key, prefix,
};
use narrows_format::limits::{BLOCK_BYTES, RUN_PAGE_RECORDS};
use narrows_format::node::ChildKind;
use narrows_format::{ContainerId, Fingerprint, Location, PoolId, Slot, Tag};

const RUN: u64 = 9;

fn header() -> Header {
    Header { pool: PoolId([4; 16]), run: RUN, epoch: 3, partitions: 256 }
}

fn entry(first: u8, number: u8, container: u64) -> IndexEntry {
    let mut name = [number; 32];
    name[0] = first;
    name[7] = number;
    let location = Location::new(ContainerId(container), Slot(u32::from(number))).expect("in range");
    let kind = if number.is_multiple_of(2) { ChildKind::Segment } else { ChildKind::Node };
    IndexEntry {
        fingerprint: Fingerprint(name),
        tag: Tag([number; 16]),
        location,
        kind,
        length: 1 + u32::from(number),
    }
}

/// Entries by partition: a few, two pages of one fingerprint and its neighbours, and exactly one page.
fn parts() -> Vec<(u16, Vec<IndexEntry>)> {
    let mut many: Vec<IndexEntry> = (0..50).map(|number| entry(7, number, 5)).collect();
    many.extend((1..60).map(|container| entry(7, 50, container)));
    many.extend((51..60).map(|number| entry(7, number, 5)));
    let page = (0..63).map(|number| entry(255, number, 6)).collect();
    vec![(0, (0..3).map(|number| entry(0, number, 4)).collect()), (7, many), (255, page)]
}

fn file() -> Vec<u8> {
    let mut out = header().encode().to_vec();
    let mut directory = Directory { run: RUN, epoch: 3, parts: Vec::new() };
    for (partition, entries) in parts() {
        let first = u64::try_from(out.len() / BLOCK_BYTES).expect("small");
        let mut fences = Vec::new();
        let mut before = None;
        for (page, entries) in (first..).zip(entries.chunks(RUN_PAGE_RECORDS)) {
            let fence = prefix(&entries[0].fingerprint);
            let start = if before == Some(fence) { Start::Continued } else { Start::Fresh };
            out.extend(Page::encode(RUN, page, start, entries));
            before = entries.last().map(|entry| prefix(&entry.fingerprint));
            fences.push(fence);
        }
        let mut keys = entries.iter().map(|entry| key(&entry.fingerprint)).collect();
        // One partition without a filter.
        let filter = (partition != 0).then(|| Filter::build(&mut keys)).flatten();
        let records = u64::try_from(entries.len()).expect("small");
        let (part, section) = encode_section(partition, first, records, &fences, filter.as_ref());
        out.extend(section);
        directory.parts.push(part);
    }
    out.extend(directory.encode());
    out
}

fn place(block: u64) -> usize {
    usize::try_from(block).expect("small") * BLOCK_BYTES
}

/// Reads a whole file, believing nothing.
fn read(bytes: &[u8]) -> Result<Vec<(u16, Vec<IndexEntry>)>, BadRun> {
    assert_eq!(Header::decode(bytes)?, header());
    let footer = Footer::decode(bytes)?;
    if footer.run != RUN || footer.file_bytes() != u64::try_from(bytes.len()).expect("small") {
        return Err(BadRun::Malformed("another file"));
    }
    let directory = Directory::decode(&footer, &bytes[place(footer.directory)..])?;
    assert_eq!(directory.block(), footer.directory);
    let mut parts = Vec::new();
    for part in &directory.parts {
        let (fences, filter) = part.decode_section(&bytes[place(part.section())..])?;
        let mut entries: Vec<IndexEntry> = Vec::new();
        for (block, fence) in (part.first..).zip(fences) {
            let page = Page::open(&bytes[place(block)..], RUN, block)?;
            let last = entries.last().copied();
            entries.extend(page.entries().collect::<Result<Vec<_>, _>>()?);
            if let Some(last) = last {
                assert_eq!(page.continues(&last.fingerprint), prefix(&last.fingerprint) == fence);
            }
        }
        assert!(
            entries.iter().all(|entry| filter.as_ref().is_none_or(|f| f.may_have(key(&entry.fingerprint))))
        );
        parts.push((part.partition, entries));
    }
    Ok(parts)
}

#[test]
fn bytes_stay_the_same() {
    let bytes = golden::check("index-run", &file());
    assert_eq!(read(&bytes), Ok(parts()));
}

#[test]
fn entries_are_found_in_their_page() {
    let bytes = file();
    let page = Page::open(&bytes[place(FIRST_BLOCK)..], RUN, FIRST_BLOCK).unwrap();
    for number in 0..3 {
        let wanted = entry(0, number, 4);
        assert_eq!(page.find(&wanted.fingerprint).collect::<Vec<_>>(), [Ok(wanted)]);
    }
    assert_eq!(page.find(&entry(0, 3, 4).fingerprint).count(), 0);
    assert!(!page.continues(&entry(0, 0, 4).fingerprint), "the first page goes on from none");
}

#[test]
fn a_page_is_believed_in_its_place_only() {
    let bytes = file();
    let page = &bytes[place(FIRST_BLOCK)..];
    assert!(Page::open(page, RUN + 1, FIRST_BLOCK).is_err());
    assert!(Page::open(page, RUN, FIRST_BLOCK + 1).is_err());
    assert!(Page::open(&page[..BLOCK_BYTES - 1], RUN, FIRST_BLOCK).is_err());
}

/// Goal: no changed byte goes unnoticed. Every byte is covered by some checksum or has to be zero.
#[test]
fn every_changed_byte_is_noticed() {
    let good = file();
    // Every byte where structures are, samples in between.
    for at in (0..good.len()).filter(|at| at % 64 < 24 || at % 7 == 0) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        assert!(read(&bytes).is_err(), "byte {at}");
    }
    for end in (0..good.len()).step_by(511) {
        assert!(read(&good[..end]).is_err(), "{end} bytes of it");
    }
}

/// Goal: numbers that contradict each other are refused even where all checksums hold.
#[test]
fn a_directory_that_lies() {
    let good = file();
    let footer = Footer::decode(&good).unwrap();
    let (from, to) = (place(footer.directory), good.len() - 64);
    let mut refused = 0;
    for at in 0..3 * 64 {
        for bit in [0, 3, 7] {
            let mut bytes = good.clone();
            bytes[from + at] ^= 1 << bit;
            let crc = crc32c::crc32c(&bytes[from..from + 3 * 64]);
            bytes[to + 44..to + 48].copy_from_slice(&crc.to_le_bytes());
            bytes[to + 60..].fill(0);
            let crc = crc32c::crc32c(&bytes[to..]);
            bytes[to + 60..].copy_from_slice(&crc.to_le_bytes());
            match Footer::decode(&bytes).and_then(|footer| Directory::decode(&footer, &bytes[from..])) {
                Err(_) => refused += 1,
                // Partitions and what a section holds say nothing of the layout, as long as its blocks are as many.
                Ok(_) => assert!(matches!(at % 64, 0..3 | 24..40), "byte {at}, bit {bit}"),
            }
        }
    }
    assert!(refused > 300, "{refused}");
}
