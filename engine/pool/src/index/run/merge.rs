//! Makes one run of several, reading each once from front to back.
//!
//! Runs are sets of entries: none hides another's, so any may be merged, in any order. Entries that stand in
//! several are written once, those of which nothing is stored any more not at all. Memory: a stretch of pages per
//! input and what the writer needs.

use std::{collections::BTreeSet, path::Path};

use narrows_format::{
    Fingerprint, Location,
    index_journal::IndexEntry,
    index_run::{Directory, Page, Part},
    limits::BLOCK_BYTES,
};

use super::{OpenRun, RunWriter, damaged, refused, unreadable};
use crate::{container::read_span, error::Error, limits::MERGE_READ_PAGES};

/// The part of one input that is being read.
struct Reader<'a> {
    input: &'a OpenRun,
    partition: u16,
    /// The entry that was read last.
    last: Option<(Fingerprint, Location)>,
    /// Pages to come.
    block: u64,
    end: u64,
    /// Entries of the stretch that was read last, the next one at the end.
    entries: Vec<IndexEntry>,
}

impl<'a> Reader<'a> {
    fn new(input: &'a OpenRun, part: &Part) -> Self {
        let (partition, block, end) = (part.partition, part.first, part.section());
        Self { input, partition, last: None, block, end, entries: Vec::new() }
    }

    /// Reads on when nothing is left of the stretch; whether there is a next entry.
    async fn fill(&mut self, turn: &impl AsyncFn() -> Result<(), Error>) -> Result<bool, Error> {
        if self.entries.is_empty() && self.block < self.end {
            turn().await?;
            self.read().await?;
        }
        Ok(!self.entries.is_empty())
    }

    async fn read(&mut self) -> Result<(), Error> {
        let (run, from) = (self.input.run, self.block);
        let pages = (self.end - from).min(MERGE_READ_PAGES);
        let count = usize::try_from(pages).unwrap_or(0) * BLOCK_BYTES;
        let bytes = read_span(&self.input.world, &*self.input.file, from * BLOCK_BYTES as u64, count).await;
        let bytes = bytes.map_err(|error| unreadable(&error, run, from))?;
        for (block, bytes) in (from..).zip(bytes.chunks(BLOCK_BYTES)) {
            let bad = |bad| refused(&bad, run, block);
            for entry in Page::open(bytes, run, block).map_err(bad)?.entries() {
                let entry = entry.map_err(bad)?;
                let place = Some((entry.fingerprint, entry.location));
                // In the wrong place it would be found by nobody, and hide others from the search.
                if place < self.last || self.input.map.partition(&entry.fingerprint) != self.partition {
                    return Err(damaged(run, block));
                }
                self.last = place;
                self.entries.push(entry);
            }
        }
        self.block += pages;
        self.entries.reverse();
        Ok(())
    }
}

/// Writes the entries of all inputs; `None`: none is left. Before each read and each write it waits for its `turn`, which may
/// also break it off.
pub(crate) async fn merge(
    inputs: &[OpenRun],
    mut writer: RunWriter,
    dir: &Path,
    alive: impl Fn(Location) -> bool,
    turn: impl AsyncFn() -> Result<(), Error>,
) -> Result<Option<Directory>, Error> {
    let parts = inputs.iter().flat_map(|input| input.directory.parts.iter());
    let partitions: BTreeSet<u16> = parts.map(|part| part.partition).collect();
    for partition in partitions {
        writer.begin(partition);
        let mut readers = Vec::new();
        for input in inputs {
            let here = input.directory.parts.iter().find(|part| part.partition == partition);
            readers.extend(here.map(|part| Reader::new(input, part)));
        }
        merge_partition(&mut readers, &mut writer, &alive, &turn).await?;
        turn().await?;
        writer.end().await?;
    }
    turn().await?;
    writer.finish(dir).await
}

async fn merge_partition(
    readers: &mut Vec<Reader<'_>>,
    writer: &mut RunWriter,
    alive: &impl Fn(Location) -> bool,
    turn: &impl AsyncFn() -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        let mut at = 0;
        while let Some(reader) = readers.get_mut(at) {
            if reader.fill(turn).await? {
                at += 1;
            } else {
                readers.swap_remove(at);
            }
        }
        if readers.is_empty() {
            return Ok(());
        }
        // As far as each of them has been read.
        while readers.iter().all(|reader| !reader.entries.is_empty()) && !writer.is_full() {
            let order = |reader: &&mut Reader<'_>| {
                reader.entries.last().map(|entry| (entry.fingerprint, entry.location))
            };
            let next = readers.iter_mut().min_by_key(order).and_then(|reader| reader.entries.pop());
            if let Some(entry) = next.filter(|entry| alive(entry.location)) {
                writer.push(entry);
            }
        }
        if writer.is_full() {
            turn().await?;
            writer.drain().await?;
        }
    }
}
