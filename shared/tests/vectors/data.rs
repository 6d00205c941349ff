//! Payloads: what was published in one format, as the members of each other get it.

use bytes::Bytes;
use fanfare_shared::codec::{Format, encode_publication};
use fanfare_shared::frame::Opcode;
use fanfare_shared::{Data, Encoding, Publication, RoomName};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::events::unframe;
use crate::file::{Hex, load};

#[derive(Deserialize)]
struct Vector {
    name: String,
    from: Payload,
    to: Everywhere,
}

/// A payload in one encoding.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Payload {
    Json(Box<RawValue>),
    MsgPack(Hex),
    Text(String),
    Binary(Hex),
}

#[derive(Deserialize)]
struct Everywhere {
    /// The field `data` in JSON.
    json: Box<RawValue>,
    /// Whether `"binary":true` stands beside it.
    #[serde(default)]
    binary: bool,
    /// The field `data` in MessagePack.
    msgpack: Hex,
    /// The whole message in a plain room.
    plain: Payload,
}

fn publication(payload: &Payload) -> Publication {
    let (encoding, bytes) = match payload {
        Payload::Json(json) => (Encoding::Json, json.get().as_bytes()),
        Payload::MsgPack(msgpack) => (Encoding::MsgPack, &*msgpack.0),
        Payload::Text(text) => (Encoding::Text, text.as_bytes()),
        Payload::Binary(bytes) => (Encoding::Binary, &*bytes.0),
    };
    Publication {
        room: RoomName::new("r").unwrap(),
        position: None,
        time: 0,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding,
            bytes: Bytes::copy_from_slice(bytes),
        },
    }
}

#[test]
fn every_payload_arrives_in_every_format_as_stated() {
    for Vector { name, from, to } in load("data.json") {
        let publication = publication(&from);
        let payload = |format| unframe(&encode_publication(format, &publication, false));

        let binary = if to.binary { r#","binary":true"# } else { "" };
        let data = to.json.get();
        let json = format!(r#"{{"type":"message","room":"r","data":{data}{binary},"time":0}}"#);
        let (_, payload_in_json) = payload(Format::Json);
        assert_eq!(String::from_utf8(payload_in_json).unwrap(), json, "{name}");

        let msgpack = [
            &b"\x84\xa4type\xa7message\xa4room\xa1r\xa4data"[..],
            &to.msgpack.0,
            b"\xa4time\x00",
        ];
        let (_, payload_in_msgpack) = payload(Format::MsgPack);
        assert_eq!(Hex(payload_in_msgpack), Hex(msgpack.concat()), "{name}");

        let plain = match &to.plain {
            Payload::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
            Payload::Binary(bytes) => (Opcode::Binary, bytes.0.clone()),
            Payload::Json(_) | Payload::MsgPack(_) => panic!("{name}: plain is text or binary"),
        };
        assert_eq!(payload(Format::Plain), plain, "{name}");
    }
}
