//! Commands in JSON: the usual ones read quickly, all others by serde.

mod quick;
mod verbatim;

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

pub(super) use self::verbatim::verbatim_len;
use super::DecodeError;
use super::decode::Fields;
use crate::code::ErrorCode;
use crate::{Data, Encoding, Request};

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key: Option<Cow<'a, str>>,
    #[serde(default)]
    echo: Option<bool>,
    #[serde(borrow, default, deserialize_with = "some")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    since: Option<Since<'a>>,
    #[serde(default)]
    history: Option<u64>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(borrow, default)]
    after: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Since<'a> {
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    offset: u64,
}

/// Keeps `null` a value, where serde's `Option` would take it for nothing.
fn some<'de: 'a, 'a, D: Deserializer<'de>>(reader: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(reader).map(Some)
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
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|_| explain(text.as_bytes()))?;
    Ok(Fields {
        kind: wire.kind,
        id: wire.id,
        room: wire.room,
        event: wire.event,
        key: wire.key,
        echo: wire.echo,
        data: wire.data.map(|value| raw(value.get())),
        since: wire.since.map(|since| (since.epoch, since.offset)),
        history: wire.history,
        limit: wire.limit,
        after: wire.after,
    })
}

/// A value as it was written.
fn raw(json: &str) -> Data<&[u8]> {
    Data {
        encoding: Encoding::Json,
        bytes: json.as_bytes(),
    }
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

/// Reads a faulty message again, slowly, to name the field that is wrong and to save its id.
#[cold]
fn explain(message: &[u8]) -> DecodeError {
    if is_array(message) {
        return not_a_command();
    }
    #[derive(Deserialize)]
    struct OnlyId {
        id: Option<u64>,
    }
    let id = serde_json::from_slice::<OnlyId>(message)
        .ok()
        .and_then(|found| found.id);
    let mut reader = serde_json::Deserializer::from_slice(message);
    let text = match serde_path_to_error::deserialize::<_, Wire<'_>>(&mut reader) {
        Err(error) => {
            let path = error.path().to_string();
            match (error.inner().is_data(), path.as_str()) {
                (true, ".") if !message.trim_ascii_start().starts_with(b"{") => {
                    return not_a_command();
                }
                // A field given twice: the path does not lead to it, the error names it.
                (true, ".") => format!("not a command: {}", error.inner()),
                (true, field) => format!("{field}: {}", error.inner()),
                (false, _) => format!("not JSON: {}", error.inner()),
            }
        }
        Ok(_) => "not JSON: trailing characters; send one command a message".into(),
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
    fn unknown_fields_are_ignored_and_an_unknown_type_is_named() {
        assert!(decode(br#"{"type":"ping","new":[{}]}"#).is_ok());
        let error = decode(br#"{"type":"dance","id":9}"#).unwrap_err();
        assert_eq!((error.code, error.id), (ErrorCode::UnknownType, Some(9)));
        assert!(error.message.contains("`dance`"));
    }
}
