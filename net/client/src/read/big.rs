//! A file that is read piece by piece.

use narrows_simd::Boundaries;
use rustix::fs::{Advice, fadvise};

use super::{FileRead, Item, Opened, Run, Unit, next_data, open_file, read_some, unchanged};
use crate::{
    beneath::Beneath,
    limits::{CHANGED_RETRIES_MAX, UNIT_BYTES_MAX},
    walk::{Found, Missed, Why},
};

/// A big file on its way; moves from job to job, one after the other.
pub struct BigFile {
    beneath: Beneath,
    found: Found,
    boundaries: Boundaries,
    attempt: u32,
    reading: Option<Reading>,
}

/// One attempt at the file.
struct Reading {
    opened: Opened,
    search: Boundaries,
    /// Next byte to read.
    at: u64,
    /// Where the present run of data ends; `at` in a hole or at the beginning.
    data_end: u64,
    /// Bytes read and not yet cut.
    carry: Vec<u8>,
}

impl BigFile {
    /// A file to be read from its beginning.
    pub fn new(beneath: Beneath, found: Found, boundaries: Boundaries) -> Self {
        Self { beneath, found, boundaries, attempt: 0, reading: None }
    }

    /// The next piece. The last one ends with [`Item::PartEnd`] or [`Item::Missed`]; do not ask again after it.
    pub fn next_piece(&mut self) -> Unit {
        let mut unit = Unit::default();
        match self.fill(&mut unit) {
            Ok(None) => {}
            Ok(Some(item)) => unit.items.push(item),
            Err(why) => {
                let path = self.found.path.clone();
                unit = Unit { items: vec![Item::Missed(Missed { path, why })], ..Unit::default() };
            }
        }
        unit
    }

    fn fill(&mut self, unit: &mut Unit) -> Result<Option<Item>, Why> {
        if self.reading.is_none() {
            let opened = open_file(&self.beneath, &self.found.path)?;
            // Advice only: reading works without.
            fadvise(&opened.fd, 0, None, Advice::Sequential).ok();
            let search = self.boundaries.clone();
            self.reading = Some(Reading { opened, search, at: 0, data_end: 0, carry: Vec::new() });
        }
        let Some(reading) = self.reading.as_mut() else { return Err(Why::Vanished) };
        let mut runs = Vec::new();
        let more = reading.piece(unit, &mut runs)?;
        unit.items.push(Item::Part(runs));
        if more {
            return Ok(None);
        }
        let settled = reading.at == reading.opened.status.size && unchanged(&reading.opened)?;
        if !settled && self.attempt < CHANGED_RETRIES_MAX {
            self.attempt += 1;
            self.reading = None;
            return Ok(Some(Item::PartRestart));
        }
        let Some(Reading { opened, at, .. }) = self.reading.take() else { return Err(Why::Vanished) };
        let replaced = opened.status.inode != self.found.status.inode;
        let found = Found { status: opened.status, xattrs: opened.xattrs, ..self.found.clone() };
        let read = FileRead { found, runs: Vec::new(), size: at, changed: !settled, replaced };
        Ok(Some(Item::PartEnd(read)))
    }
}

impl Reading {
    /// Reads and cuts one piece; false when the file has ended.
    fn piece(&mut self, unit: &mut Unit, runs: &mut Vec<Run>) -> Result<bool, Why> {
        let size = self.opened.status.size;
        unit.bytes = std::mem::take(&mut self.carry);
        unit.bytes.reserve_exact(UNIT_BYTES_MAX.saturating_sub(unit.bytes.len()));
        let mut cut = 0;
        while unit.bytes.len() < UNIT_BYTES_MAX {
            if self.at >= self.data_end {
                cut = unit.cut(cut, true, &mut self.search, runs);
                if self.at >= size {
                    return Ok(false);
                }
                let (hole, data_end) = next_data(&self.opened.fd, self.at, size)?;
                if hole > 0 {
                    runs.push(Run::Hole(hole));
                }
                self.at += hole;
                self.data_end = data_end;
                continue;
            }
            let room = (UNIT_BYTES_MAX - unit.bytes.len()) as u64;
            let count =
                read_some(&self.opened.fd, &mut unit.bytes, self.at, room.min(self.data_end - self.at))?;
            self.at += count;
            if count == 0 {
                // Shorter than it was: what was read is what there is.
                unit.cut(cut, true, &mut self.search, runs);
                return Ok(false);
            }
        }
        let done = self.at >= self.data_end;
        cut = unit.cut(cut, done, &mut self.search, runs);
        self.carry = unit.bytes.split_off(cut);
        Ok(true)
    }
}
