//! What the targets share: a request's way from a client to the members of every format, without
//! the sockets between, checked at each step.

pub mod api;

use bytes::Bytes;
use fanfare_shared::code::ErrorCode;
use fanfare_shared::codec::{Format, decode, encode_publication};
use fanfare_shared::envelope::{self, Draft};
use fanfare_shared::frame::{Opcode, parse_header};
use fanfare_shared::{ClientId, Command, Data, Encoding, Publication, Request, RoomName};

/// Checks what holds of every command that was decoded, and takes a publish to its members.
pub fn check(request: &Request<'_>) {
    assert_ne!(request.id, Some(0), "an id of zero is no id");
    let Command::Publish {
        room,
        event,
        key,
        echo,
        data,
    } = &request.command
    else {
        return;
    };
    for label in [event, key].into_iter().flatten() {
        assert!((1..=255).contains(&label.len()));
    }
    let Ok(room) = RoomName::new(room) else {
        return;
    };
    let draft = Draft {
        time: 1,
        from: Some((ClientId(7), None)),
        event: event.as_deref(),
        echo: *echo,
        data: *data,
    };
    let whole = Bytes::from(envelope::encode(&draft));
    let publication = envelope::decode(room, None, &whole).expect("what was just encoded");
    assert_eq!(publication.event.as_deref(), draft.event);
    assert_eq!(publication.echo, draft.echo);
    assert_eq!(publication.data.encoding, data.encoding);
    assert_eq!(publication.data.bytes, data.bytes);
    deliver(&publication);
}

/// Encodes a publication for members of every format, and checks that each can be read. Its data
/// must be what its encoding says.
pub fn deliver(publication: &Publication) {
    let (opcode, json) = unframe(&encode_publication(Format::Json, publication, false));
    assert_eq!(opcode, Opcode::Text);
    assert!(std::str::from_utf8(&json).is_ok(), "text that is not UTF-8");
    assert_is_an_event(Format::Json, &json);

    let (opcode, msgpack) = unframe(&encode_publication(Format::MsgPack, publication, false));
    assert_eq!(opcode, Opcode::Binary);
    assert_is_an_event(Format::MsgPack, &msgpack);

    let (opcode, plain) = unframe(&encode_publication(Format::Plain, publication, false));
    let is_text = opcode == Opcode::Text;
    assert!(!is_text || std::str::from_utf8(&plain).is_ok());

    if publication.data.encoding == Encoding::Json {
        check_there_and_back(&publication.data.bytes);
    }
}

/// The server reads its own event as far as to say that `message` is no command: so it is one whole
/// value, well-formed to the last byte.
fn assert_is_an_event(format: Format, payload: &[u8]) {
    let error = decode(format, payload).expect_err("an event is no command");
    assert_eq!(error.code, ErrorCode::UnknownType, "{}", error.message);
}

/// JSON that MessagePack can hold comes back from it with the same meaning.
fn check_there_and_back(json: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(json) else {
        return;
    };
    let there = data_of(Format::MsgPack, Encoding::Json, json);
    let back = data_of(Format::Json, Encoding::MsgPack, &there);
    let read: serde_json::Value = serde_json::from_slice(&back).expect("JSON");
    assert_eq!(read, value);
}

/// The field `data` as members of `format` get it.
fn data_of(format: Format, encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    let publication = Publication {
        room: RoomName::new("r").expect("a good name"),
        position: None,
        time: 0,
        event: None,
        from: None,
        echo: true,
        data: Data {
            encoding,
            bytes: Bytes::copy_from_slice(bytes),
        },
    };
    let (before, after): (&[u8], &[u8]) = match format {
        Format::MsgPack => (
            b"\x84\xa4type\xa7message\xa4room\xa1r\xa4data",
            b"\xa4time\x00",
        ),
        _ => (br#"{"type":"message","room":"r","data":"#, br#","time":0}"#),
    };
    let (_, payload) = unframe(&encode_publication(format, &publication, false));
    let data = payload
        .strip_prefix(before)
        .expect("the known fields before");
    data.strip_suffix(after)
        .expect("the known fields behind")
        .to_vec()
}

/// Takes a server's frame apart.
fn unframe(frame: &[u8]) -> (Opcode, Vec<u8>) {
    let header = parse_header(frame)
        .expect("a header that is allowed")
        .expect("a whole header");
    assert!(header.fin && header.mask.is_none());
    let payload = frame[header.size..].to_vec();
    assert_eq!(payload.len() as u64, header.len);
    (header.opcode, payload)
}
