//! What calls answer.

use fanfare_shared::{Headcount, Position};
use serde::Serialize;
use utoipa::ToSchema;

use crate::operation::{LiveNode, OpenRoom};

/// Where a message stands in its room's log; nothing where the room keeps none.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Published {
    /// Which log: 16 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    /// Where in it, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
}

impl From<Option<Position>> for Published {
    fn from(position: Option<Position>) -> Self {
        match position {
            None => Self::default(),
            Some(Position { epoch, offset }) => Self {
                epoch: Some(epoch.to_string()),
                offset: Some(offset),
            },
        }
    }
}

/// That it was done.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct Done {}

/// How many nodes were told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Told {
    pub(super) nodes: Option<u64>,
}

/// Whether a connection has it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sent {
    pub(super) delivered: bool,
}

/// What became of each part, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Results {
    pub(super) results: Vec<Outcome>,
}

/// What became of one part.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Outcome {
    /// A message was published.
    Published(Published),
    /// A message went to a user.
    Sent(Sent),
    /// Nodes were told.
    Told(Told),
    /// It failed; the others did not for that.
    Failed(Failed),
}

/// Why a call failed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failed {
    pub(super) error: Failure,
}

/// What kind of failure it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    /// One of the protocol's codes.
    #[schema(example = "bad_request")]
    pub(super) code: &'static str,
    /// What was wrong, and what would be right.
    pub(super) message: String,
    /// Whether the same call may succeed later.
    pub(super) retry: bool,
}

impl From<Published> for Outcome {
    fn from(published: Published) -> Self {
        Self::Published(published)
    }
}

impl From<Sent> for Outcome {
    fn from(sent: Sent) -> Self {
        Self::Sent(sent)
    }
}

impl From<Told> for Outcome {
    fn from(told: Told) -> Self {
        Self::Told(told)
    }
}

/// Where a room's log stands, and how many are in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoomState {
    pub(super) room: String,
    #[serde(flatten)]
    pub(super) position: Published,
    /// How many connections are members; nothing where the rule says `presence = false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    /// How many users these belong to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) users: Option<u64>,
}

impl RoomState {
    pub(super) fn new(
        room: &str,
        position: Option<Position>,
        headcount: Option<Headcount>,
    ) -> Self {
        Self {
            room: room.to_owned(),
            position: position.into(),
            count: headcount.map(|headcount| headcount.count),
            users: headcount.map(|headcount| headcount.users),
        }
    }
}

/// A page of the rooms that have members, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rooms {
    pub(super) rooms: Vec<OpenRoom>,
    /// The `cursor` of the next page, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// The nodes that live.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Nodes {
    pub(super) nodes: Vec<LiveNode>,
}

/// What a room keeps. Written in the words of the protocol, and described here.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a description")]
pub(super) struct History {
    /// `history`
    r#type: String,
    room: String,
    /// Which log; nothing where there is none.
    epoch: Option<String>,
    /// Up to where it goes.
    offset: Option<u64>,
    messages: Vec<Kept>,
}

/// A message that a room keeps.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a description")]
pub(super) struct Kept {
    /// `message`
    r#type: String,
    room: String,
    event: Option<String>,
    /// As it was published; base64 where `binary` is true.
    #[schema(value_type = Value)]
    data: (),
    binary: Option<bool>,
    /// Who published it; nothing of the server.
    from: Option<Member>,
    offset: u64,
    /// When it was accepted, in milliseconds since 1970.
    time: u64,
}

/// A page of the members of a room, by `client`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a description")]
pub(super) struct Members {
    /// `presence`
    r#type: String,
    room: String,
    /// How many connections are members.
    count: u64,
    /// How many users these belong to.
    users: u64,
    members: Vec<Member>,
    /// The `after` of the next page, if there is one.
    next: Option<String>,
}

/// A connection.
#[derive(ToSchema)]
#[allow(dead_code, reason = "a description")]
pub(super) struct Member {
    client: String,
    user: Option<String>,
    /// What the token says of the user.
    #[schema(value_type = Option<Object>)]
    info: Option<()>,
}
