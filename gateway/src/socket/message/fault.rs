//! What a peer may not send.

use fanfare_shared::code::CloseCode;
use fanfare_shared::frame::HeaderError;
use thiserror::Error;

/// What a peer did that RFC 6455 forbids, or the node's limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The header itself is not allowed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A client must mask what it sends (section 5.1).
    #[error("frames from a client must be masked")]
    Unmasked,
    /// A continuation without a message to continue (section 5.4).
    #[error("a continuation frame without a message to continue")]
    NothingToContinue,
    /// A new message within another (section 5.4).
    #[error("a new message began before the last one ended")]
    Interleaved,
    /// A text message or a close reason that is not UTF-8 (section 8.1).
    #[error("text that is not UTF-8")]
    NotUtf8,
    /// A message over the node's limit.
    #[error("a message of more than {0} bytes")]
    TooBig(usize),
    /// A close frame with a body of one byte (section 5.5.1).
    #[error("a close frame with half a code")]
    HalfCloseCode,
    /// A close code that must not be sent (section 7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
}

impl Fault {
    /// The code that the connection is failed with (section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::NotUtf8 => CloseCode::InvalidData,
            Self::TooBig(_) => CloseCode::TooBig,
            _ => CloseCode::Protocol,
        }
    }
}
