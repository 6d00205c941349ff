//! What clients ask for. Borrowed from the buffer that the frame arrived in.

use std::borrow::Cow;

use crate::{ClientId, Data, Position};

/// A command and the id that its reply repeats.
#[derive(Debug, Clone, PartialEq)]
pub struct Request<'a> {
    /// Chosen by the client, positive; without one only an error is answered.
    pub id: Option<u64>,
    /// What is asked for.
    pub command: Command<'a>,
}

/// One command of `fanfare.v1`. Room names are as the client wrote them, not yet checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// Become a member of a room.
    Join {
        /// Which room.
        room: Cow<'a, str>,
        /// Replay what came after this position; excludes `history`.
        since: Option<Position>,
        /// Replay as many of the newest publications.
        history: Option<u64>,
    },
    /// Cease to be a member.
    Leave {
        /// Which room.
        room: Cow<'a, str>,
    },
    /// Give a message to every member of a room.
    Publish {
        /// Which room.
        room: Cow<'a, str>,
        /// What kind of message it is.
        event: Option<Cow<'a, str>>,
        /// Accepted once per room and window.
        key: Option<Cow<'a, str>>,
        /// Whether the publisher gets it too; true where the client says nothing.
        echo: bool,
        /// The payload, unparsed.
        data: Data<&'a [u8]>,
    },
    /// Read kept publications.
    History {
        /// Which room.
        room: Cow<'a, str>,
        /// Only what came after this position; without it, the newest.
        since: Option<Position>,
        /// At most as many.
        limit: Option<u64>,
    },
    /// Ask who is in a room.
    Presence {
        /// Which room.
        room: Cow<'a, str>,
        /// At most as many members; 0 asks only how many there are.
        limit: Option<u64>,
        /// Only members after this one.
        after: Option<ClientId>,
    },
    /// Give a message to every connection of a user.
    Send {
        /// Which user.
        user: Cow<'a, str>,
        /// What kind of message it is.
        event: Option<Cow<'a, str>>,
        /// The payload, unparsed.
        data: Data<&'a [u8]>,
    },
    /// Show a token, the first or the next.
    Auth {
        /// The token, a JWT.
        token: Cow<'a, str>,
    },
    /// Ask for a sign of life.
    Ping,
}
