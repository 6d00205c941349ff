//! Who is in a room: its members, page by page, and how they change.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ClientId;

/// Who a connection belongs to, as far as its node was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Identity {
    /// The user; one user may have any number of connections.
    #[serde(rename = "u", skip_serializing_if = "Option::is_none", default)]
    pub user: Option<Box<str>>,
    /// What members may know of it: one JSON value, as text.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none", default)]
    pub info: Option<Box<str>>,
}

impl Identity {
    /// Writes what other nodes read: a MessagePack map, whose fields may grow, since unknown ones
    /// are ignored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut buffer = Vec::with_capacity(64);
        let mut serializer = rmp_serde::Serializer::new(&mut buffer).with_struct_map();
        // Writing to memory cannot fail, and every field has a MessagePack form.
        let written = self.serialize(&mut serializer);
        debug_assert!(written.is_ok());
        buffer
    }

    /// Reads what a node wrote. Fails where it is nothing of the kind.
    pub fn decode(bytes: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        rmp_serde::from_slice(bytes)
    }
}

/// A connection in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which connection.
    pub client: ClientId,
    /// Whose it is; shared by the rooms that it is in.
    pub identity: Arc<Identity>,
}

/// How many are in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headcount {
    /// Connections.
    pub count: u64,
    /// Distinct users; a connection without a user adds none.
    pub users: u64,
}

/// A page of a room's members, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roll {
    /// How many are in the room.
    pub headcount: Headcount,
    /// Members by rising client id.
    pub members: Vec<Member>,
    /// After whom the next page begins; `None` on the last.
    pub next: Option<ClientId>,
}

/// How a room's members changed, as the others are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// A member came.
    Join(Member),
    /// A member went.
    Leave(Member),
    /// So many came and went; who they are is not said in a large room.
    Count {
        /// How many there are now.
        headcount: Headcount,
        /// How many came since the last such change.
        joined: u64,
        /// How many went since then.
        left: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_a_map_that_may_grow() {
        let identity = Identity {
            user: Some("u1".into()),
            info: Some(r#"{"name":"Ann"}"#.into()),
        };
        let bytes = identity.encode();
        assert_eq!(bytes, b"\x82\xa1u\xa2u1\xa1i\xae{\"name\":\"Ann\"}");
        assert_eq!(Identity::decode(&bytes).unwrap(), identity);
        let grown = b"\x82\xa1z\x01\xa1u\xa2u1";
        assert_eq!(Identity::decode(grown).unwrap().user.as_deref(), Some("u1"));
        assert_eq!(Identity::default().encode(), b"\x80");
        assert!(Identity::decode(b"\xc1").is_err());
        assert!(Identity::decode(b"").is_err());
    }
}
