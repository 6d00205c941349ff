//! What a door finds in a client's message.

use fanfare_shared::codec::DecodeError;
use fanfare_shared::{Data, Request};

/// One thing that a client asks for.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A command.
    Request(Request<'a>),
    /// What was to be one and is not.
    Malformed(DecodeError),
    /// A message for the one room of a connection that does nothing but publish there.
    Message {
        /// The payload.
        data: Data<&'a [u8]>,
        /// Whether the connection gets it, too.
        echo: bool,
    },
    /// A message of a kind that is not spoken here; says which is.
    Unsupported(&'static str),
}
