//! The envelope: a publication as it travels between nodes and lies in the log.
//!
//! MessagePack: an array of the version and a map. The map's fields may grow without a new
//! version, since unknown ones are ignored; a change that an older node would misread takes a new
//! version, which that node skips and counts. Room and position are not inside: the Redis channel
//! names the one, the publish script assigns the other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::value_len;
use crate::{ClientId, Data, Encoding, Position, Publication, Publisher, RoomName};

/// The version that this build writes, and the newest it reads.
pub const VERSION: u8 = 1;

/// What goes into an envelope, borrowed from the publication.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// When it was accepted, in milliseconds since 1970.
    pub time: u64,
    /// The publishing connection and its user.
    pub from: Option<(ClientId, Option<&'a str>)>,
    /// What kind of message it is.
    pub event: Option<&'a str>,
    /// Whether the publisher gets it too.
    pub echo: bool,
    /// What is published.
    pub data: Data<&'a [u8]>,
}

impl Copy for Data<&[u8]> {}

impl<'a> From<&'a Publication> for Draft<'a> {
    fn from(publication: &'a Publication) -> Self {
        let from = publication.from.as_ref();
        Self {
            time: publication.time,
            from: from.map(|publisher| (publisher.client, publisher.user.as_deref())),
            event: publication.event.as_deref(),
            echo: publication.echo,
            data: Data {
                encoding: publication.data.encoding,
                bytes: &publication.data.bytes,
            },
        }
    }
}

impl Draft<'_> {
    /// The publication into a room, without a position. Copies the payload.
    #[must_use]
    pub fn to_publication(&self, room: RoomName) -> Publication {
        Publication {
            room,
            position: None,
            time: self.time,
            event: self.event.map(Box::from),
            from: self.from.map(|(client, user)| Publisher {
                client,
                user: user.map(Box::from),
            }),
            echo: self.echo,
            data: Data {
                encoding: self.data.encoding,
                bytes: Bytes::copy_from_slice(self.data.bytes),
            },
        }
    }
}

/// Why an envelope was skipped.
#[derive(Debug, Error)]
pub enum EnvelopeError {
    /// A node of a newer release wrote it.
    #[error("envelope version {0} is newer than this node reads ({VERSION}); upgrade this node")]
    Newer(u8),
    /// It is no envelope.
    #[error("not an envelope: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// It says that its data is of a kind this version does not have.
    #[error("not an envelope: unknown data encoding {0}")]
    Encoding(u8),
    /// More bytes follow than the envelope takes.
    #[error("not an envelope: {0} bytes too many")]
    Trailing(usize),
}

#[derive(Serialize, Deserialize)]
struct Fields<'a> {
    #[serde(rename = "t")]
    time: u64,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none", default)]
    client: Option<u64>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none", default, borrow)]
    user: Option<&'a str>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none", default, borrow)]
    event: Option<&'a str>,
    #[serde(rename = "q", skip_serializing_if = "is_false", default)]
    without_echo: bool,
    #[serde(rename = "k")]
    encoding: u8,
    #[serde(rename = "d", with = "serde_bytes", borrow)]
    data: &'a [u8],
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Encodes a draft.
#[must_use]
pub fn encode(draft: &Draft<'_>) -> Vec<u8> {
    let fields = Fields {
        time: draft.time,
        client: draft.from.map(|(client, _)| client.0),
        user: draft.from.and_then(|(_, user)| user),
        event: draft.event,
        without_echo: !draft.echo,
        encoding: draft.data.encoding as u8,
        data: draft.data.bytes,
    };
    let mut buffer = Vec::with_capacity(64 + draft.data.bytes.len());
    let mut serializer = rmp_serde::Serializer::new(&mut buffer).with_struct_map();
    // Writing to memory cannot fail, and every field has a MessagePack form.
    let written = (VERSION, fields).serialize(&mut serializer);
    debug_assert!(written.is_ok());
    buffer
}

