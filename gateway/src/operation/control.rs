//! What a backend has all nodes do with the connections that they have.

use std::sync::LazyLock;

use fanfare_broker::Hub;
use fanfare_broker::backend::Pending;
use fanfare_shared::{ClientId, Data, Encoding, RoomName, envelope};
use serde::{Deserialize, Serialize};

use super::now;
use crate::auth::{ApiKey, Denied};

/// Which connections are meant, and what is done with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Control {
    /// Close them.
    Disconnect {
        /// Which.
        #[serde(flatten)]
        whom: Whom,
        /// Why, for the client.
        reason: Box<str>,
    },
    /// Make a user's connections members of a room.
    Join {
        /// The user.
        user: Box<str>,
        /// The room.
        room: Box<str>,
    },
    /// Take a user's connections out of a room.
    Leave {
        /// The user.
        user: Box<str>,
        /// The room.
        room: Box<str>,
    },
}

/// Which connections are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Whom {
    /// A user's.
    User {
        /// The user.
        user: Box<str>,
    },
    /// One.
    Client {
        /// Its name.
        client: u64,
    },
    /// Those in a room.
    Room {
        /// The room.
        room: Box<str>,
    },
}

impl Whom {
    /// One connection.
    #[must_use]
    pub const fn client(client: ClientId) -> Self {
        Self::Client { client: client.0 }
    }
}

/// The room by which every node hears of it.
pub static CONTROL: LazyLock<RoomName> = LazyLock::new(|| RoomName::of_nodes("control"));

/// A control that a backend may use.
#[derive(Debug)]
pub struct Command(Control);

impl Command {
    /// What a key allows.
    ///
    /// # Errors
    ///
    /// [`Denied`] names the key and the verb: `disconnect`, or `members` for joins and leaves.
    pub fn new(key: &ApiKey, control: Control) -> Result<Self, Denied> {
        key.may(match control {
            Control::Disconnect { .. } => "disconnect",
            Control::Join { .. } | Control::Leave { .. } => "members",
        })?;
        Ok(Self(control))
    }

    /// Tells every node; answers how many there are, if that is known.
    pub fn act(&self, hub: &Hub) -> Pending<Option<u64>> {
        hub.tell(&CONTROL, draft(&encode(&self.0)))
    }
}

/// What is told to nodes.
pub(super) fn encode(said: &impl Serialize) -> Vec<u8> {
    // Text and numbers: there is nothing that JSON cannot say.
    serde_json::to_vec(said).unwrap_or_default()
}

pub(super) fn draft(bytes: &[u8]) -> envelope::Draft<'_> {
    envelope::Draft {
        time: now(),
        from: None,
        event: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let user = || "ann".into();
        for control in [
            Control::Disconnect {
                whom: Whom::client(ClientId(u64::MAX)),
                reason: "bye".into(),
            },
            Control::Disconnect {
                whom: Whom::User { user: user() },
                reason: "bye".into(),
            },
            Control::Join {
                user: user(),
                room: "a".into(),
            },
        ] {
            let read: Control = serde_json::from_slice(&encode(&control)).unwrap();
            assert_eq!(read, control);
        }
    }
}
