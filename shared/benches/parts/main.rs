//! What each step of a message's way costs that knows no runtime: reading a frame's header and a
//! command, the envelope between nodes, a publication's frame in each format.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a program for developers"
)]

mod runner;

use std::hint::black_box;

use bytes::Bytes;
use fanfare_shared::codec::{self, Format};
use fanfare_shared::envelope::{self, Draft};
use fanfare_shared::frame::{Opcode, frame, parse_header};
use fanfare_shared::{ClientId, Data, Encoding, Epoch, Position, Publication, Publisher, RoomName};

use self::runner::{part, run};

/// A payload as the load generator has it: 128 bytes, in JSON.
const DATA: &[u8] = br#""0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef""#;

fn publication() -> Publication {
    Publication {
        room: RoomName::new("load-0000-000001").expect("a room's name"),
        position: Some(Position {
            epoch: Epoch::from_bits(0x0123_4567_89ab_cdef),
            offset: 1000,
        }),
        time: 1_767_225_600_123,
        event: None,
        from: Some(Publisher {
            client: ClientId::new(1, 1),
            user: None,
        }),
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: Bytes::from_static(DATA),
        },
    }
}

fn draft() -> Draft<'static> {
    Draft {
        time: 1_767_225_600_123,
        from: Some((ClientId::new(1, 1), None)),
        event: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: DATA,
        },
    }
}

/// A publish command in MessagePack.
fn publish_msgpack() -> Vec<u8> {
    let mut map = vec![0x83];
    for text in ["type", "publish", "room", "load-0000-000001", "data"] {
        map.push(0xa0 | u8::try_from(text.len()).expect("short"));
        map.extend(text.as_bytes());
    }
    let data = &DATA[1..DATA.len() - 1];
    map.extend([0xd9, u8::try_from(data.len()).expect("below 256")]);
    map.extend(data);
    map
}

fn main() {
    let small = frame(Opcode::Text, &[b'x'; 32]);
    let large = frame(Opcode::Text, &[b'x'; 70_000]);
    let data = str::from_utf8(DATA).expect("JSON");
    let json = format!(r#"{{"type":"publish","room":"load-0000-000001","data":{data}}}"#);
    let msgpack = publish_msgpack();
    let written = Bytes::from(envelope::encode(&draft()));
    let room = RoomName::new("load-0000-000001").expect("a room's name");
    let encode = |format| {
        let publication = publication();
        move || {
            let publication = black_box(&publication);
            drop(black_box(codec::encode_publication(
                format,
                publication,
                false,
            )));
        }
    };
    run(vec![
        part("frame: scan a short header", move || {
            let _ = black_box(parse_header(black_box(&small)));
        }),
        part("frame: scan a long header", move || {
            let _ = black_box(parse_header(black_box(&large)));
        }),
        part("decode: publish, JSON", move || {
            let _ = black_box(codec::decode_json(black_box(&json)));
        }),
        part("decode: publish, MessagePack", move || {
            let _ = black_box(codec::decode_msgpack(black_box(&msgpack)));
        }),
        part("envelope: encode", || {
            drop(black_box(envelope::encode(black_box(&draft()))));
        }),
        part("envelope: decode", move || {
            let _ = black_box(envelope::decode(room.clone(), None, black_box(&written)));
        }),
        part("encode: publication, JSON", encode(Format::Json)),
        part("encode: publication, MessagePack", encode(Format::MsgPack)),
        part("encode: publication, plain", encode(Format::Plain)),
    ]);
}
