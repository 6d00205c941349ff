//! Where on the public port a WebSocket can begin: what a handshake has to know of a door.

/// An address at which a WebSocket can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    /// Where it is.
    pub address: Address,
    /// The subprotocols that are spoken there, the first of them where a client offers none. Empty
    /// where none is asked for.
    pub protocols: Vec<&'static str>,
}

/// A path of the public port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// This path. The query names the rooms to join at once.
    At(&'static str),
    /// Whatever begins so. The rest is the one room.
    Under(&'static str),
}

impl Entrance {
    /// Whether a path leads here; answers the room in it, if it has one.
    pub(super) fn is_at<'a>(&self, path: &'a str) -> Option<Option<&'a str>> {
        match self.address {
            Address::At(at) => (path == at).then_some(None),
            Address::Under(start) => path.strip_prefix(start).map(Some),
        }
    }
}
