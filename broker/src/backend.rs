//! What links nodes: the room's log, and the way from one node's publish to every node's hub.
//!
//! Two backends, one conformance suite (`tests/backend_conformance/`): [`memory`] for a single
//! node, [`redis`] for many. A backend promises:
//!
//! - **One order.** The publications of a room reach every sink in the order of their offsets,
//!   or the sink is told that the link was [lost](Sink::lost).
//! - **Call order.** Two publishes from one thread into one room take effect in the order of the
//!   calls, whether or not the first was awaited.
//! - **Log before reply.** A publish that answered `Ok` is in the log (where the room has one) and
//!   on its way to every node with interest.
//! - **Nothing missed after subscribe.** What is published after [`Backend::subscribe`] answered
//!   reaches the sink, until [`Sink::lost`] says otherwise.

mod error;
pub mod memory;
mod pending;
mod presence;
pub mod redis;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fanfare_shared::envelope::Draft;
use fanfare_shared::{Position, Publication, RoomName};

pub use error::{BackendError, Refused};
pub use pending::Pending;
pub use presence::{Announcement, Page, Presence, Standing};

/// The narrow waist between the hub and whatever links it to other nodes.
///
/// Every call returns at once; what it started is awaited through [`Pending`]. Dropping a
/// `Pending` does not undo the call.
pub trait Backend: Send + Sync + 'static {
    /// Appends to the room's log and hands on to every node with interest.
    ///
    /// Answers the publication's position, or `None` in a room without history. A `key` that the
    /// room has seen within its window answers the position of the first time and does nothing.
    fn publish(&self, publish: Publish) -> Pending<Option<Position>>;

    /// The same for a publication whose payload is still in the buffer it came in. A backend that
    /// only encodes it need not copy it first.
    fn submit(&self, submission: Submission<'_>) -> Pending<Option<Position>> {
        self.publish(submission.into())
    }

    /// Deletes a room's log, with all that it holds: the next publication begins another. In order with
    /// what was published before, from this node.
    fn forget(&self, room: &RoomName) -> Pending<()>;

    /// Hands something on to every node with interest in a room without a log, and keeps nothing.
    /// Answers how many nodes have interest, if that is known.
    fn tell(&self, room: &RoomName, draft: Draft<'_>) -> Pending<Option<u64>> {
        let submission = Submission {
            room,
            draft,
            log: Log::NONE,
            key: None,
        };
        match self.submit(submission) {
            Pending::Ready(Some(Err(error))) => Pending::ready(Err(error)),
            _ => Pending::ready(Ok(None)),
        }
    }

    /// Declares interest: the room's publications are handed to the sink from now on.
    ///
    /// `worker` says whose member wants it. A backend that can hands the publications to the sink
    /// on that worker's thread, so that it need not be woken for each; others who want the room
    /// later get them from there.
    ///
    /// Neither this nor [`Backend::unsubscribe`] may call the sink, which holds a lock while it
    /// calls them.
    fn subscribe(&self, room: &RoomName, worker: usize) -> Pending<()>;

    /// Ends interest. What is still on its way may yet arrive.
    fn unsubscribe(&self, room: &RoomName);

    /// Reads a room's position and kept publications, in one atomic look.
    ///
    /// Answers only while all confirmed subscriptions are in place: what comes after the look
    /// reaches the sink, or the sink is told that the link was lost.
    ///
    /// Gives a room that has no log yet its first epoch, and renews the life of one that has, so
    /// that a room with members keeps its position however long nothing is published.
    fn read(&self, room: &RoomName, log: Log, read: Read) -> Pending<Snapshot>;

    /// Names what answers for a room: rooms of one part fail together.
    fn part(&self, _room: &RoomName) -> u64 {
        0
    }

    /// Whether publications get through right now, as seen by the backend's own probe.
    fn ready(&self) -> bool;

    /// Why writes are refused by servers that can be reached, if [`Backend::ready`] says no for that.
    fn refusing(&self) -> Option<Refused> {
        None
    }
}

/// Where a backend hands what it received: the hub.
pub trait Sink: Send + Sync + 'static {
    /// Takes the next publication of a room. Never blocks.
    fn deliver(&self, publication: Arc<Publication>);

    /// Takes a change of a room's members, in a room that announces them. Never blocks, and may be
    /// left out while the sink is [congested](Sink::congested).
    fn announce(&self, announcement: Announcement);

    /// Learns that publications may be missed from now on, in any of these rooms.
    fn lost(&self, rooms: &Scope);

    /// Learns that every subscription of these rooms is in place again; answers when each has
    /// caught up from its log, or given up. Meanwhile publications are delivered. The future is
    /// dropped when the link is lost once more.
    fn restored<'a>(&'a self, rooms: &'a Scope) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

    /// Whether the node's workers are so far behind that no more should be delivered now.
    fn congested(&self) -> bool;
}

