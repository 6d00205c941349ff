//! The encodings of a publication that many sockets write as they are, each encoded once a node.

/// One such encoding. The broker knows them apart, and no more of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wire(u8);

impl Wire {
    /// How many there may be on a node.
    pub const COUNT: usize = 8;

    /// The `number`th of them; `None` beyond [`Wire::COUNT`].
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if (number as usize) < Self::COUNT {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Where it stands in an array of all.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
