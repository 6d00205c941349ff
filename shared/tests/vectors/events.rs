//! Events: what is stated here encodes to exactly the bytes of its vector, in both formats.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use fanfare_shared::code::ErrorCode;
use fanfare_shared::codec::{Format, encode};
use fanfare_shared::frame::{Opcode, parse_header};
use fanfare_shared::{
    Authentication, ClientId, Data, Encoding, Epoch, Event, Headcount, Identity, LeftReason,
    Member, MemberChange, Position, Publication, Publisher, Roll, RoomName, Welcome,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::file::{Hex, files, load, names_in};

files!(file_of: Event<'_> {
    Welcome => "welcome",
    Joined => "joined",
    Left => "left",
    Published => "published",
    History => "history",
    Presence => "presence",
    Sent => "sent",
    Auth => "auth",
    Pong => "pong",
    Message => "message",
    Member => "member",
    Reset => "reset",
    Error => "error",
});

pub(crate) mod codes {
    use fanfare_shared::code::ErrorCode;

    crate::file::files!(name_of: ErrorCode {
        BadRequest => "bad_request",
        UnknownType => "unknown_type",
        Unauthorized => "unauthorized",
        Forbidden => "forbidden",
        NotJoined => "not_joined",
        TooLarge => "too_large",
        RateLimited => "rate_limited",
        RoomLimit => "room_limit",
        Unavailable => "unavailable",
        Internal => "internal",
    });
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    json: Box<RawValue>,
    msgpack: Hex,
}

const CLIENT: ClientId = ClientId(0x5be1_f0a3_7c92_d448);
const OTHER: ClientId = ClientId(0xe07d_31b6_a4f8_925c);

fn at(offset: u64) -> Option<Position> {
    let epoch = Epoch::parse("9f3b27c4d1a8e650");
    Some(Position { epoch, offset })
}

/// A position after the log was lost.
fn anew(offset: u64) -> Position {
    let epoch = Epoch::parse("4c0d9e1f7b2a6385");
    Position { epoch, offset }
}

fn publication(room: &str, data: &'static str) -> Publication {
    Publication {
        room: RoomName::new(room).unwrap(),
        position: None,
        time: 1_767_225_600_123,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding: Encoding::Json,
            bytes: Bytes::from_static(data.as_bytes()),
        },
    }
}

fn publisher(client: ClientId, user: Option<&str>) -> Option<Publisher> {
    let user = user.map(Box::from);
    Some(Publisher { client, user })
}

/// The publications that the events borrow.
struct Publications {
    chat: Publication,
    bare: Publication,
    of_the_server: Publication,
    without_history: Publication,
    bytes: Publication,
    direct: [Publication; 2],
    missed: [Arc<Publication>; 2],
    rolls: [Roll; 3],
    changes: [MemberChange; 4],
}

fn member(client: ClientId, user: Option<&str>, info: Option<&str>) -> Member {
    let identity = Identity {
        user: user.map(Box::from),
        info: info.map(Box::from),
    };
    Member {
        client,
        identity: Arc::new(identity),
    }
}

