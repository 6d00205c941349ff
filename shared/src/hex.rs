//! Sixteen hexadecimal digits, as ids and epochs stand on the wire.

use std::fmt;
use std::ops::Deref;

/// A number's digits, a pair for each byte. Made for each publication, and so without the formatting
/// machinery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex([[u8; 2]; 8]);

/// The digits of every byte.
static PAIRS: [[u8; 2]; 256] = {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};

impl Hex {
    pub(crate) fn new(number: u64) -> Self {
        Self(number.to_be_bytes().map(|byte| PAIRS[usize::from(byte)]))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }
}

impl Deref for Hex {
    type Target = str;

    fn deref(&self) -> &str {
        // Digits are text: the default is never seen.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_library() {
        for number in [0, 1, 0xf0, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(*Hex::new(number), format!("{number:016x}"));
        }
    }
}
