//! The opening handshake (RFC 6455, section 4.2), as little of it as an honest client needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fanfare_shared::codec::Format;
use fanfare_socket::handshake;
use sha1::{Digest as _, Sha1};

/// The GUID that proves a server understood the handshake (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request for a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// How many bytes it takes.
    pub(super) head: usize,
    /// The room to join.
    pub(super) room: String,
    /// How the client speaks.
    pub(super) format: Format,
    accept: String,
}

impl Request {
    /// Reads a request; `None` while it is not whole, or no request at all.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let head = handshake::head_len(bytes)?;
        let text = std::str::from_utf8(&bytes[..head]).ok()?;
        let path = text.split(' ').nth(1)?;
        let header = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        let format = match (path.strip_prefix("/ws"), header("Sec-WebSocket-Protocol")) {
            (Some(_), Some("fanfare.v1.msgpack")) => Format::MsgPack,
            (Some(_), _) => Format::Json,
            (None, _) => Format::Plain,
        };
        let room = path
            .split_once("room=")
            .map(|(_, room)| room)
            .or_else(|| path.strip_prefix("/plain/"))?;
        let key = header("Sec-WebSocket-Key")?;
        let digest = Sha1::new_with_prefix(key).chain_update(GUID).finalize();
        Some(Self {
            head,
            room: room.to_owned(),
            format,
            accept: BASE64.encode(digest),
        })
    }

    /// What opens the WebSocket.
    pub(super) fn response(&self) -> Vec<u8> {
        let subprotocol = match self.format {
            Format::Json => "Sec-WebSocket-Protocol: fanfare.v1.json\r\n",
            Format::MsgPack => "Sec-WebSocket-Protocol: fanfare.v1.msgpack\r\n",
            Format::Plain => "",
        };
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n{subprotocol}\r\n",
            self.accept
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn the_generators_own_requests_are_understood() {
        for (dialect, format) in [
            (Dialect::Json, Format::Json),
            (Dialect::Msgpack, Format::MsgPack),
            (Dialect::Plain, Format::Plain),
            (Dialect::Bare, Format::Plain),
        ] {
            let bytes = dialect.request("127.0.0.1:1", Some("lobby"));
            assert_eq!(Request::parse(&bytes[..bytes.len() - 1]), None);
            let request = Request::parse(&bytes).unwrap();
            assert_eq!((request.head, request.format), (bytes.len(), format));
            assert_eq!(request.room, "lobby");
            // The example of RFC 6455, section 1.3, whose key the clients use.
            assert_eq!(request.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
    }
}
