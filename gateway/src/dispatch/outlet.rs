//! Where decisions go: what is told to clients, and what is counted of it.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;
use fanfare_broker::{Backlog, Frame, RoomKey};
use fanfare_shared::Publication;
use fanfare_shared::code::CloseCode;
use fanfare_shared::config::SlowConsumer;

use super::endpoint::Endpoint;

/// The way to the clients. What is given to one of them reaches it in the order of the calls.
pub trait Outlet {
    /// A connection.
    type Endpoint: Endpoint;

    /// Counts the frames that wait.
    fn backlog(&self) -> &Backlog;
    /// Whether a frame may be given to a connection at once: nothing waits before it.
    fn takes_at_once(&self, endpoint: &Self::Endpoint) -> bool;
    /// Writes to those who take it at once, and notes how many bytes each took.
    fn write_at_once(&self, near: &mut [Near<'_, Self::Endpoint>]);
    /// Appends a publication of a room, of which `written` bytes were taken at once, by the room's
    /// rule for slow consumers. Answers false if the connection has to be closed as one.
    fn append(
        &self,
        endpoint: &Rc<Self::Endpoint>,
        frame: &Frame,
        written: usize,
        room: RoomKey,
        rule: SlowConsumer,
    ) -> bool;
    /// Appends anything else; nothing where the connection is not open.
    fn enqueue(&self, endpoint: &Rc<Self::Endpoint>, frame: Bytes);
    /// Begins to close a connection, which leaves all its rooms.
    fn close(&self, endpoint: &Rc<Self::Endpoint>, code: CloseCode, reason: &str);
    /// Writes what was appended to anybody.
    fn flush(&self) -> impl Future<Output = ()>;
    /// Counts something.
    fn count(&self, counted: Counted<'_>);
}

/// A member whose turn it is.
#[derive(Debug)]
pub struct Near<'a, E> {
    /// Its place in the room.
    pub(super) place: usize,
    /// Its connection.
    pub endpoint: &'a Rc<E>,
    /// The publication, as the connection speaks.
    pub frame: &'a Frame,
    /// Whether nothing waits before it.
    pub takes_at_once: bool,
    /// How many bytes of the frame are out.
    pub written: usize,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
pub enum Counted<'a> {
    /// A message that a client publishes.
    Publish,
    /// A room that a client may not have yet.
    NewRoomRefused,
    /// A connection became a member of a room.
    Entered,
    /// One is no longer.
    Left,
    /// A publication was given to all members.
    Delivered {
        /// What was delivered.
        publication: &'a Publication,
        /// To how many.
        reached: u32,
        /// In how many bytes.
        bytes: u64,
    },
    /// So many revocations are in force.
    Revocations(usize),
    /// All that was revoked before is known.
    Informed,
    /// A connection is closed because it does not read what it gets.
    Slow,
}
