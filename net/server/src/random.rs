//! Random bytes of the control plane: tokens, tickets, identities.

/// `N` bytes fit for keys.
///
/// # Panics
/// When the system has no entropy source, which no supported system lacks.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// A random UUID, version 4.
pub fn uuid() -> [u8; 16] {
    let mut bytes = bytes::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes
}
