//! Who is in which room on all nodes: what a backend keeps of it and promises about it.
//!
//! - **Nothing twice.** Entering who is in already and taking out who is not change and announce
//!   nothing, so what may have been done is simply done again.
//! - **Call order.** Calls take effect in their order, and a [`Presence::members`] sees those
//!   before it.
//! - **Exact pages.** A member who stays from the first page to the last is listed once.
//! - **Crashes.** The members of a node that is gone are taken out within its lease, whoever is
//!   left to notice; each once.

use fanfare_shared::{ClientId, Headcount, Member, MemberChange, Roll, RoomName};
use tokio::sync::watch;

use super::pending::Pending;

/// What the nodes keep in common of who is in which room. Stands beside
/// [`Backend`](super::Backend).
///
/// Every call returns at once, as those of the backend do. `announce` says whether the change is
/// handed to every [`Sink`](super::Sink) with interest in the room.
pub trait Presence: Send + Sync + 'static {
    /// Has a member of this node in a room.
    fn enter(&self, room: &RoomName, member: &Member, announce: bool) -> Pending<()>;

    /// Has it there no more.
    fn exit(&self, room: &RoomName, client: ClientId, announce: bool) -> Pending<()>;

    /// Lists members of a room, after taking out those of nodes that are gone.
    fn members(&self, room: &RoomName, page: Page, announce: bool) -> Pending<Roll>;

    /// Says that this node goes, its members being taken out: nobody has to look for them.
    fn resign(&self) -> Pending<()>;

    /// Names what answers for a room: rooms of one part fail together.
    fn part(&self, _room: &RoomName) -> u64 {
        0
    }

    /// How the node stands with the others, and when that changes.
    fn standing(&self) -> watch::Receiver<Standing>;
}

/// Which part of a room's members to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only members after this one.
    pub after: Option<ClientId>,
    /// The most members; 0 asks only how many there are.
    pub limit: usize,
}

/// What a node has to know of itself and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether calls can be answered now.
    pub open: bool,
    /// Another number: whatever was entered before is, or will be, forgotten; all members of this
    /// node have to be entered again.
    pub term: u64,
    /// Another number: some node is gone; its members have to be looked for in this node's rooms.
    pub departures: u64,
}

/// A change of a room's members that a sink is told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Where it happened.
    pub room: RoomName,
    /// How many are there now.
    pub headcount: Headcount,
    /// What happened.
    pub change: MemberChange,
}
