//! The id that names a connection to the other members of its rooms.

use std::fmt;
use std::str::FromStr;

use crate::hex::Hex;

/// Names one connection, on whichever node it is: 16 hexadecimal digits on the wire.
///
/// The upper half names the node, at random anew with each start; the lower half counts its
/// connections. Eight bytes rather than a string, since every idle connection holds one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

impl ClientId {
    /// The id of a node's next connection.
    #[must_use]
    pub const fn new(node: u32, sequence: u32) -> Self {
        Self((node as u64) << 32 | sequence as u64)
    }

    /// A number of its own for each connection, evenly spread over its range.
    #[must_use]
    pub const fn spread(self) -> u16 {
        // Fibonacci hashing: neighbours in sequence land far apart.
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
    }

    /// The wire's form.
    pub(crate) fn digits(self) -> Hex {
        Hex::new(self.0)
    }

    /// Which run of which node the connection belongs to.
    #[must_use]
    pub const fn node(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ClientId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
