//! How the servers that are measured want to be spoken to: what opens a membership, what carries
//! a publication, what keeps a connection alive.
//!
//! Everything else is the same for all of them; a stamp is found wherever a dialect puts it.

use clap::ValueEnum;
use fanfare_socket::frame::{FIN, TEXT, binary, frame, text};
use fanfare_socket::handshake;
use serde::{Deserialize, Serialize};

/// A way to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dialect {
    /// `fanfare.v1.json`.
    Json,
    /// `fanfare.v1.msgpack`.
    Msgpack,
    /// Fanfare's plain rooms: payloads as they are.
    Plain,
    /// Socket.IO 4 over a WebSocket, with the events `join`, `joined`, `publish` and `message`.
    SocketIo,
    /// A bare server: the room in the query, payloads as they are.
    Bare,
    /// Centrifugo's JSON protocol.
    Centrifugo,
}

/// What to do about a frame that carries no stamp.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Nothing.
    None,
    /// Send this.
    Send(Vec<u8>),
    /// Now the connection is a member of its room.
    Joined,
    /// The server refused something.
    Refused,
}

impl Dialect {
    /// The request that opens a WebSocket to `room`, or to none, where a command joins later.
    pub(crate) fn request(self, host: &str, room: Option<&str>) -> Vec<u8> {
        let query = room.map(|room| format!("?room={room}")).unwrap_or_default();
        let room = room.unwrap_or_default();
        let (path, subprotocol) = match self {
            Self::Json => (format!("/ws{query}"), Some("fanfare.v1.json")),
            Self::Msgpack => (format!("/ws{query}"), Some("fanfare.v1.msgpack")),
            Self::Plain => (format!("/plain/{room}"), None),
            Self::Bare => (format!("/{query}"), None),
            Self::SocketIo => ("/socket.io/?EIO=4&transport=websocket".into(), None),
            Self::Centrifugo => ("/connection/websocket".into(), None),
        };
        let subprotocol = subprotocol
            .map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"))
            .unwrap_or_default();
        handshake::request(host, &path, &subprotocol).into_bytes()
    }

    /// Whether the handshake alone makes a member.
    pub(crate) const fn joins_by_handshake(self) -> bool {
        matches!(self, Self::Plain | Self::Bare)
    }

    /// The frame to send first once the WebSocket is open.
    pub(crate) fn hello(self) -> Option<Vec<u8>> {
        match self {
            Self::Centrifugo => Some(text(r#"{"id":1,"connect":{}}"#)),
            _ => None,
        }
    }

    /// Looks at a frame without a stamp. `room` is the one that the connection is for.
    pub(crate) fn react(self, payload: &[u8], room: &str) -> Reaction {
        let send = |message: &str| Reaction::Send(text(message));
        match self {
            Self::Json | Self::Msgpack => {
                // The type comes first, in both encodings.
                let head = &payload[..payload.len().min(24)];
                if contains(head, b"joined") {
                    Reaction::Joined
                } else if contains(head, b"error") {
                    Reaction::Refused
                } else {
                    Reaction::None
                }
            }
            Self::SocketIo => match payload {
                [b'0', ..] => send("40"),
                [b'2'] => send("3"),
                [b'4', b'0', ..] => send(&format!(r#"42["join","{room}"]"#)),
                [b'4', b'2', ..] if contains(payload, b"joined") => Reaction::Joined,
                [b'4', b'4', ..] => Reaction::Refused,
                _ => Reaction::None,
            },
            Self::Centrifugo => {
                if contains(payload, b"\"error\"") {
                    Reaction::Refused
                } else if contains(payload, b"\"subscribe\"") {
                    Reaction::Joined
                } else if contains(payload, b"\"connect\"") {
                    send(&format!(r#"{{"id":2,"subscribe":{{"channel":"{room}"}}}}"#))
                } else if payload == b"{}" {
                    send("{}")
                } else {
                    Reaction::None
                }
            }
            Self::Plain | Self::Bare => Reaction::None,
        }
    }

    /// The frame that publishes `payload` into `room`.
    pub(crate) fn publish(self, room: &str, payload: &[u8]) -> Vec<u8> {
        let framed = |before: String, after: &str| {
            frame(
                FIN | TEXT,
                &[before.as_bytes(), payload, after.as_bytes()].concat(),
            )
        };
        match self {
            Self::Json => framed(
                format!(r#"{{"type":"publish","room":"{room}","data":""#),
                "\"}",
            ),
            Self::Msgpack => {
                let mut map = vec![0x83];
                for text in ["type", "publish", "room", room, "data"] {
                    push_msgpack_str(&mut map, text.as_bytes());
                }
                push_msgpack_str(&mut map, payload);
                binary(&map)
            }
            Self::SocketIo => framed(format!(r#"42["publish","{room}",""#), "\"]"),
            Self::Centrifugo => framed(
                format!(r#"{{"id":3,"publish":{{"channel":"{room}","data":""#),
                "\"}}",
            ),
            Self::Plain | Self::Bare => frame(FIN | TEXT, payload),
        }
    }
}

fn push_msgpack_str(out: &mut Vec<u8>, text: &[u8]) {
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(short), _) if short < 32 => out.push(0xa0 | short),
        (Ok(short), _) => out.extend([0xd9, short]),
        (_, Ok(wide)) => {
            out.push(0xda);
            out.extend(wide.to_be_bytes());
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a payload is at most 1 MiB"
        )]
        _ => {
            out.push(0xdb);
            out.extend((text.len() as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_shared::codec::{self, Format};
    use fanfare_shared::frame::parse_header;
    use fanfare_shared::{Command, Request};

    fn unmask(frame: &[u8]) -> Vec<u8> {
        let header = parse_header(frame).unwrap().unwrap();
        assert_eq!(frame.len(), header.size + header.len as usize);
        let key = header.mask.expect("a client's frame is masked");
        frame[header.size..]
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect()
    }

    #[test]
    fn the_server_reads_what_is_published() {
        for size in [34, 128, 300, 70_000] {
            let payload = vec![b'x'; size];
            for (dialect, format) in [
                (Dialect::Json, Format::Json),
                (Dialect::Msgpack, Format::MsgPack),
            ] {
                let frame = dialect.publish("lobby", &payload);
                let message = unmask(&frame);
                let Ok(Request {
                    command: Command::Publish { room, data, .. },
                    ..
                }) = codec::decode(format, &message)
                else {
                    panic!("{dialect:?}, {size} bytes");
                };
                assert_eq!(room, "lobby");
                assert!(data.bytes.len() >= size);
            }
        }
    }

    #[test]
    fn socket_io_is_answered_step_by_step() {
        let react = |payload: &str| Dialect::SocketIo.react(payload.as_bytes(), "r");
        let sent = |message: &str| Reaction::Send(text(message));
        assert_eq!(react(r#"0{"sid":"x"}"#), sent("40"));
        assert_eq!(react(r#"40{"sid":"x"}"#), sent(r#"42["join","r"]"#));
        assert_eq!(react(r#"42["joined"]"#), Reaction::Joined);
        assert_eq!(react("2"), sent("3"));
    }
}
