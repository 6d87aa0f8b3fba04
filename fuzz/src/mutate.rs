//! Seeded mutations of good bytes: flipped bits, cut ends, repeated pieces, numbers where lengths and
//! counts stand, pieces of other inputs. The same seed gives the same bytes on every machine.

/// Bytes of a mutated input, at most.
pub const INPUT_BYTES_MAX: usize = 256 << 10;

/// Numbers that lengths and counts are attacked with, beside those next to what stands there.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 1 << 17, 0xff_ffff, 1 << 31, 0xffff_ffff, 1 << 63, u64::MAX];

/// A stream of numbers from a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`, or 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % bound).unwrap_or(0)
    }
}

/// One to four mutations of `bytes`; `others` give pieces.
pub fn mutate(bytes: &[u8], others: &[Vec<u8>], seeded: &mut Seeded) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=seeded.below(4) {
        match seeded.below(8) {
            0 | 1 => flip(&mut out, seeded),
            2 => out.truncate(seeded.below(out.len() + 1)),
            3 => repeat(&mut out, seeded),
            4 => splice(&mut out, others, seeded),
            5 => cut(&mut out, seeded),
            _ => overwrite(&mut out, seeded),
        }
    }
    out.truncate(INPUT_BYTES_MAX);
    out
}

/// A place and a length, mostly short, within `length` bytes.
fn piece(length: usize, seeded: &mut Seeded) -> std::ops::Range<usize> {
    let start = seeded.below(length + 1);
    let most = if seeded.below(2) == 0 { 64 } else { length };
    start..(start + seeded.below(most + 1)).min(length)
}

fn flip(out: &mut [u8], seeded: &mut Seeded) {
    for _ in 0..=seeded.below(3) {
        let at = seeded.below(out.len());
        let bit = seeded.below(8);
        if let Some(byte) = out.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }
}

fn repeat(out: &mut Vec<u8>, seeded: &mut Seeded) {
    let range = piece(out.len(), seeded);
    let times = if seeded.below(4) == 0 { 1 + seeded.below(2000) } else { 1 + seeded.below(3) };
    let copy = out.get(range.clone()).unwrap_or_default();
    let room = INPUT_BYTES_MAX.saturating_sub(out.len()) / copy.len().max(1);
    let copies = copy.repeat(times.min(room));
    out.splice(range.end..range.end, copies);
}

fn splice(out: &mut Vec<u8>, others: &[Vec<u8>], seeded: &mut Seeded) {
    let Some(other) = others.get(seeded.below(others.len())) else { return };
    let taken = other.get(piece(other.len(), seeded)).unwrap_or_default();
    let range = piece(out.len(), seeded);
    out.splice(range, taken.iter().copied());
}

fn cut(out: &mut Vec<u8>, seeded: &mut Seeded) {
    let range = piece(out.len(), seeded);
    out.drain(range);
}

fn overwrite(out: &mut [u8], seeded: &mut Seeded) {
    let width = 1 << seeded.below(4);
    // Heads are where lengths stand, so half of the attacks go there.
    let reach = if seeded.below(2) == 0 { out.len().min(72) } else { out.len() };
    let at = seeded.below(reach);
    let Some(place) = out.get_mut(at..(at + width).min(reach)) else { return };
    let mut raw = [0; 8];
    raw.iter_mut().zip(place.iter()).for_each(|(to, from)| *to = *from);
    let now = u64::from_le_bytes(raw);
    let value = match seeded.below(4) {
        0 => now.wrapping_add(1),
        1 => now.wrapping_sub(1),
        2 => seeded.number(),
        _ => NUMBERS.get(seeded.below(NUMBERS.len())).copied().unwrap_or(0),
    };
    place.iter_mut().zip(value.to_le_bytes()).for_each(|(to, from)| *to = from);
}
