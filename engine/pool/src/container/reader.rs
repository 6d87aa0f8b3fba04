//! A sealed container, open for reading: its file and its verified table.
//!
//! What it does not do: verify frames or fingerprints; whoever reads them does.

use std::{io, path::Path, rc::Rc};

use narrows_format::{
    BadBytes, ContainerId, PoolId, Slot,
    container::{Footer, Header, TableEntry, table},
    limits::BLOCK_BYTES,
};
use narrows_ring::{
    buffer::{BUFFER_BYTES_MAX, Buffer},
    world::{BLOCK, BlockOffset, File, OpenMode, World},
};

use crate::error::{Error, Region};

/// A sealed container.
pub(crate) struct OpenContainer {
    pub(crate) world: World,
    pub(crate) file: Rc<dyn File>,
    pub(crate) header: Header,
    pub(crate) table: Vec<TableEntry>,
    pub(crate) frames_end: u64,
    pub(crate) file_bytes: u64,
}

/// What a container's file turned out to be.
pub(crate) enum Opened {
    /// Header and table hold.
    Sealed(OpenContainer),
    /// The header holds and there is no table: a crash left it open.
    NotSealed(Header),
    /// There is no header: nothing in it was ever acknowledged, or it is damaged.
    NoHeader,
    /// There is no such file.
    Absent,
}

impl OpenContainer {
    /// Opens and verifies header, footer and table.
    pub(crate) async fn open(world: &World, pool: &Path, of: PoolId, id: ContainerId) -> Result<Self, Error> {
        match open(world, pool, of, id).await? {
            Opened::Sealed(container) => Ok(container),
            Opened::NotSealed(..) => Err(damaged(id, Region::Table)),
            Opened::NoHeader | Opened::Absent => Err(damaged(id, Region::Header)),
        }
    }

    /// Where a slot lies.
    pub(crate) fn entry(&self, slot: Slot) -> Option<&TableEntry> {
        self.table.get(slot.0 as usize)
    }

    /// Which segment of its frame a slot is.
    pub(crate) fn ordinal(&self, slot: Slot) -> usize {
        let slot = slot.0 as usize;
        let Some(entry) = self.table.get(slot) else { return 0 };
        slot - self.table[..slot].partition_point(|other| other.frame_offset < entry.frame_offset)
    }

    /// Where what belongs to a frame ends: its annex, if any, included.
    pub(crate) fn end_behind(&self, entry: &TableEntry) -> u64 {
        let next = self.table.partition_point(|other| other.frame_offset <= entry.frame_offset);
        self.table.get(next).map_or(self.frames_end, |next| u64::from(next.frame_offset))
    }
}

fn damaged(container: ContainerId, region: Region) -> Error {
    Error::Corrupt { container, slot: None, region }
}

/// Looks at a container's file without believing anything. A table that is damaged is an error, one that
/// is not there is not.
pub(crate) async fn open(world: &World, pool: &Path, of: PoolId, id: ContainerId) -> Result<Opened, Error> {
    let path = super::path(pool, id);
    let file = match world.disk.open(&path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Opened::Absent),
        Err(error) => return Err(Error::device("opening a container", &error)),
    };
    let reading = |error: io::Error| Error::device("reading a container", &error);
    let size = file.size().await.map_err(reading)?;
    if size < BLOCK_BYTES as u64 {
        return Ok(Opened::NoHeader);
    }
    let block = read_span(world, &*file, 0, BLOCK_BYTES).await.map_err(reading)?;
    let header = match Header::decode(&block) {
        Ok(header) if header.container == id && header.pool == of => header,
        Err(BadBytes::Unsupported { what, .. }) => return Err(Error::Unsupported { what }),
        _ => return Ok(Opened::NoHeader),
    };
    if !size.is_multiple_of(BLOCK_BYTES as u64) {
        return Ok(Opened::NotSealed(header));
    }
    let last = read_span(world, &*file, size - BLOCK_BYTES as u64, BLOCK_BYTES).await.map_err(reading)?;
    let footer = match Footer::decode(&last) {
        Ok(footer) if footer.container == id && footer.file_bytes() == size => footer,
        Err(BadBytes::Unsupported { what, .. }) => return Err(Error::Unsupported { what }),
        _ => return Ok(Opened::NotSealed(header)),
    };
    let bytes = read_span(world, &*file, footer.table_offset, footer.table_bytes()).await.map_err(reading)?;
    match table::decode(&footer, &bytes) {
        Ok(table) => {
            let frames_end = footer.frames_end;
            let world = world.clone();
            Ok(Opened::Sealed(OpenContainer { world, file, header, table, frames_end, file_bytes: size }))
        }
        Err(_) => Ok(Opened::NotSealed(header)),
    }
}

