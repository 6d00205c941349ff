//! Writing the maps of `fanfare.v1`: each event says its fields once, and the writer says how
//! they look in its format.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::json::verbatim_len;
use super::transcode::{json_to_msgpack, msgpack_to_json};
use crate::hex::Hex;
use crate::{Data, Encoding};

/// Appends maps to a buffer. A map has at most 15 fields.
pub(crate) trait Writer: Sized {
    /// Writes a map whose fields are what `fields` writes.
    fn map(&mut self, fields: impl FnOnce(&mut Self));
    /// Writes a field that is a map.
    fn object(&mut self, key: &'static str, fields: impl FnOnce(&mut Self));
    /// Writes a field that is a list of maps, one for each of `items`.
    fn list<T>(
        &mut self,
        key: &'static str,
        items: impl ExactSizeIterator<Item = T>,
        item: impl Fn(&mut Self, T),
    );
    /// Writes a text field whose value needs no escape in any format.
    fn word(&mut self, key: &'static str, value: &'static str) {
        self.str(key, value);
    }
    /// Writes a text field.
    fn str(&mut self, key: &'static str, value: &str);
    /// Writes a text field of hexadecimal digits.
    fn hex(&mut self, key: &'static str, digits: Hex);
    /// Writes a number field.
    fn u64(&mut self, key: &'static str, value: u64);
    /// Writes a truth field.
    fn bool(&mut self, key: &'static str, value: bool);
    /// Writes a field whose value is JSON, given as text.
    fn json(&mut self, key: &'static str, json: &str);
    /// Writes the field `data`, and `binary` where it is needed to tell bytes from text.
    fn data(&mut self, data: &Data);

    /// Writes a number field where there is a value.
    fn opt_u64(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.u64(key, value);
        }
    }

    /// Writes a text field where there is a value.
    fn opt_str(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.str(key, value);
        }
    }
}

/// What a payload is in a JSON event, and whether that is base64 of bytes.
#[must_use]
pub fn payload_as_json(data: Data<&[u8]>) -> (String, bool) {
    let base64 = || (format!("\"{}\"", BASE64.encode(data.bytes)), true);
    let text = |json: &[u8]| (String::from_utf8_lossy(json).into_owned(), false);
    match data.encoding {
        Encoding::Json => text(data.bytes),
        Encoding::Binary => base64(),
        Encoding::MsgPack => msgpack_to_json(data.bytes).map_or_else(base64, |json| text(&json)),
        Encoding::Text => {
            let text = String::from_utf8_lossy(data.bytes).into_owned();
            (serde_json::Value::String(text).to_string(), false)
        }
    }
}

/// Writes JSON without spaces.
pub(super) struct JsonWriter<'a>(&'a mut Vec<u8>);

impl<'a> JsonWriter<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self(buffer)
    }

    /// Inlined, so that a key costs a few moves of constants.
    #[inline(always)]
    fn key(&mut self, key: &'static str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    fn string(&mut self, text: &str) {
        let bytes = text.as_bytes();
        if verbatim_len(bytes) == bytes.len() {
            return self.quoted(bytes);
        }
        // Writing to memory cannot fail.
        let written = serde_json::to_writer(&mut *self.0, text);
        debug_assert!(written.is_ok());
    }

    #[inline(always)]
    fn quoted(&mut self, verbatim: &[u8]) {
        self.0.push(b'"');
        self.0.extend_from_slice(verbatim);
        self.0.push(b'"');
    }

    fn base64(&mut self, bytes: &[u8]) {
        self.str("data", &BASE64.encode(bytes));
        self.bool("binary", true);
    }
}

impl Writer for JsonWriter<'_> {
    fn map(&mut self, fields: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        fields(self);
        // Every field comes with a comma before it: the first one's makes room for the brace.
        match self.0.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => self.0.push(b'{'),
        }
        self.0.push(b'}');
    }

    fn object(&mut self, key: &'static str, fields: impl FnOnce(&mut Self)) {
        self.key(key);
        self.map(fields);
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        items: impl ExactSizeIterator<Item = T>,
        item: impl Fn(&mut Self, T),
    ) {
        self.key(key);
        self.0.push(b'[');
        for (index, value) in items.enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            item(self, value);
        }
        self.0.push(b']');
    }

    #[inline(always)]
    fn word(&mut self, key: &'static str, value: &'static str) {
        debug_assert_eq!(verbatim_len(value.as_bytes()), value.len());
        self.key(key);
        self.quoted(value.as_bytes());
    }

    #[inline(always)]
    fn str(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.string(value);
    }

    #[inline(always)]
    fn hex(&mut self, key: &'static str, digits: Hex) {
        self.key(key);
        self.quoted(digits.as_bytes());
    }

    #[inline(always)]
    fn u64(&mut self, key: &'static str, value: u64) {
        self.key(key);
        let written = serde_json::to_writer(&mut *self.0, &value);
        debug_assert!(written.is_ok());
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.0
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn json(&mut self, key: &'static str, json: &str) {
        self.key(key);
        self.0.extend_from_slice(json.as_bytes());
    }

    fn data(&mut self, data: &Data) {
        match data.encoding {
            Encoding::Json => {
                self.key("data");
                self.0.extend_from_slice(&data.bytes);
            }
            Encoding::Text => self.str("data", &String::from_utf8_lossy(&data.bytes)),
            Encoding::Binary => self.base64(&data.bytes),
            Encoding::MsgPack => match msgpack_to_json(&data.bytes) {
                Some(json) => {
                    self.key("data");
                    self.0.extend_from_slice(&json);
                }
                None => self.base64(&data.bytes),
            },
        }
    }
}

