//! From the fields of a command, in whichever format they came, to the command.

use std::borrow::Cow;

use super::error::DecodeError;
use crate::code::ErrorCode;
use crate::{ClientId, Command, Data, Epoch, Position, Request};

/// Every field that any command has, as far as the message gave it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Fields<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) id: Option<u64>,
    pub(super) room: Option<Cow<'a, str>>,
    pub(super) event: Option<Cow<'a, str>>,
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) echo: Option<bool>,
    pub(super) data: Option<Data<&'a [u8]>>,
    pub(super) rare: Option<Box<Rare<'a>>>,
}

/// The fields that no publish has, apart, so that one costs the same however many there are.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rare<'a> {
    pub(super) user: Option<Cow<'a, str>>,
    pub(super) since: Option<(Cow<'a, str>, u64)>,
    pub(super) history: Option<u64>,
    pub(super) limit: Option<u64>,
    pub(super) after: Option<Cow<'a, str>>,
    pub(super) token: Option<Cow<'a, str>>,
}

/// The longest `event`, `key` and `user`, in bytes.
const MAX_LABEL: usize = 255;

impl<'a> Fields<'a> {
    /// The fields that few commands have.
    pub(super) fn rare(&mut self) -> &mut Rare<'a> {
        self.rare.get_or_insert_default()
    }

    /// Checks what the command's type needs and what may not go together.
    pub(super) fn into_request(self) -> Result<Request<'a>, DecodeError> {
        let id = self.id.filter(|id| *id > 0);
        match self.into_command() {
            Ok(command) => Ok(Request { id, command }),
            Err((code, message)) => Err(DecodeError { id, code, message }),
        }
    }

    fn into_command(self) -> Result<Command<'a>, (ErrorCode, String)> {
        if self.id == Some(0) {
            return Err(bad("id: must be a positive integer"));
        }
        let Some(kind) = self.kind else {
            return Err(bad("type: missing"));
        };
        let needs_room = || bad(format!("room: missing; `{kind}` needs one"));
        let rare = || self.rare.map(|rare| *rare).unwrap_or_default();
        let position = |(epoch, offset): (Cow<'_, str>, u64)| Position {
            epoch: Epoch::parse(&epoch),
            offset,
        };
        Ok(match &*kind {
            "join" => {
                let Rare { since, history, .. } = rare();
                if since.is_some() && history.is_some() {
                    return Err(bad("history: excludes `since`; give one of them"));
                }
                Command::Join {
                    room: self.room.ok_or_else(needs_room)?,
                    since: since.map(position),
                    history,
                }
            }
            "leave" => Command::Leave {
                room: self.room.ok_or_else(needs_room)?,
            },
            "publish" => Command::Publish {
                room: self.room.ok_or_else(needs_room)?,
                event: label("event", self.event)?,
                key: label("key", self.key)?,
                echo: self.echo.unwrap_or(true),
                data: self
                    .data
                    .ok_or_else(|| bad("data: missing; `publish` needs some"))?,
            },
            "history" => {
                let Rare { since, limit, .. } = rare();
                Command::History {
                    room: self.room.ok_or_else(needs_room)?,
                    since: since.map(position),
                    limit,
                }
            }
            "presence" => {
                let Rare { limit, after, .. } = rare();
                Command::Presence {
                    room: self.room.ok_or_else(needs_room)?,
                    limit,
                    after: after.as_deref().map(client).transpose()?,
                }
            }
            "send" => Command::Send {
                user: label("user", rare().user)?
                    .ok_or_else(|| bad("user: missing; `send` needs one"))?,
                event: label("event", self.event)?,
                data: self
                    .data
                    .ok_or_else(|| bad("data: missing; `send` needs some"))?,
            },
            "auth" => Command::Auth {
                token: rare()
                    .token
                    .ok_or_else(|| bad("token: missing; `auth` needs one"))?,
            },
            "ping" => Command::Ping,
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err((
                    ErrorCode::UnknownType,
                    format!(
                        "type: `{shown}` is unknown; known are join, leave, publish, history, \
                         presence, send, auth, ping"
                    ),
                ));
            }
        })
    }
}

fn bad(message: impl Into<String>) -> (ErrorCode, String) {
    (ErrorCode::BadRequest, message.into())
}

fn client(text: &str) -> Result<ClientId, (ErrorCode, String)> {
    text.parse()
        .map_err(|_| bad("after: not a client; give the `next` of the page before"))
}

fn label<'a>(
    name: &str,
    value: Option<Cow<'a, str>>,
) -> Result<Option<Cow<'a, str>>, (ErrorCode, String)> {
    match &value {
        Some(text) if text.is_empty() || text.len() > MAX_LABEL => Err(bad(format!(
            "{name}: {} bytes long; 1 to {MAX_LABEL} are allowed",
            text.len()
        ))),
        _ => Ok(value),
    }
}
