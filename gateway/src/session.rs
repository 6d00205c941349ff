//! What a connection may say and what becomes of it: a request in, an [`Effect`] out.
//!
//! No I/O and no clock of its own: what it has to know beside its own state it asks its
//! [`Surroundings`]. The worker runs it, and so does the seeded simulation.
//!
//! A request is taken as a whole or, where it has to wait for an earlier one of the same
//! connection, not at all ([`Taken::Wait`]): the reader then keeps it and reads no further, so that
//! commands take effect in their order and a client cannot pile them up.

mod commands;
mod detached;
mod effect;
mod incoming;
mod renewal;

use std::sync::Arc;
use std::time::Instant;

use fanfare_broker::{RoomKey, Slot};
use fanfare_shared::config::{Limits, RoomPattern, RoomRule};
use fanfare_shared::{Identity, Position, RoomName};

pub use self::detached::{Detached, Held};
pub use self::effect::{Effect, Refusal, Taken};
pub use self::incoming::Incoming;
use crate::auth::{Actor, Credential, Rules};
use crate::budget::{Budget, Rate};

/// A connection's memberships, and what it is waiting for.
#[derive(Debug, Default)]
pub struct Session {
    rooms: Vec<Membership>,
    /// Joins under way.
    joining: Vec<Joining>,
    /// Other commands that await the backend.
    inflight: usize,
    /// Publications whose outcome nobody awaits; none before the first.
    detached: Option<Arc<Detached>>,
    /// New rooms that it may still have.
    new_rooms: Budget,
    /// Malformed commands since the last good one.
    bad: usize,
    /// What its token says; none without one.
    credential: Option<Arc<Credential>>,
    /// The rooms in which that is good for nothing any more.
    revoked: Box<[RoomPattern]>,
    /// How many decisions are awaited that all has to wait for that comes behind: on a token, or by
    /// the application's backend.
    held: u32,
    /// Where messages to its user come.
    mailbox: Option<Mailbox>,
    /// The room whose join the reader waits for.
    awaited: Option<RoomName>,
    /// Whether the reader waits until all else is answered and written.
    awaits_quiet: bool,
}

/// A room that the connection is a member of.
#[derive(Debug)]
pub struct Membership {
    /// The room's name.
    pub name: RoomName,
    /// Its rule.
    pub rule: Arc<RoomRule>,
    /// Which room it is on this node.
    pub room: RoomKey,
    /// Where the member stands in it.
    pub slot: Slot,
    /// Whether a backend made it a member, which no token has to grant.
    pub by_server: bool,
}

/// Where the connection stands among those of its user.
#[derive(Debug, Clone, Copy)]
pub struct Mailbox {
    /// Which of the node's mailboxes it is.
    pub room: RoomKey,
    /// Where the connection stands in it.
    pub slot: Slot,
}

/// A room whose join is under way.
#[derive(Debug)]
struct Joining {
    name: RoomName,
    rule: Arc<RoomRule>,
    /// As of the [membership](Membership::by_server).
    by_server: bool,
}

/// What a session has to know beside its own state.
pub trait Surroundings {
    /// The node's limits.
    fn limits(&self) -> &Limits;
    /// The rules of its rooms.
    fn rules(&self) -> &Rules;
    /// The time.
    fn now(&self) -> Instant;
    /// Whether all that the client was told has been written.
    fn is_written(&self) -> bool;
}

impl Session {
    /// A session of nobody, or of the client that a token names.
    #[must_use]
    pub fn new(credential: Option<Arc<Credential>>) -> Self {
        Self {
            credential,
            ..Self::default()
        }
    }

    /// The same where the token is good for nothing in some rooms.
    #[must_use]
    pub fn without(mut self, revoked: Box<[RoomPattern]>) -> Self {
        self.revoked = revoked;
        self
    }

    /// What its token says; none without one.
    #[must_use]
    pub const fn credential(&self) -> Option<&Arc<Credential>> {
        self.credential.as_ref()
    }

