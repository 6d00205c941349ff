//! Payloads as the members of a plain room get them: the data and nothing around it.

use bytes::Bytes;

use super::transcode::msgpack_to_json;
use crate::frame::{Opcode, frame};
use crate::{Data, Encoding};

/// A text or binary message keeps its opcode; of what others publish, a JSON string comes
/// unquoted and any other value as its JSON text.
pub(super) fn encode(data: &Data) -> Bytes {
    match data.encoding {
        Encoding::Text => frame(Opcode::Text, &data.bytes),
        Encoding::Binary => frame(Opcode::Binary, &data.bytes),
        Encoding::Json => json_text(&data.bytes),
        Encoding::MsgPack => match msgpack_to_json(&data.bytes) {
            Some(json) => json_text(&json),
            None => frame(Opcode::Binary, &data.bytes),
        },
    }
}

fn json_text(json: &[u8]) -> Bytes {
    if json.first() == Some(&b'"')
        && let Ok(text) = serde_json::from_slice::<String>(json)
    {
        return frame(Opcode::Text, text.as_bytes());
    }
    frame(Opcode::Text, json)
}
