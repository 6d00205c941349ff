//! Asking for the state of a room.

use std::sync::Arc;

use fanfare_broker::backend::{BackendError, Page, Read};
use fanfare_broker::{Hub, Roster};
use fanfare_shared::config::RoomRule;
use fanfare_shared::{Headcount, Position, RoomName};

use crate::auth::{ApiKey, Denied};

/// The state of a room that is wanted. For backends alone.
#[derive(Debug)]
pub struct RoomState {
    room: RoomName,
    rule: Arc<RoomRule>,
}

/// What a room's state is.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// Where its log stands; `None` where none is kept, or nothing is in it.
    pub position: Option<Position>,
    /// How many are in it; `None` where nobody notes who is.
    pub headcount: Option<Headcount>,
}

impl RoomState {
    /// That of one room.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the key does not allow `rooms`.
    pub fn new(key: &ApiKey, room: RoomName, rule: Arc<RoomRule>) -> Result<Self, Denied> {
        key.may("rooms")?;
        Ok(Self { room, rule })
    }

    /// The room.
    #[must_use]
    pub const fn room(&self) -> &RoomName {
        &self.room
    }

    /// Asks for it.
    ///
    /// # Errors
    ///
    /// If the backend does not answer.
    pub async fn act(&self, hub: &Hub, roster: &Roster) -> Result<State, BackendError> {
        let mut state = State {
            position: None,
            headcount: None,
        };
        if self.rule.history.size > 0 {
            let read = Read::Newest { limit: 0 };
            state.position = hub.history(&self.room, read).await?.position;
        }
        if self.rule.presence {
            let page = Page {
                after: None,
                limit: 0,
            };
            let members = roster.members(&self.room, page, self.rule.announce);
            state.headcount = Some(members.await?.headcount);
        }
        Ok(state)
    }
}
