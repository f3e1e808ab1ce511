//! Bytes that do not compress.

/// The same noise every time.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}