impl Publications {
    fn new() -> Self {
        let chat = |data, offset| Publication {
            position: at(offset),
            event: Some("chat".into()),
            from: publisher(CLIENT, Some("u1")),
            ..publication("lobby", data)
        };
        let second = Publication {
            from: publisher(OTHER, None),
            ..chat(r#"{"text":"two"}"#, 43)
        };
        Self {
            chat: chat(r#"{"text":"hi"}"#, 44),
            bare: Publication {
                position: at(45),
                from: publisher(CLIENT, None),
                ..publication("lobby", r#""hi""#)
            },
            of_the_server: Publication {
                position: at(1),
                event: Some("notice".into()),
                ..publication("чат:1 🎺", "null")
            },
            without_history: Publication {
                from: publisher(CLIENT, None),
                ..publication("cursors", "[3,-4.5]")
            },
            bytes: Publication {
                position: at(46),
                from: publisher(CLIENT, None),
                data: Data {
                    encoding: Encoding::Binary,
                    bytes: Bytes::from_static(b"\x00\xff\x10"),
                },
                ..publication("lobby", "")
            },
            direct: [
                Publication {
                    room: RoomName::of_user("u2"),
                    position: None,
                    ..chat(r#"{"text":"hi"}"#, 0)
                },
                Publication {
                    room: RoomName::of_user("u2"),
                    ..publication("lobby", r#""hi""#)
                },
            ],
            missed: [Arc::new(chat(r#"{"text":"one"}"#, 42)), Arc::new(second)],
            rolls: [
                Roll {
                    headcount: Headcount { count: 3, users: 1 },
                    members: vec![
                        member(CLIENT, Some("u1"), Some(r#"{"name":"Ann"}"#)),
                        member(OTHER, None, None),
                    ],
                    next: Some(OTHER),
                },
                Roll {
                    headcount: Headcount { count: 1, users: 0 },
                    members: vec![member(OTHER, None, None)],
                    next: None,
                },
                Roll {
                    headcount: Headcount {
                        count: 1234,
                        users: 900,
                    },
                    ..Roll::default()
                },
            ],
            changes: [
                MemberChange::Join(member(CLIENT, Some("u1"), Some(r#"{"name":"Ann"}"#))),
                MemberChange::Leave(member(CLIENT, Some("u1"), Some(r#"{"name":"Ann"}"#))),
                MemberChange::Join(member(OTHER, None, None)),
                MemberChange::Count {
                    headcount: Headcount {
                        count: 1234,
                        users: 900,
                    },
                    joined: 12,
                    left: 3,
                },
            ],
        }
    }
}

/// What each vector says, by its name.
fn stated(publications: &Publications) -> Vec<(String, Event<'_>)> {
    let welcome = Welcome {
        client: CLIENT,
        user: None,
        node: "node-1",
        heartbeat: 25,
        max_message: 65_536,
        session: None,
    };
    let of_a_user = Welcome {
        user: Some("u1"),
        ..welcome
    };
    let expires = Some(1_767_225_600);
    let with_a_token = Welcome {
        session: Some(Authentication::Token { expires }),
        ..of_a_user
    };
    let of_an_open_node = Welcome {
        session: Some(Authentication::Open),
        ..welcome
    };
    let without_a_token = Welcome {
        session: Some(Authentication::Anonymous),
        ..welcome
    };
    let auth = |user| Event::Auth {
        id: Some(20),
        user,
        expires,
    };
    let sent = |id, delivered| Event::Sent {
        id: Some(id),
        user: "u2",
        delivered,
    };
    let joined = |id, position: Option<Position>, recovered, messages| Event::Joined {
        id,
        room: if position.is_none() {
            "cursors"
        } else {
            "lobby"
        },
        position,
        recovered,
        messages,
    };
    let history = |id, position: Option<Position>, messages| Event::History {
        id: Some(id),
        room: if position.is_none() {
            "cursors"
        } else {
            "lobby"
        },
        position,
        messages,
    };
    let published = |room, position| Event::Published {
        id: Some(8),
        room,
        position,
    };
    let presence = |id, index: usize| Event::Presence {
        id: Some(id),
        room: "lobby",
        roll: &publications.rolls[index],
    };
    let change = |index: usize| Event::Member {
        room: "lobby",
        change: &publications.changes[index],
    };
    let missed = &publications.missed[..];
    let left = Event::Left {
        id: Some(7),
        room: "lobby",
        reason: None,
    };
    let left_forbidden = Event::Left {
        id: None,
        room: "lobby",
        reason: Some(LeftReason::Forbidden),
    };
    let reset = Event::Reset {
        room: "lobby",
        position: anew(7),
    };
    let events = [
        ("welcome", Event::Welcome(welcome)),
        ("welcome_of_a_user", Event::Welcome(of_a_user)),
        ("welcome_of_an_open_node", Event::Welcome(of_an_open_node)),
        ("welcome_with_a_token", Event::Welcome(with_a_token)),
        ("welcome_without_a_token", Event::Welcome(without_a_token)),
        ("joined", joined(Some(1), at(41), None, &[])),
        (
            "joined_recovered",
            joined(Some(2), at(43), Some(true), missed),
        ),
        (
            "joined_not_recovered",
            joined(Some(4), Some(anew(2)), Some(false), &[]),
        ),
        (
            "joined_with_newest",
            joined(Some(3), at(42), None, &missed[..1]),
        ),
        ("joined_without_history", joined(Some(1), None, None, &[])),
        ("joined_by_address", joined(None, at(0), None, &[])),
        ("left", left),
        ("left_forbidden", left_forbidden),
        ("published", published("lobby", at(44))),
        ("published_without_history", published("cursors", None)),
        ("history", history(14, at(43), missed)),
        ("history_of_a_room_without", history(13, None, &[])),
        ("presence", presence(16, 0)),
        ("presence_page", presence(17, 1)),
        ("presence_count", presence(18, 2)),
        ("sent", sent(21, true)),
        ("sent_to_nobody", sent(22, false)),
        ("auth", auth(Some("u1"))),
        ("auth_without_user", auth(None)),
        ("pong", Event::Pong { id: Some(15) }),
        ("message", message(&publications.chat)),
        (
            "message_without_event_and_user",
            message(&publications.bare),
        ),
        (
            "message_of_the_server",
            message(&publications.of_the_server),
        ),
        (
            "message_without_history",
            message(&publications.without_history),
        ),
        (
            "message_of_a_new_epoch",
            Event::Message {
                publication: &publications.chat,
                new_epoch: true,
            },
        ),
        ("message_of_bytes", message(&publications.bytes)),
        ("direct", message(&publications.direct[0])),
        ("direct_of_the_server", message(&publications.direct[1])),
        ("member_join", change(0)),
        ("member_leave", change(1)),
        ("member_without_user", change(2)),
        ("member_count", change(3)),
        ("reset", reset),
    ];
    let mut events: Vec<_> = events
        .into_iter()
        .map(|(name, event)| (name.to_owned(), event))
        .collect();
    for (code, message) in [
        (ErrorCode::BadRequest, "room: missing; `join` needs one"),
        (ErrorCode::UnknownType, "type: `dance` is unknown"),
        (ErrorCode::Unauthorized, "auth: a token is needed"),
        (
            ErrorCode::Forbidden,
            "room: only the server publishes in `news`",
        ),
        (ErrorCode::NotJoined, "room: `lobby` is not joined"),
        (
            ErrorCode::TooLarge,
            "data: 70000 bytes long; at most 65536 are allowed",
        ),
        (ErrorCode::RateLimited, "too many commands; wait a second"),
        (
            ErrorCode::RoomLimit,
            "room: a connection may be in 128 rooms; leave one first",
        ),
        (ErrorCode::Unavailable, "the backend cannot be reached"),
        (
            ErrorCode::Internal,
            "the backend failed; the node's log says why",
        ),
    ] {
        let id = Some(2);
        events.push((
            format!("error_{}", codes::name_of(&code)),
            Event::Error { id, code, message },
        ));
    }
    let error = Event::Error {
        id: None,
        code: ErrorCode::BadRequest,
        message: "not a command: send a JSON object",
    };
    events.push(("error_without_id".into(), error));
    events
}

fn vectors() -> Vec<(&'static str, Vector)> {
    let all = FILES.iter().flat_map(|file| {
        let vectors: Vec<Vector> = load(&format!("events/{file}.json"));
        vectors.into_iter().map(move |vector| (*file, vector))
    });
    all.collect()
}

/// Every vector in JSON.
pub(crate) fn texts() -> Vec<String> {
    let vectors = vectors().into_iter();
    vectors
        .map(|(_, vector)| vector.json.get().to_owned())
        .collect()
}

/// Every error code, and whether its error says `retry`.
pub(crate) fn retries() -> Vec<(&'static str, bool)> {
    let publications = Publications::new();
    let codes = stated(&publications).into_iter();
    codes
        .filter_map(|(_, event)| match event {
            Event::Error {
                id: Some(_), code, ..
            } => Some((code.as_str(), code.retry())),
            _ => None,
        })
        .collect()
}

#[test]
fn every_event_has_its_file_and_every_vector_its_event() {
    assert_eq!(
        names_in("events"),
        FILES.iter().map(ToString::to_string).collect()
    );
    let (vectors, publications) = (vectors(), Publications::new());
    let stated = stated(&publications);
    let names: Vec<_> = vectors.iter().map(|(_, vector)| &vector.name).collect();
    let stated_names: Vec<_> = stated.iter().map(|(name, _)| name).collect();
    assert_eq!(names, stated_names);
    for ((file, vector), (_, event)) in vectors.iter().zip(&stated) {
        assert_eq!(*file, file_of(event), "{}", vector.name);
    }
}

#[test]
fn every_error_code_has_a_vector() {
    let publications = Publications::new();
    let stated = stated(&publications);
    let codes = stated.iter().filter_map(|(_, event)| match event {
        Event::Error { code, .. } => Some(code.as_str()),
        _ => None,
    });
    assert_eq!(
        codes.collect::<BTreeSet<_>>(),
        codes::FILES.iter().copied().collect()
    );
}

#[test]
fn every_event_encodes_to_exactly_its_vector() {
    let publications = Publications::new();
    for ((_, vector), (name, event)) in vectors().iter().zip(stated(&publications)) {
        let (opcode, payload) = unframe(&encode(Format::Json, &event).unwrap());
        assert_eq!(
            (opcode, String::from_utf8(payload).unwrap().as_str()),
            (Opcode::Text, vector.json.get()),
            "{name}"
        );
        let (opcode, payload) = unframe(&encode(Format::MsgPack, &event).unwrap());
        assert_eq!(
            (opcode, Hex(payload)),
            (Opcode::Binary, vector.msgpack.clone()),
            "{name}"
        );
        let said_in_plain = encode(Format::Plain, &event).is_some();
        assert_eq!(
            said_in_plain,
            matches!(event, Event::Message { .. }),
            "{name}"
        );
    }
}

/// Takes a frame apart, and checks that it is whole and unmasked.
pub(crate) fn unframe(frame: &[u8]) -> (Opcode, Vec<u8>) {
    let header = parse_header(frame).unwrap().unwrap();
    assert!(header.fin && header.mask.is_none());
    let payload = frame[header.size..].to_vec();
    assert_eq!(payload.len() as u64, header.len);
    (header.opcode, payload)
}

fn message(publication: &Publication) -> Event<'_> {
    Event::Message {
        publication,
        new_epoch: false,
    }
}
