//! Sixteen hexadecimal digits, as ids and epochs stand on the wire.

use std::fmt;
use std::ops::Deref;

/// A number's digits. Made for each publication, and so without the formatting machinery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex([u8; 16]);

impl Hex {
    pub(crate) fn new(number: u64) -> Self {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        Self(std::array::from_fn(|index| {
            DIGITS[(number >> (60 - 4 * index) & 0xf) as usize]
        }))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Hex {
    type Target = str;

    fn deref(&self) -> &str {
        // Digits are text: the default is never seen.
        std::str::from_utf8(&self.0).unwrap_or_default()
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
