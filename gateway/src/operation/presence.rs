//! Asking who is in a room.

use std::sync::Arc;

use fanfare_broker::Roster;
use fanfare_broker::backend::{Page, Pending};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{ClientId, Roll, RoomName};

/// How many members a page has where nothing is said.
const PAGE: u64 = 100;

/// The most members of a page, whatever is asked for.
const MAX_PAGE: u64 = 1_000;

/// A page of a room's members that is wanted.
#[derive(Debug)]
pub struct Presence {
    /// Of which room.
    pub room: RoomName,
    /// The room's rule.
    pub rule: Arc<RoomRule>,
    /// At most as many members; 0 asks only how many there are.
    pub limit: Option<u64>,
    /// Only members after this one.
    pub after: Option<ClientId>,
}

impl Presence {
    /// Asks for it; sees every change that was noted before.
    pub fn act(&self, roster: &Roster) -> Pending<Roll> {
        let limit = self.limit.unwrap_or(PAGE).min(MAX_PAGE);
        let page = Page {
            after: self.after,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        };
        roster.members(&self.room, page, self.rule.announce)
    }
}
