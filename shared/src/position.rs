//! Positions: where a publication stands in its room's log.
//!
//! A worked example. The log of `lobby` starts with epoch `a1` and grows to offset 3; a client
//! that has seen `(a1, 3)` leaves. The Redis that held the log is lost and comes back empty: the
//! next publication starts epoch `b2` at offset 1. When the client returns with `since (a1, 3)`,
//! offset 3 of `b2` would be another publication altogether, so positions of different epochs
//! never compare, and the client is told `recovered: false`.

use std::cmp::Ordering;
use std::fmt;

use crate::hex::Hex;

/// Names one life of a room's log: a new one begins whenever the log was lost.
///
/// 64 random bits; 16 hexadecimal digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch that no log ever has: what a text that is no epoch of ours parses to, so that a
    /// client which sends one is told `recovered: false` rather than refused.
    pub const UNKNOWN: Self = Self(0);

    /// Makes an epoch of random `bits`; zero, which means "unknown", becomes one.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(if bits == 0 { 1 } else { bits })
    }

    /// The wire's form.
    pub(crate) fn digits(self) -> Hex {
        Hex::new(self.0)
    }

    /// Reads the wire's form; anything else is [`Epoch::UNKNOWN`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        // `from_str_radix` takes a leading plus sign; the wire does not.
        if text.len() != 16 || text.starts_with('+') {
            return Self::UNKNOWN;
        }
        u64::from_str_radix(text, 16).map_or(Self::UNKNOWN, Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits().fmt(f)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a room's log. Offsets grow by one per publication; the first is 1, and 0 is the
/// position of an empty log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Position {
    /// Which life of the log this is.
    pub epoch: Epoch,
    /// How many publications the log has taken up to and including this one.
    pub offset: u64,
}

impl Position {
    /// The place right after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            epoch: self.epoch,
            offset: self.offset + 1,
        }
    }
}

impl PartialOrd for Position {
    /// Positions of different epochs never compare.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.epoch == other.epoch).then(|| self.offset.cmp(&other.offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_different_epochs_never_compare() {
        let a = Position {
            epoch: Epoch::from_bits(1),
            offset: 3,
        };
        let b = Position {
            epoch: Epoch::from_bits(2),
            offset: 3,
        };
        assert_eq!(a.partial_cmp(&b), None);
        assert!(a < a.next());
    }

    #[test]
    fn a_foreign_epoch_is_unknown_and_equals_no_log() {
        assert_eq!(Epoch::parse("xyz"), Epoch::UNKNOWN);
        assert_eq!(Epoch::parse("+000000000000001"), Epoch::UNKNOWN);
        let epoch = Epoch::from_bits(0xfeed);
        assert_eq!(Epoch::parse(&epoch.to_string()), epoch);
        assert_ne!(Epoch::from_bits(0), Epoch::UNKNOWN);
    }
}
