//! What the server says in `fanfare.v1.json`, as far as `sub` and `pub` listen.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// One message from the server.
#[derive(Debug)]
pub(in crate::cli) enum Event {
    /// A publication. Boxed JSON: `sub --json` prints it as it came.
    Message(Message),
    Joined(Joined),
    Published(Published),
    Reset(Reset),
    Error(CommandError),
    /// Nothing that a command here waits for.
    Other,
}

/// The first message of a connection.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Welcome {
    /// Seconds between the server's pings.
    pub(in crate::cli) heartbeat: u64,
    /// The largest message that the server takes, in bytes.
    pub(in crate::cli) max_message: usize,
}

/// A publication.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Message {
    pub(in crate::cli) room: Option<String>,
    pub(in crate::cli) event: Option<String>,
    #[serde(default = "null")]
    pub(in crate::cli) data: Box<RawValue>,
    pub(in crate::cli) from: Option<Publisher>,
    pub(in crate::cli) offset: Option<u64>,
    /// Milliseconds since 1970.
    pub(in crate::cli) time: Option<u64>,
    #[serde(default)]
    pub(in crate::cli) direct: bool,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Publisher {
    pub(in crate::cli) client: Option<String>,
    pub(in crate::cli) user: Option<String>,
}

/// Where a room's log stands. Rooms without history have none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::cli) struct Position {
    pub(in crate::cli) epoch: String,
    pub(in crate::cli) offset: u64,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Joined {
    pub(in crate::cli) room: String,
    epoch: Option<String>,
    offset: Option<u64>,
    pub(in crate::cli) recovered: Option<bool>,
    #[serde(default)]
    pub(in crate::cli) messages: Vec<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Published {
    pub(in crate::cli) id: Option<u64>,
    epoch: Option<String>,
    offset: Option<u64>,
}

/// The room's log was lost: what was missed cannot be known.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Reset {
    pub(in crate::cli) room: String,
    epoch: Option<String>,
    offset: Option<u64>,
}

/// A command failed.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct CommandError {
    pub(in crate::cli) id: Option<u64>,
    pub(in crate::cli) code: String,
    #[serde(default)]
    pub(in crate::cli) message: String,
    #[serde(default)]
    pub(in crate::cli) retry: bool,
}

impl Event {
    /// Reads one message. What it does not know it passes over; what it knows must be whole.
    pub(in crate::cli) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
        }
        let head: Head<'_> = serde_json::from_str(text)?;
        Ok(match head.kind.as_ref() {
            "message" => Self::Message(serde_json::from_str(text)?),
            "joined" => Self::Joined(serde_json::from_str(text)?),
            "published" => Self::Published(serde_json::from_str(text)?),
            "reset" => Self::Reset(serde_json::from_str(text)?),
            "error" => Self::Error(serde_json::from_str(text)?),
            _ => Self::Other,
        })
    }
}

impl Joined {
    pub(in crate::cli) fn position(&self) -> Option<Position> {
        position(self.epoch.as_deref(), self.offset)
    }
}

impl Published {
    pub(in crate::cli) fn position(&self) -> Option<Position> {
        position(self.epoch.as_deref(), self.offset)
    }
}

impl Reset {
    pub(in crate::cli) fn position(&self) -> Option<Position> {
        position(self.epoch.as_deref(), self.offset)
    }
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

fn position(epoch: Option<&str>, offset: Option<u64>) -> Option<Position> {
    Some(Position {
        epoch: epoch?.to_owned(),
        offset: offset?,
    })
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.code)?;
        if self.message.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", crate::cli::escape::printable(&self.message))
        }
    }
}

/// What there is to show of `data`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cli) enum Shown<'a> {
    /// A JSON string without its quotes.
    Text(String),
    /// Anything else, as it came.
    Json(&'a str),
}

/// Takes a string out of its quotes. A lone surrogate is JSON but no text.
pub(in crate::cli) fn shown(data: &RawValue) -> Shown<'_> {
    let json = data.get();
    if json.starts_with('"')
        && let Ok(text) = serde_json::from_str::<String>(json)
    {
        return Shown::Text(text);
    }
    Shown::Json(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart_and_unknown_ones_passed_over() {
        let text = r#"{"type":"joined","id":1,"room":"a","epoch":"e","offset":3,"recovered":false,
            "messages":[{"type":"message","room":"a","data":"x","offset":3,"time":1}]}"#;
        let Ok(Event::Joined(joined)) = Event::parse(text) else {
            panic!("not joined");
        };
        assert_eq!(joined.recovered, Some(false));
        assert_eq!(joined.position().map(|p| p.offset), Some(3));
        assert_eq!(joined.messages.len(), 1);
        let text = r#"{"type":"message","direct":true,"data":{"a":1},"new":[]}"#;
        let Ok(Event::Message(message)) = Event::parse(text) else {
            panic!("no message");
        };
        assert!(message.direct && message.offset.is_none());
        let other = Event::parse(r#"{"type":"pong","id":1}"#);
        assert!(matches!(other, Ok(Event::Other)));
        assert!(Event::parse("[]").is_err());
        assert!(Event::parse(r#"{"type":"joined"}"#).is_err());
    }

    #[test]
    fn strings_lose_their_quotes_and_the_rest_stays_as_it_came() {
        let text = |text: &str| Shown::Text(text.to_owned());
        for (json, expected) in [
            (r#""a \"b\" \u00e9""#, text("a \"b\" é")),
            (r#"{"a": 1}"#, Shown::Json(r#"{"a": 1}"#)),
            ("12", Shown::Json("12")),
            (r#""\ud800""#, Shown::Json(r#""\ud800""#)),
        ] {
            let raw = RawValue::from_string(json.to_owned()).expect("JSON");
            assert_eq!(shown(&raw), expected);
        }
    }
}
