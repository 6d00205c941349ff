//! The next token of a session that goes on.

use std::sync::Arc;

use fanfare_shared::RoomName;
use fanfare_shared::code::ErrorCode;
use fanfare_shared::config::RoomRule;

use super::{Membership, Refusal, Session};
use crate::auth::{Credential, Verb, authorize};

impl Session {
    /// Notes that a token is being checked: what is asked for meanwhile waits.
    pub const fn begin_renewal(&mut self) {
        self.is_renewing = true;
    }

    /// Notes that it was checked.
    pub const fn end_renewal(&mut self) {
        self.is_renewing = false;
    }

    /// Takes the next token. Answers the memberships that it does not grant, which the session gives
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
        let rooms = std::mem::take(&mut self.rooms).into_iter();
        let (stay, leave) = rooms.partition(|room| self.may_join(&room.name, &room.rule));
        self.rooms = stay;
        Ok(leave)
    }

    /// Why a join under way is not to be, since the token that granted it was replaced; it is then
    /// no longer under way.
    pub fn revoked(&mut self, room: &RoomName) -> Option<Refusal> {
        let mut joining = self.joining.iter();
        let index = joining.position(|one| one.name == *room)?;
        let rule = &self.joining[index].rule;
        let denied = authorize(Verb::Join, room.as_str(), rule, self.actor(false)).err()?;
        self.joining.swap_remove(index);
        Some(denied.into())
    }

    fn may_join(&self, room: &RoomName, rule: &RoomRule) -> bool {
        authorize(Verb::Join, room.as_str(), rule, self.actor(false)).is_ok()
    }
}
