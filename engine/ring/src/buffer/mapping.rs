//! The memory under an arena: anonymous, zeroed, aligned to huge pages, never moved.

use std::{fmt, io, ops::Range, ptr::NonNull};

use memmap2::{Advice, MmapMut, MmapOptions};

use crate::limits::{ARENA_BYTES_MAX, HUGE_PAGE_BYTES};

/// What memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Huge pages that the operator set aside (`vm.nr_hugepages`).
    Reserved,
    /// Huge pages that the kernel makes when it can.
    Transparent,
    /// 4 KiB pages.
    Ordinary,
}

/// A mapping whose references are handed out piece by piece; unmapped when it is dropped.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
    pages: Pages,
    /// Never borrowed again after `base` was taken from it: a reference to the whole would alias the pieces.
    _memory: MmapMut,
}

impl Mapping {
    /// Maps `bytes`, rounded up to huge pages.
    pub(crate) fn new(bytes: usize, pages: Pages) -> io::Result<Self> {
        if bytes > ARENA_BYTES_MAX {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let length = bytes.max(1).next_multiple_of(HUGE_PAGE_BYTES);
        // Only reserved pages come aligned by themselves.
        let spare = if pages == Pages::Reserved { 0 } else { HUGE_PAGE_BYTES };
        let mut options = MmapOptions::new();
        options.len(length + spare);
        if pages == Pages::Reserved {
            options.huge(Some(21));
        }
        let mut memory = options.map_anon()?;
        if pages == Pages::Transparent {
            memory.advise(Advice::HugePage)?;
        }
        // A child process must neither copy nor see buffers that the kernel is filling.
        memory.advise(Advice::DontFork)?;
        let skip = memory.as_ptr().align_offset(HUGE_PAGE_BYTES);
        assert!(skip <= spare, "the spare page is as large as the alignment");
        let base = NonNull::from(&mut memory[skip..skip + length]).cast::<u8>();
        Ok(Self { base, length, pages, _memory: memory })
    }

    /// Bytes that can be handed out.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// What it is made of.
    pub(crate) fn pages(&self) -> Pages {
        self.pages
    }

    /// Where a range of it begins.
    pub(crate) fn at(&self, range: Range<usize>) -> NonNull<u8> {
        assert!(range.start <= range.end, "a range does not end before it begins");
        assert!(range.end <= self.length, "a range lies within the mapping");
        // SAFETY: `base` begins `length` mapped bytes and `range.start <= length` was asserted above.
        unsafe { self.base.add(range.start) }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "reserved huge pages",
            Self::Transparent => "transparent huge pages",
            Self::Ordinary => "4 KiB pages",
        })
    }
}