/// Decodes what `whole` holds; `data` becomes a slice of it, nothing is copied but short strings.
pub fn decode(
    room: RoomName,
    position: Option<Position>,
    whole: &Bytes,
) -> Result<Publication, EnvelopeError> {
    // An array of two (0x92), then the version.
    if let [0x92, version, ..] = **whole
        && version > VERSION
        && version < 0x80
    {
        return Err(EnvelopeError::Newer(version));
    }
    let (_, fields) = rmp_serde::from_slice::<(u8, Fields<'_>)>(whole)?;
    // rmp-serde leaves what follows unread and says nothing of it.
    let trailing = whole.len() - value_len(whole).unwrap_or(whole.len());
    if trailing > 0 {
        return Err(EnvelopeError::Trailing(trailing));
    }
    let encoding =
        Encoding::from_u8(fields.encoding).ok_or(EnvelopeError::Encoding(fields.encoding))?;
    Ok(Publication {
        room,
        position,
        time: fields.time,
        event: fields.event.map(Box::from),
        from: fields.client.map(|client| Publisher {
            client: ClientId(client),
            user: fields.user.map(Box::from),
        }),
        echo: !fields.without_echo,
        data: Data {
            encoding,
            bytes: whole.slice_ref(fields.data),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft<'static> {
        Draft {
            time: 1_767_225_600_123,
            from: Some((ClientId(7), Some("u1"))),
            event: Some("chat"),
            echo: false,
            data: Data {
                encoding: Encoding::Json,
                bytes: br#"{"text":"hi"}"#,
            },
        }
    }

    fn room() -> RoomName {
        RoomName::new("lobby").unwrap()
    }

    #[test]
    fn what_is_encoded_decodes_to_a_slice_of_the_same_bytes() {
        let whole = Bytes::from(encode(&draft()));
        let publication = decode(room(), None, &whole).unwrap();
        assert_eq!(publication.event.as_deref(), Some("chat"));
        assert_eq!(publication.from.unwrap().user.as_deref(), Some("u1"));
        assert!(!publication.echo);
        assert_eq!(publication.data.bytes, draft().data.bytes);
        assert!(
            whole
                .as_ptr_range()
                .contains(&publication.data.bytes.as_ptr())
        );
    }

    #[test]
    fn a_newer_version_is_named_and_trailing_bytes_are_refused() {
        let mut bytes = encode(&draft());
        bytes.push(0);
        let trailing = decode(room(), None, &Bytes::from(bytes.clone()));
        assert!(matches!(trailing, Err(EnvelopeError::Trailing(1))));
        bytes[1] = VERSION + 1;
        let newer = decode(room(), None, &Bytes::from(bytes));
        assert!(matches!(newer, Err(EnvelopeError::Newer(2))));
        let garbage = decode(room(), None, &Bytes::from_static(b"\x92\x01garbage"));
        assert!(matches!(garbage, Err(EnvelopeError::Malformed(_))));
    }

    #[test]
    fn fields_of_a_later_release_are_ignored() {
        let (_, mut fields): (u8, serde_json::Map<String, serde_json::Value>) =
            (0, serde_json::Map::new());
        fields.insert("t".into(), 5.into());
        fields.insert("k".into(), 0.into());
        fields.insert("zz".into(), "new".into());
        let mut bytes = vec![0x92, VERSION];
        bytes.push(0x84);
        for (key, value) in &fields {
            rmp::encode::write_str(&mut bytes, key).unwrap();
            bytes.extend(rmp_serde::to_vec(value).unwrap());
        }
        rmp::encode::write_str(&mut bytes, "d").unwrap();
        rmp::encode::write_bin(&mut bytes, b"1").unwrap();
        let publication = decode(room(), None, &Bytes::from(bytes)).unwrap();
        assert_eq!(
            (publication.time, &publication.data.bytes[..]),
            (5, &b"1"[..])
        );
    }
}
