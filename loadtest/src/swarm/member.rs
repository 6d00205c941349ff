//! One client: a socket and what it has seen.

use std::os::fd::OwnedFd;

use crate::ledger::Ledger;

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The TCP connection is being made.
    Connecting,
    /// The request is sent.
    Handshaking,
    /// The WebSocket is open; the room is not joined yet.
    Joining,
    /// A member.
    Joined,
    /// Gone.
    Closed,
}

/// One client.
#[derive(Debug)]
pub(super) struct Member {
    /// None once it is gone.
    pub(super) socket: Option<OwnedFd>,
    pub(super) phase: Phase,
    /// The room's index.
    pub(super) room: u32,
    /// When it began to connect.
    pub(super) began: u64,
    /// What the server's close frame said; 0 while there was none.
    pub(super) close_code: u16,
    /// The beginning of a frame whose rest has not come.
    pub(super) tail: Vec<u8>,
    pub(super) ledger: Ledger,
}

impl Member {
    pub(super) const fn is_joined(&self) -> bool {
        matches!(self.phase, Phase::Joined)
    }
}
