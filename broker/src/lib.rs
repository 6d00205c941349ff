//! Hub, rooms and outboxes, and the backends that link nodes. Knows no sockets.
//!
//! # How does it work?
//!
//! A node's connections live on worker threads. The [`Hub`] is what the workers share: for each
//! room with local members it knows the position, a window of recent publications and which
//! workers have members. A publication comes from the [`backend`] ([`Sink::deliver`]), is put in
//! order by its room, and goes once to the [`Inbox`] of every worker with members, as one
//! [`Delivery`] whose frames are encoded once per [`Wire`]. The worker finds the members in its
//! [`Members`] and appends the frame to their [`Outbox`]es.
//!
//! What a join has to see goes through the same inbox, so the seam between replay and live
//! publications is exact by construction: before its `Joined` nothing reaches the new member,
//! after it everything does.
//!
//! Who is in which room on all nodes is kept by the backend's [`Presence`]; the [`Roster`] has the
//! node's own members, and sees to it that the backend knows of them, whatever it lost.
//!
//! [`Presence`]: backend::Presence
//! [`Sink::deliver`]: backend::Sink::deliver

pub mod backend;
mod backlog;
mod backoff;
mod delivery;
mod hub;
mod inbox;
mod join;
mod letter;
mod members;
mod metrics;
mod notice;
mod outbox;
mod presence;
mod recent;
mod room;
mod trial;
mod wire;

pub use backlog::{Backlog, Frame};
pub use delivery::Delivery;
pub use hub::{Answering, Hub, Options, Respond};
pub use inbox::{Inbox, Post};
pub use join::{Join, Replay, RoomKey, Ticket};
pub use letter::SurveyError;
pub use members::{Members, Slot};
pub use metrics::Metrics;
pub use notice::Notice;
pub use outbox::{Outbox, Overflow};
pub use presence::Roster;
pub use wire::Wire;
