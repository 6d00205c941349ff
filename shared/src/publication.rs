//! A publication: a message accepted into a room.

use bytes::Bytes;

use crate::{ClientId, Position, RoomName};

/// A message accepted into a room. What every member gets, in whichever format it speaks.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// The room it went to.
    pub room: RoomName,
    /// Where it stands in the room's log; none in rooms without history.
    pub position: Option<Position>,
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// What kind of message it is, in the application's terms.
    pub event: Option<Box<str>>,
    /// Who published; none for the server's own publications.
    pub from: Option<Publisher>,
    /// Whether the publisher gets it too.
    pub echo: bool,
    /// What was published.
    pub data: Data,
}

/// Who published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The connection.
    pub client: ClientId,
    /// The user it belongs to, where it has one.
    pub user: Option<Box<str>>,
}

/// An application's payload: opaque bytes and what they are, passed through as they came to
/// members that speak the same format, converted once for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Data<B = Bytes> {
    /// What the bytes are.
    pub encoding: Encoding,
    /// The payload as it was received.
    pub bytes: B,
}

/// What the bytes of [`Data`] are. The numbers are the envelope's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// One well-formed JSON value.
    Json = 0,
    /// One well-formed MessagePack value.
    MsgPack = 1,
    /// UTF-8 text, from a plain room.
    Text = 2,
    /// Bytes, from a plain room or a MessagePack `bin`.
    Binary = 3,
}

impl Encoding {
    /// Reads the envelope's number.
    #[must_use]
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Json,
            1 => Self::MsgPack,
            2 => Self::Text,
            3 => Self::Binary,
            _ => return None,
        })
    }
}
