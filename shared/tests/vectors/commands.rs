//! Commands: every vector decodes to the command stated here, in both formats.

use fanfare_shared::codec::{Format, decode};
use fanfare_shared::{ClientId, Command, Data, Encoding, Epoch, Position, Request};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::file::{Hex, files, load, names_in};

files!(file_of: Command<'_> {
    Join => "join",
    Leave => "leave",
    Publish => "publish",
    History => "history",
    Presence => "presence",
    Send => "send",
    Auth => "auth",
    Ping => "ping",
});

/// One command. What cannot be said in a format (bytes in JSON) has no vector in it.
#[derive(Deserialize)]
struct Vector {
    name: String,
    json: Option<Box<RawValue>>,
    msgpack: Option<Hex>,
}

/// A message that is no command, as text where it can be sent as JSON.
#[derive(Deserialize)]
struct Refused {
    name: String,
    text: Option<String>,
    msgpack: Option<Hex>,
    code: String,
    id: Option<u64>,
    /// The field that the error names.
    field: Option<String>,
}

/// What each vector says, by its name.
fn stated(format: Format) -> Vec<(&'static str, Request<'static>)> {
    let since = Some(Position {
        epoch: Epoch::parse("9f3b27c4d1a8e650"),
        offset: 41,
    });
    let foreign = Some(Position {
        epoch: Epoch::UNKNOWN,
        offset: 41,
    });
    let data = |json: &'static str, msgpack: &'static [u8]| match format {
        Format::MsgPack => Data {
            encoding: Encoding::MsgPack,
            bytes: msgpack,
        },
        _ => Data {
            encoding: Encoding::Json,
            bytes: json.as_bytes(),
        },
    };
    let auth = || Command::Auth {
        token: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1MSJ9.c2ln".into(),
    };
    let bytes = Data {
        encoding: Encoding::Binary,
        bytes: &b"\x00\xff\x10"[..],
    };
    let hi = data(r#"{"text":"hi"}"#, b"\x81\xa4text\xa2hi");
    let publish = |data| Command::Publish {
        room: "lobby".into(),
        event: None,
        key: None,
        echo: true,
        data,
    };
    let join = |since, history| Command::Join {
        room: "lobby".into(),
        since,
        history,
    };
    let history = |since, limit| Command::History {
        room: "lobby".into(),
        since,
        limit,
    };
    let presence = |limit, after| Command::Presence {
        room: "lobby".into(),
        limit,
        after,
    };
    let send = |event: Option<&'static str>| Command::Send {
        user: "u2".into(),
        event: event.map(Into::into),
        data: hi,
    };
    let after = Some(ClientId(0x5be1_f0a3_7c92_d448));
    let leave = Command::Leave {
        room: "lobby".into(),
    };
    let quiet_join = Command::Join {
        room: "чат:1 🎺".into(),
        since: None,
        history: None,
    };
    let full_publish = Command::Publish {
        room: "lobby".into(),
        event: Some("chat".into()),
        key: Some("k1".into()),
        echo: false,
        data: hi,
    };
    let cursor = Command::Publish {
        room: "lobby".into(),
        event: Some("cursor".into()),
        key: None,
        echo: true,
        data: data("[3,-4.5]", b"\x92\x03\xcb\xc0\x12\0\0\0\0\0\0"),
    };
    let commands = vec![
        ("join", Some(1), join(None, None)),
        ("join_since", Some(2), join(since, None)),
        ("join_newest", Some(3), join(None, Some(10))),
        ("join_quietly", None, quiet_join),
        ("join_with_a_foreign_epoch", Some(4), join(foreign, None)),
        ("join_with_unknown_fields", Some(5), join(None, None)),
        ("join_with_nulls", Some(6), join(None, None)),
        ("leave", Some(7), leave),
        ("publish", Some(8), publish(hi)),
        ("publish_with_everything", Some(9), full_publish),
        ("publish_null", Some(10), publish(data("null", b"\xc0"))),
        ("publish_quietly", None, cursor),
        (
            "publish_text",
            Some(11),
            publish(data(r#""hi""#, b"\xa2hi")),
        ),
        ("publish_bytes", Some(12), publish(bytes)),
        ("history", Some(13), history(None, None)),
        ("history_after", Some(14), history(since, Some(50))),
        ("presence", Some(16), presence(None, None)),
        ("presence_page", Some(17), presence(Some(100), after)),
        ("presence_count", Some(18), presence(Some(0), None)),
        ("send", Some(21), send(None)),
        ("send_with_an_event", Some(22), send(Some("note"))),
        ("send_quietly", None, send(None)),
        ("auth", Some(20), auth()),
        ("auth_quietly", None, auth()),
        ("ping", Some(15), Command::Ping),
        ("ping_quietly", None, Command::Ping),
    ];
    let requests = commands.into_iter();
    requests
        .map(|(name, id, command)| (name, Request { id, command }))
        .collect()
}

fn vectors() -> Vec<(&'static str, Vector)> {
    let all = FILES.iter().flat_map(|file| {
        let vectors: Vec<Vector> = load(&format!("commands/{file}.json"));
        vectors.into_iter().map(move |vector| (*file, vector))
    });
    all.collect()
}

/// Every vector in JSON.
pub(crate) fn texts() -> Vec<String> {
    let texts = vectors().into_iter().filter_map(|(_, vector)| vector.json);
    texts.map(|json| json.get().to_owned()).collect()
}

#[test]
fn every_command_has_its_file_and_every_vector_its_command() {
    assert_eq!(
        names_in("commands"),
        FILES.iter().map(ToString::to_string).collect()
    );
    let vectors = vectors();
    let stated = stated(Format::Json);
    let names: Vec<_> = vectors.iter().map(|(_, vector)| &vector.name).collect();
    let stated_names: Vec<_> = stated.iter().map(|(name, _)| name).collect();
    assert_eq!(names, stated_names);
    for ((file, vector), (_, request)) in vectors.iter().zip(&stated) {
        assert_eq!(*file, file_of(&request.command), "{}", vector.name);
    }
}

#[test]
fn every_vector_decodes_to_the_command_stated() {
    for (format, is_json) in [(Format::Json, true), (Format::MsgPack, false)] {
        for ((_, vector), (name, request)) in vectors().iter().zip(stated(format)) {
            let message = match (&vector.json, &vector.msgpack) {
                (Some(json), _) if is_json => json.get().as_bytes(),
                (_, Some(msgpack)) if !is_json => &msgpack.0,
                _ => continue,
            };
            assert_eq!(decode(format, message), Ok(request), "{name} in {format:?}");
        }
    }
}

#[test]
fn what_is_no_command_is_refused_with_the_code_stated() {
    for refused in load::<Refused>("refused.json") {
        let Refused { name, .. } = &refused;
        let text = refused.text.as_deref().map(str::as_bytes);
        let msgpack = refused.msgpack.as_ref().map(|hex| &*hex.0);
        for (format, message) in [(Format::Json, text), (Format::MsgPack, msgpack)] {
            let Some(message) = message else { continue };
            let error = decode(format, message).expect_err(name);
            assert_eq!(error.code.as_str(), refused.code, "{name} in {format:?}");
            assert_eq!(error.id, refused.id, "{name} in {format:?}");
            if let Some(field) = &refused.field {
                assert!(
                    error.message.starts_with(field),
                    "{name} in {format:?}: {}",
                    error.message
                );
            }
        }
    }
}
