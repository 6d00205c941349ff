//! What a backend is asked.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fanfare_shared::codec::payload_as_json;
use fanfare_shared::{ClientId, Data, Identity};
use serde::Serialize;
use serde_json::value::RawValue;

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Connect.
    Connect,
    /// Join a room.
    Join,
    /// Publish into one.
    Publish,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connect, Self::Join, Self::Publish];

    /// Its name, in questions and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Join => "join",
            Self::Publish => "publish",
        }
    }
}

/// A question, as it is sent. Those that are the same to the letter have one answer.
#[derive(Debug)]
pub struct Question {
    pub(super) hook: Hook,
    pub(super) body: Vec<u8>,
}

/// The words of a question.
#[derive(Serialize)]
struct Words<'a> {
    hook: Hook,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    /// Of a client that has no user: two users' questions are the same whichever of their connections
    /// asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    binary: bool,
    #[serde(flatten)]
    connect: Option<&'a Connect>,
}

/// What is known of a client that connects.
#[derive(Debug, Default, Serialize)]
pub struct Connect {
    /// Where it is, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The page that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// The headers that the configuration names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

impl Question {
    /// Whether a client may connect.
    #[must_use]
    pub fn connect(identity: Option<&Identity>, connect: &Connect) -> Self {
        Self::of(Hook::Connect, identity, |words| {
            words.connect = Some(connect);
        })
    }

    /// Whether a client may join a room.
    #[must_use]
    pub fn join(client: ClientId, identity: Option<&Identity>, room: &str) -> Self {
        Self::of(Hook::Join, identity, |words| {
            words.client = words.user.is_none().then(|| client.to_string());
            words.room = Some(room);
        })
    }

    /// Whether a client may publish something into a room.
    #[must_use]
    pub fn publish(
        client: ClientId,
        identity: Option<&Identity>,
        room: &str,
        event: Option<&str>,
        data: Data<&[u8]>,
    ) -> Self {
        let (json, binary) = payload_as_json(data);
        // Checked when the command came.
        let json = RawValue::from_string(json).ok();
        Self::of(Hook::Publish, identity, |words| {
            words.client = words.user.is_none().then(|| client.to_string());
            words.room = Some(room);
            words.event = event;
            words.data = json.as_deref();
            words.binary = binary;
        })
    }

    fn of<'a>(
        hook: Hook,
        identity: Option<&'a Identity>,
        say: impl FnOnce(&mut Words<'a>),
    ) -> Self {
        let info = identity.and_then(|identity| identity.info.as_deref());
        let mut words = Words {
            hook,
            user: identity.and_then(|identity| identity.user.as_deref()),
            info: info.and_then(|info| serde_json::from_str(info).ok()),
            client: None,
            room: None,
            event: None,
            data: None,
            binary: false,
            connect: None,
        };
        say(&mut words);
        // Text, numbers and JSON: there is nothing that cannot be said.
        let body = serde_json::to_vec(&words).unwrap_or_default();
        Self { hook, body }
    }
}