    /// Who it belongs to; `None` of nobody.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<Identity>> {
        let credential = self.credential.as_ref()?;
        Some(Arc::clone(&credential.identity))
    }

    /// Gives up all rooms, since the connection ends.
    pub fn take_rooms(&mut self) -> Vec<Membership> {
        std::mem::take(&mut self.rooms)
    }

    /// The user that it belongs to.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.credential.as_deref()?.identity.user.as_deref()
    }

    /// The user whose messages come to it, unless they do already.
    #[must_use]
    pub fn user_without_mailbox(&self) -> Option<&str> {
        self.user().filter(|_| self.mailbox.is_none())
    }

    /// Notes where messages to its user come.
    pub const fn set_mailbox(&mut self, mailbox: Mailbox) {
        self.mailbox = Some(mailbox);
    }

    /// Gives that up, since the connection ends.
    pub const fn take_mailbox(&mut self) -> Option<Mailbox> {
        self.mailbox.take()
    }

    // --- whether the next request can be taken ---

    /// Whether the next request can be taken. If not, the reader is woken when to ask again: by the
    /// answer to a join, by the end of a command, or by the outcome of a detached publication.
    pub fn is_ready(&self, around: &impl Surroundings) -> bool {
        if self.is_ready_now(around) {
            return true;
        }
        let Some(detached) = &self.detached else {
            return false;
        };
        detached.want();
        self.is_ready_now(around)
    }

    fn is_ready_now(&self, around: &impl Surroundings) -> bool {
        let most = around.limits().inflight_commands;
        let awaited = self.awaited.as_ref();
        self.under_way() < most
            && self.joining.len() < most
            && self.held == 0
            && awaited.is_none_or(|room| !self.is_joining(room.as_str()))
            && (!self.awaits_quiet || self.is_quiet(around))
    }

    /// Whether every command is answered, and every answer written. If not, the session is
    /// [ready](Self::is_ready) when they are.
    pub fn is_done(&mut self, around: &impl Surroundings) -> bool {
        !self.must_wait_for_quiet(around)
    }

    /// Has the reader wait, if need be, before a command whose answer may be far larger than the
    /// outbox: of such answers there is one at a time, or a client that comes back to many rooms
    /// would be taken for a slow one each time anew.
    fn must_wait_for_quiet(&mut self, around: &impl Surroundings) -> bool {
        self.awaits_quiet = !self.is_quiet(around);
        self.awaits_quiet
    }

    fn is_quiet(&self, around: &impl Surroundings) -> bool {
        self.joining.is_empty() && self.under_way() == 0 && around.is_written()
    }

    /// How many commands the backend has not answered, joins aside.
    fn under_way(&self) -> usize {
        let detached = self.detached.as_ref();
        self.inflight + detached.map_or(0, |detached| detached.under_way())
    }

    fn is_joining(&self, room: &str) -> bool {
        self.joining.iter().any(|one| one.name.as_str() == room)
    }

    fn membership(&self, room: &str) -> Option<&Membership> {
        let mut rooms = self.rooms.iter();
        rooms.find(|membership| membership.name.as_str() == room)
    }

    // --- what becomes of commands ---

    /// Notes that a command awaits the backend.
    pub const fn begin(&mut self) {
        self.inflight += 1;
    }

    /// Notes that one does no longer.
    pub const fn end(&mut self) {
        self.inflight -= 1;
    }

    /// Notes that a publication is in its room's log.
    pub fn published(&mut self, position: Option<Position>, around: &impl Surroundings) {
        // The first of its log made the room a new one.
        let begun = u32::from(position.is_some_and(|position| position.offset == 1));
        self.has_new_rooms(begun, around);
    }

    /// Notes a publication whose outcome nobody awaits, until what is answered is told of it.
    pub fn detach(&mut self, make: impl FnOnce() -> Detached) -> Held {
        let detached = self.detached.get_or_insert_with(|| Arc::new(make()));
        Held::new(detached)
    }

    /// Notes that a join was answered; answers the room's rule.
    pub fn joined(&mut self, room: &RoomName) -> Option<Arc<RoomRule>> {
        let index = self.joining.iter().position(|one| one.name == *room)?;
        Some(self.joining.swap_remove(index).rule)
    }

    /// Whether the join of a room is a backend's.
    #[must_use]
    pub fn is_joined_by_server(&self, room: &RoomName) -> bool {
        let mut joining = self.joining.iter();
        joining.any(|one| one.name == *room && one.by_server)
    }

    /// The rooms that it is in.
    pub fn rooms(&self) -> impl Iterator<Item = &Membership> {
        self.rooms.iter()
    }

    /// Whether it is in a room.
    #[must_use]
    pub fn is_in(&self, room: RoomKey) -> bool {
        self.rooms.iter().any(|membership| membership.room == room)
    }

    /// Notes a new membership.
    pub fn add(&mut self, membership: Membership) {
        self.rooms.push(membership);
    }

    // --- decisions ---

    /// In whose name it acts in a room.
    fn actor(&self, is_member: bool) -> Actor<'_> {
        Actor::Client {
            credential: self.credential.as_deref(),
            is_member,
            revoked: &self.revoked,
        }
    }

    // --- new rooms ---

    /// Whether it may have one more new room. What was published meanwhile into rooms that nobody
    /// had published into counts.
    fn may_have_new_room(&mut self, around: &impl Surroundings) -> bool {
        let detached = self.detached.as_ref();
        let begun = detached.map_or(0, |detached| detached.take_begun());
        self.has_new_rooms(begun, around);
        let rate = Rate::a_minute(around.limits().new_rooms);
        self.new_rooms.is_left(rate, around.now())
    }

    fn has_new_rooms(&mut self, count: u32, around: &impl Surroundings) {
        if count > 0 {
            let rate = Rate::a_minute(around.limits().new_rooms);
            self.new_rooms.take(count, rate, around.now());
        }
    }
}

#[cfg(test)]
mod tests;
