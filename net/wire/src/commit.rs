//! Commit and committed: the end of an image.
//!
#![doc = include_str!("commit.md")]

use crate::BadMessage;
use crate::bad::{limit, rule};
use narrows_format::cursor::{Cursor, Put, length, size};
use narrows_format::limits::{IMPORT_SLP_BYTES_MAX, NODE_BYTES_MAX, RECORD_BYTES_MAX};
use narrows_format::node::envelope;
use narrows_format::record::{CopyState, ImageFlags, codec::SIGNATURE_BYTES};
use narrows_format::{Fingerprint, PoolId, Sequence};

const SIGNED: u8 = 1;
const DRAFT: u8 = 2;

/// What a client can say of its image; the server makes the record of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Root node of the recipe.
    pub root: Fingerprint,
    /// Encoded length of the root node.
    pub root_length: u32,
    /// Logical bytes of all files.
    pub logical_bytes: u64,
    /// Entries of all kinds.
    pub files: u64,
    /// Facts about the image.
    pub flags: ImageFlags,
    /// Version of the recipe format.
    pub image_format: u16,
}

/// What is to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed<'a> {
    /// A replica: the signed record, byte for byte as the origin made it.
    Signed(&'a [u8]),
    /// A backup.
    Draft(Draft),
}

/// The source has sent everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The record, or what goes into one.
    pub sealed: Sealed<'a>,
    /// What the source asks for the copy; the receiver's bounds apply.
    pub copy: CopyState,
    /// The SLP that is to import it, or empty.
    pub import_slp: &'a str,
    /// Frames that the source sent.
    pub sent_frames: u64,
    /// Bytes of those frames.
    pub sent_bytes: u64,
}

/// The image is durable in the target's image log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<'a> {
    /// Its place in the image log.
    pub sequence: Sequence,
    /// The pool that holds it.
    pub pool: PoolId,
    /// That pool's incarnation.
    pub incarnation: u64,
    /// New frames, nodes and record, before padding.
    pub stored_bytes: u64,
    /// The signed record as committed.
    pub record: &'a [u8],
}

impl Draft {
    fn write(&self, out: &mut Vec<u8>) {
        out.put(&self.root.0);
        out.put_u32(self.root_length);
        out.put_u32(self.flags.to_bits());
        out.put_u64(self.logical_bytes);
        out.put_u64(self.files);
        out.put_u16(self.image_format);
        out.put_u16(0);
    }

    fn read(cursor: &mut Cursor<'_>) -> Result<Self, BadMessage> {
        let root = Fingerprint(cursor.array()?);
        let root_length = cursor.u32()?;
        rule(size(root_length) >= envelope::HEAD_BYTES, "length of a root")?;
        limit(size(root_length) <= NODE_BYTES_MAX, "length of a root")?;
        let bits = cursor.u32()?;
        let flags = ImageFlags::from_bits(bits);
        rule(flags.to_bits() == bits, "flags of an image")?;
        let (logical_bytes, files) = (cursor.u64()?, cursor.u64()?);
        let image_format = cursor.u16()?;
        rule(cursor.u16()? == 0, "reserved bytes of a draft")?;
        Ok(Self { root, root_length, logical_bytes, files, flags, image_format })
    }
}

impl<'a> Commit<'a> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let kind = match self.sealed {
            Sealed::Signed(_) => SIGNED,
            Sealed::Draft(_) => DRAFT,
        };
        out.put(&[kind, 0, 0, 0]);
        self.copy.encode(out);
        out.put_u64(self.sent_frames);
        out.put_u64(self.sent_bytes);
        out.put_text(self.import_slp, IMPORT_SLP_BYTES_MAX);
        match &self.sealed {
            Sealed::Signed(record) => write_record(record, out),
            Sealed::Draft(draft) => draft.write(out),
        }
    }

    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Self, BadMessage> {
        let [kind, zeros @ ..] = cursor.array::<4>()?;
        rule(zeros == [0; 3], "reserved bytes of commit")?;
        let copy = CopyState::decode(cursor)?;
        let (sent_frames, sent_bytes) = (cursor.u64()?, cursor.u64()?);
        let import_slp = cursor.text(IMPORT_SLP_BYTES_MAX)?;
        let sealed = match kind {
            SIGNED => Sealed::Signed(read_record(cursor)?),
            DRAFT => Sealed::Draft(Draft::read(cursor)?),
            _ => return Err(BadMessage::Malformed("kind of commit")),
        };
        Ok(Self { sealed, copy, import_slp, sent_frames, sent_bytes })
    }
}

impl<'a> Committed<'a> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.sequence.0);
        out.put(&self.pool.0);
        out.put_u64(self.incarnation);
        out.put_u64(self.stored_bytes);
        write_record(self.record, out);
    }

    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Self, BadMessage> {
        let sequence = Sequence(cursor.u64()?);
        let pool = PoolId(cursor.array()?);
        let (incarnation, stored_bytes) = (cursor.u64()?, cursor.u64()?);
        Ok(Self { sequence, pool, incarnation, stored_bytes, record: read_record(cursor)? })
    }
}

fn write_record(record: &[u8], out: &mut Vec<u8>) {
    out.put_u32(length(record.len()));
    out.extend_from_slice(record);
}

fn read_record<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], BadMessage> {
    let count = size(cursor.u32()?);
    limit(count <= RECORD_BYTES_MAX + SIGNATURE_BYTES, "bytes of a signed record")?;
    Ok(cursor.bytes(count)?)
}
