//! Asking who is in a room.

use std::sync::Arc;

use fanfare_broker::Roster;
use fanfare_broker::backend::{Page, Pending};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{ClientId, Roll, RoomName};

use crate::auth::{Actor, Denied, Verb, authorize};

/// How many members a page has where nothing is said.
const PAGE: u64 = 100;

/// The most members of a page, whatever is asked for.
const MAX_PAGE: u64 = 1_000;

/// A page of a room's members that is wanted.
#[derive(Debug)]
pub struct Presence {
    room: RoomName,
    rule: Arc<RoomRule>,
    page: Page,
}

impl Presence {
    /// The members after one of them, or the first. At most `limit`; 0 asks only how many there are.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the actor may not ask, or if nobody notes who is there.
    pub fn new(
        actor: Actor<'_>,
        room: RoomName,
        rule: Arc<RoomRule>,
        after: Option<ClientId>,
        limit: Option<u64>,
    ) -> Result<Self, Denied> {
        authorize(Verb::Presence, room.as_str(), &rule, actor)?;
        let limit = limit.unwrap_or(PAGE).min(MAX_PAGE);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = Page { after, limit };
        Ok(Self { room, rule, page })
    }

    /// The room.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        &self.room
    }

    /// Asks for it; sees every change that was noted before.
    #[must_use]
    pub fn act(&self, roster: &Roster) -> Pending<Roll> {
        roster.members(&self.room, self.page, self.rule.announce)
    }
}
