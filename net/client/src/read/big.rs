//! A file that is read piece by piece.

use narrows_pool::ingest::Splitter;
use rustix::fs::{Advice, fadvise};

use super::{Cursor, Draft, FileRead, Item, Opened, Parent, Unit, unchanged};
use crate::{
    beneath::Beneath,
    limits::{CHANGED_RETRIES_MAX, READ_BYTES, UNIT_BYTES_MAX},
    walk::{Found, Missed, Why},
};

/// A big file on its way; moves from job to job, one after the other.
pub struct BigFile {
    beneath: Beneath,
    found: Found,
    splitter: Splitter,
    attempt: u32,
    reading: Option<(Opened, Cursor)>,
}

impl BigFile {
    /// A file to be read from its beginning.
    pub fn new(beneath: Beneath, found: Found, splitter: Splitter) -> Self {
        Self { beneath, found, splitter, attempt: 0, reading: None }
    }

    /// The next piece, and whether it is the last: that one ends with [`Item::PartEnd`] or [`Item::Missed`]. `room` is
    /// an empty buffer.
    pub fn next_piece(&mut self, room: Vec<u8>) -> (Unit, bool) {
        let mut draft = Draft::in_room(room);
        match self.fill(&mut draft) {
            Ok(last) => (draft.finish(), last),
            Err(why) => {
                let path = self.found.path.clone();
                (Unit { items: vec![Item::Missed(Missed { path, why })], ..Unit::default() }, true)
            }
        }
    }

    fn fill(&mut self, draft: &mut Draft) -> Result<bool, Why> {
        let (opened, mut cursor) = match self.reading.take() {
            Some(reading) => reading,
            None => (self.open()?, Cursor::default()),
        };
        draft.bytes.reserve(UNIT_BYTES_MAX + READ_BYTES);
        let mut buffer = vec![0; READ_BYTES];
        let (mut runs, mut read, mut more) = (Vec::new(), 0, true);
        while more && read < UNIT_BYTES_MAX {
            let take = &mut |piece: narrows_pool::ingest::Piece<'_>| draft.take(piece, &mut runs);
            more = cursor.advance(&opened, &mut self.splitter, &mut buffer, take)?;
            draft.name_batches();
            // Counted by what was read, not by what it came to: fills take no room, but time.
            read += READ_BYTES;
        }
        if more {
            draft.items.push(Item::Part(runs));
            self.reading = Some((opened, cursor));
            return Ok(false);
        }
        let size = self.splitter.finish(&mut |piece| draft.take(piece, &mut runs));
        draft.items.push(Item::Part(runs));
        let settled = size == opened.status.size && unchanged(&opened)?;
        if !settled && self.attempt < CHANGED_RETRIES_MAX {
            self.attempt += 1;
            draft.items.push(Item::PartRestart);
            return Ok(false);
        }
        let replaced = opened.status.inode != self.found.status.inode;
        let found = Found { status: opened.status, xattrs: opened.xattrs, ..self.found.clone() };
        let attributes = draft.take_attributes(&found.xattrs);
        let read = FileRead { found, runs: Vec::new(), attributes, size, changed: !settled, replaced };
        draft.items.push(Item::PartEnd(read));
        Ok(true)
    }

    fn open(&self) -> Result<Opened, Why> {
        let opened = Parent::new(&self.beneath).open_file(&self.found)?;
        // Advice only: reading works without.
        fadvise(&opened.fd, 0, None, Advice::Sequential).ok();
        Ok(opened)
    }
}
