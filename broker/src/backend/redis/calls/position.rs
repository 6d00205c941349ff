//! A position as the scripts write it.

use fanfare_shared::{Epoch, Position};

use crate::backend::redis::wire::resp;

const EPOCH: usize = 16;
/// The most characters of a position.
pub(crate) const MAX_POSITION: usize = EPOCH + 20;

/// Reads a position as the scripts write it: 16 hexadecimal digits of epoch, then the offset.
pub(crate) fn parse(text: &[u8]) -> Option<Position> {
    let (epoch, offset) = text.split_at_checked(EPOCH)?;
    let epoch = Epoch::parse(std::str::from_utf8(epoch).ok()?);
    let offset = resp::number(offset)?;
    (epoch != Epoch::UNKNOWN).then_some(Position { epoch, offset })
}
