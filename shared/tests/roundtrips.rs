//! Properties: whatever a client may say is understood in both formats alike, and whatever the
//! server says means the same in both.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use bytes::Bytes;
use fanfare_shared::codec::{Format, decode, encode_publication};
use fanfare_shared::envelope::{self, Draft};
use fanfare_shared::frame::parse_header;
use fanfare_shared::{
    ClientId, Command, Data, Encoding, Epoch, Position, Publication, Publisher, Request, RoomName,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Any JSON value that both formats can hold.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        // JSON has no NaN and no infinities: these become null here.
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..6)
                .prop_map(|fields| Value::from(Map::from_iter(fields))),
        ]
    })
}

fn label() -> impl Strategy<Value = Option<String>> {
    option::of("[^\\x00]{1,60}")
}

fn room() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{1,60}"
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<u64>()).prop_map(|(bits, offset)| Position {
        epoch: Epoch::from_bits(bits),
        offset,
    })
}

fn since(position: Option<Position>) -> Value {
    position.map_or(
        Value::Null,
        |at| json!({"epoch": at.epoch.to_string(), "offset": at.offset}),
    )
}

/// A command as a client would write it, and as it has to be read. Where the client leaves a field
/// out, it writes null.
fn command() -> impl Strategy<Value = (Value, Command<'static>)> {
    let join = (room(), option::of(position()), option::of(any::<u64>())).prop_map(
        |(room, position, history)| {
            let history = history.filter(|_| position.is_none());
            let said = json!({
                "type": "join", "room": room, "since": since(position), "history": history,
            });
            let room = room.into();
            (
                said,
                Command::Join {
                    room,
                    since: position,
                    history,
                },
            )
        },
    );
    let leave = room().prop_map(|room| {
        let said = json!({"type": "leave", "room": room});
        (said, Command::Leave { room: room.into() })
    });
    let history = (room(), option::of(position()), option::of(any::<u64>())).prop_map(
        |(room, position, limit)| {
            let said = json!({
                "type": "history", "room": room, "since": since(position), "limit": limit,
            });
            let room = room.into();
            (
                said,
                Command::History {
                    room,
                    since: position,
                    limit,
                },
            )
        },
    );
    let ping = Just((json!({"type": "ping"}), Command::Ping));
    prop_oneof![join, leave, history, ping]
}

/// The same message in both formats.
fn in_both(message: &Value) -> [(Format, Vec<u8>); 2] {
    [
        (Format::Json, serde_json::to_vec(message).unwrap()),
        (Format::MsgPack, rmp_serde::to_vec(message).unwrap()),
    ]
}

fn publication(
    room: &str,
    event: Option<String>,
    from: Option<(u64, Option<String>)>,
    position: Option<Position>,
    data: Data,
) -> Publication {
    Publication {
        room: RoomName::new(room).unwrap(),
        position,
        time: 1_767_225_600_123,
        event: event.map(String::into_boxed_str),
        from: from.map(|(client, user)| Publisher {
            client: ClientId(client),
            user: user.map(String::into_boxed_str),
        }),
        echo: true,
        data,
    }
}

fn payload(frame: &Bytes) -> Bytes {
    let header = parse_header(frame).unwrap().unwrap();
    frame.slice(header.size..)
}

proptest! {
    #[test]
    fn a_command_is_the_same_in_both_formats(
        (said, command) in command(),
        id in option::of(1u64..),
    ) {
        let mut said = said;
        said["id"] = id.into();
        for (format, message) in in_both(&said) {
            let request = Request { id, command: command.clone() };
            prop_assert_eq!(decode(format, &message), Ok(request), "{:?} {}", format, said);
        }
    }

    #[test]
    fn a_publish_carries_its_data_untouched(
        room in room(),
        event in label(),
        key in label(),
        echo in option::of(any::<bool>()),
        value in value(),
    ) {
        let said = json!({
            "type": "publish", "room": room, "event": event, "key": key, "echo": echo, "data": value,
        });
        for (format, message) in in_both(&said) {
            let command = decode(format, &message).map(|request| request.command);
            let Ok(Command::Publish { room: r, event: e, key: k, echo: c, data }) = command else {
                return Err(TestCaseError::fail(format!("{command:?}")));
            };
            prop_assert_eq!(&*r, &room);
            prop_assert_eq!(e.as_deref(), event.as_deref());
            prop_assert_eq!(k.as_deref(), key.as_deref());
            prop_assert_eq!(c, echo.unwrap_or(true));
            let (encoding, bytes) = match format {
                Format::MsgPack => (Encoding::MsgPack, rmp_serde::to_vec(&value).unwrap()),
                _ => (Encoding::Json, serde_json::to_vec(&value).unwrap()),
            };
            prop_assert_eq!(data, Data { encoding, bytes: &bytes[..] });
        }
    }

    #[test]
    fn a_message_means_the_same_in_both_formats_however_it_was_published(
        room in room(),
        event in label(),
        from in option::of((any::<u64>(), label())),
        position in option::of(position()),
        new_epoch in any::<bool>(),
        value in value(),
    ) {
        let published = [
            (Encoding::Json, serde_json::to_vec(&value).unwrap()),
            (Encoding::MsgPack, rmp_serde::to_vec(&value).unwrap()),
        ];
        let mut seen = Vec::new();
        for (encoding, bytes) in published {
            let data = Data { encoding, bytes: bytes.into() };
            let publication = publication(&room, event.clone(), from.clone(), position, data);
            let json = payload(&encode_publication(Format::Json, &publication, new_epoch));
            let msgpack = payload(&encode_publication(Format::MsgPack, &publication, new_epoch));
            seen.push(serde_json::from_slice::<Value>(&json).unwrap());
            seen.push(rmp_serde::from_slice::<Value>(&msgpack).unwrap());
        }
        for message in &seen {
            prop_assert_eq!(message, &seen[0]);
            prop_assert_eq!(&message["data"], &value);
            prop_assert_eq!(message["room"].as_str(), Some(&*room));
            prop_assert_eq!(message["event"].as_str(), event.as_deref());
            prop_assert_eq!(message["offset"].as_u64(), position.map(|at| at.offset));
            let epoch = position.filter(|_| new_epoch).map(|at| at.epoch.to_string());
            prop_assert_eq!(message["epoch"].as_str(), epoch.as_deref());
        }
    }

    #[test]
    fn an_envelope_holds_what_was_put_in(
        time in any::<u64>(),
        from in option::of((any::<u64>(), label())),
        event in label(),
        echo in any::<bool>(),
        encoding in (0u8..4).prop_map(|number| Encoding::from_u8(number).unwrap()),
        bytes in vec(any::<u8>(), 0..300),
    ) {
        let draft = Draft {
            time,
            from: from.as_ref().map(|(client, user)| (ClientId(*client), user.as_deref())),
            event: event.as_deref(),
            echo,
            data: Data { encoding, bytes: &bytes },
        };
        let whole = Bytes::from(envelope::encode(&draft));
        let room = RoomName::new("lobby").unwrap();
        let read = envelope::decode(room, None, &whole).unwrap();
        let data = Data { encoding, bytes: Bytes::from(bytes) };
        let expected = Publication {
            time,
            echo,
            ..publication("lobby", event, from, None, data)
        };
        prop_assert_eq!(read, expected);
        // Cut off anywhere, it is skipped, never misread.
        for end in 0..whole.len() {
            let room = RoomName::new("lobby").unwrap();
            prop_assert!(envelope::decode(room, None, &whole.slice(..end)).is_err());
        }
    }
}
