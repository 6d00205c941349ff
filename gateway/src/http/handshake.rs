//! The opening handshake (RFC 6455, section 4.2): from a request head to what to do with it.
//!
//! No I/O: [`read`] looks at the bytes received so far. Every fault gets the status that says what
//! it is and a body that says what would be right.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fanfare_shared::RoomName;
use sha1::{Digest, Sha1};

use super::entrance::Entrance;
use super::headers::Headers;
use super::response::{Response, Status};
use super::target::{Query, path_and_query, plain_room};

/// How many headers most requests have at most, and the most that one may have; more is answered
/// 431.
const USUAL_HEADERS: usize = 64;
const MAX_HEADERS: usize = 512;

/// The GUID that proves a server understood the handshake (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a request head asks for.
#[derive(Debug)]
pub enum Outcome {
    /// The head is not all there yet.
    Partial,
    /// A WebSocket.
    Upgrade(Upgrade),
    /// A handshake with a fault: answer and close.
    Respond(Response),
    /// No handshake, but a request for something else than a WebSocket.
    Request,
}

/// A handshake that is in order.
#[derive(Debug)]
pub struct Upgrade {
    /// How many bytes the head took; what follows are the first frames.
    pub head: usize,
    /// Which of the entrances it came by.
    pub entrance: usize,
    /// Which of the entrance's subprotocols is spoken.
    pub protocol: usize,
    /// The rooms to join at once: any number, or the one in the path.
    pub rooms: Vec<RoomName>,
    /// Whether the connection's own messages come back to it, where that can be said in the address.
    pub echo: bool,
    /// The response that opens the WebSocket.
    pub response: Vec<u8>,
}

/// Looks at what has arrived. `limit` is the largest head in bytes; `entrances` are where a WebSocket
/// can begin.
#[must_use]
pub fn read(bytes: &[u8], limit: usize, entrances: &[Entrance]) -> Outcome {
    let mut headers = [httparse::EMPTY_HEADER; USUAL_HEADERS];
    match read_with(bytes, limit, entrances, &mut headers) {
        Some(outcome) => outcome,
        None => read_many(bytes, limit, entrances),
    }
}

/// Apart, so that the usual request does not pay for this much of the stack.
#[cold]
#[inline(never)]
fn read_many(bytes: &[u8], limit: usize, entrances: &[Entrance]) -> Outcome {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    read_with(bytes, limit, entrances, &mut headers).unwrap_or_else(|| {
        Outcome::Respond(Response::error(
            Status::HeadTooLarge,
            format!("the request has more than {MAX_HEADERS} headers"),
        ))
    })
}

/// `None`, if there are more headers than there is room for.
fn read_with<'a>(
    bytes: &'a [u8],
    limit: usize,
    entrances: &[Entrance],
    headers: &'a mut [httparse::Header<'a>],
) -> Option<Outcome> {
    let mut request = httparse::Request::new(headers);
    let outcome = match request.parse(bytes) {
        Ok(httparse::Status::Complete(head)) if head > limit => Err(head_too_large(limit)),
        Ok(httparse::Status::Complete(head)) => answer(&request, head, entrances),
        Ok(httparse::Status::Partial) if bytes.len() >= limit => Err(head_too_large(limit)),
        Ok(httparse::Status::Partial) => return Some(Outcome::Partial),
        Err(httparse::Error::TooManyHeaders) => return None,
        Err(error) => Err(Response::error(
            Status::BadRequest,
            format!("not an HTTP request: {error}"),
        )),
    };
    Some(match outcome {
        Ok(Some(upgrade)) => Outcome::Upgrade(upgrade),
        Ok(None) => Outcome::Request,
        Err(response) => Outcome::Respond(response),
    })
}

fn head_too_large(limit: usize) -> Response {
    Response::error(
        Status::HeadTooLarge,
        format!("the request's head is larger than {limit} bytes (limits.handshake_bytes)"),
    )
}

fn bad(message: impl Into<String>) -> Response {
    Response::error(Status::BadRequest, message.into())
}

