//! Whose join or command it is, and of which room: what hub, rooms and workers name things by.

use std::num::NonZeroU64;

use fanfare_shared::{ClientId, Position};

/// Names an open room within a node; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoomKey(pub NonZeroU64);

/// Whose command it is: a worker's connection, and what to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Where the worker keeps the connection.
    pub slot: usize,
    /// Which connection it was, since slots are used again.
    pub client: ClientId,
    /// The command's id.
    pub id: Option<u64>,
    /// Whether the client is told that it joined. A refusal it is told in any case.
    pub announced: bool,
}

/// What a new member wants to see of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Nothing.
    None,
    /// All that came after a position, or to be told that this cannot be had.
    Since(Position),
    /// The newest publications, as many as are kept.
    Newest(usize),
}

/// A request to become a member.
#[derive(Debug, Clone, Copy)]
pub struct Join {
    /// Which worker's inbox gets the answer.
    pub worker: usize,
    /// Whose join it is.
    pub ticket: Ticket,
    /// What of the past is wanted.
    pub replay: Replay,
}
