//! Commands in MessagePack: a map with string keys.
//!
//! Read by hand rather than by serde, since `data` must stay a slice of the received bytes and
//! rmp-serde has no raw value.

use std::borrow::Cow;

use rmp::Marker;
use rmp::decode::{
    Bytes as Cursor, read_bool, read_int, read_map_len, read_str_from_slice, read_str_len,
};

use super::decode::Fields;
use super::error::DecodeError;
use crate::code::ErrorCode;
use crate::{Data, Encoding, Request};

/// Reads one command in MessagePack.
pub fn decode(message: &[u8]) -> Result<Request<'_>, DecodeError> {
    let mut fields = Fields::default();
    match read_fields(message, &mut fields) {
        Ok(()) => fields.into_request(),
        Err(error) => Err(DecodeError {
            id: fields.id.or_else(|| find_id(message)).filter(|id| *id > 0),
            code: ErrorCode::BadRequest,
            message: error,
        }),
    }
}

/// Looks for the id of a faulty message, which may stand behind the fault.
#[cold]
fn find_id(message: &[u8]) -> Option<u64> {
    let mut reader = Reader(message);
    for _ in 0..reader.map_len()? {
        if reader.key()? == "id" {
            return reader.int();
        }
        reader.skip()?;
    }
    None
}

fn read_fields<'a>(message: &'a [u8], fields: &mut Fields<'a>) -> Result<(), String> {
    let mut reader = Reader(message);
    let count = reader
        .map_len()
        .ok_or("not a command: send a MessagePack map")?;
    for _ in 0..count {
        let key = reader.key().ok_or("not a command: a key is no string")?;
        if reader.nil() {
            // As in JSON, null says the same as nothing, but for `data`.
            if key == "data" {
                let null = Data {
                    encoding: Encoding::MsgPack,
                    bytes: &[0xc0][..],
                };
                set(key, &mut fields.data, Some(null), ONE_VALUE)?;
            }
            continue;
        }
        match key {
            "type" => set(key, &mut fields.kind, reader.text(), "a string")?,
            "id" => set(key, &mut fields.id, reader.int(), "a positive integer")?,
            "room" => set(key, &mut fields.room, reader.text(), "a string")?,
            "event" => set(key, &mut fields.event, reader.text(), "a string")?,
            "key" => set(key, &mut fields.key, reader.text(), "a string")?,
            "echo" => set(key, &mut fields.echo, reader.bool(), "true or false")?,
            "history" => set(
                key,
                &mut fields.rare().history,
                reader.int(),
                "a positive integer",
            )?,
            "limit" => set(
                key,
                &mut fields.rare().limit,
                reader.int(),
                "a positive integer",
            )?,
            "after" => set(key, &mut fields.rare().after, reader.text(), "a string")?,
            "token" => set(key, &mut fields.rare().token, reader.text(), "a string")?,
            "user" => set(key, &mut fields.rare().user, reader.text(), "a string")?,
            "since" => {
                let since = reader.since()?;
                set(key, &mut fields.rare().since, Some(since), "a position")?;
            }
            "data" => set(key, &mut fields.data, reader.data(), ONE_VALUE)?,
            _ => reader
                .skip()
                .ok_or_else(|| format!("{key}: not {ONE_VALUE}"))?,
        }
    }
    match reader.0.len() {
        0 => Ok(()),
        more => Err(format!(
            "{more} bytes follow the map; send one command a message"
        )),
    }
}

const ONE_VALUE: &str = "one whole value";

/// Takes a field's value. Like JSON's reader, refuses a second one: two readers that took different
/// ones would not agree on what was said.
fn set<T>(
    key: &str,
    field: &mut Option<T>,
    value: Option<T>,
    expected: &str,
) -> Result<(), String> {
    let value = value.ok_or_else(|| format!("{key}: not {expected}"))?;
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{key}: given twice")),
    }
}

