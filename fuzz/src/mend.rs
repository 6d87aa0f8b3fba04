//! Makes lengths and checksums right again after a mutation: without that hardly any mutation would
//! get past them, and the rules behind them would never be tried. Never panics: what does not have
//! the room for a checksum is left as it is.

/// For formats without lengths of the whole and without checksums.
pub fn nothing(_: &mut [u8]) {}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let raw = bytes.get(at..at + 4)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*raw)).ok()
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}

fn put_length(bytes: &mut [u8], at: usize, value: usize) {
    if let Ok(value) = u32::try_from(value) {
        put(bytes, at, value);
    }
}

/// The crc of `bytes[..end]` goes to `at`, where it counts as zero.
fn seal(bytes: &mut [u8], at: usize, end: usize) {
    put(bytes, at, 0);
    if let Some(covered) = bytes.get(..end) {
        let crc = crc32c::crc32c(covered);
        put(bytes, at, crc);
    }
}

/// The body takes what head and children leave.
pub fn node(bytes: &mut [u8]) {
    let body = number(bytes, 8)
        .and_then(|children| bytes.len().checked_sub(children.checked_mul(36)?.checked_add(16)?));
    if let Some(body) = body {
        put_length(bytes, 12, body);
    }
}

/// The checksum over the frame that the head describes.
pub fn frame(bytes: &mut [u8]) {
    if let Ok(total) = narrows_format::frame::stored_bytes(bytes) {
        seal(bytes, 20, total);
    }
}

/// Most of a block is reserved, and most mutations hit that: it is cleared.
fn clear(bytes: &mut [u8], reserved: std::ops::Range<usize>) {
    if let Some(reserved) = bytes.get_mut(reserved) {
        reserved.fill(0);
    }
}

/// The reserved part and the checksum of each block: containers use less than superblocks, and those
/// the first 80 bytes.
pub fn block(bytes: &mut [u8]) {
    for block in bytes.as_chunks_mut::<4096>().0 {
        clear(block, 80..4092);
        seal(block, 4092, 4096);
    }
}

/// The checksum of a page.
pub fn page(bytes: &mut [u8]) {
    seal(bytes, 4092, 4096);
}

/// The padding and the checksum of the first batch.
pub fn batch(bytes: &mut [u8]) {
    let end = number(bytes, 52).and_then(|length| length.checked_add(64));
    if let Some(end) = end.filter(|end| *end <= bytes.len()) {
        clear(bytes, end..end.next_multiple_of(4096));
        seal(bytes, 60, end);
    }
}

/// The checksums of the head and of each block.
pub fn file_cache(bytes: &mut [u8]) {
    seal(bytes, 12, 136);
    let mut at = 136;
    while let Some(block) = bytes.get_mut(at..)
        && let Some(end) = number(block, 4).and_then(|stored| stored.checked_add(12))
    {
        seal(block, 8, end);
        at += end;
    }
}

/// The padding, and the checksums of the entries and of the footer.
pub fn table(bytes: &mut [u8]) {
    let Some(start) = bytes.len().checked_sub(64) else { return };
    let (entries, footer) = bytes.split_at_mut(start);
    if let Some(end) = number(footer, 40).and_then(|count| count.checked_mul(64)) {
        clear(entries, end..start);
        if let Some(covered) = entries.get(..end) {
            put(footer, 44, crc32c::crc32c(covered));
        }
    }
    seal(footer, 60, 64);
}

/// The record takes what the signature leaves.
pub fn record(bytes: &mut [u8]) {
    if let Some(length) = bytes.len().checked_sub(64) {
        put_length(bytes, 8, length);
    }
}

/// The body takes what the header leaves.
pub fn message(bytes: &mut [u8]) {
    if let Some(length) = bytes.len().checked_sub(8) {
        put_length(bytes, 4, length);
    }
}
