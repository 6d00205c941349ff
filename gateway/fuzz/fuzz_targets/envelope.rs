//! Envelopes from Redis: whatever lies there, a node reads it or skips it. What it reads, it would
//! write again.

#![no_main]

use bytes::Bytes;
use fanfare_shared::codec::{Format, encode_publication};
use fanfare_shared::envelope::{Draft, decode, encode};
use fanfare_shared::{Data, RoomName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let room = RoomName::new("r").expect("a good name");
    let Ok(publication) = decode(room.clone(), None, &Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let from = publication.from.as_ref();
    let draft = Draft {
        time: publication.time,
        from: from.map(|from| (from.client, from.user.as_deref())),
        event: publication.event.as_deref(),
        echo: publication.echo,
        data: Data {
            encoding: publication.data.encoding,
            bytes: &publication.data.bytes,
        },
    };
    let again = decode(room, None, &Bytes::from(encode(&draft))).expect("what was just encoded");
    assert_eq!(again, publication);
    // Nodes trust each other to send data that is what it says; even if it is not, none falls.
    for format in [Format::Json, Format::MsgPack, Format::Plain] {
        let _ = encode_publication(format, &publication, false);
    }
});