/// Reads from the front of a slice; each method takes one value, or nothing and answers `None`
/// where there is another kind of value or not all of one.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<T, E>(&mut self, read: impl FnOnce(&mut Cursor<'a>) -> Result<T, E>) -> Option<T> {
        let mut cursor = Cursor::new(self.0);
        let value = read(&mut cursor).ok()?;
        self.0 = cursor.remaining_slice();
        Some(value)
    }

    fn map_len(&mut self) -> Option<u32> {
        self.take(read_map_len)
    }

    fn int(&mut self) -> Option<u64> {
        self.take(read_int)
    }

    fn bool(&mut self) -> Option<bool> {
        self.take(read_bool)
    }

    fn nil(&mut self) -> bool {
        let [0xc0, rest @ ..] = self.0 else {
            return false;
        };
        self.0 = rest;
        true
    }

    /// A field's name. One that is not UTF-8 is none that is known.
    fn key(&mut self) -> Option<&'a str> {
        let length = self.take(read_str_len)?;
        let (name, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(std::str::from_utf8(name).unwrap_or("\u{fffd}"))
    }

    fn str(&mut self) -> Option<&'a str> {
        let (text, rest) = read_str_from_slice(self.0).ok()?;
        self.0 = rest;
        Some(text)
    }

    fn text(&mut self) -> Option<Cow<'a, str>> {
        self.str().map(Cow::Borrowed)
    }

    fn since(&mut self) -> Result<(Cow<'a, str>, u64), String> {
        const EXPECTED: &str = "since: not a map of `epoch`, a string, and `offset`, an integer";
        let (mut epoch, mut offset) = (None, None);
        for _ in 0..self.map_len().ok_or(EXPECTED)? {
            match self.str().ok_or(EXPECTED)? {
                "epoch" => set("since.epoch", &mut epoch, self.text(), "a string")?,
                "offset" => set("since.offset", &mut offset, self.int(), "an integer")?,
                _ => self.skip().ok_or(EXPECTED)?,
            }
        }
        Ok((
            epoch.ok_or("since.epoch: missing")?,
            offset.ok_or("since.offset: missing")?,
        ))
    }

    fn skip(&mut self) -> Option<()> {
        self.0 = &self.0[value_len(self.0)?..];
        Some(())
    }

    /// Takes a payload: the content of a `bin` as bytes, any other value as it is.
    fn data(&mut self) -> Option<Data<&'a [u8]>> {
        let (value, rest) = self.0.split_at(value_len(self.0)?);
        self.0 = rest;
        let header = match Marker::from_u8(value[0]) {
            Marker::Bin8 => 2,
            Marker::Bin16 => 3,
            Marker::Bin32 => 5,
            _ => {
                return Some(Data {
                    encoding: Encoding::MsgPack,
                    bytes: value,
                });
            }
        };
        Some(Data {
            encoding: Encoding::Binary,
            bytes: &value[header..],
        })
    }
}

/// How many bytes the value at the start of `bytes` takes; `None` if it is not all there or not
/// MessagePack. Counts the values still to come instead of recursing, so nesting costs nothing.
pub(crate) fn value_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0usize;
    let mut values = 1u64;
    while values > 0 {
        values -= 1;
        let marker = Marker::from_u8(*bytes.get(at)?);
        at += 1;
        let mut uint = |width: usize| -> Option<usize> {
            let digits = bytes.get(at..at + width)?;
            at += width;
            Some(
                digits
                    .iter()
                    .fold(0, |sum, digit| sum << 8 | usize::from(*digit)),
            )
        };
        let skipped = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) | Marker::Null | Marker::False | Marker::True => {
                0
            }
            Marker::U8 | Marker::I8 => 1,
            Marker::U16 | Marker::I16 => 2,
            Marker::U32 | Marker::I32 | Marker::F32 => 4,
            Marker::U64 | Marker::I64 | Marker::F64 => 8,
            Marker::FixStr(len) => usize::from(len),
            Marker::Str8 | Marker::Bin8 => uint(1)?,
            Marker::Str16 | Marker::Bin16 => uint(2)?,
            Marker::Str32 | Marker::Bin32 => uint(4)?,
            Marker::Ext8 => uint(1)? + 1,
            Marker::Ext16 => uint(2)? + 1,
            Marker::Ext32 => uint(4)? + 1,
            Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::FixExt4 => 5,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::FixArray(len) => {
                values += u64::from(len);
                0
            }
            Marker::FixMap(len) => {
                values += 2 * u64::from(len);
                0
            }
            Marker::Array16 => {
                values += uint(2)? as u64;
                0
            }
            Marker::Array32 => {
                values += uint(4)? as u64;
                0
            }
            Marker::Map16 => {
                values += 2 * uint(2)? as u64;
                0
            }
            Marker::Map32 => {
                values += 2 * uint(4)? as u64;
                0
            }
            Marker::Reserved => return None,
        };
        at = at.checked_add(skipped)?;
        // Every value takes at least a byte: more of them than bytes is a lie, found early.
        if at > bytes.len() || values > (bytes.len() - at) as u64 {
            return None;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_that_is_not_utf8_is_not_known_and_ignored() {
        // {"type":"ping", <ff>: <a string of ff>, "id":7}
        let message = b"\x83\xa4type\xa4ping\xa1\xff\xa1\xff\xa2id\x07";
        assert_eq!(decode(message).unwrap().id, Some(7));
        let message = b"\x83\xa4type\xa4join\xa4room\xa1\xff\xa2id\x07";
        let error = decode(message).unwrap_err();
        assert_eq!(
            (error.id, error.message),
            (Some(7), "room: not a string".into())
        );
    }

    #[test]
    fn nesting_deep_and_counts_that_lie_cost_nothing() {
        let mut deep = vec![0x91; 1_000_000];
        assert_eq!(value_len(&deep), None);
        deep.push(0xc0);
        assert_eq!(value_len(&deep), Some(deep.len()));
        assert_eq!(value_len(&[0xdd, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(value_len(&[0xc6, 0xff, 0xff, 0xff, 0xff, 1]), None);
    }

    #[test]
    fn an_error_keeps_the_id_wherever_it_stands() {
        let faulty = |id: &[u8]| [b"\x83\xa4room\x05\xa4type\xa4join\xa2id", id].concat();
        for (id, expected) in [
            (&[7][..], Some(7)),
            (&[0], None),
            (&[0xff], None),
            (&[], None),
        ] {
            let error = decode(&faulty(id)).unwrap_err();
            assert_eq!(error.id, expected, "{id:?}");
            assert!(error.message.contains("room: not a string"), "{error:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
            if let Some(len) = value_len(&bytes) {
                prop_assert!(len <= bytes.len());
            }
        }
    }
}
