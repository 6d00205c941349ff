//! Giving a message to every connection of a user.

use std::borrow::Cow;
use std::sync::LazyLock;

use fanfare_broker::Hub;
use fanfare_broker::backend::Pending;
use fanfare_shared::config::RoomRule;
use fanfare_shared::{ClientId, Data, envelope};

use super::now;
use crate::auth::{Actor, Denied, Verb, authorize};

/// A message that may be sent to a user.
#[derive(Debug)]
pub struct Send<'a> {
    user: Cow<'a, str>,
    event: Option<Cow<'a, str>>,
    data: Data<&'a [u8]>,
}

/// A user is no room, and so has no rule: only grants allow it.
static NO_RULE: LazyLock<RoomRule> = LazyLock::new(RoomRule::default);

impl<'a> Send<'a> {
    /// The sending of a message. Tokens grant it by patterns of `user:NAME`.
    ///
    /// # Errors
    ///
    /// [`Denied`] if the actor may not send to the user.
    pub fn new(
        actor: Actor<'_>,
        user: Cow<'a, str>,
        event: Option<Cow<'a, str>>,
        data: Data<&'a [u8]>,
    ) -> Result<Self, Denied> {
        authorize(Verb::Send, &format!("user:{user}"), &NO_RULE, actor)?;
        Ok(Self { user, event, data })
    }

    /// The user.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Sends it in the name of `from`, a connection and its user; of the server without. Answers
    /// whether at least one connection has it in its outbox.
    pub fn act(self, from: Option<(ClientId, Option<&str>)>, hub: &Hub) -> Pending<bool> {
        let draft = envelope::Draft {
            time: now(),
            from,
            event: self.event.as_deref(),
            echo: true,
            data: self.data,
        };
        hub.send(&self.user, draft)
    }
}
