//! What calls say: a message to publish, in JSON or as bytes.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fanfare_shared::{ClientId, Data, Encoding};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ApiError;

/// The longest `event` and `key`, in bytes.
const MAX_LABEL: usize = 255;

/// A message to publish. `data` is passed on as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message<'a> {
    /// Where it goes, in a batch.
    #[serde(borrow, default)]
    pub(super) room: Option<Cow<'a, str>>,
    /// Where it goes, if to several rooms.
    #[serde(borrow, default)]
    pub(super) rooms: Option<Vec<Cow<'a, str>>>,
    /// To whom it goes, in a batch.
    #[serde(borrow, default)]
    pub(super) user: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(super) key: Option<Cow<'a, str>>,
    /// The connection that is left out, and that members see as the publisher.
    #[serde(borrow, default)]
    pub(super) except: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Whether `data` is base64 of bytes.
    #[serde(default)]
    binary: bool,
}

/// Where a message says that it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereto {
    /// It does not: the address says it.
    Address,
    /// To a room.
    Room,
    /// To several.
    Rooms,
    /// To a user.
    User,
}

impl<'a> Message<'a> {
    /// Reads a message in JSON.
    pub(super) fn read(body: &'a [u8], whereto: Whereto) -> Result<Self, ApiError> {
        let message: Self = serde_json::from_slice(body)
            .map_err(|error| ApiError::bad(format!("not a message: {error}")))?;
        message.check(whereto)?;
        Ok(message)
    }

    /// Checks what no type says.
    pub(super) fn check(&self, whereto: Whereto) -> Result<(), ApiError> {
        for (name, is_given, of) in [
            ("room", self.room.is_some(), Whereto::Room),
            ("rooms", self.rooms.is_some(), Whereto::Rooms),
            ("user", self.user.is_some(), Whereto::User),
        ] {
            if is_given != (of == whereto) {
                let problem = match of {
                    _ if is_given => "it does not belong here",
                    Whereto::Rooms => "give 1 to 1000 of them",
                    _ => "missing",
                };
                return Err(ApiError::bad(format!("{name}: {problem}")));
            }
        }
        for (name, label) in [("event", &self.event), ("key", &self.key)] {
            check_label(name, label.as_deref())?;
        }
        if self.data.is_none() {
            return Err(ApiError::bad("data: missing; a message needs some"));
        }
        Ok(())
    }

    /// The payload: bytes if it is base64 of such, else the JSON as it stands.
    pub(super) fn data(&self, max: usize) -> Result<(Encoding, Cow<'a, [u8]>), ApiError> {
        let json = self.data.map_or("null", RawValue::get);
        let (encoding, bytes) = if self.binary {
            let text: Cow<'_, str> = serde_json::from_str(json)
                .map_err(|_| ApiError::bad("data: with `binary` it is a text in base64"))?;
            let bytes = BASE64
                .decode(&*text)
                .map_err(|_| ApiError::bad("data: not base64"))?;
            (Encoding::Binary, Cow::Owned(bytes))
        } else {
            (Encoding::Json, Cow::Borrowed(json.as_bytes()))
        };
        check_size(bytes.len(), max)?;
        Ok((encoding, bytes))
    }

    /// The connection that is left out.
    pub(super) fn except(&self) -> Result<Option<ClientId>, ApiError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| ApiError::bad("except: not the id of a client"))
        };
        self.except.as_deref().map(parse).transpose()
    }
}

/// Checks an `event` or a `key`.
pub(super) fn check_label(name: &str, label: Option<&str>) -> Result<(), ApiError> {
    match label.map_or(1, str::len) {
        1..=MAX_LABEL => Ok(()),
        length => Err(ApiError::bad(format!(
            "{name}: {length} bytes long; 1 to {MAX_LABEL} are allowed"
        ))),
    }
}

/// Checks the size of a payload.
pub(super) fn check_size(size: usize, max: usize) -> Result<(), ApiError> {
    if size <= max {
        return Ok(());
    }
    let message = format!("data: {size} bytes long; at most {max} are allowed");
    Err(ApiError::new(
        fanfare_shared::code::ErrorCode::TooLarge,
        message,
    ))
}

/// A payload that is borrowed.
pub(super) fn payload(encoding: Encoding, bytes: &[u8]) -> Data<&[u8]> {
    Data { encoding, bytes }
}
