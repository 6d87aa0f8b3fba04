//! A file that is read piece by piece: one job reads, the next one splits, a third one names the segments.

use narrows_pool::ingest::Splitter;
use rustix::fs::{Advice, fadvise};

use super::{Came, Chunk, Cursor, Draft, FileRead, Item, Opened, Parent, unchanged};
use crate::{
    beneath::Beneath,
    limits::{CHANGED_RETRIES_MAX, READ_BYTES, UNIT_BYTES_MAX},
    walk::{Found, Missed, Why},
};

/// Reads a big file from its beginning; moves from job to job, one after the other.
pub struct BigFile {
    beneath: Beneath,
    found: Found,
    attempt: u32,
    reading: Option<(Opened, Cursor)>,
}

/// What one job read.
pub struct BigPiece {
    chunk: Chunk,
    end: Option<End>,
}

/// What stands behind a piece.
enum End {
    /// The file changed: it is read again from its beginning.
    Restart,
    /// All of it was read.
    Whole(Box<FileRead>),
    /// It can't be read; what was does not count.
    Missed(Missed),
}

impl BigFile {
    /// A file to be read.
    pub fn new(beneath: Beneath, found: Found) -> Self {
        Self { beneath, found, attempt: 0, reading: None }
    }

    /// Whether it is open, so that the next piece goes on where the one before ended.
    pub fn is_open(&self) -> bool {
        self.reading.is_some()
    }

    /// The next piece, read into memory that was used before or never.
    pub fn read(&mut self, buffer: Vec<u8>) -> BigPiece {
        let mut chunk = Chunk::new(buffer);
        let end = self.fill(&mut chunk).unwrap_or_else(|why| {
            let path = self.found.path.clone();
            Some(End::Missed(Missed { path, why }))
        });
        chunk.last = matches!(end, Some(End::Whole(_) | End::Missed(_)));
        BigPiece { chunk, end }
    }

    fn fill(&mut self, chunk: &mut Chunk) -> Result<Option<End>, Why> {
        let (opened, mut cursor) = match self.reading.take() {
            Some(reading) => reading,
            None => (self.open()?, Cursor::default()),
        };
        let mut done = 0;
        while done < UNIT_BYTES_MAX {
            let room = chunk.room(done..UNIT_BYTES_MAX.min(done + READ_BYTES));
            match cursor.next(&opened, room)? {
                Came::Hole(length) => chunk.hole(length),
                Came::Data(count) => {
                    chunk.data(done..done + count);
                    done += count;
                }
                Came::End => return self.end(opened, &cursor).map(Some),
            }
        }
        self.reading = Some((opened, cursor));
        Ok(None)
    }

    fn end(&mut self, opened: Opened, cursor: &Cursor) -> Result<End, Why> {
        let size = cursor.at;
        let settled = size == opened.status.size && unchanged(&opened)?;
        if !settled && self.attempt < CHANGED_RETRIES_MAX {
            self.attempt += 1;
            return Ok(End::Restart);
        }
        let replaced = opened.status.inode != self.found.status.inode;
        let found = Found { status: opened.status, xattrs: opened.xattrs, ..self.found.clone() };
        let (runs, attributes) = (Vec::new(), Vec::new());
        Ok(End::Whole(Box::new(FileRead { found, runs, attributes, size, changed: !settled, replaced })))
    }

    fn open(&self) -> Result<Opened, Why> {
        let opened = Parent::new(&self.beneath).open_file(&self.found)?;
        // Advice only: reading works without.
        fadvise(&opened.fd, 0, None, Advice::Sequential).ok();
        Ok(opened)
    }
}

impl BigPiece {
    /// Whether nothing follows: what it comes to ends with [`Item::PartEnd`] or [`Item::Missed`].
    pub fn is_last(&self) -> bool {
        self.chunk.last
    }

    /// What it comes to, pieces taken in order. `room` is an empty buffer. Gives the piece's memory to be used again.
    pub fn split(self, splitter: &mut Splitter, room: Vec<u8>) -> (Draft, Vec<u8>) {
        let Self { chunk, end } = self;
        let mut draft = Draft::in_room(room);
        let mut runs = chunk.split(splitter, &mut draft);
        if end.is_some() {
            splitter.finish(&mut |piece| draft.take(piece, &mut runs));
        }
        draft.items.push(Item::Part(runs));
        match end {
            None => {}
            Some(End::Restart) => draft.items.push(Item::PartRestart),
            Some(End::Whole(read)) => {
                let attributes = draft.take_attributes(&read.found.xattrs);
                draft.items.push(Item::PartEnd(FileRead { attributes, ..*read }));
            }
            Some(End::Missed(missed)) => {
                draft = Draft::default();
                draft.items.push(Item::Missed(missed));
            }
        }
        (draft, chunk.into_buffer())
    }
}
