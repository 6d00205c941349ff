//! What a room is at, and what waits in it.

use std::collections::VecDeque;
use std::sync::Arc;

use fanfare_shared::{Headcount, Publication};

use crate::backend::Read;
use crate::join::Join;

/// What the room asks the hub to do once its lock is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Read the log and answer with `Room::synced`, naming the attempt.
    Sync {
        attempt: u64,
        read: Read,
        /// Whether it goes on where the last read was cut short: not before the workers have room.
        more: bool,
    },
    /// Read further back and answer with `Room::extended`.
    Extend(Read),
}

/// What a room is at.
#[derive(Debug)]
pub(super) enum State {
    /// The log will be read once the subscription is confirmed.
    Opening,
    /// Every publication follows on the last.
    Live,
    /// The log is being read; what arrives meanwhile waits, unless there was too much of it.
    Syncing {
        buffered: VecDeque<Arc<Publication>>,
        overflowed: bool,
    },
    /// The backend is out of reach, or was when the log had to be read; it will be read once the
    /// backend is back, or somebody joins.
    Lost,
}

/// A join that waits for the log to be read.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) join: Join,
    /// The newest read of the log when it came: only a later one shows all that the client can
    /// have seen.
    pub(super) attempt: u64,
}

/// Changes that the members are yet to be told of together.
#[derive(Debug, Default)]
pub(super) struct PendingChanges {
    pub(super) headcount: Headcount,
    pub(super) joined: u64,
    pub(super) left: u64,
}
