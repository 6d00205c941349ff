//! Envelopes: a publication between nodes, both ways, and what a node skips.

use bytes::Bytes;
use fanfare_shared::envelope::{Draft, EnvelopeError, decode, encode};
use fanfare_shared::{ClientId, Data, Encoding, RoomName};
use serde::Deserialize;

use crate::file::{Hex, load};

#[derive(Deserialize)]
struct Vector {
    name: String,
    envelope: Hex,
    publication: Stated,
}

#[derive(Deserialize)]
struct Stated {
    time: u64,
    client: Option<String>,
    user: Option<String>,
    event: Option<String>,
    echo: bool,
    encoding: String,
    data: Hex,
}

#[derive(Deserialize)]
struct Skipped {
    name: String,
    envelope: Hex,
    error: String,
}

fn room() -> RoomName {
    RoomName::new("lobby").unwrap()
}

fn encoding(name: &str) -> Encoding {
    let all = (0..).map_while(Encoding::from_u8);
    let mut named = all.filter(|encoding| format!("{encoding:?}").to_lowercase() == name);
    named.next().unwrap()
}

#[test]
fn every_vector_is_what_is_written_and_read() {
    for Vector {
        name,
        envelope,
        publication,
    } in load("envelope.json")
    {
        let client: Option<ClientId> = publication.client.map(|client| client.parse().unwrap());
        let draft = Draft {
            time: publication.time,
            from: client.map(|client| (client, publication.user.as_deref())),
            event: publication.event.as_deref(),
            echo: publication.echo,
            data: Data {
                encoding: encoding(&publication.encoding),
                bytes: &publication.data.0,
            },
        };
        assert_eq!(Hex(encode(&draft)), envelope, "{name}");

        let read = decode(room(), None, &Bytes::from(envelope.0)).unwrap();
        assert_eq!(read.room, room(), "{name}");
        assert_eq!(read.time, draft.time, "{name}");
        let from = read.from.as_ref();
        let from = from.map(|from| (from.client, from.user.as_deref()));
        assert_eq!(from, draft.from, "{name}");
        assert_eq!(read.event.as_deref(), draft.event, "{name}");
        assert_eq!(read.echo, draft.echo, "{name}");
        assert_eq!(read.data.encoding, draft.data.encoding, "{name}");
        assert_eq!(read.data.bytes, draft.data.bytes, "{name}");
    }
}

#[test]
fn every_encoding_has_a_vector() {
    let vectors: Vec<Vector> = load("envelope.json");
    for encoding in (0..).map_while(Encoding::from_u8) {
        let name = format!("{encoding:?}").to_lowercase();
        let found = vectors
            .iter()
            .any(|vector| vector.publication.encoding == name);
        assert!(found, "{name}");
    }
}

#[test]
fn what_is_no_envelope_is_skipped_for_the_reason_stated() {
    for Skipped {
        name,
        envelope,
        error,
    } in load("envelope_skipped.json")
    {
        let reason = match decode(room(), None, &Bytes::from(envelope.0)).expect_err(&name) {
            EnvelopeError::Newer(_) => "newer",
            EnvelopeError::Malformed(_) => "malformed",
            EnvelopeError::Encoding(_) => "encoding",
            EnvelopeError::Trailing(_) => "trailing",
        };
        assert_eq!(reason, error, "{name}");
    }
}
