//! The next token of a session that goes on.

use std::sync::Arc;

use fanfare_shared::RoomName;
use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::{RoomPattern, RoomRule};

use super::{Joining, Membership, Refusal, Session};
use crate::auth::{Credential, Denied, Verb, authorize};
use crate::operation::Parked;

impl Session {
    /// Notes that a decision is awaited: what is asked for meanwhile waits.
    pub const fn hold(&mut self) {
        self.held += 1;
    }

    /// Notes that it is there.
    pub const fn release(&mut self) {
        self.held -= 1;
    }

    /// Whether a publish that was held up may go on.
    ///
    /// # Errors
    ///
    /// If the token, or what is left of it, does not let it any more.
    pub fn may_publish(&self, parked: &Parked) -> Result<(), Refusal> {
        let room = parked.room().as_str();
        let actor = self.actor(self.membership(room).is_some());
        authorize(Verb::Publish, room, parked.rule(), actor).map_err(Refusal::from)
    }

    /// Takes the next token, of which nothing is [revoked](Self::revoke) yet. Answers the memberships that it does not grant, which the session gives
    /// up; joins under way are looked at again when they are [answered](Self::joined).
    ///
    /// # Errors
    ///
    /// If it is of another user: what was told under the first name cannot be taken back.
    pub fn renew(&mut self, credential: Arc<Credential>) -> Result<Vec<Membership>, Refusal> {
        let user = |credential: &Credential| credential.identity.user.clone();
        if let Some(last) = self.credential.as_deref().and_then(user)
            && Some(&last) != user(&credential).as_ref()
        {
            let message = format!("token: it is not of the user `{last}`; connect anew with it");
            return Err(Refusal::new(ErrorCode::Forbidden, message));
        }
        self.credential = Some(credential);
        self.revoked = Box::default();
        Ok(self.give_up_rooms())
    }

    /// Takes the rooms in which its token is good for nothing any more. Answers the memberships that
    /// the session gives up.
    pub fn revoke(&mut self, rooms: Box<[RoomPattern]>) -> Vec<Membership> {
        if self.revoked == rooms {
            return Vec::new();
        }
        self.revoked = rooms;
        self.give_up_rooms()
    }

    fn give_up_rooms(&mut self) -> Vec<Membership> {
        let rooms = std::mem::take(&mut self.rooms).into_iter();
        let (stay, leave) =
            rooms.partition(|room| self.may_stay(&room.name, &room.rule, room.by_server));
        self.rooms = stay;
        leave
    }

    /// Why a join under way is not to be, since the token that granted it was replaced; it is then
    /// no longer under way.
    pub fn revoked(&mut self, room: &RoomName) -> Option<Refusal> {
        let mut joining = self.joining.iter();
        let index = joining.position(|one| one.name == *room)?;
        let Joining {
            rule, by_server, ..
        } = &self.joining[index];
        let denied = self.stays(room, rule, *by_server).err()?;
        self.joining.swap_remove(index);
        Some(denied.into())
    }

    fn may_stay(&self, room: &RoomName, rule: &RoomRule, by_server: bool) -> bool {
        self.stays(room, rule, by_server).is_ok()
    }

    fn stays(&self, room: &RoomName, rule: &RoomRule, by_server: bool) -> Result<(), Denied> {
        let is_revoked = || {
            self.revoked
                .iter()
                .any(|pattern| pattern.matches(room.as_str()))
        };
        if by_server && !is_revoked() {
            return Ok(());
        }
        authorize(Verb::Join, room.as_str(), rule, self.actor(false))
    }
}
