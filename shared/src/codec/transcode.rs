//! Payloads from one format into another, for rooms whose members speak different ones.
//!
//! Total: what the other format cannot say (a map keyed by maps, nesting beyond
//! [`MAX_DEPTH`]) arrives as text or bytes, and the caller marks it so.

use serde_transcode::transcode;

/// The deepest nesting that is converted, the same in both directions.
const MAX_DEPTH: usize = 128;

/// Converts a JSON value; `None` where MessagePack cannot hold it.
pub(super) fn json_to_msgpack(json: &[u8]) -> Option<Vec<u8>> {
    // serde_json itself stops at a depth of 128.
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut msgpack = Vec::with_capacity(json.len());
    transcode(&mut reader, &mut rmp_serde::Serializer::new(&mut msgpack)).ok()?;
    Some(msgpack)
}

/// Converts a MessagePack value; `None` where JSON cannot hold it.
///
/// Integer keys become strings, NaN and the infinities null, a nested `bin` an array of numbers.
pub(super) fn msgpack_to_json(msgpack: &[u8]) -> Option<Vec<u8>> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(msgpack);
    reader.set_max_depth(MAX_DEPTH);
    let mut json = Vec::with_capacity(msgpack.len() * 2);
    transcode(&mut reader, &mut serde_json::Serializer::new(&mut json)).ok()?;
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_becomes_the_nearest_there_is() {
        // Halfway between two floats, and next to the smallest normal one: what a fast parser
        // gets wrong in the last bit.
        for text in ["9007199254740993.0", "2.2250738585072011e-308"] {
            let float: f64 = text.parse().unwrap();
            let msgpack = json_to_msgpack(text.as_bytes()).unwrap();
            assert_eq!(msgpack[1..], float.to_be_bytes(), "{text}");
        }
    }
}