/// The table of a container whose header is damaged, if the table holds.
pub(crate) async fn read_table(world: &World, pool: &Path, id: ContainerId) -> Option<Vec<TableEntry>> {
    let file = world.disk.open(&super::path(pool, id), OpenMode::Read).await.ok()?;
    let size = file.size().await.ok()?;
    let last = read_span(world, &*file, size.checked_sub(BLOCK_BYTES as u64)?, BLOCK_BYTES).await.ok()?;
    let footer = Footer::decode(&last).ok()?;
    if footer.container != id || footer.file_bytes() != size {
        return None;
    }
    let bytes = read_span(world, &*file, footer.table_offset, footer.table_bytes()).await.ok()?;
    table::decode(&footer, &bytes).ok()
}

/// Reads any bytes of a file through aligned buffers; the end of the file is an error. One copy.
pub(crate) async fn read_span(
    world: &World,
    file: &dyn File,
    offset: u64,
    length: usize,
) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(length);
    read_on(world, file, offset, (&mut out, length), Taking::InTurn).await?;
    Ok(out)
}

/// Reads behind what is there until there is so much.
async fn read_on(
    world: &World,
    file: &dyn File,
    offset: u64,
    (out, length): (&mut Vec<u8>, usize),
    taking: Taking,
) -> io::Result<()> {
    while out.len() < length {
        let part = read_part(world, file, (offset + out.len() as u64, length - out.len()), taking).await?;
        out.extend_from_slice(part.bytes());
    }
    Ok(())
}

/// How a read comes by its buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taking {
    /// In the usual queue: who reads so has to be polled until it is done.
    InTurn,
    /// It may be held until something is sent, which takes a buffer, and may be polled by nobody until then.
    Patiently,
}

/// The same without a copy, where the disk gives all of it into one buffer; that is taken until the bytes are dropped.
pub(crate) async fn read_in_place(
    world: &World,
    file: &dyn File,
    offset: u64,
    length: usize,
) -> io::Result<Span> {
    let part = read_part(world, file, (offset, length), Taking::Patiently).await?;
    if part.length == length {
        return Ok(Span::InPlace(part));
    }
    let mut out = part.bytes().to_vec();
    drop(part);
    read_on(world, file, offset, (&mut out, length), Taking::Patiently).await?;
    Ok(Span::Copied(out))
}

/// Bytes of a file.
pub(crate) enum Span {
    /// In the buffer that they were read into.
    InPlace(Part),
    /// Joined.
    Copied(Vec<u8>),
}

impl Span {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::InPlace(part) => part.bytes(),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// What one read brought of what was asked for.
pub(crate) struct Part {
    buffer: Buffer,
    skip: usize,
    length: usize,
}

impl Part {
    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.skip..self.skip + self.length).unwrap_or_default()
    }
}

/// As much as one buffer takes.
async fn read_part(
    world: &World,
    file: &dyn File,
    (from, length): (u64, usize),
    taking: Taking,
) -> io::Result<Part> {
    let at = BlockOffset::floor(from);
    let skip = usize::try_from(from - at.bytes()).unwrap_or(0);
    let count = (skip + length).next_multiple_of(BLOCK).min(BUFFER_BYTES_MAX);
    let arena = &world.arena;
    let mut buffer = match taking {
        Taking::InTurn => arena.take(count).await,
        Taking::Patiently => arena.take_patiently(count).await,
    };
    buffer.set_len(count);
    let (outcome, buffer) = file.read_at(at, buffer).await;
    let length = outcome?.saturating_sub(skip).min(length);
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Part { buffer, skip, length })
}
