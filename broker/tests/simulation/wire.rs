//! What clients say and what they are told, as it is on the wire of `fanfare.v1.json`.

use fanfare_broker::Replay;
use fanfare_shared::{Epoch, Position};
use serde::Deserialize;

use super::server::Payload;

/// A text frame that is whole.
const TEXT: u8 = 0x81;

/// What a client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Join(Replay),
    Leave,
    Publish(Payload),
    /// Shows the next token; it grants joins or does not.
    Auth(bool),
}

/// The token that grants every join.
pub(crate) const GRANTING: &str = "granting";

impl Ask {
    /// The command. Without an id nothing but a failure is answered.
    pub(crate) fn command(self, id: Option<u64>, room: &str) -> String {
        let id = id.map_or(String::new(), |id| format!(r#""id":{id},"#));
        let rest = match self {
            Self::Join(Replay::None) => r#""type":"join""#.to_owned(),
            Self::Join(Replay::Newest(count)) => format!(r#""type":"join","history":{count}"#),
            Self::Join(Replay::Since(Position { epoch, offset })) => {
                format!(r#""type":"join","since":{{"epoch":"{epoch}","offset":{offset}}}"#)
            }
            Self::Leave => r#""type":"leave""#.to_owned(),
            // With a key, so that it may be tried again.
            Self::Publish(payload) if !id.is_empty() => {
                format!(r#""type":"publish","key":"{payload}","data":{payload}"#)
            }
            Self::Publish(payload) => format!(r#""type":"publish","data":{payload}"#),
            Self::Auth(grants) => {
                let token = if grants { GRANTING } else { "poor" };
                return format!(r#"{{{id}"type":"auth","token":"{token}"}}"#);
            }
        };
        format!(r#"{{{id}{rest},"room":"{room}"}}"#)
    }
}

/// What a client is told.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Told {
    Joined {
        id: u64,
        room: String,
        #[serde(flatten)]
        at: At,
        recovered: Option<bool>,
        messages: Vec<Message>,
    },
    Left {
        id: Option<u64>,
        room: String,
        reason: Option<String>,
    },
    Auth {
        id: u64,
    },
    Published {
        id: u64,
        room: String,
        #[serde(flatten)]
        at: At,
    },
    Message(Message),
    Reset {
        room: String,
        #[serde(flatten)]
        at: At,
    },
    Error {
        id: Option<u64>,
        code: String,
    },
}

/// A publication.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) room: String,
    #[serde(flatten)]
    pub(crate) at: At,
    pub(crate) data: Payload,
}

/// A position, as far as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct At {
    epoch: Option<Digits>,
    pub(crate) offset: Option<u64>,
}

/// An epoch in its digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Digits(Epoch);

impl TryFrom<String> for Digits {
    type Error = &'static str;

    fn try_from(digits: String) -> Result<Self, Self::Error> {
        let epoch = Epoch::parse(&digits);
        (epoch != Epoch::UNKNOWN)
            .then_some(Self(epoch))
            .ok_or("no epoch")
    }
}

impl At {
    pub(crate) fn epoch(self) -> Option<Epoch> {
        self.epoch.map(|Digits(epoch)| epoch)
    }

    /// The position, where all of it is told; nothing where nothing is.
    pub(crate) fn position(self) -> Option<Position> {
        assert_eq!(
            self.epoch.is_some(),
            self.offset.is_some(),
            "half a position"
        );
        let (epoch, offset) = (self.epoch()?, self.offset?);
        Some(Position { epoch, offset })
    }
}

/// Takes the first frame out of what a client received, if it is there whole.
pub(crate) fn next_frame(received: &mut Vec<u8>) -> Option<Told> {
    let short = usize::from(*received.get(1)?);
    let (head, len) = match short {
        126 => {
            let long = received.get(2..4)?.try_into();
            (4, usize::from(u16::from_be_bytes(long.expect("two bytes"))))
        }
        127 => {
            let long = received.get(2..10)?.try_into();
            let len = u64::from_be_bytes(long.expect("eight bytes"));
            (10, usize::try_from(len).expect("it was sent from memory"))
        }
        len => (2, len),
    };
    let text = received.get(head..head + len)?;
    assert_eq!(received[0], TEXT, "only text is spoken here");
    let told = serde_json::from_slice(text)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(text)));
    received.drain(..head + len);
    Some(told)
}