/// What a whole head asks for; `None` where that is no WebSocket.
fn answer(
    request: &httparse::Request<'_, '_>,
    head: usize,
    entrances: &[Entrance],
) -> Result<Option<Upgrade>, Response> {
    let target = request.path.unwrap_or_default();
    let (path, query) =
        path_and_query(target).ok_or_else(|| bad("the request's target has no host"))?;
    let method = request.method.unwrap_or_default();
    let mut found = entrances.iter().enumerate();
    let found = found.find_map(|(index, one)| Some((index, one, one.is_at(path)?)));
    let Some((entrance, Entrance { protocols, .. }, room)) = found else {
        return Ok(None);
    };
    if method != "GET" {
        return Err(Response::method_not_allowed("GET"));
    }
    let headers = Headers(request.headers);
    let key = check_upgrade(request.version, &headers)?;
    let query = Query::read(query)?;
    let rooms = match room {
        Some(room) => vec![plain_room(room)?],
        None => query.rooms()?,
    };
    let (protocol, named) = choose_protocol(&headers, protocols)?;
    Ok(Some(Upgrade {
        head,
        entrance,
        protocol,
        rooms,
        echo: query.echo()?,
        response: accept(key, named),
    }))
}

/// Checks what section 4.2.1 demands of the headers; answers the key.
fn check_upgrade<'a>(version: Option<u8>, headers: &Headers<'a>) -> Result<&'a str, Response> {
    if version != Some(1) {
        return Err(bad("a WebSocket needs HTTP/1.1"));
    }
    if headers.all("host").count() != 1 {
        return Err(bad("Host: one is needed"));
    }
    if headers.get("transfer-encoding").is_some()
        || headers.all("content-length").any(|length| length != "0")
    {
        return Err(bad("a WebSocket handshake has no body"));
    }
    if !headers.has_token("upgrade", "websocket") {
        return Err(Response::error(
            Status::UpgradeRequired,
            "this address speaks WebSocket: send `Upgrade: websocket`".into(),
        ));
    }
    if !headers.has_token("connection", "upgrade") {
        return Err(bad("Connection: `Upgrade` is needed"));
    }
    let mut versions = headers.all("sec-websocket-version");
    let version = versions.next();
    if versions.any(|other| Some(other) != version) {
        return Err(bad("Sec-WebSocket-Version: given twice, and not the same"));
    }
    match version {
        Some("13") => {}
        Some(other) => {
            return Err(Response::error(
                Status::UpgradeRequired,
                format!("Sec-WebSocket-Version: {other} is not spoken here, only 13"),
            ));
        }
        None => return Err(bad("Sec-WebSocket-Version: missing; 13 is needed")),
    }
    let mut keys = headers.all("sec-websocket-key");
    match (keys.next(), keys.next()) {
        (Some(key), None) if BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16) => Ok(key),
        (None, _) => Err(bad("Sec-WebSocket-Key: missing")),
        (Some(_), None) => Err(bad("Sec-WebSocket-Key: not 16 bytes in base64")),
        (Some(_), Some(_)) => Err(bad("Sec-WebSocket-Key: given more than once")),
    }
}