/// Which rooms are meant: those that share a link.
pub type Scope = dyn Fn(&RoomName) -> bool + Send + Sync;

/// One publication on its way into a room.
#[derive(Debug, Clone)]
pub struct Publish {
    /// What is published, and where to; the backend gives it its position.
    pub publication: Publication,
    /// How the room's log is kept.
    pub log: Log,
    /// Accepted once per room and [`Log::ttl`], or a little longer.
    pub key: Option<Box<str>>,
}

/// One publication on its way into a room, borrowed from the message it came in.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// Where to.
    pub room: &'a RoomName,
    /// What is published.
    pub draft: Draft<'a>,
    /// As [`Publish::log`].
    pub log: Log,
    /// As [`Publish::key`].
    pub key: Option<&'a str>,
}

impl<'a> From<&'a Publish> for Submission<'a> {
    fn from(publish: &'a Publish) -> Self {
        Self {
            room: &publish.publication.room,
            draft: Draft::from(&publish.publication),
            log: publish.log,
            key: publish.key.as_deref(),
        }
    }
}

impl From<Submission<'_>> for Publish {
    fn from(submission: Submission<'_>) -> Self {
        let Submission {
            room,
            draft,
            log,
            key,
        } = submission;
        Self {
            publication: draft.to_publication(room.clone()),
            log,
            key: key.map(Box::from),
        }
    }
}

/// How long an empty log keeps its epoch and offset beyond the life of its publications, so that
/// a client which missed nothing in a quiet room can still be told so.
pub const EPOCH_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How a room's log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How many publications are kept; 0 for a room without history, and so without positions.
    pub size: usize,
    /// How long after the last publication they are kept.
    pub ttl: Duration,
}

impl Log {
    /// None: nothing is kept.
    pub const NONE: Self = Self {
        size: 0,
        ttl: Duration::ZERO,
    };

    /// How long a log into which nothing was published outlives the last look at it by a node with
    /// members: as long as a client could need publications to recover.
    #[must_use]
    pub fn quiet_ttl(&self) -> Duration {
        self.ttl.max(SHORTEST_QUIET_TTL)
    }
}

/// However short the publications of a room live: its nodes look at the log every second at most.
const SHORTEST_QUIET_TTL: Duration = Duration::from_secs(3);

/// The most that one read after a position holds, in bytes of its publications and
/// [`ENTRY_BYTES`] for each, but one publication at least: some milliseconds' work for everything on
/// its way, Redis included, which does nothing else meanwhile.
pub const READ_BYTES: usize = 1 << 20;

/// What a publication counts for in a read beside its own bytes: a read holds 4,096 at most.
pub const ENTRY_BYTES: usize = 256;

/// Which part of a log to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// Only where the log stands, for a room with members: a log that there is none of is begun,
    /// empty, and kept for as long as it is asked for by this at least every
    /// [`Log::quiet_ttl`]. No other read leaves anything behind.
    Begin,
    /// What came after a position, oldest first, at most `limit`, for members that have seen all up
    /// to there. If the log does not go on from it, what there is, from the last offset on that
    /// may be compared. Begins a log as [`Read::Begin`] does.
    Resume {
        /// The last publication already known.
        position: Position,
        /// The most to read.
        limit: usize,
    },
    /// What came after a position, oldest first, at most `limit`; nothing if the epoch is not the
    /// log's.
    After {
        /// The last publication already known.
        position: Position,
        /// The most to read.
        limit: usize,
    },
    /// The newest `limit` publications, oldest first.
    Newest {
        /// The most to read.
        limit: usize,
    },
}

/// What a read found.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Where the log stands; `None` for a room without history, and where there is no log.
    pub position: Option<Position>,
    /// What was asked for, as far as the log still has it.
    pub publications: Vec<Arc<Publication>>,
    /// For [`Read::After`] and [`Read::Resume`]: whether `publications` are all that followed on the
    /// position, up to the limit, but for those that this node cannot read. Says more than a comparison of
    /// epochs: where a log goes on in a new one, positions of the one before can still hold.
    pub follows: bool,
    /// For [`Read::After`] and [`Read::Resume`], where the limit or [`READ_BYTES`] cut it short: the
    /// last position that was read.
    pub cut_at: Option<Position>,
}