/// Writes MessagePack maps with string keys.
pub(super) struct MsgPackWriter<'a> {
    buffer: &'a mut Vec<u8>,
    fields: u8,
}

impl<'a> MsgPackWriter<'a> {
    pub(super) fn new(buffer: &'a mut Vec<u8>) -> Self {
        Self { buffer, fields: 0 }
    }

    fn key(&mut self, key: &'static str) {
        self.fields += 1;
        self.string(key);
    }

    fn string(&mut self, text: &str) {
        self.write(|buffer| rmp::encode::write_str(buffer, text));
    }

    /// Writing to memory cannot fail.
    fn write<T, E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<T, E>) {
        let written = write(self.buffer);
        debug_assert!(written.is_ok());
    }
}

impl Writer for MsgPackWriter<'_> {
    fn map(&mut self, fields: impl FnOnce(&mut Self)) {
        let header = self.buffer.len();
        self.buffer.push(0);
        let outer = std::mem::take(&mut self.fields);
        fields(self);
        let count = std::mem::replace(&mut self.fields, outer);
        debug_assert!(count < 16);
        self.buffer[header] = 0x80 | count;
    }

    fn object(&mut self, key: &'static str, fields: impl FnOnce(&mut Self)) {
        self.key(key);
        self.map(fields);
    }

    fn list<T>(
        &mut self,
        key: &'static str,
        items: impl ExactSizeIterator<Item = T>,
        item: impl Fn(&mut Self, T),
    ) {
        self.key(key);
        let len = u32::try_from(items.len()).unwrap_or(u32::MAX);
        self.write(|buffer| rmp::encode::write_array_len(buffer, len));
        items.for_each(|value| item(self, value));
    }

    fn str(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.string(value);
    }

    fn hex(&mut self, key: &'static str, digits: Hex) {
        self.str(key, &digits);
    }

    fn u64(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.write(|buffer| rmp::encode::write_uint(buffer, value));
    }

    fn bool(&mut self, key: &'static str, value: bool) {
        self.key(key);
        self.write(|buffer| rmp::encode::write_bool(buffer, value));
    }

    fn json(&mut self, key: &'static str, json: &str) {
        self.key(key);
        match json_to_msgpack(json.as_bytes()) {
            Some(msgpack) => self.buffer.extend_from_slice(&msgpack),
            None => self.string(json),
        }
    }

    fn data(&mut self, data: &Data) {
        self.key("data");
        match data.encoding {
            Encoding::MsgPack => self.buffer.extend_from_slice(&data.bytes),
            Encoding::Binary => self.write(|buffer| rmp::encode::write_bin(buffer, &data.bytes)),
            Encoding::Text => self.string(&String::from_utf8_lossy(&data.bytes)),
            Encoding::Json => match json_to_msgpack(&data.bytes) {
                Some(msgpack) => self.buffer.extend_from_slice(&msgpack),
                None => self.string(&String::from_utf8_lossy(&data.bytes)),
            },
        }
    }
}
