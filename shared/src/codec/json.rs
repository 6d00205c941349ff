//! Commands in JSON: the usual ones read quickly, all others by serde.

mod quick;
mod verbatim;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use self::quick::raw;
pub(super) use self::verbatim::verbatim_len;
use super::decode::{Fields, Rare};
use super::error::DecodeError;
use crate::Request;
use crate::code::ErrorCode;

/// A command's fields as they are written.
///
/// Read by hand, since a name that is not known may be anything: serde would have it be text, which
/// half of a surrogate pair is not.
#[derive(Default)]
struct Wire<'a> {
    kind: Option<Cow<'a, str>>,
    id: Option<u64>,
    room: Option<Cow<'a, str>>,
    event: Option<Cow<'a, str>>,
    key: Option<Cow<'a, str>>,
    echo: Option<bool>,
    data: Option<&'a RawValue>,
    since: Option<Since<'a>>,
    history: Option<u64>,
    limit: Option<u64>,
    after: Option<Cow<'a, str>>,
    token: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
}

/// The names of the fields.
const FIELDS: [&str; 13] = [
    "type", "id", "room", "event", "key", "echo", "data", "since", "history", "limit", "after",
    "token", "user",
];

/// A field's name, if it is known: its place among [`FIELDS`].
struct Field(Option<usize>);

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field's name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Field, E> {
                Ok(Field(FIELDS.into_iter().position(|known| known == name)))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Field, E> {
                let known = FIELDS.into_iter();
                Ok(Field({ known }.position(|known| known.as_bytes() == name)))
            }
        }
        deserializer.deserialize_bytes(Name)
    }
}

/// Text that may have escapes, borrowed where it has none.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a command, and notes which field it is at, if that is one that is known.
struct Reader<'c>(&'c Cell<Option<&'static str>>);

impl Reader<'_> {
    fn read(self, message: &[u8]) -> Result<Wire<'_>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_slice(message);
        let wire = reader.deserialize_map(self)?;
        reader.end()?;
        Ok(wire)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Wire<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire<'de>, A::Error> {
        let mut wire = Wire::default();
        let mut seen = [false; FIELDS.len()];
        while let Some(Field(field)) = map.next_key()? {
            if let Some(field) = field
                && std::mem::replace(&mut seen[field], true)
            {
                return Err(de::Error::duplicate_field(FIELDS[field]));
            }
            let name = field.map(|field| FIELDS[field]);
            self.0.set(name);
            let mut text = || Ok(map.next_value::<Option<Text<'de>>>()?.map(|text| text.0));
            match name {
                Some("type") => wire.kind = text()?,
                Some("room") => wire.room = text()?,
                Some("event") => wire.event = text()?,
                Some("key") => wire.key = text()?,
                Some("after") => wire.after = text()?,
                Some("token") => wire.token = text()?,
                Some("user") => wire.user = text()?,
                Some("id") => wire.id = map.next_value()?,
                Some("echo") => wire.echo = map.next_value()?,
                // `null` is a value, where an `Option` would be nothing.
                Some("data") => wire.data = Some(map.next_value()?),
                Some("since") => wire.since = map.next_value()?,
                Some("history") => wire.history = map.next_value()?,
                Some("limit") => wire.limit = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
            self.0.set(None);
        }
        Ok(wire)
    }
}

#[derive(Deserialize)]
struct Since<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
}

/// Reads one command in JSON.
pub fn decode(text: &str) -> Result<Request<'_>, DecodeError> {
    let mut fields = Fields::default();
    if quick::read(text, &mut fields).is_none() {
        fields = read(text)?;
    }
    fields.into_request()
}

/// Reads one command in what should be JSON.
pub(super) fn decode_bytes(message: &[u8]) -> Result<Request<'_>, DecodeError> {
    match simdutf8::basic::from_utf8(message) {
        Ok(text) => decode(text),
        Err(_) => Err(explain(message)),
    }
}

/// Reads any command's fields.
fn read(text: &str) -> Result<Fields<'_>, DecodeError> {
    // serde would take an array for the fields in their order.
    if is_array(text.as_bytes()) {
        return Err(not_a_command());
    }
    let at = Cell::new(None);
    let wire = Reader(&at).read(text.as_bytes());
    let wire = wire.map_err(|_| explain(text.as_bytes()))?;
    let rare = Rare {
        since: wire.since.map(|since| (since.epoch, since.offset)),
        history: wire.history,
        limit: wire.limit,
        after: wire.after,
        token: wire.token,
        user: wire.user,
    };
    Ok(Fields {
        kind: wire.kind,
        id: wire.id,
        room: wire.room,
        event: wire.event,
        key: wire.key,
        echo: wire.echo,
        data: wire.data.map(|value| raw(value.get())),
        rare: (rare != Rare::default()).then(|| Box::new(rare)),
    })
}

fn is_json(message: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(message).is_ok()
}

fn is_array(message: &[u8]) -> bool {
    message.trim_ascii_start().starts_with(b"[")
}

fn not_a_command() -> DecodeError {
    let message = "not a command: send a JSON object".into();
    DecodeError {
        id: None,
        code: ErrorCode::BadRequest,
        message,
    }
}

/// The id of a message of which the rest does not matter.
struct OnlyId(Option<u64>);

impl<'de> Deserialize<'de> for OnlyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Id;
        impl<'de> Visitor<'de> for Id {
            type Value = OnlyId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OnlyId, A::Error> {
                let mut id = None;
                while let Some(Field(field)) = map.next_key()? {
                    if field.map(|field| FIELDS[field]) == Some("id") {
                        id = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(OnlyId(id))
            }
        }
        deserializer.deserialize_map(Id)
    }
}

