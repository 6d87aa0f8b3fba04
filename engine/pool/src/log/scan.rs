//! Reads a log file back, whatever a crash or the medium did to it.

use std::{io, ops::ControlFlow, path::Path};

use narrows_format::{
    BadBytes, PoolId,
    batch::{Batch, Head},
    limits::{BLOCK_BYTES, LOG_BATCH_BYTES_MAX},
};
use narrows_ring::world::{File, OpenMode, World};

use crate::{container::read_span, error::Error, limits::WRITE_BYTES};

/// What stands in a log file.
pub(crate) struct ScannedLog {
    /// Where the last good batch ends. What follows is torn, or nothing.
    pub(crate) end: u64,
    /// Sequence number that follows the last good record; 0 when there is none.
    pub(crate) next: u64,
    /// Whether something follows that is no batch.
    pub(crate) torn: bool,
}

/// A good batch.
pub(crate) struct Good<T> {
    pub(crate) batch: Batch<T>,
    /// Where bytes in front of it start that are no batch.
    pub(crate) gap: Option<u64>,
    /// Where it ends.
    pub(crate) end: u64,
}

/// Which log is read.
#[derive(Clone, Copy)]
pub(crate) struct Which {
    pub(crate) pool: PoolId,
    pub(crate) number: u64,
}

type Decode<T> = fn(&[u8]) -> Result<Batch<T>, BadBytes>;

/// Reads a whole log file and hands over each good batch. `None`: there is no such file. A batch of a newer
/// version is an error.
pub(crate) async fn scan<T>(
    world: &World,
    path: &Path,
    which: Which,
    decode: Decode<T>,
    mut each: impl FnMut(Good<T>),
) -> Result<Option<ScannedLog>, Error> {
    let each = |good: Good<T>| {
        each(good);
        ControlFlow::Continue(())
    };
    scan_from(world, path, which, 0, decode, each).await
}

/// The same from the start of a batch on, until whoever takes them has enough.
pub(crate) async fn scan_from<T>(
    world: &World,
    path: &Path,
    which: Which,
    from: u64,
    decode: Decode<T>,
    mut each: impl FnMut(Good<T>) -> ControlFlow<()>,
) -> Result<Option<ScannedLog>, Error> {
    let reading = |error: io::Error| Error::device("reading a log", &error);
    let file = match world.disk.open(path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::device("opening a log", &error)),
    };
    let size = file.size().await.map_err(reading)?;
    let mut window = Window { world, file: &*file, bytes: Vec::new(), start: 0, at: from, size };
    let mut log = ScannedLog { end: from, next: 0, torn: false };
    loop {
        window.fill().await.map_err(reading)?;
        if window.rest().is_empty() {
            return Ok(Some(log));
        }
        match decode(window.rest()) {
            Ok(batch) if belongs(&batch.head, which) && batch.head.first >= log.next => {
                let gap = (log.end != window.at).then_some(log.end);
                window.skip(batch.bytes);
                log.torn = false;
                log.end = window.at;
                log.next = batch.head.first + batch.records.len() as u64;
                if each(Good { batch, gap, end: log.end }).is_break() {
                    return Ok(Some(log));
                }
            }
            Err(BadBytes::Unsupported { what, .. }) => return Err(Error::Unsupported { what }),
            Ok(_) | Err(_) => {
                log.torn |= window.rest().iter().take(BLOCK_BYTES).any(|byte| *byte != 0);
                window.skip(BLOCK_BYTES);
            }
        }
    }
}

/// A batch of this very file.
pub(crate) fn belongs(head: &Head, which: Which) -> bool {
    head.pool == which.pool && head.log == which.number
}

struct Window<'a> {
    world: &'a World,
    file: &'a dyn File,
    bytes: Vec<u8>,
    /// Bytes of these that are done with; they go when more is read, not with every batch.
    start: usize,
    /// Where in the file the rest begins.
    at: u64,
    size: u64,
}

impl Window<'_> {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn skip(&mut self, count: usize) {
        let count = count.min(self.rest().len());
        self.start += count;
        self.at += count as u64;
    }

    async fn fill(&mut self) -> io::Result<()> {
        let have = self.at + self.rest().len() as u64;
        if self.rest().len() >= LOG_BATCH_BYTES_MAX || have >= self.size {
            return Ok(());
        }
        self.bytes.drain(..self.start);
        self.start = 0;
        let wanted = (LOG_BATCH_BYTES_MAX + WRITE_BYTES) as u64;
        let count = usize::try_from((self.size - have).min(wanted)).unwrap_or(WRITE_BYTES);
        let more = read_span(self.world, self.file, have, count).await?;
        self.bytes.extend_from_slice(&more);
        Ok(())
    }
}