/// Chooses the first subprotocol offered that is spoken here, the first of all where none is offered;
/// and says which is to be named in the answer.
fn choose_protocol(
    headers: &Headers<'_>,
    spoken: &[&'static str],
) -> Result<(usize, Option<&'static str>), Response> {
    let mut offered = headers.tokens("sec-websocket-protocol").peekable();
    if spoken.is_empty() || offered.peek().is_none() {
        return Ok((0, None));
    }
    offered
        .find_map(|offer| {
            let mut spoken = spoken.iter().enumerate();
            spoken.find(|(_, name)| **name == offer)
        })
        .map(|(index, name)| (index, Some(*name)))
        .ok_or_else(|| {
            let known = spoken.join(" or ");
            bad(format!(
                "Sec-WebSocket-Protocol: offer {known}, or none for JSON"
            ))
        })
}

/// Builds the response of section 4.2.2.
fn accept(key: &str, protocol: Option<&str>) -> Vec<u8> {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        BASE64.encode(digest)
    );
    if let Some(protocol) = protocol {
        // Writing to a string cannot fail.
        let _ = write!(response, "Sec-WebSocket-Protocol: {protocol}\r\n");
    }
    response.push_str("\r\n");
    response.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::Doors;

    const GOOD: &str = "GET /ws?room=a&room=b%20c HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    fn status(request: &str) -> u16 {
        match read(request.as_bytes(), 16_384, Doors::default().entrances()) {
            Outcome::Respond(response) => {
                assert!(!response.reason().is_empty(), "{request}");
                response.status().as_u16()
            }
            Outcome::Upgrade(_) => 101,
            Outcome::Partial => 0,
            // Whatever that is answered with.
            Outcome::Request => 200,
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        let Outcome::Upgrade(upgrade) = read(GOOD.as_bytes(), 16_384, Doors::default().entrances())
        else {
            panic!()
        };
        let response = String::from_utf8(upgrade.response).unwrap();
        // Section 1.3.
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!response.contains("Protocol:"));
        assert_eq!(
            upgrade
                .rooms
                .iter()
                .map(RoomName::as_str)
                .collect::<Vec<_>>(),
            ["a", "b c"]
        );
        assert_eq!((upgrade.head, upgrade.protocol), (GOOD.len(), 0));
    }

    #[test]
    fn every_fault_gets_its_status_and_a_body() {
        for (from, to, expected) in [
            ("", "", 101),
            ("GET", "POST", 405),
            ("GET /ws", "GET /nowhere", 200),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("Host: x\r\n", "", 400),
            ("Upgrade: websocket", "Upgrade: h2c", 426),
            (
                "Connection: keep-alive, Upgrade",
                "Connection: keep-alive",
                400,
            ),
            ("Version: 13", "Version: 8", 426),
            ("Sec-WebSocket-Version: 13\r\n", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "!", 400),
            ("Sec-WebSocket-Key", "X", 400),
            ("room=a", "room=", 400),
            ("room=a", "room=%0a", 400),
            ("room=a", "room=%ff", 400),
            ("room=a", "room=a%2", 400),
            ("room=a", "%ff=a", 400),
            ("room=a", "other=%zz", 400),
            ("/ws?room=a", "/plain/r?echo=%ff", 400),
            ("/ws?room=a", "/plain/a%zz?", 400),
            ("/ws?room=a", "/plain/?", 400),
            ("GET /ws", "GET http://x/ws", 101),
            ("GET /ws?room=a", "GET HTTPS://x/plain/r?", 101),
            ("GET /ws?room=a", "GET http://x?", 200),
            ("GET /ws", "GET http://x/nowhere", 200),
            ("GET /ws", "GET wss://x/ws", 101),
            ("GET /ws", "GET http:///ws", 400),
            ("GET /ws", "GET http://:80/ws", 400),
            ("GET /ws", "GET http://u@/ws", 400),
            ("GET /ws", "GET ws://u@[::1]:80/ws", 101),
            ("/ws?room=a", "/plain/r?echo=true&echo=false", 400),
            ("/ws?room=a", "/plain/r?echo=false&echo=0", 101),
            ("Host: x", "Host : x", 400),
            ("Host: x", "Host: x\r\n folded", 400),
            (
                "\r\n\r\n",
                "\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
                400,
            ),
            ("\r\n\r\n", "\r\nSec-WebSocket-Version: 8\r\n\r\n", 400),
            ("\r\n\r\n", "\r\nHost: y\r\n\r\n", 400),
            ("/ws?room=a", "/plain/%ff?", 400),
            ("/ws?room=a", "/plain/r?echo=maybe", 400),
            ("/ws?room=a", "/plain/r?echo=false", 101),
            ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: chat\r\n\r\n", 400),
            (
                "\r\n\r\n",
                "\r\nSec-WebSocket-Protocol: chat, fanfare.v1.msgpack\r\n\r\n",
                101,
            ),
            ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 400),
            ("GET /ws", "\u{1}", 400),
            ("\r\n\r\n", "\r\n", 0),
        ] {
            assert_eq!(
                status(&GOOD.replacen(from, to, 1)),
                expected,
                "{from:?} -> {to:?}"
            );
        }
    }

    #[test]
    fn a_head_over_the_limit_gets_431() {
        let long = GOOD.replacen("Host: x", &format!("Host: {}", "x".repeat(20_000)), 1);
        assert_eq!(status(&long), 431);
        assert_eq!(status(&long[..16_384]), 431);
        assert_eq!(status(&long[..16_383]), 0);
        let many = GOOD.replacen("Host: x\r\n", &"A: b\r\n".repeat(600), 1);
        assert_eq!(status(&many), 431);
        let many = GOOD.replacen(
            "Host: x\r\n",
            &("Host: x\r\n".to_owned() + &"A: b\r\n".repeat(200)),
            1,
        );
        assert_eq!(status(&many), 101);
    }
}
