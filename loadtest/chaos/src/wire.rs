//! `fanfare.v1` as a client that trusts nobody reads it: no code of the server's encoders.

use fanfare_shared::{Epoch, Position};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// How a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    MsgPack,
}

/// Names a publication: it is the publication's `data`, and its idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Id {
    #[serde(rename = "p")]
    pub(crate) publisher: u32,
    /// Rises by one from one publication of a publisher to its next.
    #[serde(rename = "n")]
    pub(crate) number: u64,
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p{}#{}", self.publisher, self.number)
    }
}

/// A publication as a member gets it.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) room: String,
    pub(crate) data: Id,
    pub(crate) offset: u64,
    /// Only on the first message of a new epoch.
    #[serde(default, deserialize_with = "some_epoch")]
    pub(crate) epoch: Option<Epoch>,
}

/// A member of a room, as a page of them names it.
#[derive(Debug, Deserialize)]
pub(crate) struct Someone {
    pub(crate) client: String,
}

/// What comes from the server.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Event {
    Welcome {
        client: String,
    },
    Joined {
        room: String,
        #[serde(deserialize_with = "epoch")]
        epoch: Epoch,
        offset: u64,
        recovered: Option<bool>,
        messages: Vec<Message>,
    },
    Left {
        room: String,
    },
    Published {
        id: u64,
        #[serde(deserialize_with = "epoch")]
        epoch: Epoch,
        offset: u64,
    },
    /// Of a room that has no log, without a position.
    History {
        #[serde(default = "unknown_epoch", deserialize_with = "epoch")]
        epoch: Epoch,
        #[serde(default)]
        offset: u64,
        messages: Vec<Message>,
    },
    Presence {
        count: u64,
        members: Vec<Someone>,
        next: Option<String>,
    },
    /// Somebody came or went; of a large room, only how many.
    Member {
        room: String,
        client: Option<String>,
    },
    Message(Message),
    Reset {
        room: String,
        #[serde(deserialize_with = "epoch")]
        epoch: Epoch,
        offset: u64,
    },
    Error {
        id: Option<u64>,
        code: String,
        message: String,
        retry: bool,
    },
    #[serde(other)]
    Unknown,
}

fn unknown_epoch() -> Epoch {
    Epoch::UNKNOWN
}

fn epoch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Epoch, D::Error> {
    Ok(Epoch::parse(&String::deserialize(deserializer)?))
}

fn some_epoch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Epoch>, D::Error> {
    epoch(deserializer).map(Some)
}

impl Format {
    /// The subprotocol's name.
    pub(crate) const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "fanfare.v1.json",
            Self::MsgPack => "fanfare.v1.msgpack",
        }
    }

    /// A command's bytes.
    pub(crate) fn encode(self, command: &Value) -> anyhow::Result<Vec<u8>> {
        Ok(match self {
            Self::Json => serde_json::to_vec(command)?,
            Self::MsgPack => rmp_serde::to_vec_named(command)?,
        })
    }

    /// The event in a message's bytes.
    pub(crate) fn decode(self, bytes: &[u8]) -> anyhow::Result<Event> {
        Ok(match self {
            Self::Json => serde_json::from_slice(bytes)?,
            Self::MsgPack => rmp_serde::from_slice(bytes)?,
        })
    }
}

/// A position as a command names it.
pub(crate) fn since(position: Position) -> Value {
    serde_json::json!({"epoch": position.epoch.to_string(), "offset": position.offset})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let message = serde_json::json!({
            "type": "joined", "id": 1, "room": "r", "epoch": "00000000000000ff", "offset": 7,
            "recovered": true, "messages": [
                {"type": "message", "room": "r", "data": {"p": 1, "n": 2, "pad": ""}, "offset": 7, "time": 1}
            ],
        });
        for format in [Format::Json, Format::MsgPack] {
            let event = format.decode(&format.encode(&message).unwrap()).unwrap();
            let Event::Joined {
                epoch, messages, ..
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!(epoch, Epoch::from_bits(0xff));
            let id = Id {
                publisher: 1,
                number: 2,
            };
            assert_eq!((messages[0].data, messages[0].offset), (id, 7));
        }
    }
}