/// Reads a faulty message again, slowly, to name the field that is wrong and to save its id.
#[cold]
fn explain(message: &[u8]) -> DecodeError {
    if is_array(message) {
        return not_a_command();
    }
    let id = serde_json::from_slice::<OnlyId>(message).ok();
    let id = id.and_then(|found| found.0);
    let at = Cell::new(None);
    let text = match Reader(&at).read(message) {
        Err(error) => match (error.is_data(), at.get()) {
            (true, None) if !message.trim_ascii_start().starts_with(b"{") => {
                return not_a_command();
            }
            // A field given twice, for example: the error names it.
            (true, None) => format!("not a command: {error}"),
            (true, Some(field)) => format!("{field}: {error}"),
            // Half of a surrogate pair is JSON (RFC 8259, section 8.2), and no text.
            (false, Some(field)) if is_json(message) => {
                format!("{field}: half of a surrogate pair; send Unicode text")
            }
            (false, _) => format!("not JSON: {error}"),
        },
        Ok(_) => "not a command".into(),
    };
    DecodeError {
        id: id.filter(|id| *id > 0),
        code: ErrorCode::BadRequest,
        message: text,
    }
}

#[cfg(test)]
mod tests {
    use super::decode_bytes as decode;
    use super::*;
    use crate::Command;

    #[test]
    fn data_is_the_very_bytes_received_and_null_is_a_value() {
        let message = br#"{"type":"publish","room":"r","data": {"a" : [1, 2e3]} }"#;
        let Command::Publish { data, echo, .. } = decode(message).unwrap().command else {
            panic!("not a publish")
        };
        assert_eq!(data.bytes, br#"{"a" : [1, 2e3]}"#);
        assert!(message.as_ptr_range().contains(&data.bytes.as_ptr()));
        assert!(echo);
        assert!(decode(br#"{"type":"publish","room":"r","data":null}"#).is_ok());
    }

    #[test]
    fn an_error_names_the_field_and_keeps_the_id() {
        for (message, id, text) in [
            (r#"{"type":"join","id":3}"#, Some(3), "room: missing"),
            (
                r#"{"type":"join","id":3,"room":5}"#,
                Some(3),
                "room: invalid type: integer `5`",
            ),
            (
                r#"{"type":"join","id":-1,"room":"r"}"#,
                None,
                "id: invalid value",
            ),
            (
                r#"{"type":"join","id":0,"room":"r"}"#,
                None,
                "id: must be a positive integer",
            ),
            (
                r#"{"type":"join","room":"r","since":{"epoch":"x"}}"#,
                None,
                "since: missing field",
            ),
            (
                r#"{"type":"publish","id":1,"room":"r"}"#,
                Some(1),
                "data: missing",
            ),
            (
                r#"{"type":"publish","room":"r","data":[1,}"#,
                None,
                "not JSON",
            ),
            (r#"{"id":4}"#, Some(4), "type: missing"),
            (r#"[1]"#, None, "not a command"),
            (r#"5"#, None, "not a command: send a JSON object"),
            (
                r#"{"id":4,"type":"leave","room":"r","room":"s"}"#,
                Some(4),
                "not a command: duplicate field `room`",
            ),
            (r#"{"type":"ping"} x"#, None, "not JSON: trailing"),
            ("", None, "not JSON"),
        ] {
            let error = decode(message.as_bytes()).unwrap_err();
            assert_eq!(error.id, id, "{message}");
            assert_eq!(error.code, ErrorCode::BadRequest, "{message}");
            assert!(error.message.contains(text), "{message}: {}", error.message);
        }
    }

    #[test]
    fn half_of_a_surrogate_pair_is_ignored_where_nobody_asks_and_refused_where_text_is_needed() {
        for unknown in [
            r#"{"\ud800":1,"type":"ping","id":7}"#,
            r#"{"type":"ping","id":7,"\udc00x":{"\ud800":"\ud800"}}"#,
            r#"{"type":"ping","id":7,"new":"\ud800"}"#,
        ] {
            assert_eq!(decode(unknown.as_bytes()).unwrap().id, Some(7), "{unknown}");
        }
        for (field, message) in [
            ("room", r#"{"type":"join","id":7,"room":"\ud800"}"#),
            (
                "event",
                r#"{"type":"publish","room":"r","event":"\ud800","data":1,"id":7}"#,
            ),
            (
                "key",
                r#"{"id":7,"type":"publish","room":"r","key":"a\udfff","data":1}"#,
            ),
        ] {
            let error = decode(message.as_bytes()).unwrap_err();
            assert_eq!((error.id, error.code), (Some(7), ErrorCode::BadRequest));
            let expected = format!("{field}: half of a surrogate pair");
            assert!(error.message.starts_with(&expected), "{}", error.message);
        }
        // Data is passed on as it came.
        let message = br#"{"type":"publish","room":"r","data":"\ud800"}"#;
        let Command::Publish { data, .. } = decode(message).unwrap().command else {
            panic!("not a publish")
        };
        assert_eq!(data.bytes, br#""\ud800""#);
    }

    #[test]
    fn unknown_fields_are_ignored_and_an_unknown_type_is_named() {
        assert!(decode(br#"{"type":"ping","new":[{}]}"#).is_ok());
        let error = decode(br#"{"type":"dance","id":9}"#).unwrap_err();
        assert_eq!((error.code, error.id), (ErrorCode::UnknownType, Some(9)));
        assert!(error.message.contains("`dance`"));
    }
}
