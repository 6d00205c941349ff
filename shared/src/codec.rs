//! The wire formats: commands in, events out.
//!
//! Decoding borrows from the received bytes; `data` is checked to be one well-formed value and
//! otherwise left alone. Encoding yields a complete frame, header included, so that a publication
//! is encoded once per node and format and every socket writes the same bytes.

mod decode;
mod error;
mod json;
mod msgpack;
mod plain;
mod transcode;
mod write;

use bytes::Bytes;

pub use self::error::DecodeError;
pub use self::json::decode as decode_json;
pub use self::msgpack::decode as decode_msgpack;
pub(crate) use self::msgpack::value_len;
pub(crate) use self::write::Writer;
pub use self::write::payload_as_json;
use self::write::{JsonWriter, MsgPackWriter};
use crate::frame::{FrameBuilder, Opcode};
use crate::{Event, Publication, Request};

/// How a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Format {
    /// `fanfare.v1.json`: text frames.
    Json,
    /// `fanfare.v1.msgpack`: binary frames, the same maps with string keys.
    MsgPack,
    /// A plain room: payloads as they are, nothing around them.
    Plain,
}

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = 3;

    /// The subprotocols in the order of preference, and what each speaks.
    pub const SUBPROTOCOLS: [(&'static str, Self); 2] = [
        ("fanfare.v1.json", Self::Json),
        ("fanfare.v1.msgpack", Self::MsgPack),
    ];
}

/// Reads one command, in whichever format. `Format::Plain` has none: its messages are publications
/// themselves.
///
/// Who knows a message to be text reads it by [`decode_json`], which does not check it again.
pub fn decode(format: Format, message: &[u8]) -> Result<Request<'_>, DecodeError> {
    match format {
        Format::MsgPack => decode_msgpack(message),
        Format::Json | Format::Plain => json::decode_bytes(message),
    }
}

/// Encodes an event into a frame; `None` where a plain room has no word for it.
#[must_use]
pub fn encode(format: Format, event: &Event<'_>) -> Option<Bytes> {
    match format {
        Format::Json => {
            let mut frame = FrameBuilder::new(event.size_hint());
            event.write(&mut JsonWriter::new(frame.payload()));
            Some(frame.finish(Opcode::Text))
        }
        Format::MsgPack => {
            let mut frame = FrameBuilder::new(event.size_hint());
            event.write(&mut MsgPackWriter::new(frame.payload()));
            Some(frame.finish(Opcode::Binary))
        }
        Format::Plain => match event {
            Event::Message { publication, .. } => Some(plain::encode(&publication.data)),
            _ => None,
        },
    }
}

/// Encodes a publication into the frame that every member speaking `format` gets. `new_epoch`
/// says whether it is the first that they see of its epoch.
#[must_use]
pub fn encode_publication(format: Format, publication: &Publication, new_epoch: bool) -> Bytes {
    match format {
        Format::Plain => plain::encode(&publication.data),
        // Only plain rooms have events without a frame.
        framed => {
            let event = Event::Message {
                publication,
                new_epoch,
            };
            encode(framed, &event).unwrap_or_default()
        }
    }
}
